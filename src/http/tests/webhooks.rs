//! Webhooks and tracker events: who may tell, what counts, and what comes twice or late.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::model::business::BusinessEvent;

const SECRET: &str = "0123456789abcdef-github";
const TOKEN: &str = "0123456789abcdef-gitlab";

const PULL_REQUEST: &str =
    include_str!("../../../tests/fixtures/webhooks/github_pull_request.json");
const PUSH: &str = include_str!("../../../tests/fixtures/webhooks/github_push.json");
const MERGE_REQUEST: &str =
    include_str!("../../../tests/fixtures/webhooks/gitlab_merge_request.json");
const GITLAB_PUSH: &str = include_str!("../../../tests/fixtures/webhooks/gitlab_push.json");

struct Door {
    router: Router,
    ledger: Ledger,
    registry: Arc<Registry>,
}

impl Door {
    /// A door with both webhooks open and tokens configured.
    fn open() -> Self {
        Self::with(
            "[business]\nmeasures = [\"security_incidents\"]\n",
            guarded_api(),
        )
    }

    fn with(settings: &str, api: Api) -> Self {
        let environment = Environment::of([
            ("TALLYD_BUSINESS_GITHUB_SECRET", SECRET),
            ("TALLYD_BUSINESS_GITLAB_TOKEN", TOKEN),
        ]);
        let config = Config::parse(settings, &environment).expect("good settings");
        api.reports.config.store(Arc::new(config));
        Self {
            ledger: api.ledger.clone(),
            registry: Arc::clone(&api.registry),
            router: router(Arc::new(api), Router::new()),
        }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::post(path);
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned().into()).expect("a request");
        send(&self.router, request).await
    }

    async fn github(&self, event: &str, id: &str, body: &str) -> String {
        let signature = sign(SECRET, body);
        let headers = [
            ("x-hub-signature-256", &*signature),
            ("x-github-event", event),
            ("x-github-delivery", id),
        ];
        let answer = self.ask("/api/v1/webhooks/github", &headers, body).await;
        told(&answer)
    }

    async fn gitlab(&self, event: &str, id: &str, body: &str) -> String {
        let headers = [
            ("x-gitlab-token", TOKEN),
            ("x-gitlab-event", event),
            ("x-gitlab-event-uuid", id),
        ];
        let answer = self.ask("/api/v1/webhooks/gitlab", &headers, body).await;
        told(&answer)
    }

    async fn events(&self) -> Vec<BusinessEvent> {
        let all = self.ledger.business_events(Timestamp::MIN, Timestamp::MAX);
        all.await.expect("the ledger answers")
    }

    /// Whether the one change that is known is a fix, and whether Claude Code took part.
    async fn only(&self) -> (bool, Option<bool>) {
        let events = self.events().await;
        assert_eq!(events.len(), 1, "{events:?}");
        (events[0].is_fix, events[0].claude)
    }

    async fn bugs(&self) -> Vec<(String, u64)> {
        let bugs = self.ledger.bugs_published().await;
        let bugs = bugs.expect("the ledger answers").into_iter();
        bugs.map(|(claude, count)| (claude.into(), count)).collect()
    }
}

fn told(answer: &Answer) -> String {
    let body = answer.json();
    let word = body["result"].as_str().or_else(|| body["code"].as_str());
    format!("{} {}", answer.status, word.unwrap_or_default())
}

fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(body.as_bytes());
    let digits = mac.finalize().into_bytes();
    let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

/// A delivery with some of its texts changed.
fn with(delivery: &str, changes: &[(&str, &str)]) -> String {
    let mut text = delivery.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is in the delivery");
        text = text.replace(from, to);
    }
    text
}

/// The footer of the description, without which nothing tells of Claude in it.
const FOOTER: (&str, &str) = ("Generated with [Claude Code]", "Made with [an editor]");

#[tokio::test]
async fn a_merged_fix_is_counted_by_whether_claude_took_part() {
    let door = Door::open();
    assert_eq!(
        door.github("pull_request", "d1", PULL_REQUEST).await,
        "200 new"
    );
    assert_eq!(
        door.gitlab("Merge Request Hook", "u1", MERGE_REQUEST).await,
        "200 new"
    );
    let events = door.events().await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            let (source, user) = (&*event.source, event.user.as_deref());
            (source, &*event.id, user, event.is_fix, event.claude)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("github", "186853002#2", Some("ada-l"), true, Some(true)),
            ("gitlab", "15!7", Some("ada@example.com"), true, Some(true)),
        ]
    );
    let merged: Timestamp = "2026-11-22T03:21:18Z".parse().expect("a time");
    assert!(events.iter().all(|event| event.at == merged));
    let other = with(
        PULL_REQUEST,
        &[FOOTER, ("\"number\": 2,", "\"number\": 3,")],
    );
    assert_eq!(door.github("pull_request", "d2", &other).await, "200 new");
    let expected = [("no".to_owned(), 1), ("yes".to_owned(), 2)];
    assert_eq!(door.bugs().await, expected);
    let shown = crate::export::prometheus::scrape(
        &door.registry,
        crate::export::prometheus::Format::negotiate(None),
    );
    let shown = String::from_utf8(shown).expect("text");
    assert!(
        shown.contains("claude_code_bugs_fixed_total{claude=\"yes\"} 2"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_wrong_signature_or_token_is_refused_and_leaves_nothing() {
    let door = Door::open();
    let good = sign(SECRET, PULL_REQUEST);
    let other_body = sign(SECRET, "{}");
    let other_secret = sign(TOKEN, PULL_REQUEST);
    let sha1 = good.replace("sha256=", "sha1=");
    let cut = &good[..good.len() - 2];
    let odd = format!("sha256={}", "é".repeat(32));
    let upper = good.replace("sha256=", "SHA256=");
    for signature in [
        "",
        &*other_body,
        &*other_secret,
        &*sha1,
        cut,
        &*odd,
        &*upper,
    ] {
        let mut headers = vec![
            ("x-github-event", "pull_request"),
            ("x-github-delivery", "d1"),
        ];
        if !signature.is_empty() {
            headers.push(("x-hub-signature-256", signature));
        }
        let answer = door
            .ask("/api/v1/webhooks/github", &headers, PULL_REQUEST)
            .await;
        assert_eq!(
            answer.problem(),
            (401, "signature_invalid".to_owned()),
            "{signature}"
        );
    }
    for token in [
        "",
        SECRET,
        "0123456789abcdef-gitla",
        "0123456789abcdef-gitlabb",
    ] {
        let headers = [
            ("x-gitlab-token", token),
            ("x-gitlab-event", "Merge Request Hook"),
        ];
        let answer = door
            .ask("/api/v1/webhooks/gitlab", &headers, MERGE_REQUEST)
            .await;
        assert_eq!(
            answer.problem(),
            (401, "signature_invalid".to_owned()),
            "{token}"
        );
    }
    assert_eq!(door.events().await, []);
    // The refused delivery did not use up its id.
    assert_eq!(
        door.github("pull_request", "d1", PULL_REQUEST).await,
        "200 new"
    );
}

#[tokio::test]
async fn a_webhook_without_a_secret_is_closed() {
    let headers = [
        ("x-hub-signature-256", "sha256=00"),
        ("content-type", "application/json"),
    ];
    let answer = post("/api/v1/webhooks/github", &headers, PULL_REQUEST).await;
    assert_eq!(answer.problem(), (404, "webhook_off".to_owned()));
    let answer = post("/api/v1/webhooks/gitlab", &[], MERGE_REQUEST).await;
    assert_eq!(answer.problem(), (404, "webhook_off".to_owned()));
}

#[tokio::test]
async fn a_replayed_delivery_changes_nothing_whatever_happened_between() {
    let door = Door::open();
    assert_eq!(
        door.github("pull_request", "d1", PULL_REQUEST).await,
        "200 new"
    );
    let unlabelled = with(
        PULL_REQUEST,
        &[
            ("\"name\": \"bug\"", "\"name\": \"docs\""),
            ("03:21:18Z\",\n    \"closed", "03:30:00Z\",\n    \"closed"),
        ],
    );
    assert_eq!(
        door.github("pull_request", "d2", &unlabelled).await,
        "200 changed"
    );
    assert_eq!(door.only().await, (false, Some(true)));
    assert_eq!(
        door.github("pull_request", "d1", PULL_REQUEST).await,
        "200 replayed"
    );
    // Sent again by hand under an id of its own: it tells of an earlier time.
    assert_eq!(
        door.github("pull_request", "d3", PULL_REQUEST).await,
        "200 unchanged"
    );
    assert_eq!(door.only().await, (false, Some(true)));
    // What was published stays; the next fix pays for the one taken back.
    assert_eq!(door.bugs().await, [("yes".to_owned(), 1)]);
    let next = with(PULL_REQUEST, &[("\"number\": 2,", "\"number\": 3,")]);
    assert_eq!(door.github("pull_request", "d4", &next).await, "200 new");
    assert_eq!(door.bugs().await, [("yes".to_owned(), 1)]);
}

#[tokio::test]
async fn a_label_that_comes_later_or_out_of_order_counts() {
    let door = Door::open();
    let plain = with(PULL_REQUEST, &[("\"name\": \"bug\"", "\"name\": \"docs\"")]);
    let later = ("03:21:18Z\",\n    \"closed", "03:30:00Z\",\n    \"closed");
    let labelled = with(
        PULL_REQUEST,
        &[
            later,
            ("\"closed\",\n  \"number", "\"labeled\",\n  \"number"),
        ],
    );
    // The label of a merged change arrives before the merge.
    assert_eq!(
        door.github("pull_request", "d2", &labelled).await,
        "200 new"
    );
    assert_eq!(
        door.github("pull_request", "d1", &plain).await,
        "200 unchanged"
    );
    assert_eq!(door.only().await, (true, Some(true)));
    assert_eq!(door.bugs().await, [("yes".to_owned(), 1)]);
}

#[tokio::test]
async fn a_gitlab_change_keeps_the_time_of_its_merge() {
    let door = Door::open();
    let labelled = with(
        MERGE_REQUEST,
        &[
            ("\"action\": \"merge\"", "\"action\": \"update\""),
            (
                "\"updated_at\": \"2026-11-22 03:21:18",
                "\"updated_at\": \"2026-11-22 03:50:00",
            ),
        ],
    );
    for (id, body, answer) in [
        ("u2", &*labelled, "200 new"),
        ("u1", MERGE_REQUEST, "200 changed"),
    ] {
        assert_eq!(door.gitlab("Merge Request Hook", id, body).await, answer);
    }
    let events = door.events().await;
    let at: Timestamp = "2026-11-22T03:21:18Z".parse().expect("a time");
    assert_eq!((events.len(), events[0].at), (1, at));
}

#[tokio::test]
async fn commits_tell_of_claude_before_and_after_their_change() {
    let plain = with(PULL_REQUEST, &[FOOTER]);
    for order in [["pull_request", "push"], ["push", "pull_request"]] {
        let door = Door::open();
        for (number, event) in order.into_iter().enumerate() {
            let body = if event == "push" { PUSH } else { &plain };
            let answer = door.github(event, &format!("d{number}"), body).await;
            assert!(answer.starts_with("200 "), "{answer}");
        }
        assert_eq!(door.only().await, (true, Some(true)), "{order:?}");
        // In the first order it was published as one without Claude before.
        let total: u64 = door.bugs().await.iter().map(|(_, count)| count).sum();
        assert!((1..=2).contains(&total));
    }
    let door = Door::open();
    let silent = "Skip carts without lines\\n\\nCo-Authored-By: Claude <noreply@anthropic.com>\\n";
    let plain = with(MERGE_REQUEST, &[(silent, "Skip carts")]);
    assert_eq!(
        door.gitlab("Merge Request Hook", "u1", &plain).await,
        "200 new"
    );
    assert_eq!(door.only().await, (true, Some(false)));
    assert_eq!(
        door.gitlab("Push Hook", "u2", GITLAB_PUSH).await,
        "200 changed"
    );
    assert_eq!(door.only().await, (true, Some(true)));
}

#[tokio::test]
async fn what_does_not_count_is_answered_and_counted() {
    let door = Door::open();
    let elsewhere = with(
        PULL_REQUEST,
        &[("\"ref\": \"main\"", "\"ref\": \"release-1\"")],
    );
    let closed = with(
        PULL_REQUEST,
        &[(
            "\"merged_at\": \"2026-11-22T03:21:18Z\"",
            "\"merged_at\": null",
        )],
    );
    let nobodys = with(PUSH, &[("noreply@anthropic.com", "ada@example.com")]);
    for (event, body, answer) in [
        (
            "ping",
            "{\"zen\": \"Keep it simple.\", \"hook_id\": 1}",
            "200 pong",
        ),
        ("issues", "{}", "202 ignored"),
        ("", "{}", "202 ignored"),
        ("pull_request", &*elsewhere, "202 ignored"),
        ("pull_request", &*closed, "202 ignored"),
        ("push", &*nobodys, "202 ignored"),
        (
            "pull_request",
            "{\"action\": \"closed\"}",
            "400 invalid_body",
        ),
        ("pull_request", "{", "400 invalid_body"),
    ] {
        assert_eq!(door.github(event, "", body).await, answer, "{event}");
    }
    let opened = with(
        MERGE_REQUEST,
        &[("\"state\": \"merged\"", "\"state\": \"opened\"")],
    );
    assert_eq!(
        door.gitlab("Merge Request Hook", "", &opened).await,
        "202 ignored"
    );
    assert_eq!(door.gitlab("Pipeline Hook", "", "{}").await, "202 ignored");
    let form = [
        ("x-hub-signature-256", &*sign(SECRET, "payload=x")),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = door
        .ask("/api/v1/webhooks/github", &form, "payload=x")
        .await;
    assert_eq!(answer.problem(), (415, "unsupported_media_type".to_owned()));
    let large = "x".repeat(1_000_001);
    assert_eq!(
        door.github("pull_request", "", &large).await,
        "413 body_too_large"
    );
    assert_eq!(door.events().await, []);
}

#[tokio::test]
async fn rules_of_the_configuration_decide() {
    let settings = "[business]\nfix_labels = [\"*defect*\"]\nfix_types = []\n\
        claude_labels = [\"ai/*\"]\nbranches = [\"release-*\"]\n";
    let door = Door::with(settings, guarded_api());
    let body = with(
        PULL_REQUEST,
        &[
            FOOTER,
            ("\"name\": \"bug\"", "\"name\": \"AI/assisted Defect\""),
            ("\"ref\": \"main\"", "\"ref\": \"release-2\""),
        ],
    );
    assert_eq!(door.github("pull_request", "d1", &body).await, "200 new");
    assert_eq!(door.only().await, (true, Some(true)));
    assert_eq!(
        door.github("pull_request", "d2", PULL_REQUEST).await,
        "202 ignored"
    );
}

async fn tell(door: &Door, token: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    door.ask("/api/v1/business/events", &headers, &body.to_string())
        .await
}

#[tokio::test]
async fn a_tracker_tells_each_event_once() {
    let door = Door::open();
    let event = |id: &str, claude: Value| {
        json!({"id": id, "at": "2026-11-22T03:00:00Z", "kind": "bug_fixed", "source": "jira",
            "team": "payments", "user": "Alice@Example.com", "amount": 2, "claude": claude})
    };
    let batch = json!([
        event("1", json!(true)),
        event("2", json!(null)),
        event("1", json!(true))
    ]);
    let answer = tell(&door, "ingest", &batch).await;
    assert_eq!(
        answer.json(),
        json!({"accepted": 2, "duplicates": 1, "rejected": []})
    );
    let conflict = tell(&door, "ingest", &event("1", json!(false))).await;
    assert_eq!(
        conflict.json()["rejected"],
        json!([{"index": 0, "code": "id_conflict",
            "message": "id: known already with other fields"}])
    );
    let expected = [("unknown".to_owned(), 2), ("yes".to_owned(), 2)];
    assert_eq!(door.bugs().await, expected);
    let users = door.events().await;
    assert!(
        users
            .iter()
            .all(|event| event.user.as_deref() == Some("alice@example.com"))
    );
}

#[tokio::test]
async fn a_faulty_event_is_named_and_the_others_are_kept() {
    let door = Door::open();
    let at = "2026-11-22T03:00:00Z";
    let batch = json!([
        {"id": "1", "at": at, "kind": "story"},
        {"id": "2", "at": "2026-11-22", "kind": "operation"},
        {"id": "3", "at": at, "kind": "operation", "amount": 1.5},
        {"id": "4", "at": at, "kind": "operation", "claude": "yes"},
        {"at": at, "kind": "operation"},
        {"id": "6", "at": "2020-11-22T03:00:00Z", "kind": "operation"},
        {"id": "7", "at": at, "kind": "operation", "source": "github"},
        {"id": "8", "at": at, "kind": "security_incidents", "amount": "-0.25"},
        7,
    ]);
    let answer = tell(&door, "ingest", &batch).await.json();
    let told: Vec<&str> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rejected| rejected["message"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        told,
        [
            "kind: must be one of bug_fixed, code_review, operation, or a name of business.measures",
            "at: must be a time as in RFC 3339 with an offset, such as 2026-11-22T03:06:46Z",
            "amount: must be a whole number from 1 to 1000000",
            "claude: must be true, false or null",
            "id: is required",
            "at: must be between 2024-10-22T04:00:00Z and 2026-11-22T05:00:00Z, got 2020-11-22T03:00:00Z",
            "source: github has a webhook of its own",
            "event: must be an object, got a number",
        ]
    );
    assert_eq!(answer["accepted"], 1);
    let events = door.events().await;
    assert_eq!((events.len(), events[0].amount), (1, -250_000));
    // A token that is bound to a team tells of that team only.
    let other = json!({"id": "9", "at": at, "kind": "operation", "team": "search"});
    let answer = tell(&door, "payments", &other).await.json();
    assert_eq!(answer["rejected"][0]["code"], "identity_not_allowed");
}
