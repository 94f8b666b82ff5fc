//! The Python OpenTelemetry SDK sends to the daemon.

use std::process::Command;

use crate::harness::{Daemon, Place};
use crate::peers::python;

async fn send(protocol: &'static str, daemon: &Daemon, temporality: &'static str) {
    let endpoint = match protocol {
        "grpc" => daemon.grpc.clone(),
        _ => daemon.otlp_http.clone(),
    };
    let sent = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/otel.py");
        let session = format!("{protocol}-{temporality}");
        let arguments = [script, protocol, &endpoint, temporality, &session];
        Command::new(python()).args(arguments).output().unwrap()
    });
    let sent = sent.await.unwrap();
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert_eq!((sent.status.code(), said.as_str()), (Some(0), ""));
}

#[tokio::test]
#[ignore = "needs the Python OpenTelemetry SDK"]
async fn its_metrics_and_logs_arrive_over_http_and_grpc_delta_and_cumulative() {
    let mut daemon = Place::new().start().await;
    let mut sessions = 0.0;
    for protocol in ["http", "grpc"] {
        for temporality in ["delta", "cumulative"] {
            send(protocol, &daemon, temporality).await;
            sessions += 1.0;
            let scrape = daemon.scrape().await;
            let tokens = [150.0 * sessions, 15.0 * sessions, 0.0, 0.0];
            assert_eq!(scrape.tokens(), tokens, "{protocol} {temporality}");
            assert_eq!(scrape.requests("ok"), sessions);
            daemon = daemon.crash().await;
            assert_eq!(daemon.scrape().await.lasting(), scrape.lasting());
        }
    }
    let labels = [("user", "alice@example.com"), ("team", "payments")];
    let scrape = daemon.scrape().await;
    let shown = scrape.sum("claude_code_token_usage_tokens_total", &labels);
    assert_eq!(shown, 4.0 * 165.0);
}
