//! Questions and their answers.

use serde_json::{Value, json};

use super::get;

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
