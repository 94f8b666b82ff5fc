//! `/api/v1/prices/...`: what prices are lacking, pricing anew, and what that changed.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::bill::PricedKind;
use crate::model::usage::{Band, Tier};
use crate::store::{
    MissingPrice, PriceAdjustment, RepriceMode, RepriceOrder, Repriced, RepricedLine,
};

/// Days that are looked at where no range is given.
const DAYS: i64 = 30;

/// The longest reason kept, in bytes.
const MAX_REASON: usize = 256;

/// What was used without a price.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissingAnswer {
    /// UTC days, half-open.
    from: String,
    to: String,
    price_table_version: String,
    price_table_sha256: String,
    /// The most tokens first.
    missing: Vec<MissingLine>,
}

/// A model, scope and tier without a price, or without one for some kind of token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissingLine {
    provider: Box<str>,
    model: Box<str>,
    scope: Box<str>,
    tier: &'static str,
    /// The context: `up_to_100k`, `up_to_200k`, `above_200k`, or `mixed` for sums whose requests
    /// are not known.
    context: &'static str,
    /// Some names under which it was reported.
    raw_models: Vec<Box<str>>,
    requests: u64,
    /// Tokens of requests without a cost.
    tokens: u64,
    /// Kinds that have no price. Empty: they have one by now, and the usage can be priced anew.
    kinds: Vec<&'static str>,
    first_seen: String,
    last_seen: String,
    /// What helps: a row for the price file, or a command.
    mend: String,
}

/// Ask for missing prices
///
/// Usage that has no cost because the price table lacks a model, scope, tier or kind of token.
/// Without a range it is of the last 30 days.
#[utoipa::path(
    get, path = "/api/v1/prices/missing", tag = "prices",
    operation_id = "getMissingPrices",
    security((), ("bearer" = ["read"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-01",
            description = "A UTC day."),
        ("to" = Option<String>, Query, example = "2026-12-01", description = "Exclusive."),
    ),
    responses(
        (status = 200, description = "What is missing.", body = MissingAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn missing(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<MissingAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let [from, to] = days(&uri, api.clock.now())?;
    let found = api.ledger.missing_prices(midnight(from)?, midnight(to)?);
    let found = found.await?;
    let terms = api.reports.terms.load();
    Ok(Json(MissingAnswer {
        from: from.to_string(),
        to: to.to_string(),
        price_table_version: terms.prices.version().to_owned(),
        price_table_sha256: terms.prices.sha256().to_owned(),
        missing: found.into_iter().map(MissingLine::of).collect(),
    }))
}

impl MissingLine {
    fn of(missing: MissingPrice) -> Self {
        let mend = mend(&missing);
        let kinds = missing.kinds.iter().map(|kind| kind.name());
        Self {
            tier: missing.tier.name(),
            context: context(missing.band),
            kinds: kinds.collect(),
            first_seen: missing.first.to_string(),
            last_seen: missing.last.to_string(),
            provider: missing.provider,
            model: missing.model,
            scope: missing.scope,
            raw_models: missing.raw_models,
            requests: missing.requests,
            tokens: missing.tokens,
            mend,
        }
    }
}

fn context(band: Band) -> &'static str {
    match band {
        Band::UpTo100k => "up_to_100k",
        Band::UpTo200k => "up_to_200k",
        Band::Above200k => "above_200k",
        Band::Mixed => "mixed",
    }
}

/// What to do about a missing price.
fn mend(missing: &MissingPrice) -> String {
    if missing.kinds.is_empty() {
        let (from, to) = (missing.first, missing.last);
        let end = to.tomorrow().unwrap_or(to);
        return format!("there is a price now: tallyd prices reprice --from {from} --to {end}");
    }
    if missing.band == Band::Mixed {
        return "the price depends on the size of each request, which counters do not tell: let \
                clients export logs too"
            .to_owned();
    }
    if matches!(missing.tier, Tier::Flex | Tier::Priority) {
        return "this tier has no list price: say so to whoever uses it".to_owned();
    }
    let field = |kind: &PricedKind| {
        let name = match kind {
            PricedKind::CacheWriteUnknown => "cache_write_5m",
            kind => kind.name(),
        };
        match missing.tier {
            Tier::Batch => format!("batch_{name} = \"?\""),
            Tier::Fast => format!("{name} = \"?\", fast_multiplier = \"?\""),
            _ => format!("{name} = \"?\""),
        }
    };
    let mut fields: Vec<String> = missing.kinds.iter().map(field).collect();
    fields.dedup();
    format!(
        "add to the file of cost.prices: {{ model = {:?}, provider = {:?}, scope = {:?}, {} }}",
        missing.model,
        missing.provider,
        missing.scope,
        fields.join(", ")
    )
}

/// The UTC days of a query, half-open.
pub(super) fn days(uri: &Uri, now: Timestamp) -> Result<[Date; 2], Problem> {
    let parameters = Parameters::of(uri, &["from", "to"])?;
    let day = |name: &'static str| {
        let text = parameters.get(name);
        text.map(|text| parse_day(name, text)).transpose()
    };
    let today = now.to_zoned(TimeZone::UTC).date();
    let tomorrow = today.tomorrow().unwrap_or(today);
    let to = day("to")?.unwrap_or(tomorrow);
    let before = to.checked_sub(DAYS.days()).unwrap_or(to);
    let from = day("from")?.unwrap_or(before);
    in_order(from, to)
}

fn in_order(from: Date, to: Date) -> Result<[Date; 2], Problem> {
    if from >= to {
        return Err(Problem::parameter("from: must be before to"));
    }
    Ok([from, to])
}

fn parse_day(name: &str, text: &str) -> Result<Date, Problem> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    day.ok_or_else(|| Problem::parameter(format!("{name}: must be a UTC day such as 2026-11-01")))
}

pub(super) fn midnight(day: Date) -> Result<Timestamp, Problem> {
    let at = day.to_zoned(TimeZone::UTC);
    at.map(|at| at.timestamp())
        .map_err(|_| Problem::parameter("from: is out of range"))
}

/// What is to be priced anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "from": "2026-11-01", "to": "2026-11-23", "dry_run": true,
    "reason": "the price of claude-sonnet-5 was missing"
}))]
pub(super) struct RepriceRequest {
    /// A UTC day.
    from: String,
    /// Exclusive.
    to: String,
    /// Only tells what would change.
    #[serde(default)]
    dry_run: bool,
    /// Prices closed months anew, too; their reports stay, and the change becomes an adjustment.
    #[serde(default)]
    include_closed: bool,
    /// For whoever reads it later.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
}

/// What pricing anew came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RepriceAnswer {
    /// The number of the run; `null` if nothing was changed.
    run: Option<i64>,
    dry_run: bool,
    price_table_version: Box<str>,
    price_table_sha256: Box<str>,
    /// Sums by UTC day, identity and SKU that changed.
    changed: u64,
    old_cost_usd: String,
    new_cost_usd: String,
    old_unpriced_tokens: u64,
    new_unpriced_tokens: u64,
    /// By day, provider and model.
    lines: Vec<RepriceLine>,
    /// Tokens in sums of old days that stay as they are: not all of their kinds have a price.
    left_tokens: u64,
    /// Days that were passed over because their month is closed.
    closed_days: Vec<String>,
}

/// The changed sums of one day and model before and after.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RepriceLine {
    day: String,
    provider: Box<str>,
    model: Box<str>,
    changed: u64,
    old_cost_usd: String,
    new_cost_usd: String,
    old_unpriced_tokens: u64,
    new_unpriced_tokens: u64,
}

/// Price past days anew
///
/// Usage of UTC days takes the prices that the table has for them now. Each sum that changes is
/// kept with both figures. `/metrics` does not move, and a second run changes nothing.
#[utoipa::path(
    post, path = "/api/v1/prices/reprice", tag = "prices",
    operation_id = "reprice",
    security((), ("bearer" = ["admin"])),
    request_body = RepriceRequest,
    responses(
        (status = 200, description = "What changed, or would.", body = RepriceAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn reprice(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RepriceAnswer>, Problem> {
    let grant = auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let request: RepriceRequest = serde_json::from_slice(&body).map_err(|_| {
        Problem::body(
            "the body must be {\"from\": \"2026-11-01\", \"to\": \"2026-11-23\", \"dry_run\": \
             true, \"include_closed\": false, \"reason\": \"...\"}",
        )
    })?;
    if request.reason.len() > MAX_REASON {
        let message = format!("reason: must be at most {MAX_REASON} bytes");
        return Err(Problem::body(message));
    }
    let [from, to] = in_order(
        parse_day("from", &request.from)?,
        parse_day("to", &request.to)?,
    )?;
    let mode = if request.dry_run {
        RepriceMode::DryRun
    } else {
        RepriceMode::Apply
    };
    let order = RepriceOrder {
        from,
        to,
        mode,
        include_closed: request.include_closed,
        reason: request.reason.into(),
        by: grant.name.clone(),
        at: api.clock.now(),
    };
    let done = api.ledger.reprice(order).await?;
    if done.run.is_some() {
        tracing::info!(run = done.run, %from, %to, "usage was priced anew");
    }
    Ok(Json(RepriceAnswer::of(done, mode)))
}

impl RepriceAnswer {
    fn of(done: Repriced, mode: RepriceMode) -> Self {
        let count = |part: fn(&RepricedLine) -> u64| done.lines.iter().map(part).sum();
        let money = |part: fn(&RepricedLine) -> i128| {
            let sum = done.lines.iter().map(part).sum();
            crate::model::money::PicoUsd(sum).to_string()
        };
        Self {
            run: done.run,
            dry_run: mode == RepriceMode::DryRun,
            changed: count(|line| line.sums),
            old_cost_usd: money(|line| line.old_cost.0),
            new_cost_usd: money(|line| line.new_cost.0),
            old_unpriced_tokens: count(|line| line.old_unpriced),
            new_unpriced_tokens: count(|line| line.new_unpriced),
            left_tokens: done.left_tokens,
            closed_days: done.closed_days.iter().map(Date::to_string).collect(),
            price_table_version: done.version,
            price_table_sha256: done.sha256,
            lines: done.lines.into_iter().map(RepriceLine::of).collect(),
        }
    }
}

impl RepriceLine {
    fn of(line: RepricedLine) -> Self {
        Self {
            day: line.day.to_string(),
            provider: line.provider,
            model: line.model,
            changed: line.sums,
            old_cost_usd: line.old_cost.to_string(),
            new_cost_usd: line.new_cost.to_string(),
            old_unpriced_tokens: line.old_unpriced,
            new_unpriced_tokens: line.new_unpriced,
        }
    }
}

/// What was priced anew.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdjustmentsAnswer {
    /// UTC days, half-open.
    from: String,
    to: String,
    adjustments: Vec<AdjustmentLine>,
}

/// The sum of a UTC day, person and SKU before and after one run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdjustmentLine {
    run: i64,
    day: String,
    /// As the directory has it today.
    user: String,
    team: Option<String>,
    provider: Box<str>,
    model: Box<str>,
    scope: Box<str>,
    tier: &'static str,
    old_cost_usd: String,
    new_cost_usd: String,
    old_unpriced_tokens: u64,
    new_unpriced_tokens: u64,
    /// The price table before; empty if it is not known.
    old_version: Box<str>,
    new_version: Box<str>,
    /// When it was priced anew, why, and by which token.
    at: String,
    reason: Box<str>,
    created_by: Box<str>,
}

/// Ask what was priced anew
///
/// Each sum that a run changed, with both figures. Rows are only ever added.
#[utoipa::path(
    get, path = "/api/v1/prices/adjustments", tag = "prices",
    operation_id = "getPriceAdjustments",
    security((), ("bearer" = ["finance"])),
    params(
        ("from" = Option<String>, Query, example = "2026-11-01",
            description = "A UTC day; default: 30 days before `to`."),
        ("to" = Option<String>, Query, example = "2026-12-01",
            description = "Exclusive; default: tomorrow."),
    ),
    responses(
        (status = 200, description = "The adjustments.", body = AdjustmentsAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn adjustments(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<AdjustmentsAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Finance)?;
    let [from, to] = days(&uri, api.clock.now())?;
    let rows = api.ledger.price_adjustments(from, to).await?;
    let terms = api.reports.terms.load();
    let line = |row: PriceAdjustment| {
        let start = midnight(row.day).unwrap_or(row.at);
        let who = terms.directory.attribute(&row.identity, start);
        AdjustmentLine {
            run: row.run,
            day: row.day.to_string(),
            user: who.user.to_string(),
            team: who.team.map(str::to_owned),
            tier: row.sku.tier.name(),
            old_cost_usd: row.old_cost.to_string(),
            new_cost_usd: row.new_cost.to_string(),
            old_unpriced_tokens: row.old_unpriced,
            new_unpriced_tokens: row.new_unpriced,
            old_version: row.old_version,
            new_version: row.new_version,
            at: row.at.to_string(),
            reason: row.reason,
            created_by: row.created_by,
            provider: row.sku.provider,
            model: row.sku.model,
            scope: row.sku.scope,
        }
    };
    Ok(Json(AdjustmentsAnswer {
        from: from.to_string(),
        to: to.to_string(),
        adjustments: rows.into_iter().map(line).collect(),
    }))
}
