//! One account's bill through the real SDK, against a stand-in for Cost Explorer that is strict
//! about requests and plays what no emulator does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use aws_credential_types::Credentials;
use aws_sdk_costexplorer::Client;
use aws_sdk_costexplorer::config::{BehaviorVersion, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::account::{OWN, SOURCE};
use super::*;
use crate::clock::Clock;
use crate::config::{Account, Environment};
use crate::model::bill::{BillDay, Charge, PricedKind, Standing};
use crate::model::catalogue;
use crate::model::money::PicoUsd;
use crate::model::price::PriceTable;
use crate::store::{Settings, WriterThread};

const NOW: &str = "2026-11-22T06:00:00Z";
const SONNET: &str = "Claude Sonnet 4.6 (Amazon Bedrock Edition)";

/// What Cost Explorer answers, in the order of its calls.
#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<(u16, Value)>,
    /// Operations and bodies.
    asked: Vec<(String, Value)>,
}

#[derive(Clone, Debug)]
struct Stand(Arc<Mutex<Script>>);

impl HttpConnector for Stand {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
        assert_eq!(request.method(), "POST");
        assert_eq!(header("content-type"), "application/x-amz-json-1.1");
        assert!(header("authorization").contains("/us-east-1/ce/aws4_request"));
        let target = header("x-amz-target");
        let operation = target.strip_prefix("AWSInsightsIndexService.").unwrap();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut script = self.0.lock().unwrap();
        script.asked.push((operation.to_owned(), body));
        let (status, answer) = script
            .answers
            .pop_front()
            .expect("a call that nobody expects");
        let status = StatusCode::try_from(status).unwrap();
        let answer = HttpResponse::new(status, SdkBody::from(answer.to_string()));
        HttpConnectorFuture::ready(Ok(answer))
    }
}

/// A ledger, one account and the stand-in.
struct Company {
    stand: Stand,
    client: Client,
    plan: Plan,
    reading: Reading,
    thread: WriterThread,
    _folder: tempfile::TempDir,
}

impl Company {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[cost]\ncollect = true\nforecast = false\n{settings}");
        let config = Config::parse(&text, &Environment::default()).unwrap();
        let terms = Terms {
            prices: PriceTable::parse(crate::model::price::EMBEDDED).unwrap(),
            ..Terms::default()
        };
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let ledger = Settings {
            folder: folder.path().to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let clock = Clock::manual(NOW.parse().unwrap());
        let opened = Ledger::open(&ledger, terms.clone(), clock).unwrap();
        let (ledger, thread) = opened.start(Box::new(|_, _| ())).unwrap();
        let shared = Shared {
            aws: Aws::new(&config.aws).unwrap(),
            ledger,
            names: Arc::default(),
            terms,
            registry: Arc::default(),
            readiness: Arc::default(),
        };
        let mut collector = CostCollector::new(&config, shared);
        collector.plan.meter.backoff = Duration::from_millis(1);
        let stand = Stand(Arc::default());
        let connector = stand.clone();
        let http = http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone()));
        let client = aws_sdk_costexplorer::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .http_client(http);
        let mut reading = Reading::new(None);
        reading.account = "111122223333".to_owned();
        Self {
            stand,
            client: Client::from_conf(client.build()),
            plan: collector.plan,
            reading,
            thread,
            _folder: folder,
        }
    }

    /// Reads the bill at a time, with these answers. All of them must be asked for.
    async fn read(&mut self, now: &str, answers: Vec<(u16, Value)>) -> Result<(), String> {
        self.stand.0.lock().unwrap().answers = answers.into();
        let now = now.parse().unwrap();
        let outcome = self.reading.read(&self.client, now, &self.plan).await;
        let left = self.stand.0.lock().unwrap().answers.len();
        assert_eq!(left, 0, "answers that nobody asked for");
        outcome.map_err(|failure| format!("{} {}", failure.reason, failure.detail))
    }

    fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.stand.0.lock().unwrap().asked)
    }

    async fn bill(&self) -> Vec<BillDay> {
        let (from, to): (Date, Date) =
            ("2026-01-01".parse().unwrap(), "2027-02-01".parse().unwrap());
        self.plan.meter.ledger.bill(from, to).await.unwrap()
    }

    fn counted(&self, desc: &'static catalogue::Desc, labels: &[&str]) -> u128 {
        self.plan.meter.registry.counter(desc, labels).unwrap_or(0)
    }

    fn close(self) {
        self.plan.meter.ledger.close();
        self.thread.join();
    }
}

/// A page with one day.
#[expect(
    clippy::needless_pass_by_value,
    reason = "calls read well with a literal"
)]
fn page(day: &str, estimated: bool, groups: Value, token: Option<&str>) -> (u16, Value) {
    let end: Date = day.parse::<Date>().unwrap().tomorrow().unwrap();
    let mut page = json!({"ResultsByTime": [{
        "TimePeriod": {"Start": day, "End": end.to_string()},
        "Total": {}, "Groups": groups, "Estimated": estimated,
    }]});
    if let Some(token) = token {
        page["NextPageToken"] = token.into();
    }
    (200, page)
}

fn group(keys: [&str; 2], amount: &str, quantity: &str) -> Value {
    json!({"Keys": keys, "Metrics": {
        "UnblendedCost": {"Amount": amount, "Unit": "USD"},
        "NetUnblendedCost": {"Amount": amount, "Unit": "USD"},
        "BlendedCost": {"Amount": "0", "Unit": "USD"},
        "UsageQuantity": {"Amount": quantity, "Unit": "Units"},
    }})
}

fn input(amount: &str, quantity: &str) -> Value {
    group(
        [SONNET, "USE1-MP:USE1_InputTokenCount-Units"],
        amount,
        quantity,
    )
}

fn nothing(day: &str) -> (u16, Value) {
    page(day, false, json!([]), None)
}

fn fault(code: &str) -> (u16, Value) {
    (400, json!({"__type": code, "message": "said the stand-in"}))
}

/// Usage type, charge and unblended amount of all lines.
fn told(days: &[BillDay]) -> Vec<(&str, Charge, i128)> {
    let lines = days.iter().flat_map(|day| &day.lines);
    lines
        .map(|line| {
            let cost = line.amounts.unblended.unwrap_or_default().0;
            (&*line.usage_type, line.charge, cost)
        })
        .collect()
}

#[tokio::test]
async fn a_day_is_asked_for_and_kept_as_it_was_billed() {
    let mut company = Company::new("");
    let usage = json!([
        input("3.0000000000004", "1"),
        group([SONNET, "USE1-MP:USE1_Wonder-Units"], "0.25", "5"),
        group(
            ["Amazon Elastic Compute Cloud - Compute", "USE1-BoxUsage"],
            "99",
            "1"
        ),
    ]);
    let others = json!([
        group(["Credit", SONNET], "-1.5", "0"),
        group(["Tax", SONNET], "0.3", "0"),
        group(["Tax", "Tax"], "88", "0"),
    ]);
    let answers = vec![
        page("2026-11-20", true, usage, None),
        page("2026-11-20", true, others, None),
    ];
    company.read(NOW, answers).await.unwrap();
    let [(operation, usage), (_, others)] = <[_; 2]>::try_from(company.asked()).unwrap();
    assert_eq!(operation, "GetCostAndUsage");
    assert_eq!(
        usage,
        json!({
            "TimePeriod": {"Start": "2026-10-01", "End": "2026-11-23"},
            "Granularity": "DAILY",
            "Filter": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Usage"]}},
            "Metrics": ["UnblendedCost", "BlendedCost", "UsageQuantity", "NetUnblendedCost"],
            "GroupBy": [
                {"Type": "DIMENSION", "Key": "SERVICE"},
                {"Type": "DIMENSION", "Key": "USAGE_TYPE"},
            ],
        })
    );
    assert_eq!(
        others["Filter"],
        json!({"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Usage"]}}})
    );
    let bill = company.bill().await;
    assert_eq!(
        told(&bill),
        [
            (
                "USE1-MP:USE1_InputTokenCount-Units",
                Charge::Tokens,
                3_000_000_000_000
            ),
            ("Credit", Charge::Credit, -1_500_000_000_000),
            ("Tax", Charge::Tax, 300_000_000_000),
            (
                "USE1-MP:USE1_Wonder-Units",
                Charge::Unclassified,
                250_000_000_000
            ),
        ]
    );
    let line = &bill[0].lines[0];
    assert_eq!(
        (
            line.sku.model.as_deref(),
            line.sku.kind,
            line.tokens,
            line.amounts.blended
        ),
        (
            Some("claude-sonnet-4-6"),
            Some(PricedKind::Input),
            Some(1_000_000),
            Some(PicoUsd(0))
        )
    );
    assert_eq!(
        (
            bill[0].standing(),
            bill[0].revision,
            company.counted(catalogue::BILL_ROUNDED, &[SOURCE])
        ),
        (Standing::Provisional, 1, 2),
    );
    company.close();
}

#[tokio::test]
async fn pages_are_joined_and_each_is_a_call_that_costs() {
    let mut company = Company::new("");
    let answers = vec![
        page("2026-11-20", true, json!([input("1", "1")]), Some("next")),
        page(
            "2026-11-20",
            true,
            json!([group(
                [SONNET, "USE1-MP:USE1_OutputTokenCount-Units"],
                "15",
                "1"
            )]),
            None,
        ),
        nothing("2026-11-20"),
    ];
    company.read(NOW, answers).await.unwrap();
    let asked = company.asked();
    assert_eq!(asked[1].1["NextPageToken"], "next");
    let mut again = asked[1].1.clone();
    again.as_object_mut().unwrap().remove("NextPageToken");
    assert_eq!(again, asked[0].1, "a page is asked for with the same body");
    assert_eq!(company.bill().await[0].lines.len(), 2);
    let labels = ["ce", "GetCostAndUsage"];
    assert_eq!(
        [
            company.counted(catalogue::AWS_REQUESTS, &labels),
            company.counted(catalogue::AWS_REQUEST_COST, &labels),
        ],
        [3, 30_000_000_000]
    );
    let calls = company.plan.meter.ledger.bill_calls(NOW.parse().unwrap());
    assert_eq!(calls.await.unwrap(), 3);
    company.close();
}

#[tokio::test]
async fn throttling_is_waited_out_and_given_up_in_the_end() {
    let mut company = Company::new("");
    let throttled = || fault("LimitExceededException");
    let answers = vec![
        throttled(),
        throttled(),
        nothing("2026-11-20"),
        (500, json!({"__type": "InternalFailure"})),
        nothing("2026-11-20"),
    ];
    company.read(NOW, answers).await.unwrap();
    let refused = company.read(NOW, vec![throttled(); 5]).await.unwrap_err();
    assert!(
        refused.starts_with("throttled LimitExceededException"),
        "{refused}"
    );
    company.close();
}

#[tokio::test]
async fn a_lost_page_begins_the_answer_anew() {
    let mut company = Company::new("");
    let answers = vec![
        page("2026-11-20", true, json!([input("1", "1")]), Some("next")),
        fault("RequestChangedException"),
        page("2026-11-20", true, json!([input("2", "1")]), Some("next")),
        fault("InvalidNextTokenException"),
        page("2026-11-20", true, json!([input("3", "1")]), None),
        nothing("2026-11-20"),
    ];
    company.read(NOW, answers).await.unwrap();
    let cost = |days: &[BillDay]| told(days).iter().map(|line| line.2).collect::<Vec<_>>();
    assert_eq!(cost(&company.bill().await), [3_000_000_000_000]);
    let lost = vec![fault("BillExpirationException"); 3];
    assert!(company.read(NOW, lost).await.is_err());
    assert_eq!(
        cost(&company.bill().await),
        [3_000_000_000_000],
        "what was known stays"
    );
    company.close();
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let mut company = Company::new("");
    let good = vec![
        page("2026-11-20", true, json!([input("1", "1")]), None),
        nothing("2026-11-20"),
    ];
    company.read(NOW, good).await.unwrap();
    let known = company.bill().await;
    let bad_amount = page("2026-11-20", true, json!([input("1,5", "1")]), None);
    let bad_day = (
        200,
        json!({"ResultsByTime": [{"TimePeriod": {"Start": "x", "End": "y"}}]}),
    );
    let answers: Vec<Vec<(u16, Value)>> = vec![
        vec![fault("DataUnavailableException")],
        vec![(
            403,
            json!({"__type": "AccessDeniedException", "message": "no"}),
        )],
        vec![bad_amount],
        vec![bad_day],
        vec![nothing("2026-11-20"), fault("DataUnavailableException")],
    ];
    let mut reasons = Vec::new();
    for answers in answers {
        reasons.push(company.read(NOW, answers).await.unwrap_err());
    }
    assert_eq!(
        reasons,
        [
            "unavailable DataUnavailableException: said the stand-in",
            "denied AccessDeniedException: no",
            "refused 2026-11-20 Claude Sonnet 4.6 (Amazon Bedrock Edition) \
             USE1-MP:USE1_InputTokenCount-Units: UnblendedCost is 1,5: `,` does not belong in a \
             decimal number",
            "refused TimePeriod.Start is no day: x",
            "unavailable DataUnavailableException: said the stand-in",
        ]
    );
    assert_eq!(company.bill().await, known);
    company.close();
}

#[tokio::test]
async fn a_day_that_changes_is_revised_and_told_when_it_was_final() {
    let mut company = Company::new("");
    let answers = |amount: &str| {
        vec![
            page("2026-10-31", false, json!([input(amount, "1")]), None),
            nothing("2026-10-31"),
        ]
    };
    let mut seen = Vec::new();
    for (now, amount) in [
        ("2026-11-02T06:00:00Z", "1"),
        ("2026-11-09T06:00:00Z", "2"),
        ("2026-11-10T06:00:00Z", "2"),
        ("2026-11-11T06:00:00Z", "3"),
    ] {
        company.read(now, answers(amount)).await.unwrap();
        let day = company.bill().await.remove(0);
        let revisions = ["provisional", "final"]
            .map(|standing| company.counted(catalogue::BILL_REVISIONS, &[SOURCE, standing]));
        seen.push((day.revision, day.standing(), revisions));
    }
    assert_eq!(
        seen,
        [
            (1, Standing::Provisional, [0, 0]),
            (2, Standing::Provisional, [1, 0]),
            (2, Standing::Final, [1, 0]),
            (3, Standing::Final, [1, 1]),
        ]
    );
    company.close();
}

#[tokio::test]
async fn amounts_after_discounts_are_left_out_where_they_are_refused() {
    let mut company = Company::new("");
    let refused = (
        400,
        json!({"__type": "ValidationException", "message": "NetUnblendedCost is not available"}),
    );
    let plain = || {
        let mut line = input("1", "1");
        line["Metrics"]
            .as_object_mut()
            .unwrap()
            .remove("NetUnblendedCost");
        page("2026-11-20", true, json!([line]), None)
    };
    company
        .read(NOW, vec![refused, plain(), nothing("2026-11-20")])
        .await
        .unwrap();
    company
        .read(NOW, vec![plain(), nothing("2026-11-20")])
        .await
        .unwrap();
    let metrics: Vec<_> = company
        .asked()
        .into_iter()
        .map(|(_, body)| body["Metrics"].clone())
        .collect();
    let without = json!(["UnblendedCost", "BlendedCost", "UsageQuantity"]);
    assert_eq!(
        metrics[1..],
        [without.clone(), without.clone(), without.clone(), without]
    );
    assert_eq!(company.bill().await[0].lines[0].amounts.net, None);
    assert_eq!(
        summary(&[company.reading]),
        "1 accounts are read\n111122223333: has no amounts after discounts"
    );
}

#[tokio::test]
async fn the_ceiling_of_calls_ends_a_reading() {
    let mut company = Company::new("max_calls = 1");
    let refused = company
        .read(NOW, vec![nothing("2026-11-20")])
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        "ceiling cost.max_calls (1) calls were made in this month; raise it, or wait for the next \
         month"
    );
    assert_eq!(company.bill().await, []);
    company
        .read("2026-12-01T06:00:00Z", vec![nothing("2026-11-20")])
        .await
        .unwrap_err();
    company.close();
}

#[tokio::test]
async fn users_are_told_by_the_tag_and_the_forecast_is_kept() {
    let mut company = Company::new("user_tag = \"iamPrincipal/email\"");
    company.plan.settings.forecast = true;
    let users = json!([
        group(["iamPrincipal/email$ada@example.com", SONNET], "2", "0"),
        group(["iamPrincipal/email$", SONNET], "1", "0"),
    ]);
    let forecast = json!({
        "Total": {"Amount": "120.5", "Unit": "USD"},
        "ForecastResultsByTime": [{
            "MeanValue": "120.5",
            "PredictionIntervalLowerBound": "100.1", "PredictionIntervalUpperBound": "140.9",
        }],
    });
    let answers = vec![
        page("2026-11-20", true, json!([input("3", "1")]), None),
        nothing("2026-11-20"),
        page("2026-11-20", true, users, None),
        (200, forecast),
    ];
    company.read(NOW, answers).await.unwrap();
    let asked = company.asked();
    assert_eq!(
        asked[2].1["GroupBy"],
        json!([
            {"Type": "TAG", "Key": "iamPrincipal/email"},
            {"Type": "DIMENSION", "Key": "SERVICE"},
        ])
    );
    assert_eq!(
        asked[3],
        (
            "GetCostForecast".to_owned(),
            json!({
                "TimePeriod": {"Start": "2026-11-22", "End": "2026-12-01"},
                "Metric": "UNBLENDED_COST",
                "Granularity": "MONTHLY",
                "Filter": {"Dimensions": {"Key": "SERVICE", "Values": [SONNET]}},
                "PredictionIntervalLevel": 80,
            })
        )
    );
    let bill = company.bill().await;
    let by_user: BTreeMap<_, _> = bill[0]
        .lines
        .iter()
        .map(|line| (line.user.as_deref(), (line.amounts.unblended, line.tokens)))
        .collect();
    let usd = |dollars: i128| Some(PicoUsd(dollars * 1_000_000_000_000));
    assert_eq!(
        by_user,
        [
            (None, (usd(1), Some(333_334))),
            (Some("ada@example.com"), (usd(2), Some(666_666))),
        ]
        .into()
    );
    let forecasts = company.plan.meter.ledger.bill_forecasts().await.unwrap();
    assert_eq!(
        (forecasts[0].mid, forecasts[0].low, forecasts[0].level),
        (
            PicoUsd(120_500_000_000_000),
            PicoUsd(100_100_000_000_000),
            80
        )
    );
    company.close();
}

#[tokio::test]
async fn the_metrics_tell_days_models_and_what_is_not_understood() {
    let mut company = Company::new("");
    let usage = json!([
        input("3", "1"),
        group([SONNET, "USE1-MP:USE1_Wonder-Units"], "0.25", "5")
    ]);
    let answers = vec![page("2026-11-20", true, usage, None), nothing("2026-11-20")];
    company.read(NOW, answers).await.unwrap();
    let now = NOW.parse().unwrap();
    let readings = [Reading::new(None)];
    let samples = samples::all(&mut Sums::default(), &readings, &company.plan, now)
        .await
        .unwrap();
    let shown: Vec<String> = samples
        .iter()
        .map(|sample| format!("{} {:?} {}", sample.desc.name, sample.labels, sample.value))
        .collect();
    assert_eq!(
        shown,
        [
            r#"claude_code_cost_actual_USD ["2026-11-20", "bedrock", "claude-sonnet-4-6"] 3.25"#,
            r#"tallyd_bill_unclassified_amount ["bedrock", "USD"] 0.25"#,
            r#"tallyd_bill_last_read_timestamp_seconds ["111122223333"] 1795327200"#,
            r#"tallyd_bill_account_success ["own"] 1"#,
            r"tallyd_cost_explorer_month_calls [] 2",
            r"tallyd_cost_explorer_month_max_calls [] 500",
        ]
    );
    company.close();
}

#[test]
fn accounts_are_those_that_the_configuration_names() {
    let account = |id: &str| {
        format!("[[aws.accounts]]\nid = \"{id}\"\nrole = \"arn:aws:iam::{id}:role/tallyd\"\n")
    };
    let two = account("111122223333") + &account("444455556666");
    let named = |cost: &str, accounts: &str| {
        let text = format!("[cost]\n{cost}\n{accounts}");
        let config = Config::parse(&text, &Environment::default()).unwrap();
        let accounts = account::places(&config);
        let id = |place: Option<Account>| place.map_or(OWN.to_owned(), |account| account.id);
        accounts.into_iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(named("", ""), ["own"]);
    assert_eq!(named("", &two), ["111122223333", "444455556666"]);
    assert_eq!(
        named("accounts = [\"own\", \"444455556666\"]", &two),
        ["own", "444455556666"]
    );
}

#[tokio::test]
async fn a_restart_reads_nothing_and_failures_are_tried_later_and_later() {
    let mut company = Company::new("");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert!(company.reading.is_due(at(NOW), &company.plan).await);
    let answers = vec![nothing("2026-11-20"), nothing("2026-11-20")];
    company.read(NOW, answers).await.unwrap();
    let mut fresh = Reading::new(None);
    fresh.account = "111122223333".to_owned();
    let due = [
        fresh
            .is_due(at("2026-11-22T13:59:59Z"), &company.plan)
            .await,
        fresh
            .is_due(at("2026-11-22T14:00:00Z"), &company.plan)
            .await,
    ];
    assert_eq!(due, [false, true]);
    let every = Duration::from_hours(8);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let failure = call::Failure::new("GetCostAndUsage", "denied", "no");
        fresh.take(Err(failure), at(NOW), every);
        let wait = fresh.retry_at().unwrap().duration_since(at(NOW));
        waits.push(wait.as_mins());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 480, 480]);
    company.close();
}
