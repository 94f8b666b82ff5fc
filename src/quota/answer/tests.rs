use std::sync::Arc;

use super::*;
use crate::model::policy::{Field, Subject};
use crate::model::quota::{Asked, Book, Request};

const POLICY: &str = r#"
timezone = "Asia/Tokyo"
contact = "ai-platform@example.com"

[[limits]]
name = "user-day"
per = ["user"]
unit = "weighted_tokens"
limit = 50_000
window = "day"

[[limits]]
name = "team-month"
per = ["team"]
unit = "usd"
limit = "100.00"
window = "month"

[[limits]]
name = "promise"
unit = "requests"
limit = "unlimited"
window = "hour"
"#;

/// 15:37 in Tokyo.
fn now() -> Timestamp {
    "2026-11-22T06:37:30.500Z".parse().unwrap()
}

fn tokens(input: i64, cache_read: i64) -> Usage {
    Usage {
        input,
        cache_read,
        requests: 1,
        cost: 1_250_000_000_000,
        ..Usage::default()
    }
}

fn answered(used: &Usage, asked: &Usage) -> Answer {
    let policy = Arc::new(Policy::parse(POLICY).unwrap());
    let mut book = Book::new(policy.clone(), 10);
    let subject = Subject::default()
        .with(Field::User, "ann")
        .with(Field::Team, "ml");
    book.post(&subject, used, now(), now());
    let request = Request {
        id: "a".into(),
        asked: Asked::by(subject),
        estimate: *asked,
        output: asked.output,
        lease: SignedDuration::from_mins(2),
    };
    Answer {
        policy,
        version: 1,
        resolved: super::super::Resolved {
            asked: request.asked.clone(),
            estimate: *asked,
        },
        decision: book.reserve(&request, now()).unwrap(),
    }
}

#[test]
fn amounts_are_told_in_their_units() {
    let answer = answered(&tokens(40_000, 5), &tokens(1_000, 0));
    let limits = serde_json::to_value(answer.limits(now())).unwrap();
    let day = serde_json::json!({
        "name": "user-day", "scope": {"user": "ann"}, "unit": "weighted_tokens",
        "limit": 50_000, "used": 40_001, "reserved": 1_000, "remaining": 8_999, "over_by": 0,
        "mode": "enforce", "reset_after_s": 30_150,
        "window": {"start": "2026-11-22T00:00:00+09:00", "end": "2026-11-23T00:00:00+09:00",
                   "tz": "Asia/Tokyo"},
    });
    assert_eq!(limits[0], day);
    assert_eq!(limits[1]["limit"], "100.00");
    assert_eq!(limits[1]["remaining"], "97.50");
    assert_eq!(limits[2]["limit"], serde_json::Value::Null);
    assert_eq!(limits[2]["remaining"], serde_json::Value::Null);
}

#[test]
fn a_denial_says_what_is_used_when_it_resets_and_whom_to_ask() {
    let answer = answered(&tokens(49_500, 0), &tokens(1_000, 0));
    let explanation = answer.explanation(now()).unwrap();
    let text = "Not enough quota left: 49,500 of 50,000 weighted tokens are used (limit user-day) and \
                this request may need 1,000. It resets at 00:00 (Asia/Tokyo). For more, ask \
                ai-platform@example.com.";
    assert_eq!(explanation.text, text);
    assert_eq!(
        (explanation.status, explanation.code),
        (429, "quota_exceeded")
    );
    assert_eq!(explanation.violated, [Arc::from("user-day")]);
    assert_eq!(
        serde_json::to_value(explanation.client_answer).unwrap(),
        serde_json::json!({
            "status": 429,
            "headers": {"x-should-retry": "false", "retry-after": "30150"},
            "body": {"type": "error", "error": {"type": "rate_limit_error", "message": text}},
        })
    );
}

#[test]
fn what_never_fits_is_an_invalid_request_to_the_client() {
    let answer = answered(&tokens(0, 0), &tokens(60_000, 0));
    let explanation = answer.explanation(now()).unwrap();
    assert_eq!(
        (explanation.status, explanation.code),
        (422, "never_admissible")
    );
    assert_eq!(explanation.retry_after_s, None);
    let client = explanation.client_answer.unwrap();
    assert_eq!((client.status, client.headers.len()), (400, 1));
    assert!(client.body.error.message.starts_with(
        "This request may need 60,000 weighted tokens, more than the limit user-day of 50,000"
    ));
}

#[test]
fn each_refusal_has_its_status_for_the_gateway_and_for_the_client() {
    let refusals = [
        Refused::NoPolicy,
        Refused::Model {
            role: "viewer".into(),
            allowed: vec!["claude-haiku-*".into()],
        },
        Refused::ProjectType {
            role: "viewer".into(),
            kind: "confidential",
        },
        Refused::Quota(QuotaError::Conflict),
        Refused::Quota(QuotaError::TooMany),
        Refused::Quota(QuotaError::Unknown),
        Refused::Store { open: false },
        Refused::Store { open: true },
    ];
    let seen = refusals.map(|refused| {
        let told = Explanation::of_refused(&refused, Some("ops"));
        (told.status, told.code, told.client_answer.map(|c| c.status))
    });
    assert_eq!(
        seen,
        [
            (403, "no_policy", Some(400)),
            (403, "model_not_allowed", Some(400)),
            (403, "project_type_not_allowed", Some(400)),
            (409, "idempotency_conflict", Some(400)),
            (429, "too_many_reservations", Some(429)),
            (404, "unknown_reservation", None),
            (503, "store_unavailable", Some(503)),
            (503, "store_unavailable", None),
        ]
    );
}

#[test]
fn headers_are_whole_numbers_and_name_the_tightest_tokens() {
    let answer = answered(&tokens(40_000, 0), &tokens(1_000, 0));
    let seen = headers(&answer.policy, answer.standings(), now());
    let expected = [
        (
            "ratelimit-policy",
            "\"user-day\";q=50000;w=86400;qu=\"tokens\", \
             \"team-month\";q=10000;w=2592000;qu=\"usd-cents\"",
        ),
        (
            "ratelimit",
            "\"user-day\";r=9000;t=30150, \"team-month\";r=9750;t=721350",
        ),
        ("x-ratelimit-limit-tokens", "50000"),
        ("x-ratelimit-remaining-tokens", "9000"),
        ("x-ratelimit-reset-tokens", "30150s"),
    ];
    assert_eq!(seen, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn clients_are_warned_from_three_quarters_on() {
    let quiet = answered(&tokens(30_000, 0), &tokens(1_000, 0));
    assert!(warning(&quiet.policy, quiet.standings()).is_empty());
    let near = answered(&tokens(37_000, 0), &tokens(1_000, 0));
    let seen = warning(&near.policy, near.standings());
    let expected = BTreeMap::from([
        (
            "anthropic-ratelimit-unified-status",
            "allowed_warning".to_owned(),
        ),
        ("anthropic-ratelimit-unified-reset", "1795359600".to_owned()),
    ]);
    assert_eq!(seen, expected);
}
