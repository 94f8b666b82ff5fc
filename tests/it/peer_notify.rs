//! Notifications of the real binary: SNS through moto, and Slack through a company's network.

use std::sync::{Arc, Mutex};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cloudwatch::CloudWatch;
use crate::harness::{Place, until};
use crate::peer_proxy::{HOST, Proxy};

/// A server that answers `ok` to every request and keeps their bodies.
pub(crate) struct Taker {
    pub(crate) url: String,
    pub(crate) bodies: Arc<Mutex<Vec<String>>>,
}

impl Taker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let keep = bodies.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let keep = keep.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    let head = String::from_utf8_lossy(&head).to_lowercase();
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let length = length.map_or(0, |length| length.parse().unwrap());
                    let mut body = vec![0; length];
                    client.read_exact(&mut body).await?;
                    keep.lock().unwrap().push(String::from_utf8(body).unwrap());
                    let answer =
                        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                    client.write_all(answer).await
                });
            }
        });
        Self { url, bodies }
    }

    pub(crate) async fn first(&self) -> Value {
        until("a message", async || {
            let bodies = self.bodies.lock().unwrap();
            serde_json::from_str(bodies.first()?).ok()
        })
        .await
    }
}

/// Asks SNS as its query protocol has it.
async fn sns(url: &str, action: &str, parameters: &[(&str, &str)]) {
    let scope = "Credential=test/20261122/eu-central-1/sns/aws4_request";
    let mut form = reqwest::Url::parse("http://form").unwrap();
    form.query_pairs_mut()
        .append_pair("Action", action)
        .extend_pairs(parameters);
    let asked = Client::builder().no_proxy().build().unwrap().post(url);
    let asked = asked
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap().to_owned());
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{action}");
}

#[tokio::test]
#[ignore = "needs moto"]
async fn a_subscriber_of_the_topic_gets_what_cloudwatch_would_send() {
    let folder = tempfile::tempdir().unwrap();
    let (front, taker) = (CloudWatch::start(folder.path()).await, Taker::start().await);
    let topic = "arn:aws:sns:eu-central-1:123456789012:alarms";
    sns(&front.url, "CreateTopic", &[("Name", "alarms")]).await;
    let subscription = [
        ("TopicArn", topic),
        ("Protocol", "http"),
        ("Endpoint", taker.url.as_str()),
    ];
    sns(&front.url, "Subscribe", &subscription).await;
    let place = Place::new();
    place.configure(&format!(
        "[aws]\nendpoint_url = \"{}\"\nregion = \"us-east-1\"\n\
         [notify.topic]\nkind = \"sns\"\ntopic_arn = \"{topic}\"\n",
        front.url
    ));
    let mut command = place.command(&["run"]);
    command.envs([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    let daemon = place.spawn(&mut command).await;
    // Credentials are looked for at the start; the first answer may come before.
    until("the test to be taken", async || {
        let answer = daemon.post("/api/v1/notify/topic/test", &json!({})).await;
        (answer.0 == 200).then_some(())
    })
    .await;
    let notification = taker.first().await;
    assert_eq!(
        notification["Subject"],
        "OK: \"tallyd-test\" in EU (Frankfurt)"
    );
    let message = notification["Message"].as_str().unwrap();
    let message: Value = serde_json::from_str(message).unwrap();
    assert_eq!(message["AlarmName"], "tallyd-test");
    assert_eq!(message["AWSAccountId"], "123456789012");
    assert_eq!(message["NewStateValue"], "OK");
    assert_eq!(message["Trigger"]["Statistic"], "SUM");
}

#[tokio::test]
async fn slack_is_reached_through_the_proxy_and_trusted_by_the_companys_authority() {
    let taker = Taker::start().await;
    let proxy = Proxy::start(&taker.url).await;
    let place = Place::new();
    let bundle = place.write("authority.pem", &proxy.pem);
    let secret = place.write("slack.url", &format!("https://{HOST}/services/s3cret\n"));
    place.configure(&format!(
        "[notify.ops]\nkind = \"slack\"\nurl_file = \"{}\"\n",
        secret.display()
    ));
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let mut command = place.command(&["run"]);
        command
            .env("HTTPS_PROXY", &proxy.url)
            .env(variable, &bundle);
        let daemon = place.spawn(&mut command).await;
        let answer = daemon.post("/api/v1/notify/ops/test", &json!({})).await;
        assert_eq!(answer.0, 200, "{variable}: {}", answer.1);
        assert!(daemon.stop().await.success());
    }
    assert_eq!(taker.bodies.lock().unwrap().len(), 2);
    assert!(taker.first().await["blocks"].is_array());
    let expected = vec![format!("{HOST}:443"); 2];
    assert_eq!(proxy.asked(), expected);

    // Without the authority nobody is trusted, and the address is told nowhere.
    let mut command = place.command(&["run"]);
    command.env("HTTPS_PROXY", &proxy.url);
    let daemon = place.spawn(&mut command).await;
    let (status, problem) = daemon.post("/api/v1/notify/ops/test", &json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("notify_failed")));
    let said = format!("{problem} {}", place.log());
    assert!(!said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn a_test_can_be_asked_for_on_the_command_line() {
    let taker = Taker::start().await;
    let place = Place::new();
    place.configure("[notify.hook]\nkind = \"webhook\"\n");
    let mut command = place.command(&["run"]);
    command.env("TALLYD_NOTIFY_HOOK_URL", &taker.url);
    command.env("TALLYD_NOTIFY_HOOK_SECRET", "0123456789abcdef");
    let daemon = place.spawn(&mut command).await;
    let url = daemon.request("").build().unwrap().url().to_string();
    let (code, _) = place
        .run(&["alarms", "notify-test", "hook", "--url", &url])
        .await;
    assert_eq!(code, Some(0));
    assert_eq!(taker.first().await["test"], true);
    let (code, said) = place
        .run(&["alarms", "notify-test", "nobody", "--url", &url])
        .await;
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no [notify.nobody]"), "{said}");
    let mute = ["alarms", "mute", "*", "--for", "1h", "--reason", "x"];
    let mute = [&mute[..], &["--url", &url]].concat();
    assert_eq!(place.run(&mute).await.0, Some(0));
    let (code, _) = place.run(&["alarms", "unmute", "1", "--url", &url]).await;
    assert_eq!(code, Some(0));
}
