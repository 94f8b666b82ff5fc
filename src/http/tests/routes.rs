//! Who may do what, what is answered elsewhere, and what operators see.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get as get_route;
use serde_json::json;

use super::{Answer, api, get, guarded_api, open_router, router, send};
use crate::model::access::Scope;

const RECORD: &str = r#"{"id": "1", "at": "2026-11-22T03:06:46Z", "user": "Alice",
    "team": "payments", "model": "claude-sonnet-4-6", "tokens": {"input": 1}}"#;

async fn ask(router: &Router, method: &str, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from(RECORD)).expect("a request");
    send(router, request).await
}

#[tokio::test]
async fn each_route_asks_for_its_scope() {
    let guarded = router(Arc::new(guarded_api()), Router::new());
    let routes: &[(&str, &str, &[Scope])] = &[
        ("POST", "/api/v1/usage/events", &[Scope::Ingest]),
        ("POST", "/api/v1/usage/litellm", &[Scope::Ingest]),
        ("GET", "/api/v1/usage", &[Scope::Read]),
        ("GET", "/api/v1/usage/control", &[Scope::Read]),
        (
            "GET",
            "/api/v1/users/alice/usage",
            &[Scope::Read, Scope::Quota],
        ),
        ("POST", "/api/v1/quota/check", &[Scope::Quota]),
        ("POST", "/api/v1/quota/reservations", &[Scope::Quota]),
        ("GET", "/api/v1/quota/reservations", &[]),
        ("GET", "/api/v1/quota/reservations/1", &[Scope::Quota]),
        (
            "POST",
            "/api/v1/quota/reservations/1/settle",
            &[Scope::Quota],
        ),
        (
            "POST",
            "/api/v1/quota/reservations/1/release",
            &[Scope::Quota],
        ),
        (
            "POST",
            "/api/v1/quota/reservations/1/extend",
            &[Scope::Quota],
        ),
        (
            "GET",
            "/api/v1/quota/balances?user=alice",
            &[Scope::Read, Scope::Quota],
        ),
        ("POST", "/api/v1/quota/adjustments", &[]),
        ("GET", "/api/v1/quota/verify", &[]),
        ("POST", "/api/v1/quota/simulate", &[]),
        (
            "GET",
            "/api/v1/quota/policies",
            &[Scope::Read, Scope::Quota],
        ),
        ("GET", "/api/v1/reports/chargeback", &[Scope::Finance]),
        ("POST", "/api/v1/reports/month-close", &[Scope::Finance]),
        ("POST", "/api/v1/business/events", &[Scope::Ingest]),
        ("GET", "/api/v1/sources", &[Scope::Read]),
        ("GET", "/metrics", &[Scope::Read]),
        ("GET", "/api/v1/alarms", &[Scope::Read]),
        ("POST", "/api/v1/alarms/backtest", &[Scope::Read]),
        ("POST", "/api/v1/store/backup", &[]),
        ("GET", "/api/v1/cloudwatch/plan", &[Scope::Read]),
    ];
    for (method, path, scopes) in routes {
        let answer = ask(&guarded, method, path, None).await;
        assert_eq!(
            answer.problem(),
            (401, "token_missing".to_owned()),
            "{path}"
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tallyd\"");
        let answer = ask(&guarded, method, path, Some("stranger")).await;
        assert_eq!(
            answer.problem(),
            (401, "token_unknown".to_owned()),
            "{path}"
        );
        for scope in Scope::ALL {
            let answer = ask(&guarded, method, path, Some(scope.name())).await;
            let allowed = scope == Scope::Admin || scopes.contains(&scope);
            // Others may be turned away for want of a policy.
            let code = answer.json_code();
            assert_eq!(code != "scope_missing", allowed, "{path} {scope:?}");
            if !allowed {
                assert_eq!(answer.problem(), (403, "scope_missing".to_owned()));
            }
        }
    }
    for path in ["/healthz", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(ask(&guarded, "GET", path, None).await.status, 200);
    }
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let answer = get("/api/v2/usage").await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    let request = Request::delete("/api/v1/usage").body(Body::empty());
    let answer = send(&open_router(), request.expect("a request")).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_panic_is_answered_without_its_text() {
    #[expect(clippy::panic, reason = "the panic is what this test is about")]
    async fn fails() -> &'static str {
        panic!("the secret reason")
    }
    let others = Router::new().route("/other", get_route(fails));
    let router = router(Arc::new(api()), others);
    let request = Request::get("/other").body(Body::empty());
    let answer = send(&router, request.expect("a request")).await;
    assert_eq!(answer.problem(), (500, "internal".to_owned()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
}

#[tokio::test]
async fn senders_are_listed_with_what_was_refused() {
    let api = Arc::new(guarded_api());
    let guarded = router(Arc::clone(&api), Router::new());
    let fraud = RECORD.replace("payments", "fraud");
    let request = Request::post("/api/v1/usage/events")
        .header("authorization", "Bearer payments")
        .header("content-type", "application/json")
        .header("user-agent", "envoy/1.36 (linux)")
        .body(Body::from(format!("[{RECORD},{fraud}]")));
    let answer = send(&guarded, request.expect("a request")).await;
    assert_eq!(
        answer.json(),
        json!({"accepted": 1, "duplicates": 0, "rejected": [{"index": 1,
            "code": "identity_not_allowed", "message": "team: this token may not report it"}]})
    );
    let answer = ask(&guarded, "GET", "/api/v1/sources", Some("read")).await;
    assert_eq!(
        answer.json(),
        json!({"now": "2026-11-22T04:00:00Z", "sources": [{
            "client": "payments", "version": "envoy/1.36", "signal": "usage",
            "source": "gateway", "counted": "requests",
            "first_seen": "2026-11-22T04:00:00Z", "last_seen": "2026-11-22T04:00:00Z",
            "deliveries": 1, "accepted": 1, "duplicates": 0,
            "refused": {"identity_not_allowed": 1}, "identity": {"gateway": 1},
        }], "refused_deliveries": []})
    );
}

#[tokio::test]
async fn deliveries_that_are_refused_whole_are_listed() {
    let guarded = router(Arc::new(guarded_api()), Router::new());
    for path in ["/api/v1/usage/events", "/api/v1/usage/litellm"] {
        ask(&guarded, "POST", path, None).await;
    }
    let request = Request::post("/api/v1/usage/events")
        .header("authorization", "Bearer payments")
        .header("content-type", "text/plain")
        .body(Body::from(RECORD));
    send(&guarded, request.expect("a request")).await;
    let answer = ask(&guarded, "GET", "/api/v1/sources", Some("read")).await;
    let told = &answer.json()["refused_deliveries"];
    assert_eq!(
        told[0],
        json!({"signal": "usage", "code": "token_missing", "reason": "a bearer token is needed",
            "deliveries": 2, "first_seen": "2026-11-22T04:00:00Z",
            "last_seen": "2026-11-22T04:00:00Z"})
    );
    assert_eq!(
        (
            &told[1]["code"],
            &told[1]["deliveries"],
            told.as_array().map(Vec::len)
        ),
        (&json!("unsupported_media_type"), &json!(1), Some(2))
    );
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let api = Arc::new(api());
    let router = router(Arc::clone(&api), Router::new());
    api.readiness.set("ledger", true, "open");
    api.readiness.set("backup", false, "the last one failed");
    let answer = ask(&router, "GET", "/readyz", None).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({"ready": false, "conditions": [
            {"name": "backup", "ok": false, "detail": "the last one failed"},
            {"name": "ledger", "ok": true, "detail": "open"}]})
    );
    api.readiness.set("backup", true, "one hour old");
    assert_eq!(ask(&router, "GET", "/readyz", None).await.status, 200);
    assert_eq!(get("/healthz").await.json()["status"], "ok");
}

#[tokio::test]
async fn metrics_are_negotiated_by_the_exporter() {
    let request = Request::get("/metrics")
        .header("accept", "application/openmetrics-text")
        .header("accept", "text/plain;q=0.5")
        .header("accept-encoding", "gzip")
        .body(Body::empty());
    let answer = send(&open_router(), request.expect("a request")).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    assert_eq!(
        answer.body,
        "accept application/openmetrics-text, text/plain;q=0.5"
    );
    let starting = crate::http::Api {
        expose: Arc::new(|_, _| None),
        ..api()
    };
    let router = router(Arc::new(starting), Router::new());
    let answer = ask(&router, "GET", "/metrics", None).await;
    assert_eq!(answer.problem(), (503, "starting".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_backup_goes_to_an_absolute_path() {
    let backup = async |body: &'static str| {
        let request = Request::post("/api/v1/store/backup")
            .header("content-type", "application/json")
            .body(Body::from(body));
        send(&open_router(), request.expect("a request")).await
    };
    for body in [
        "{}",
        "{\"path\": 7}",
        "{\"path\": \"backup.db\"}",
        "nonsense",
    ] {
        let answer = backup(body).await;
        assert_eq!(answer.problem(), (400, "invalid_body".to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_plan_of_cloudwatch_tells_metrics_and_prices() {
    let api = Arc::new(api());
    let minute = crate::store::minute_at(api.clock.now()) - 1;
    let seal = crate::store::Seal {
        minute,
        is_whole: true,
        gauges: Vec::new(),
        objective: 0.99,
        outbox: crate::store::Outbox::Leave,
        keep_from: 0,
    };
    api.ledger.seal(seal).await.expect("it is sealed");
    let router = router(Arc::clone(&api), Router::new());
    let answer = ask(&router, "GET", "/api/v1/cloudwatch/plan?alarms=3", None).await;
    let plan = answer.json();
    let names: Vec<_> = plan["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .collect();
    assert_eq!(
        names[0],
        &json!({"metric": "code_lines_generated", "dimensions": {}, "unit": "Count"})
    );
    assert_eq!(names.len(), 5);
    assert_eq!(
        plan["prices_usd"],
        json!({"metrics": "1.50", "calls": "0.438", "alarms": "0.30", "total": "2.238"})
    );
    assert_eq!(plan["alarms_counted"], "given");
    let answer = ask(&router, "GET", "/api/v1/cloudwatch/plan", None).await;
    let plan = answer.json();
    assert_eq!(
        (&plan["alarms"], &plan["alarms_counted"]),
        (&json!(0), &json!("none"))
    );
    let answer = ask(&router, "GET", "/api/v1/cloudwatch/plan?alarms=some", None).await;
    assert_eq!(answer.problem(), (400, "invalid_parameter".to_owned()));
}
