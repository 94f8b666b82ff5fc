//! Maintenance windows and tests of notifications.

use serde_json::json;

use super::*;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn ask(router: &Router, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    send(
        router,
        request.body(body.to_owned().into()).expect("a request"),
    )
    .await
}

#[tokio::test]
async fn a_window_is_set_listed_and_ended() {
    let router = open_router();
    let body = r#"{"for": "2h", "alarms": "ClaudeCode-*", "reason": "upgrade"}"#;
    let set = ask(&router, "POST", "/api/v1/mutes", body).await;
    let window = |to: &str, active: bool| {
        json!({
            "id": 1, "from": NOW, "to": to, "alarms": "ClaudeCode-*", "reason": "upgrade",
            "created_by": "anonymous", "active": active,
        })
    };
    assert_eq!(set.status, 201);
    let mut shown = set.json();
    // Without tokens it is whoever the host lets in.
    shown["created_by"] = json!("anonymous");
    assert_eq!(shown, window("2026-11-22T06:00:00Z", true));
    let ended = ask(&router, "DELETE", "/api/v1/mutes/1", "").await;
    assert_eq!((ended.status, ended.json()), (200, json!({"id": 1})));
    let mut listed = ask(&router, "GET", "/api/v1/mutes", "").await.json();
    listed["mutes"][0]["created_by"] = json!("anonymous");
    assert_eq!(listed, json!({"mutes": [window(NOW, false)]}));
    for id in ["1", "2", "x"] {
        let path = format!("/api/v1/mutes/{id}");
        let problem = ask(&router, "DELETE", &path, "").await.problem();
        assert_eq!(problem, (404, "mute_unknown".to_owned()));
    }
}

#[tokio::test]
async fn a_faulty_window_is_refused_with_the_field() {
    for (body, field) in [
        (r#"{"for": "2h"}"#, "the body must be"),
        (r#"{"for": "2h", "reason": ""}"#, "reason: "),
        (r#"{"for": "soon", "reason": "x"}"#, "for: "),
        (r#"{"reason": "x"}"#, "to: "),
        (
            r#"{"to": "2026-11-22T05:00:00Z", "for": "1h", "reason": "x"}"#,
            "to: ",
        ),
        (r#"{"to": "2026-11-22T03:00:00Z", "reason": "x"}"#, "to: "),
        (r#"{"for": "32d", "reason": "x"}"#, "to: "),
        (r#"{"from": "noon", "for": "1h", "reason": "x"}"#, "from: "),
        (r#"{"for": "1h", "alarms": "", "reason": "x"}"#, "alarms: "),
        (
            r#"{"for": "1h", "reason": "x", "colour": "red"}"#,
            "the body must be",
        ),
    ] {
        let answer = post("/api/v1/mutes", JSON, body).await;
        assert_eq!(answer.problem(), (400, "invalid_body".to_owned()), "{body}");
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.starts_with(field), "{body}: {detail}");
    }
}

#[tokio::test]
async fn only_administrators_mute_and_test() {
    let router = router(Arc::new(guarded_api()), Router::new());
    for (method, path, token, status) in [
        ("POST", "/api/v1/mutes", "read", 403),
        ("DELETE", "/api/v1/mutes/1", "read", 403),
        ("POST", "/api/v1/notify/ops/test", "read", 403),
        ("GET", "/api/v1/mutes", "ingest", 403),
        ("GET", "/api/v1/mutes", "read", 200),
        ("POST", "/api/v1/notify/ops/test", "admin", 404),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let answer = send(&router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, status, "{method} {path} {token}");
    }
}
