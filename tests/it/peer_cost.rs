//! The collector `cost` against moto's Cost Explorer, from the queue of results to the metrics.

use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tallyd::clock::Clock;

use crate::cloudwatch::CloudWatch;
use crate::harness::{Place, until};

const SONNET: &str = "Claude Sonnet 4.6 (Amazon Bedrock Edition)";

fn group(keys: [&str; 2], amount: &str, quantity: &str) -> Value {
    let usd = |amount: &str| json!({"Amount": amount, "Unit": "USD"});
    json!({"Keys": keys, "Metrics": {
        "UnblendedCost": usd(amount), "NetUnblendedCost": usd(amount), "BlendedCost": usd("0"),
        "UsageQuantity": {"Amount": quantity, "Unit": "Units"},
    }})
}

fn result(day: jiff::civil::Date, groups: &Value) -> Value {
    json!({"ResultsByTime": [{
        "TimePeriod": {"Start": day.to_string(), "End": day.tomorrow().unwrap().to_string()},
        "Total": {}, "Estimated": true, "Groups": groups,
    }], "DimensionValueAttributes": []})
}

#[tokio::test]
#[ignore = "needs moto"]
async fn what_moto_bills_is_kept_shown_and_not_asked_for_again() {
    let place = Place::new();
    let aws = CloudWatch::start(&place.path("")).await;
    place.configure(&format!(
        "[aws]\nendpoint_url = \"{}\"\nregion = \"eu-central-1\"\n\
         [cost]\ncollect = true\nforecast = false\n",
        aws.url
    ));
    let today = Clock::System.now().to_zoned(TimeZone::UTC).date();
    let day = today.saturating_sub(2.days());
    let usage = json!([
        group(
            [SONNET, "USE1-MP:USE1_InputTokenCount-Units"],
            "3.0000000001",
            "1"
        ),
        group(
            [SONNET, "USE1-MP:USE1_CacheReadInputTokenCount-Units"],
            "0.6",
            "2"
        ),
        group([SONNET, "USE1-MP:USE1_NewThing-Units"], "0.4", "1"),
        group(["AmazonCloudWatch", "USE1-CW:GMD-Metrics"], "12", "1"),
    ]);
    let others = json!([group(["Credit", SONNET], "-1", "0")]);
    let queue = json!({"results": [result(day, &usage), result(day, &others)]});
    let url = format!("{}/moto-api/static/ce/cost-and-usage-results", aws.url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let queued = client.post(url).json(&queue).send().await.unwrap();
    assert_eq!(queued.status(), 201);

    let start = async || {
        let mut command = place.command(&["run"]);
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            command.env(name, value);
        }
        place.spawn(&mut command).await
    };
    let daemon = start().await;
    let billed = until("a billed day", async || {
        let bills = daemon.json("/api/v1/bills").await;
        let days = bills["days"].as_array().unwrap().clone();
        days.into_iter().next()
    });
    let billed = billed.await;
    assert_eq!(
        json!([
            billed["day"],
            billed["source"],
            billed["standing"],
            billed["lines"],
            billed["totals"]
        ]),
        json!([day.to_string(), "cost_explorer", "provisional", 4, {"USD": {
            "unblended": "3.0000000001", "net": "3.0000000001", "blended": "0.00",
            "unclassified": "0.40",
        }}])
    );
    let scrape = until("the metrics of the bill", async || {
        let scrape = daemon.scrape().await;
        let shown = scrape.sum("tallyd_cost_explorer_month_calls", &[]) > 0.0;
        shown.then_some(scrape)
    });
    let scrape = scrape.await;
    let labels = [("model", "claude-sonnet-4-6"), ("provider", "bedrock")];
    let actual = scrape.sum("claude_code_cost_actual_USD", &labels);
    assert!((actual - 4.000_000_000_1).abs() < 1e-12, "{actual}");
    assert_eq!(
        [
            scrape.sum("tallyd_cost_explorer_month_calls", &[]),
            scrape.sum("tallyd_bill_unclassified_amount", &[]),
            scrape.sum("tallyd_bill_account_success", &[]),
            scrape.sum("tallyd_aws_request_cost_USD_total", &[("service", "ce")]),
        ],
        [2.0, 0.4, 1.0, 0.02]
    );

    // A restart finds the bill fresh and pays for nothing.
    daemon.kill();
    let daemon = start().await;
    let calls = until("the metrics after the restart", async || {
        let scrape = daemon.scrape().await;
        let calls = scrape.sum("tallyd_cost_explorer_month_calls", &[]);
        (calls > 0.0).then_some(calls)
    });
    assert_eq!(calls.await, 2.0);
}
