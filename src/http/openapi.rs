//! `GET /api/v1/openapi.json`: the description of the API, generated from the code.

use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse, ToSchema};

use super::error::ProblemBody;
use super::quota::QuotaProblemBody;
use super::usage_record::WireRecord;
use super::{
    alarms, backup, bills, bills_import, business_events, cloud_event, cloudwatch, health,
    identities, litellm, metrics, minutes, month_close, mutes, notify, optimize, prices,
    quota_adjust, quota_ask, quota_balances, quota_list, quota_policies, quota_replay,
    quota_settle, reports, sources, usage_events, usage_import, usage_query, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tallyd",
        description = "Usage, cost and quota of a company's Claude Code deployment.\n\n\
            Where tokens are configured, each call needs one (`Authorization: Bearer ...`) with \
            the scope that is named beside it; `admin` includes all. Errors are \
            `application/problem+json` with a stable `code`. Times are RFC 3339, ranges are \
            half-open, money is exact decimal text in USD. Bodies may be packed with gzip or \
            zstd."
    ),
    tags(
        (name = "usage", description = "Report and ask for usage."),
        (name = "quota", description = "Ask before a model call, settle after it."),
        (name = "reports", description = "Money, for finance."),
        (name = "business", description = "Merged changes, fixed bugs and own measures."),
        (name = "alarms", description = "How alarms stand, and how they would have stood."),
        (name = "identities", description = "Who is not known, and who is to be forgotten."),
        (name = "prices", description = "What prices are lacking, and pricing anew."),
        (name = "operation", description = "Run tallyd."),
    ),
    paths(
        usage_events::post,
        litellm::post,
        usage_import::post,
        usage_query::usage,
        usage_query::control,
        usage_query::user_usage,
        quota_ask::check,
        quota_ask::reserve,
        quota_list::list,
        quota_settle::show,
        quota_settle::settle,
        quota_settle::release,
        quota_settle::extend,
        quota_balances::get,
        quota_adjust::post,
        quota_adjust::list,
        quota_policies::get,
        quota_replay::verify,
        quota_replay::simulate,
        minutes::get,
        reports::get,
        bills::list,
        bills_import::post,
        identities::unknown,
        identities::forget,
        optimize::model,
        optimize::batch,
        webhooks::github,
        webhooks::gitlab,
        business_events::post,
        prices::missing,
        prices::reprice,
        prices::adjustments,
        month_close::post,
        sources::list,
        alarms::list,
        alarms::backtest,
        backup::post,
        cloudwatch::get_plan,
        notify::test,
        mutes::list,
        mutes::add,
        mutes::end,
        get,
        metrics::get,
        health::healthz,
        health::readyz,
    ),
    components(
        schemas(UsageBody, WireRecord<'static>, cloud_event::WireEvent<'static>, ProblemBody, QuotaProblemBody<'static>),
        responses(
            Invalid, Unauthorized, Forbidden, TooLarge, UnsupportedType, QueryTooLarge,
            Overloaded, Unavailable, Unsigned, WebhookOff, QuotaForbidden, QuotaExceeded, QuotaConflict,
            QuotaUnavailable, NeverAdmissible, UnknownReservation, SettlementRefused,
        ),
    ),
    modifiers(&Bearer),
)]
pub(super) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    }
}

/// One record or many.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes what `elements` reads")]
pub(super) enum UsageBody {
    One(Box<WireRecord<'static>>),
    Many(Vec<WireRecord<'static>>),
}

/// Declares the error answers that several routes share.
macro_rules! problems {
    ($body:ty; $($name:ident: $description:literal,)*) => {
        $(
            #[derive(ToResponse)]
            #[response(description = $description, content_type = "application/problem+json")]
            #[expect(dead_code, reason = "it only describes an answer")]
            pub(super) struct $name($body);
        )*
    };
}

problems! {
    ProblemBody;
    Invalid: "A parameter or the body as a whole cannot be understood \
        (`invalid_parameter`, `invalid_body`).",
    Unauthorized: "A bearer token is needed or not known (`token_missing`, `token_unknown`).",
    Unsigned: "The signature or token of the delivery is missing or wrong (`signature_invalid`).",
    WebhookOff: "The webhook has no secret in the configuration (`webhook_off`).",
    Forbidden: "The token lacks the scope (`scope_missing`).",
    TooLarge: "The body has too many bytes or records (`body_too_large`, `too_many_records`).",
    UnsupportedType: "The content type or encoding is not taken (`unsupported_media_type`, \
        `unsupported_encoding`).",
    QueryTooLarge: "The range covers too much for one answer (`too_large`), or more than is kept in \
        such small pieces (`too_fine`).",
    Overloaded: "Too much is in work; come again after `Retry-After` (`overloaded`).",
    Unavailable: "The ledger cannot be used just now, or tallyd is stopping; come again after \
        `Retry-After` (`store_unavailable`, `stopping`, `backup_failed`).",
}

problems! {
    QuotaProblemBody<'static>;
    QuotaForbidden: "The token lacks the scope or may not ask for this subject (`scope_missing`, \
        `identity_not_allowed`), or the policy does not allow the call (`no_policy`, \
        `model_not_allowed`, `project_type_not_allowed`).",
    QuotaExceeded: "A limit has no room (`quota_exceeded`), or too many reservations are open \
        (`too_many_reservations`).",
    QuotaConflict: "The id was used with another body (`idempotency_conflict`), or the \
        reservation has ended otherwise (`settle_conflict`).",
    QuotaUnavailable: "The hold cannot be written; `fail_mode` says what the policy wants \
        (`store_unavailable`).",
    NeverAdmissible: "A limit is smaller than the request itself (`never_admissible`).",
    UnknownReservation: "Nobody knows the reservation (any more) (`unknown_reservation`).",
    SettlementRefused: "The ledger does not take it, such as for its time \
        (`settlement_refused`).",
}

/// The document, as it is served.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Describe this API
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation",
    operation_id = "getOpenapi",
    responses((status = 200, description = "This document, OpenAPI 3.1.",
        body = serde_json::Value)))]
pub(super) async fn get() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
