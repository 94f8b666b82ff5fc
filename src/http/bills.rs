//! `GET /api/v1/bills`: which days were billed, by whom, and how sure that is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::error::Problem;
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::bill::{Amounts, Basis, BillDay, BillForecast, Charge, Standing};
use crate::model::closing::ClosedMonth;
use crate::model::money::PicoUsd;

/// Days of one answer: as far back as Cost Explorer goes.
const MAX_DAYS: i64 = 400;

/// All billed days of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillsAnswer {
    /// UTC days, half-open.
    #[schema(example = "2026-10-01")]
    from: String,
    #[schema(example = "2026-11-23")]
    to: String,
    days: Vec<DayItem>,
    /// What providers expect of the rest of the month, newest of each account.
    forecasts: Vec<ForecastItem>,
}

/// One day of one bill.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DayItem {
    #[schema(example = "2026-11-20")]
    day: String,
    /// `cost_explorer`, or `import:` and the format of the file.
    source: String,
    #[schema(example = "bedrock")]
    provider: String,
    account: String,
    /// provisional, final, or closed with its month.
    standing: &'static str,
    /// Grows each time the lines change.
    revision: u32,
    /// When it was read last.
    pulled_at: String,
    /// False if another source tells of the same day and account, and counts in place of it.
    counts: bool,
    lines: usize,
    /// By currency.
    totals: BTreeMap<String, TotalItem>,
}

/// Exact decimal amounts in one currency.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TotalItem {
    #[schema(example = "1234.5")]
    unblended: String,
    /// After discounts; as unblended where the provider tells none.
    net: String,
    blended: String,
    /// The unblended part of lines that are not understood; left out if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    unclassified: Option<String>,
}

/// What a provider expects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForecastItem {
    account: String,
    /// UTC days, half-open.
    from: String,
    to: String,
    currency: String,
    low: String,
    mid: String,
    high: String,
    /// Percent: how sure the provider is that it will be within low and high.
    level: u8,
    made_at: String,
}

/// List billed days
///
/// With how each stands, its revision and its totals by currency, which are never added. Without a
/// range it is the previous and the current month. Days are UTC, as providers bill them.
#[utoipa::path(
    get, path = "/api/v1/bills", tag = "reports",
    operation_id = "listBills",
    security((), ("bearer" = ["finance"])),
    params(
        ("from" = Option<String>, Query, example = "2026-10-01", description = "A UTC date."),
        ("to" = Option<String>, Query, example = "2026-11-01",
            description = "A UTC date, exclusive."),
    ),
    responses(
        (status = 200, description = "The days.", body = BillsAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<BillsAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Finance)?;
    let parameters = Parameters::of(&uri, &["from", "to"])?;
    let (from, to) = range(&parameters, api.clock.now())?;
    let days = api.ledger.bills(from, to).await?.into_iter();
    let forecasts = api.ledger.bill_forecasts().await?.into_iter();
    let closed = Closed::of(&api.ledger.closed_months().await?);
    Ok(Json(BillsAnswer {
        from: from.to_string(),
        to: to.to_string(),
        days: days
            .map(|(day, counts)| item(day, counts, &closed))
            .collect(),
        forecasts: forecasts.map(forecast).collect(),
    }))
}

fn range(parameters: &Parameters, now: Timestamp) -> Result<(Date, Date), Problem> {
    let given = |name: &str| {
        let parse = |text: &str| {
            let wrong = format!("{name}: must be a date such as 2026-11-01");
            text.parse::<Date>().map_err(|_| Problem::parameter(wrong))
        };
        parameters.get(name).map(parse).transpose()
    };
    let today = now.to_zoned(TimeZone::UTC).date();
    let to = given("to")?.unwrap_or_else(|| today.saturating_add(1.day()));
    let last = to.saturating_sub(1.day());
    let from = given("from")?.unwrap_or_else(|| last.first_of_month().saturating_sub(1.month()));
    if from >= to {
        return Err(Problem::parameter("from: must be before to"));
    }
    if to.duration_since(from).as_hours() / 24 > MAX_DAYS {
        let message = format!("from: a range may have {MAX_DAYS} days");
        return Err(Problem::parameter(message));
    }
    Ok((from, to))
}

/// Months that were closed, each in its zone.
struct Closed(Vec<(Box<str>, TimeZone)>);

impl Closed {
    fn of(months: &[ClosedMonth]) -> Self {
        let zone = |month: &ClosedMonth| TimeZone::get(&month.zone).unwrap_or(TimeZone::UTC);
        let months = months.iter();
        Self(
            months
                .map(|month| (month.month.clone(), zone(month)))
                .collect(),
        )
    }

    /// Whether a UTC day is closed: its noon decides to which month of a zone it belongs.
    fn has(&self, day: Date) -> bool {
        let Ok(noon) = day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC) else {
            return false;
        };
        self.0.iter().any(|(month, zone)| {
            let local = noon.with_time_zone(zone.clone());
            local.strftime("%Y-%m").to_string() == **month
        })
    }
}

fn item(day: BillDay, counts: bool, closed: &Closed) -> DayItem {
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for line in &day.lines {
        let total = totals.entry(line.currency.to_string()).or_default();
        total.add(&line.amounts, line.charge);
    }
    DayItem {
        day: day.day.to_string(),
        standing: if closed.has(day.day) {
            Standing::Closed.name()
        } else {
            day.standing().name()
        },
        source: day.source.into(),
        provider: day.provider.into(),
        account: day.account.into(),
        revision: day.revision,
        pulled_at: day.pulled_at.to_string(),
        counts,
        lines: day.lines.len(),
        totals: totals
            .into_iter()
            .map(|(currency, total)| (currency, total.item()))
            .collect(),
    }
}

/// Sums in one currency.
#[derive(Debug, Default)]
struct Totals {
    by_basis: [PicoUsd; 3],
    unclassified: Option<PicoUsd>,
}

impl Totals {
    fn add(&mut self, amounts: &Amounts, charge: Charge) {
        let add = |sum: PicoUsd, more| sum.checked_add(more).unwrap_or(sum);
        for (sum, basis) in self.by_basis.iter_mut().zip(Basis::ALL) {
            *sum = add(*sum, amounts.on(basis));
        }
        if charge == Charge::Unclassified {
            let sum = self.unclassified.unwrap_or_default();
            self.unclassified = Some(add(sum, amounts.on(Basis::Unblended)));
        }
    }

    fn item(&self) -> TotalItem {
        let [unblended, net, blended] = self.by_basis.map(|sum| sum.to_string());
        TotalItem {
            unblended,
            net,
            blended,
            unclassified: self.unclassified.map(|sum| sum.to_string()),
        }
    }
}

fn forecast(forecast: BillForecast) -> ForecastItem {
    ForecastItem {
        account: forecast.account.into(),
        from: forecast.from.to_string(),
        to: forecast.to.to_string(),
        currency: forecast.currency.into(),
        low: forecast.low.to_string(),
        mid: forecast.mid.to_string(),
        high: forecast.high.to_string(),
        level: forecast.level,
        made_at: forecast.made_at.to_string(),
    }
}
