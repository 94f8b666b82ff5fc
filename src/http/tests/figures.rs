//! Questions and their answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{api, get, now, send};
use crate::http::router;
use crate::model::minute::Datapoint;
use crate::store::{Outbox, Seal, minute_at};

fn nothing() -> Value {
    json!({
        "requests": 0, "errors": 0, "cost_usd": "0.00", "unpriced_tokens": 0,
        "tokens": {"input": 0, "output": 0, "cache_read": 0, "cache_write_5m": 0,
                   "cache_write_1h": 0, "cache_write_unknown": 0, "total": 0},
    })
}

#[tokio::test]
async fn usage_of_the_current_day_is_asked_without_parameters() {
    let answer = get("/api/v1/usage").await;
    assert_eq!(
        answer.json(),
        json!({
            "from": "2026-11-22T00:00:00+09:00", "to": "2026-11-23T00:00:00+09:00",
            "timezone": "Asia/Tokyo", "group_by": [], "rows": [], "totals": nothing(),
        })
    );
}

#[tokio::test]
async fn usage_is_asked_for_a_range_a_zone_and_groups() {
    let query = "from=2026-11-01&to=2026-12-01&timezone=Europe/Berlin&group_by=team,%20model,team";
    let answer = get(&format!("/api/v1/usage?{query}")).await.json();
    let seen = [
        &answer["from"],
        &answer["to"],
        &answer["timezone"],
        &answer["group_by"],
    ];
    assert_eq!(
        seen,
        [
            &json!("2026-11-01T00:00:00+01:00"),
            &json!("2026-12-01T00:00:00+01:00"),
            &json!("Europe/Berlin"),
            &json!(["team", "model"]),
        ]
    );
}

#[tokio::test]
async fn a_faulty_parameter_is_named_with_what_is_allowed() {
    let cases = [
        (
            "usage?group_by=colour",
            "group_by: must be a list of user, team, project, cost_center, \
            provider, model, token_type, month, day, hour",
        ),
        (
            "usage?timezone=Mars/Base",
            "timezone: must be UTC or an IANA time zone such as Asia/Tokyo",
        ),
        (
            "usage?from=x",
            "from: must be a date such as 2026-11-22 or a time such as \
            2026-11-22T03:00:00Z",
        ),
        (
            "usage?since=x",
            "the parameters are from, to, group_by, timezone; another one was given",
        ),
        (
            "users/a/usage?window=year",
            "window: must be one of hour, day, week, month",
        ),
        ("users/%ff/usage", "user: must be UTF-8"),
    ];
    for (path, detail) in cases {
        let answer = get(&format!("/api/v1/{path}")).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_parameter".to_owned()),
            "{path}"
        );
        assert_eq!(answer.json()["detail"], detail);
    }
}

#[tokio::test]
async fn a_user_of_whom_nothing_is_known_has_used_nothing() {
    let answer = get("/api/v1/users/Alice%40Example.com/usage?window=month&timezone=UTC").await;
    let mut expected = nothing();
    expected["user"] = json!("alice@example.com");
    expected["limits"] = json!([]);
    expected["window"] = json!({
        "name": "month", "timezone": "UTC",
        "start": "2026-11-01T00:00:00+00:00", "end": "2026-12-01T00:00:00+00:00",
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn control_totals_are_asked_for_a_range() {
    let answer = get("/api/v1/usage/control?from=2026-11-01&to=2026-11-02&timezone=UTC").await;
    assert_eq!(
        answer.json(),
        json!({"from": "2026-11-01T00:00:00+00:00", "to": "2026-11-02T00:00:00+00:00",
               "rows": [], "sources": []})
    );
}

#[tokio::test]
async fn minutes_of_the_last_hour_are_asked_without_parameters() {
    let answer = get("/api/v1/minutes").await;
    assert_eq!(
        answer.json(),
        json!({"from": "2026-11-22T03:00:00Z", "to": "2026-11-22T04:00:00Z", "minutes": []})
    );
}

#[tokio::test]
async fn a_sealed_minute_is_told_with_its_statistics() {
    let api = api();
    let values = [1_000.0, 2_000.0, 4_000.0].to_vec();
    let seal = Seal {
        minute: minute_at(now()) - 2,
        is_whole: true,
        gauges: vec![("response_time", Datapoint::of_all(values))],
        objective: 0.99,
        outbox: Outbox::Leave,
        keep_from: 0,
    };
    api.ledger.seal(seal).await.unwrap();
    let router = router(Arc::new(api), Router::new());
    let path = "/api/v1/minutes?metric=response_time,%20tokens_processed&from=2026-11-22T03:58:00Z";
    let request = Request::get(path).body(Body::empty()).unwrap();
    let line = |metric: &str, unit: &str| json!({"minute": "2026-11-22T03:58:00Z", "metric": metric, "unit": unit});
    let mut times = line("response_time", "Milliseconds");
    times["count"] = json!(3);
    for (name, value) in [("sum", 7_000.0), ("min", 1_000.0), ("max", 4_000.0)] {
        times[name] = json!(value);
    }
    for (name, value) in [("p50", 2_000.0), ("p95", 4_000.0), ("p99", 4_000.0)] {
        times[name] = json!(value);
    }
    times["average"] = json!(7_000.0 / 3.0);
    let mut tokens = line("tokens_processed", "Count");
    tokens["count"] = json!(1);
    for name in ["sum", "min", "max", "average", "p50", "p95", "p99"] {
        tokens[name] = json!(0.0);
    }
    let answer = send(&router, request).await.json();
    assert_eq!(answer["minutes"], json!([tokens, times]));
}

#[tokio::test]
async fn a_minute_metric_that_does_not_exist_is_refused_with_those_that_do() {
    let answer = get("/api/v1/minutes?metric=latency").await;
    assert_eq!(answer.problem(), (400, "invalid_parameter".to_owned()));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("response_time"), "{detail}");
    let answer = get("/api/v1/minutes?from=2026-11-22T05:00:00Z").await;
    assert_eq!(answer.json()["detail"], "from: must be before to");
}
