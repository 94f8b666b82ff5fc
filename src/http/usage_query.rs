//! `GET /api/v1/usage`, `/api/v1/usage/control` and `/api/v1/users/{user}/usage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use super::figures::{TokenSums, Totals, add, cost_of, time_text, zone_name};
use super::range::{Parameters, Window};
use crate::model::access::Scope;
use crate::model::policy::{Field, Span};
use crate::model::query::{ControlRow, Dimension, UsageQuery, UsageRow, UsageRows};
use crate::model::quota::Standing;
use crate::model::tokens::Tokens;
use crate::quota::answer::{LimitStanding, limits};
use crate::quota::{Balances, Claims};

/// Usage in a range, grouped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "from": "2026-11-22T00:00:00+09:00", "to": "2026-11-23T00:00:00+09:00",
    "timezone": "Asia/Tokyo", "group_by": ["team"],
    "rows": [{"team": "payments", "requests": 2, "errors": 0,
        "tokens": {"input": 2403, "output": 84, "cache_read": 11200, "cache_write_5m": 680,
                   "cache_write_1h": 0, "cache_write_unknown": 0, "total": 14367},
        "cost_usd": "0.014379", "unpriced_tokens": 0}],
    "totals": {"requests": 2, "errors": 0,
        "tokens": {"input": 2403, "output": 84, "cache_read": 11200, "cache_write_5m": 680,
                   "cache_write_1h": 0, "cache_write_unknown": 0, "total": 14367},
        "cost_usd": "0.014379", "unpriced_tokens": 0}
}))]
pub(super) struct UsageAnswer {
    from: String,
    /// Exclusive.
    to: String,
    timezone: String,
    group_by: Vec<&'static str>,
    rows: Vec<UsageLine>,
    totals: Totals,
}

/// One group. Besides these members it has one for each dimension of `group_by`, with the
/// group's value or `null` where nothing is known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageLine {
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    keys: Keys,
    /// Absent where lines are grouped by `token_type`: a request is in several of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    /// Requests that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<u64>,
    tokens: LineTokens,
    /// tallyd's own estimate in USD as exact decimal text; `null` where nothing is priced.
    #[schema(example = "0.011983")]
    cost_usd: Option<String>,
    /// Tokens whose price is not known; they are not in `cost_usd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unpriced_tokens: Option<u64>,
}

/// Tokens by kind, or their number where the lines are grouped by `token_type`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum LineTokens {
    ByKind(TokenSums),
    Sum(u64),
}

/// The values of a line's dimensions, in the order of `group_by`.
#[derive(Debug)]
struct Keys(Vec<(&'static str, String)>);

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            let value = Some(value).filter(|value| !value.is_empty());
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

impl UsageLine {
    fn of(row: UsageRow, group_by: &[Dimension]) -> Self {
        let by_kind = group_by.contains(&Dimension::TokenType);
        // Costs are kept per request, not per kind.
        let cost_usd = if by_kind { None } else { cost_of(&row) };
        let tokens = if by_kind {
            LineTokens::Sum(row.tokens.total())
        } else {
            LineTokens::ByKind(row.tokens.into())
        };
        let names = group_by.iter().map(|dimension| dimension.name());
        Self {
            keys: Keys(names.zip(row.keys).collect()),
            requests: (!by_kind).then_some(row.requests),
            errors: (!by_kind).then_some(row.errors),
            tokens,
            cost_usd,
            unpriced_tokens: (!by_kind).then_some(row.unpriced_tokens),
        }
    }
}

/// Ask for usage
///
/// Sums counted usage in `[from, to)`, grouped. Cost is tallyd's own estimate from its price
/// table. Attribution (teams, persons of devices) is applied when reading.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "usage",
    operation_id = "getUsage",
    security((), ("bearer" = ["read"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-22",
            description = "A time (RFC 3339), or a date in the zone; default: start of today."),
        ("to" = Option<String>, Query, example = "2026-11-23",
            description = "Exclusive; default: end of today."),
        ("group_by" = Option<String>, Query, example = "team,model",
            description = "Comma list of user, team, project, cost_center, provider, model, \
                token_type, month, day, hour."),
        ("timezone" = Option<String>, Query, example = "Asia/Tokyo",
            description = "IANA zone for dates, days and hours; default: the configured one."),
    ),
    responses(
        (status = 200, description = "The figures.", body = UsageAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn usage(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<UsageAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let parameters = Parameters::of(&uri, &["from", "to", "group_by", "timezone"])?;
    let zone = parameters.zone(&api.zone)?;
    let range = parameters.range(api.clock.now(), &zone)?;
    let group_by = dimensions(parameters.get("group_by"))?;
    let query = UsageQuery {
        from: range.start,
        to: range.end,
        group_by: group_by.clone(),
        zone: zone.clone(),
        user: None,
    };
    let UsageRows { range, rows } = api.ledger.usage(query.clone()).await?;
    let totals = if group_by.contains(&Dimension::TokenType) {
        // One request is in several lines here, so lines cannot be added up.
        let ungrouped = UsageQuery {
            group_by: Vec::new(),
            ..query
        };
        Totals::of(&api.ledger.usage(ungrouped).await?.rows)
    } else {
        Totals::of(&rows)
    };
    Ok(Json(UsageAnswer {
        from: time_text(range.start, &zone),
        to: time_text(range.end, &zone),
        timezone: zone_name(&zone),
        group_by: group_by.iter().map(|dimension| dimension.name()).collect(),
        rows: rows
            .into_iter()
            .map(|row| UsageLine::of(row, &group_by))
            .collect(),
        totals,
    }))
}

fn dimensions(list: Option<&str>) -> Result<Vec<Dimension>, Problem> {
    let mut dimensions = Vec::new();
    for name in list.unwrap_or_default().split(',').map(str::trim) {
        if name.is_empty() {
            continue;
        }
        let dimension = Dimension::parse(name).ok_or_else(|| {
            let names = Dimension::ALL.map(Dimension::name).join(", ");
            Problem::parameter(format!("group_by: must be a list of {names}"))
        })?;
        if !dimensions.contains(&dimension) {
            dimensions.push(dimension);
        }
    }
    Ok(dimensions)
}

/// What each source reported, and how much of it was counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ControlAnswer {
    from: String,
    /// Exclusive.
    to: String,
    /// By source, provider, model and UTC day.
    rows: Vec<ControlLine>,
    /// By source.
    sources: Vec<SourceTotals>,
}

/// What one source reported of one model on one day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ControlLine {
    source: String,
    provider: String,
    model: String,
    /// UTC.
    day: String,
    reported: ControlSums,
    counted: ControlSums,
}

/// What one source reported in the whole range.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceTotals {
    source: String,
    reported: ControlSums,
    counted: ControlSums,
}

/// Requests and tokens.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ControlSums {
    requests: u64,
    tokens: TokenSums,
}

/// Ask for control totals
///
/// Shows by source what was reported and how much of it was counted: the rest is the same usage
/// told by a better source. Sums cover whole UTC days.
#[utoipa::path(
    get, path = "/api/v1/usage/control", tag = "usage",
    operation_id = "getControlTotals",
    security((), ("bearer" = ["read"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-22",
            description = "A time (RFC 3339), or a date in the zone; default: start of today."),
        ("to" = Option<String>, Query, example = "2026-11-23",
            description = "Exclusive; default: end of today."),
        ("timezone" = Option<String>, Query, example = "Asia/Tokyo",
            description = "IANA zone for dates; default: the configured one."),
    ),
    responses(
        (status = 200, description = "The control totals.", body = ControlAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn control(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<ControlAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let parameters = Parameters::of(&uri, &["from", "to", "timezone"])?;
    let zone = parameters.zone(&api.zone)?;
    let range = parameters.range(api.clock.now(), &zone)?;
    let rows = api.ledger.control(range.start, range.end).await?;
    Ok(Json(ControlAnswer {
        from: time_text(range.start, &zone),
        to: time_text(range.end, &zone),
        sources: sources_of(&rows),
        rows: rows.into_iter().map(ControlLine::of).collect(),
    }))
}

impl ControlLine {
    fn of(row: ControlRow) -> Self {
        let sums = |requests, tokens: Tokens| ControlSums {
            requests,
            tokens: tokens.into(),
        };
        Self {
            source: row.source,
            provider: row.provider,
            model: row.model,
            day: row.day,
            reported: sums(row.reported_requests, row.reported),
            counted: sums(row.counted_requests, row.counted),
        }
    }
}

fn sources_of(rows: &[ControlRow]) -> Vec<SourceTotals> {
    #[derive(Default)]
    struct Sum(u64, Tokens);
    let mut sources: BTreeMap<&str, (Sum, Sum)> = BTreeMap::new();
    for row in rows {
        let (reported, counted) = sources.entry(&row.source).or_default();
        reported.0 = reported.0.saturating_add(row.reported_requests);
        add(&mut reported.1, &row.reported);
        counted.0 = counted.0.saturating_add(row.counted_requests);
        add(&mut counted.1, &row.counted);
    }
    let sums = |sum: Sum| ControlSums {
        requests: sum.0,
        tokens: sum.1.into(),
    };
    sources
        .into_iter()
        .map(|(source, (reported, counted))| SourceTotals {
            source: source.to_owned(),
            reported: sums(reported),
            counted: sums(counted),
        })
        .collect()
}

/// What one user used in the current calendar window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserUsage<'a> {
    #[schema(example = "alice@example.com")]
    user: String,
    window: WindowBounds,
    #[serde(flatten)]
    totals: Totals,
    /// The user's own quota limits with this window, as they stand; empty without a policy.
    limits: Vec<LimitStanding<'a>>,
}

/// A calendar window, half-open.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowBounds {
    #[schema(example = "day")]
    name: &'static str,
    #[schema(example = "2026-11-22T00:00:00+09:00")]
    start: String,
    #[schema(example = "2026-11-23T00:00:00+09:00")]
    end: String,
    #[schema(example = "Asia/Tokyo")]
    timezone: String,
}

/// Ask for a user's usage
///
/// Tells what one user used in the current hour, day, week (from Monday) or month. A user of
/// whom nothing is known has used nothing.
#[utoipa::path(
    get, path = "/api/v1/users/{user}/usage", tag = "usage",
    operation_id = "getUserUsage",
    security((), ("bearer" = ["read"]), ("bearer" = ["quota"])),
    params(
        ("user" = String, Path, example = "alice@example.com",
            description = "As usage is shown; the case does not matter."),
        ("window" = Option<String>, Query, example = "day",
            description = "hour, day, week or month; default: day."),
        ("timezone" = Option<String>, Query, example = "Asia/Tokyo",
            description = "IANA zone of the window; default: the quota policy's, else the \
                configured one."),
    ),
    responses(
        (status = 200, description = "The figures.", body = UserUsage<'static>),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn user_usage(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let grant = auth::grant_any(&api, &headers, &[Scope::Read, Scope::Quota])?;
    let Path(user) = path.map_err(|_| Problem::parameter("user: must be UTF-8"))?;
    let user = user.trim().to_lowercase();
    let parameters = Parameters::of(&uri, &["window", "timezone"])?;
    let claims = Claims {
        user: Some(user.as_str().into()),
        ..Claims::default()
    };
    let now = api.clock.now();
    let balances = api.quota.balances(&claims, None, &grant.name, now);
    let zone = balances
        .as_ref()
        .map_or(&api.zone, |known| &known.policy.zone);
    let zone = parameters.zone(zone)?;
    let window = Window::parse(parameters.get("window"))?;
    let range = window.containing(now, &zone)?;
    let query = UsageQuery {
        from: range.start,
        to: range.end,
        group_by: Vec::new(),
        zone: zone.clone(),
        user: Some(user.clone()),
    };
    let rows = api.ledger.usage(query).await?.rows;
    let standings = balances
        .as_ref()
        .map_or_else(Vec::new, |known| of_window(known, window.name()));
    let answer = UserUsage {
        user,
        window: WindowBounds {
            name: window.name(),
            start: time_text(range.start, &zone),
            end: time_text(range.end, &zone),
            timezone: zone_name(&zone),
        },
        totals: Totals::of(&rows),
        limits: balances
            .as_ref()
            .map_or_else(Vec::new, |known| limits(&known.policy, &standings, now)),
    };
    Ok(Json(answer).into_response())
}

/// The limits that count each user in a calendar window.
fn of_window(balances: &Balances, window: &str) -> Vec<Standing> {
    let rules = &balances.policy.limits;
    let mut standings = balances.standings.clone();
    standings.retain(|standing| {
        let rule = &rules[standing.limit];
        let is_same = matches!(rule.span, Span::Calendar(known) if known.name() == window);
        is_same && rule.per.contains(&Field::User)
    });
    standings
}
