use std::sync::OnceLock;

use axum::http::uri::PathAndQuery;
use tonic::{Code as Rpc, Request as Call_};

use super::proto::{Code, Descriptor, Entry, Kind, Struct, UInt64Value, Unit, Value};
use super::*;
use crate::config::{Config, Environment};
use crate::model::access::{Binding, hash_token};
use crate::model::catalogue;
use crate::model::names::ModelNames;
use crate::model::policy::Policy;
use crate::model::tokens::Tokens;
use crate::model::usage::{self, Intake, UsageRecord};
use crate::quota::audit::{AuditLog, AuditSettings};
use crate::quota::{Claims, Watch};
use crate::record::testing::Scratch;
use crate::registry::Registry;
use crate::store::Terms;

const POLICY: &str = r#"
timezone = "UTC"
contact = "platform@example.com"

[[limits]]
name = "user-day"
per = ["user"]
unit = "tokens"
limit = 100
window = "day"

[[limits]]
name = "user-requests"
match = { user = "carol" }
per = ["user"]
unit = "requests"
limit = 2
window = "hour"
"#;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// The door on a ledger of its own.
struct Bench {
    door: Arc<EnvoyDoor>,
    clock: Clock,
    _scratch: Scratch,
    _journal: tempfile::TempDir,
}

impl Bench {
    async fn new(policy: &str) -> Self {
        Self::with(policy, "", AccessList::default()).await
    }

    async fn with(policy: &str, settings: &str, access: AccessList) -> Self {
        let journal = tempfile::tempdir().unwrap();
        let clock = Clock::manual(now());
        let hook: Arc<OnceLock<Quota>> = Arc::default();
        let (heard, time) = (hook.clone(), clock.clone());
        let scratch = Scratch::with(
            clock.clone(),
            Box::new(move |booked| {
                if let Some(quota) = heard.get() {
                    quota.booked(booked, time.now());
                }
            }),
        );
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let names = Arc::new(ArcSwap::from_pointee(ModelNames::default()));
        let (quota, _) = Quota::open(journal.path(), terms, names).unwrap();
        hook.set(quota.clone()).unwrap();
        let policy = Policy::parse(policy).unwrap();
        let ledger = scratch.recorder.ledger();
        quota.load(policy, ledger, now()).await.unwrap();
        let config = Config::parse(settings, &Environment::default()).unwrap();
        let access = Arc::new(ArcSwap::from_pointee(access));
        let recorder = scratch.recorder.clone();
        let door = EnvoyDoor::new(
            quota,
            recorder,
            access,
            Arc::default(),
            config.envoy,
            clock.clone(),
        );
        Self {
            door: Arc::new(door),
            clock,
            _scratch: scratch,
            _journal: journal,
        }
    }

    /// Calls the service as a client does.
    async fn send(
        &self,
        request: RateLimitRequest,
        token: Option<&str>,
    ) -> Result<RateLimitResponse, Status> {
        let mut client = tonic::client::Grpc::new(router(self.door.clone()));
        client.ready().await.unwrap();
        let mut request = Call_::new(request);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let codec = ProstCodec::<RateLimitRequest, RateLimitResponse>::default();
        let path = PathAndQuery::from_static(PATH);
        let answer = client.unary(request, path, codec).await?;
        Ok(answer.into_inner())
    }

    async fn ask(&self, descriptors: Vec<Descriptor>) -> RateLimitResponse {
        self.send(request(descriptors), None).await.unwrap()
    }

    /// Used and held of the first limit of a user, in tokens.
    fn used(&self, user: &str) -> i128 {
        let group = call::Group {
            said: [(crate::config::Key::User, user.into())].into(),
            ..call::Group::default()
        };
        let ask = group.ask(&self.door.settings, 0);
        let answer = self.door.quota.check(&ask, "anonymous", self.clock.now());
        let standings = self
            .door
            .quota
            .standings(answer.unwrap().resolved.subject(), self.clock.now());
        let standings = standings.unwrap().standings;
        standings[0].used + standings[0].held
    }
}

fn request(descriptors: Vec<Descriptor>) -> RateLimitRequest {
    RateLimitRequest {
        domain: "llm".to_owned(),
        descriptors,
        hits_addend: 0,
    }
}

fn descriptor(entries: &[(&str, &str)], hits: Option<u64>) -> Descriptor {
    let entry = |(key, value): &(&str, &str)| Entry {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    Descriptor {
        entries: entries.iter().map(entry).collect(),
        hits_addend: hits.map(|value| UInt64Value { value }),
        is_negative_hits: false,
    }
}

fn tokens(user: &str, kind: &str, hits: u64) -> Descriptor {
    descriptor(&[("user", user), (kind, "")], Some(hits))
}

/// Codes and remaining amounts.
fn told(answer: &RateLimitResponse) -> Vec<(Code, u32)> {
    let statuses = answer.statuses.iter();
    statuses
        .map(|status| (status.code(), status.limit_remaining))
        .collect()
}

fn text<'a>(fields: &'a Struct, name: &str) -> &'a str {
    match &fields.fields[name].kind {
        Some(Kind::Text(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test]
async fn zero_hits_only_ask() {
    let bench = Bench::new(POLICY).await;
    for _ in 0..3 {
        let answer = bench.ask(vec![tokens("alice", "tokens", 0)]).await;
        assert_eq!(told(&answer), [(Code::Ok, 100)]);
    }
    assert_eq!(bench.used("alice"), 0);
}

#[tokio::test]
async fn reported_tokens_are_charged_and_the_next_question_is_denied() {
    let bench = Bench::new(POLICY).await;
    let report = vec![
        tokens("alice", "input_tokens", 60),
        tokens("alice", "output_tokens", 39),
    ];
    let answer = bench.ask(report).await;
    assert_eq!(told(&answer), [(Code::Ok, 1), (Code::Ok, 1)]);
    let limit = answer.statuses[0].current_limit.clone().unwrap();
    assert_eq!(
        (limit.requests_per_unit, limit.unit(), &*limit.name),
        (100, Unit::Day, "user-day")
    );
    let until = answer.statuses[0].duration_until_reset.unwrap();
    assert_eq!((until.seconds, until.nanos), (12 * 3_600, 0));
    let answer = bench.ask(vec![tokens("alice", "tokens", 3)]).await;
    assert_eq!(told(&answer), [(Code::OverLimit, 0)]);
    assert_eq!(bench.used("alice"), 102);

    let denied = bench.ask(vec![tokens("alice", "tokens", 0)]).await;
    assert_eq!(denied.overall_code(), Code::OverLimit);
    let body: serde_json::Value = serde_json::from_slice(&denied.raw_body).unwrap();
    assert_eq!(body["error"]["type"], "rate_limit_error");
    let said = body["error"]["message"].as_str().unwrap();
    assert!(said.contains("102 of 100 tokens"), "{said}");
    assert!(said.contains("00:00 (UTC)"), "{said}");
    let header = |name: &str| {
        let mut headers = denied.response_headers_to_add.iter();
        headers
            .find(|header| header.key == name)
            .map(|header| &*header.value)
    };
    assert_eq!(header("x-should-retry"), Some("false"));
    assert_eq!(header("retry-after"), Some("43200"));
    assert_eq!(header("content-type"), Some("application/json"));
    let metadata = denied.dynamic_metadata.as_ref().unwrap();
    assert_eq!(text(metadata, "code"), "quota_exceeded");
}

#[tokio::test]
async fn the_hits_of_a_descriptor_override_those_of_the_request() {
    let bench = Bench::new(POLICY).await;
    let both = RateLimitRequest {
        hits_addend: 7,
        ..request(vec![
            descriptor(&[("user", "alice"), ("tokens", "")], None),
            tokens("bob", "tokens", 3),
            tokens("dave", "tokens", 0),
        ])
    };
    let answer = bench.send(both, None).await.unwrap();
    let wanted = [(Code::Ok, 93), (Code::Ok, 97), (Code::Ok, 100)];
    assert_eq!(told(&answer), wanted);
}

#[tokio::test]
async fn statuses_come_in_the_order_of_the_descriptors() {
    let bench = Bench::new(POLICY).await;
    bench.ask(vec![tokens("bob", "tokens", 100)]).await;
    let answer = bench
        .ask(vec![
            tokens("alice", "tokens", 0),
            tokens("bob", "tokens", 0),
            tokens("alice", "tokens", 0),
        ])
        .await;
    let wanted = [(Code::Ok, 100), (Code::OverLimit, 0), (Code::Ok, 100)];
    assert_eq!(told(&answer), wanted);
    assert_eq!(answer.overall_code(), Code::OverLimit);
}

#[tokio::test]
async fn a_call_without_hits_counts_one_request_and_none_when_denied() {
    let bench = Bench::new(POLICY).await;
    let carol = || vec![descriptor(&[("user", "carol")], None)];
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(told(&bench.ask(carol()).await));
    }
    let wanted = [
        (Code::Ok, 1),
        (Code::Ok, 0),
        (Code::OverLimit, 0),
        (Code::OverLimit, 0),
    ];
    assert_eq!(seen, wanted);
    bench.clock.advance(std::time::Duration::from_hours(1));
    assert_eq!(told(&bench.ask(carol()).await), [(Code::Ok, 1)]);
}

#[tokio::test]
async fn several_requests_in_one_call_are_admitted_together_or_not_at_all() {
    let bench = Bench::new(POLICY).await;
    let three = vec![descriptor(&[("user", "carol")], Some(3))];
    assert_eq!(told(&bench.ask(three).await), [(Code::OverLimit, 2)]);
    let two = vec![descriptor(&[("user", "carol")], Some(2))];
    assert_eq!(told(&bench.ask(two).await), [(Code::Ok, 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_admitted_beyond_the_limit_however_many_ask_at_once() {
    let policy = POLICY.replace("limit = 2\n", "limit = 50\n");
    let bench = Arc::new(Bench::new(&policy).await);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let bench = bench.clone();
        asking.spawn(async move {
            let mut admitted = 0;
            for _ in 0..4 {
                let carol = vec![descriptor(&[("user", "carol")], None)];
                let answer = bench.ask(carol).await;
                admitted += u32::from(answer.overall_code() == Code::Ok);
            }
            admitted
        });
    }
    let admitted: u32 = asking.join_all().await.into_iter().sum();
    assert_eq!(admitted, 50);
}

#[tokio::test]
async fn what_is_taken_and_refused_is_told_of_the_sender() {
    let bench = Bench::new(POLICY).await;
    let event = |hits| {
        let entries = [("user", "alice"), ("tokens", ""), ("quota.event_id", "r-4")];
        request(vec![descriptor(&entries, Some(hits))])
    };
    for hits in [1, 1, 2, u64::MAX] {
        // The last two are refused.
        let _ = bench.send(event(hits), None).await;
    }
    let (sender, hearing) = bench.door.heard.list().remove(0);
    assert_eq!((&*sender.client, &*sender.source), ("anonymous", "gateway"));
    assert_eq!((hearing.accepted, hearing.duplicates), (1, 1));
    let refused = [("id_conflict".to_owned(), 1), ("unreadable".to_owned(), 1)];
    assert_eq!(hearing.refused, refused.into());
}

#[tokio::test]
async fn descriptors_of_one_call_tell_of_one_request() {
    let bench = Bench::new(POLICY).await;
    let answer = bench
        .ask(vec![
            descriptor(&[("user", "carol")], None),
            descriptor(&[("team", "payments")], None),
        ])
        .await;
    assert_eq!(told(&answer), [(Code::Ok, 1), (Code::Ok, 1)]);
}

#[tokio::test]
async fn an_event_sent_twice_is_counted_once_and_other_counts_are_a_conflict() {
    let bench = Bench::new(POLICY).await;
    let event = |hits| {
        let entries = [("user", "alice"), ("tokens", ""), ("quota.event_id", "r-1")];
        request(vec![descriptor(&entries, Some(hits))])
    };
    for _ in 0..2 {
        let answer = bench.send(event(40), None).await.unwrap();
        assert_eq!(told(&answer), [(Code::Ok, 60)]);
    }
    let conflict = bench.send(event(41), None).await.unwrap_err();
    assert_eq!(conflict.code(), Rpc::AlreadyExists);
    assert_eq!(bench.used("alice"), 40);
}

#[tokio::test]
async fn an_admitted_request_and_its_report_are_one_request() {
    let bench = Bench::new(POLICY).await;
    let id = ("quota.event_id", "r-2");
    let start = descriptor(&[("user", "carol"), id], None);
    assert_eq!(told(&bench.ask(vec![start]).await), [(Code::Ok, 1)]);
    let end = descriptor(&[("user", "carol"), id, ("tokens", "")], Some(10));
    bench.ask(vec![end.clone()]).await;
    let again = descriptor(&[("user", "carol"), ("requests", "")], Some(0));
    assert_eq!(told(&bench.ask(vec![again]).await), [(Code::Ok, 1)]);
    assert_eq!(bench.used("carol"), 10);
}

#[tokio::test]
async fn negative_hits_give_room_back_once() {
    let bench = Bench::new(POLICY).await;
    bench.ask(vec![tokens("alice", "tokens", 100)]).await;
    let entries = [("user", "alice"), ("tokens", ""), ("quota.event_id", "r-3")];
    let refund = Descriptor {
        is_negative_hits: true,
        ..descriptor(&entries, Some(30))
    };
    for _ in 0..2 {
        let answer = bench.ask(vec![refund.clone()]).await;
        assert_eq!(told(&answer), [(Code::Ok, 30)]);
    }
    let other = Descriptor {
        hits_addend: Some(UInt64Value { value: 31 }),
        ..refund
    };
    let conflict = bench.send(request(vec![other]), None).await.unwrap_err();
    assert_eq!(conflict.code(), Rpc::AlreadyExists);
    assert_eq!(bench.used("alice"), 70);
}

#[tokio::test]
async fn telemetry_of_a_reported_request_counts_once() {
    let bench = Bench::new(POLICY).await;
    let entries = [
        ("user", "alice"),
        ("model", "claude-haiku-4-5"),
        ("client_request_id", "c-1"),
        ("input_tokens", ""),
    ];
    bench.ask(vec![descriptor(&entries, Some(40))]).await;
    let recorder = &bench.door.recorder;
    let quota = &bench.door.quota;
    let reported = Tokens {
        input: 40,
        ..Tokens::default()
    };
    let event = UsageRecord {
        source: Arc::from(usage::source::EVENTS),
        id: "e-1".into(),
        request_id: None,
        client_request_id: Some("c-1".into()),
        session: None,
        reservation: None,
        at: now(),
        booked_at: now(),
        identity: Arc::new(quota.claimed(&Claims::default(), "")),
        sku: Arc::new(quota.sku("claude-haiku-4-5", None, &reported)),
        tokens: reported,
        outcome: usage::Outcome::Ok,
        status_code: None,
        duration_ms: None,
        ttft_ms: None,
        tools: None,
        query_source: None,
        entrypoint: None,
        client_cost: None,
    };
    let intake = Intake {
        records: vec![event],
        ..Intake::default()
    };
    recorder.record(intake).await.unwrap();
    assert_eq!(bench.used("alice"), 40);
}

#[tokio::test]
async fn a_limit_beyond_32_bits_is_saturated_and_told_whole_in_the_metadata() {
    let policy = POLICY.replace("limit = 100", "limit = 20_000_000_000");
    let bench = Bench::new(&policy).await;
    let answer = bench.ask(vec![tokens("alice", "tokens", 5)]).await;
    assert_eq!(told(&answer), [(Code::Ok, u32::MAX)]);
    let limit = answer.statuses[0].current_limit.clone().unwrap();
    assert_eq!(limit.requests_per_unit, u32::MAX);
    let metadata = answer.dynamic_metadata.unwrap();
    let Some(Kind::List(limits)) = &metadata.fields["limits"].kind else {
        panic!("limits are {:?}", metadata.fields);
    };
    let Some(Kind::Struct(limit)) = &limits.values[0].kind else {
        panic!("a limit is {:?}", limits.values);
    };
    let seen = ["limit", "used", "remaining"].map(|name| limit.fields[name].clone());
    let wanted = [20_000_000_000_u64, 5, 19_999_999_995].map(Value::from);
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_call_without_a_domain_is_an_invalid_argument() {
    let bench = Bench::new(POLICY).await;
    let call = RateLimitRequest {
        domain: String::new(),
        ..request(vec![tokens("alice", "tokens", 1)])
    };
    let refused = bench.send(call, None).await.unwrap_err();
    assert_eq!(refused.code(), Rpc::InvalidArgument);
    assert_eq!(refused.message(), "domain: must not be empty");
}

#[tokio::test]
async fn unknown_keys_are_passed_over_and_named_and_evade_no_limit() {
    let bench = Bench::new(POLICY).await;
    let entries = [("x-flavour", "mint"), ("user", "alice"), ("tokens", "")];
    bench.ask(vec![descriptor(&entries, Some(100))]).await;
    let answer = bench.ask(vec![descriptor(&entries, Some(0))]).await;
    assert_eq!(told(&answer), [(Code::OverLimit, 0)]);
    let metadata = answer.dynamic_metadata.unwrap();
    let keys = ["x-flavour"].into_iter().collect();
    assert_eq!(metadata.fields["ignored_keys"], keys);
}

#[tokio::test]
async fn keys_and_domains_mean_what_the_configuration_says() {
    let settings = "[envoy]\nkeys = {x-user-id = \"user\"}\ndomains = {llm = \"tokens\"}";
    let bench = Bench::with(POLICY, settings, AccessList::default()).await;
    let call = vec![descriptor(&[("x-user-id", "Alice")], Some(30))];
    assert_eq!(told(&bench.ask(call.clone()).await), [(Code::Ok, 70)]);
    assert_eq!(bench.used("alice"), 30);
    let other = RateLimitRequest {
        domain: "api".to_owned(),
        ..request(call)
    };
    let refused = bench.send(other, None).await.unwrap_err();
    assert_eq!(refused.message(), "domain: api is not one of envoy.domains");
}

#[tokio::test]
async fn a_model_that_the_role_may_not_use_is_denied_in_words() {
    let policy = "default_role = \"viewer\"\n[roles.viewer]\nallowed_models = [\"claude-haiku-*\"]";
    let bench = Bench::new(policy).await;
    let ask = |model| descriptor(&[("user", "alice"), ("model", model)], Some(0));
    let answer = bench.ask(vec![ask("claude-haiku-4-5")]).await;
    assert_eq!(told(&answer), [(Code::Ok, u32::MAX)]);
    let answer = bench.ask(vec![ask("claude-opus-4-1")]).await;
    assert_eq!(told(&answer), [(Code::OverLimit, 0)]);
    let metadata = answer.dynamic_metadata.unwrap();
    assert_eq!(text(&metadata, "code"), "model_not_allowed");
}

#[tokio::test]
async fn the_token_needs_the_scope_quota_and_may_bind_users() {
    let grant = |name: &str, scope, users: &[&str]| Grant {
        name: name.into(),
        scopes: vec![scope],
        binding: Binding {
            users: users.iter().map(|user| (*user).into()).collect(),
            teams: Vec::new(),
        },
        authenticated: true,
    };
    let access = AccessList::new([
        (hash_token("q"), grant("gate", Scope::Quota, &["alice"])),
        (hash_token("r"), grant("dash", Scope::Read, &[])),
    ]);
    let bench = Bench::with(POLICY, "", access).await;
    let mut codes = Vec::new();
    for (user, token) in [
        ("alice", None),
        ("alice", Some("?")),
        ("alice", Some("r")),
        ("bob", Some("q")),
        ("alice", Some("q")),
    ] {
        let call = request(vec![tokens(user, "tokens", 0)]);
        codes.push(match bench.send(call, token).await {
            Ok(_) => Rpc::Ok,
            Err(status) => status.code(),
        });
    }
    let wanted = [
        Rpc::Unauthenticated,
        Rpc::Unauthenticated,
        Rpc::PermissionDenied,
        Rpc::PermissionDenied,
        Rpc::Ok,
    ];
    assert_eq!(codes, wanted);
}

#[tokio::test]
async fn decisions_are_told_as_envoy_hears_them_and_once_each() {
    let bench = Bench::new(POLICY).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let registry = Arc::new(Registry::default());
    bench.door.quota.watch(Watch {
        registry: registry.clone(),
        audit: Some(
            AuditLog::open(AuditSettings {
                path: path.clone(),
                max_bytes: 1 << 20,
                max_age: std::time::Duration::from_hours(24),
                keep: 1,
            })
            .unwrap(),
        ),
    });
    let carol = || vec![descriptor(&[("user", "carol")], None)];
    // Two are admitted, one is not; only asking is no admission.
    for _ in 0..3 {
        bench.ask(carol()).await;
    }
    bench.ask(vec![tokens("carol", "tokens", 0)]).await;
    bench.ask(vec![tokens("bob", "tokens", 7)]).await;
    let count = |labels: [&str; 3]| registry.counter(catalogue::QUOTA_DECISIONS, &labels);
    assert_eq!(count(["allow", "room", ""]), Some(2));
    assert_eq!(count(["deny", "quota_exceeded", "user-requests"]), Some(1));
    assert_eq!(
        count(["would_deny", "quota_exceeded", "user-requests"]),
        Some(1)
    );
    assert_eq!(count(["would_allow", "room", ""]), Some(1));
    let timed = registry.histogram(catalogue::QUOTA_DECISION_SECONDS, &[]);
    assert_eq!(timed.unwrap().counts.iter().sum::<u64>(), 5);
    let lines = std::fs::read_to_string(&path).unwrap();
    let decisions: Vec<String> = lines
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap();
            format!("{} {}", text("user"), text("decision"))
        })
        .collect();
    let wanted = [
        "carol allow",
        "carol allow",
        "carol deny",
        "carol would_deny",
        "bob would_allow",
    ];
    assert_eq!(decisions, wanted);
}
