//! A real Prometheus scrapes the demo and answers every query of every panel; moto takes the
//! dashboard for CloudWatch.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::cloudwatch::CloudWatch;
use crate::dashboards::dashboards;
use crate::harness::{Owned, Place, until};
use crate::peer_prometheus::Prometheus;

/// Long enough for what is rare in the demo and seldom within a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// Panels that are rightly empty on a demo that works.
const RIGHTLY_EMPTY: [(&str, &str); 19] = [
    ("quotas: ", "the demo has no policy"),
    ("cost: Billed", "the demo has no bill"),
    ("cost: Bill that", "the demo has no bill"),
    (
        "cost: Estimate and bill of the month B",
        "the demo has no bill",
    ),
    ("cost: Forecast", "the demo has no budgets"),
    ("cost: Budget", "the demo has no budgets"),
    ("cost: Burn rate", "the demo has no budgets"),
    ("cost: Unusual", "the demo is too young to know the usual"),
    (
        "cost: Tokens without a price",
        "the demo uses models with prices",
    ),
    ("cost: Cost, tallyd's", "the same panel is in usage"),
    ("cost: Calls to Cost Explorer", "the demo does not call AWS"),
    ("tallyd: Last backup", "the demo makes no backups"),
    ("tallyd: Refused by reason", "the demo sends nothing bad"),
    ("tallyd: Beyond the bound", "the demo has few series"),
    ("tallyd: Forwarded telemetry", "the demo forwards nothing"),
    (
        "tallyd: Datapoints to CloudWatch",
        "the demo does not call AWS",
    ),
    (
        "tallyd: Waiting for CloudWatch",
        "the demo does not call AWS",
    ),
    ("tallyd: Trouble with AWS", "the demo does not call AWS"),
    ("tallyd: Notices", "the demo tells nobody"),
];

/// A query as Grafana would send it, with everything chosen.
fn filled_in(query: &str) -> String {
    let values = [
        ("$__rate_interval", "1m"),
        ("$__range", "5m"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$team", ".*"),
        ("$model", ".*"),
        ("$limit", ".*"),
    ];
    let filled = values
        .iter()
        .fold(query.to_owned(), |query, (name, value)| {
            query.replace(name, value)
        });
    assert!(!filled.contains('$'), "{filled}");
    filled
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn every_panel_shows_data_of_the_demo() {
    let place = Place::new();
    let said = place.path("said");
    let mut command = place.command(&["demo", "--free-ports", "--users", "150", "--days", "2"]);
    command.stdout(File::create(&said).unwrap());
    let _demo = Owned(command.spawn().unwrap());
    let metrics = until("the history of the demo", async || {
        let said = std::fs::read_to_string(&said).unwrap();
        let url = said.split_once("metrics   http://")?.1;
        Some(url.split_once("/metrics\n")?.0.to_owned())
    });
    let prometheus = Prometheus::start(&place, &metrics.await).await;

    let dashboards = dashboards();
    let mut waiting: Vec<_> = dashboards
        .iter()
        .flat_map(|board| board.queries())
        .collect();
    waiting.retain(|(place, _)| {
        let mut empty = RIGHTLY_EMPTY.iter();
        !empty.any(|(panel, _)| place.starts_with(panel))
    });
    assert!(waiting.len() > 50);
    let all = async {
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for (panel, query) in waiting.drain(..) {
                if !prometheus.shows(&filled_in(query)).await {
                    still.push((panel, query));
                }
            }
            waiting = still;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, all).await;
    assert!(done.is_ok(), "without data: {waiting:#?}");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn the_dashboard_for_cloudwatch_is_put_into_the_account() {
    let place = Place::new();
    let cloudwatch = CloudWatch::start(place.store().parent().unwrap()).await;
    let url = &cloudwatch.url;
    let settings = format!("[aws]\nregion = \"eu-central-1\"\nendpoint_url = \"{url}\"\n");
    place.configure(&settings);
    let apply = async || {
        let mut command = place.command(&["cloudwatch", "dashboard", "apply"]);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            command.env(name, "test");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = apply().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.ends_with("region=eu-central-1#dashboards/dashboard/ClaudeCode\n"),
        "{said}"
    );

    let fault = json!({"kind": "deny", "operation": "PutDashboard", "count": null});
    cloudwatch.fault(fault).await;
    let (code, said) = apply().await;
    let permission = r#""Action":"cloudwatch:PutDashboard""#;
    assert!(code == Some(1) && said.contains(permission), "{said}");
}
