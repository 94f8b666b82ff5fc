//! Money that is planned: `[[cost.budgets]]`, `[[cost.fixed]]`, exchange rates, and when a day's
//! cost is unusual.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::Value;

use super::reader::{Converted, Problem, SectionReader, must_be};
use super::setting::Setting;
use super::value::{Row, choice, choices, readable_file, rows, text};
use crate::model::decimal;
use crate::model::money::{PicoUsd, parse_decimal};
use crate::model::rates::Rates;

/// What is planned, and how cost is watched and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans {
    pub budgets: Vec<Budget>,
    pub fixed: Vec<Fixed>,
    /// A CSV file; read again for each report that needs it.
    pub currency_rates: Option<PathBuf>,
    pub anomalies: Anomalies,
}

/// An amount for each calendar month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub amount: PicoUsd,
    pub scope: Scope,
    /// `None`: the zone of `[time]`.
    pub zone: Option<TimeZone>,
    /// Share of the amount, in millionths, from which the budget is told to be at risk.
    pub warn_at: i64,
}

/// Whose cost a budget counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Team(String),
    CostCenter(String),
    Project(String),
}

impl Scope {
    /// `all`, or `team platform`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Team(name) => format!("team {name}"),
            Self::CostCenter(name) => format!("cost_center {name}"),
            Self::Project(name) => format!("project {name}"),
        }
    }
}

/// Cost that no usage makes: seats, commitments, support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub name: String,
    /// For each period; for one seat, if there are seats.
    pub amount: PicoUsd,
    pub period: Period,
    pub from: Date,
    /// The first day that is not charged any more.
    pub to: Option<Date>,
    pub allocate: Allocate,
    /// Seats that are paid for.
    pub users: Option<u64>,
}

/// How often fixed cost comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Each calendar month.
    Month,
    /// Each year from the day it began.
    Year,
    /// On its first day, or spread over its days if it has an end.
    Once,
}

/// Who bears fixed cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Equal parts for all users who were active in the month.
    EvenUsers,
    /// Equal parts for all teams that were active in the month.
    EvenTeams,
    /// By the estimated cost of the month.
    Proportional,
    Team(String),
    CostCenter(String),
}

impl Allocate {
    /// As reports tell it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EvenUsers => "even_users",
            Self::EvenTeams => "even_teams",
            Self::Proportional => "proportional",
            Self::Team(_) | Self::CostCenter(_) => "fixed",
        }
    }
}

/// When a day's cost is unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomalies {
    pub by: Vec<By>,
    /// Deviations from the usual, in thousandths.
    pub threshold: i64,
    /// What a day must differ by at least.
    pub least: PicoUsd,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Team,
    Model,
    User,
}

/// Budgets and fixed costs at most, each: they are worked out every minute.
const MAX_ROWS: usize = 1_000;

/// Names become labels of metrics and lines of reports.
const MAX_NAME_BYTES: usize = 80;

/// Seats at most; more would be a slip of the hand.
const MAX_SEATS: u64 = 10_000_000;

pub(super) const BUDGETS: Setting = Setting::new(
    "budgets",
    "[]",
    "Amounts in USD for each calendar month. scope is \"all\" or one of team, cost_center and \
     project; timezone is that of [time] unless given; warn_at is a share of the amount, 0.8 \
     unless given.",
)
.example(
    "[[cost.budgets]]\n\
     name = \"platform\"\n\
     amount = \"12000\"\n\
     scope = {team = \"platform\"}\n\
     timezone = \"Asia/Tokyo\"\n\
     warn_at = 0.8",
)
.at_once();

pub(super) const FIXED: Setting = Setting::new(
    "fixed",
    "[]",
    "Cost that no usage makes. amount in USD for each period (month, year, once), for one seat if \
     users is given; charged from the day from to the day before to; allocate is even_users, \
     even_teams, proportional, {team = \"...\"} or {cost_center = \"...\"}.",
)
.example(
    "[[cost.fixed]]\n\
     name = \"seats\"\n\
     amount = \"20.00\"\n\
     users = 150\n\
     period = \"month\"\n\
     from = \"2026-04-01\"\n\
     to = \"\"\n\
     allocate = \"even_users\"",
)
.at_once();

pub(super) const CURRENCY_RATES: Setting = Setting::new(
    "currency_rates",
    r#""""#,
    "CSV file with the columns date, currency, rate (units for one USD) and source, for reports in \
     other currencies. A rate holds for 7 days.",
)
.at_once();

pub(super) const ANOMALY_BY: Setting = Setting::new(
    "anomaly_by",
    r#"["team", "model"]"#,
    "What is looked at for unusual cost: team, model, user. Persons are named only with user.",
)
.at_once();

pub(super) const ANOMALY_THRESHOLD: Setting = Setting::new(
    "anomaly_threshold",
    "5.0",
    "Deviations from the usual of that weekday from which a day is unusual, 2 to 100.",
)
.at_once();

pub(super) const ANOMALY_LEAST: Setting = Setting::new(
    "anomaly_least",
    r#""20""#,
    "USD by which a day must differ from the usual to be told.",
)
.at_once();

pub(super) fn read(section: &mut SectionReader<'_, '_>) -> Plans {
    let plans = Plans {
        budgets: section.get("budgets", |value| named(value, budget, |one| &one.name)),
        fixed: section.get("fixed", |value| named(value, fixed, |one| &one.name)),
        currency_rates: section.get("currency_rates", readable_file),
        anomalies: Anomalies {
            by: section.get("anomaly_by", |value| {
                choices(value, "team, model, user", |name| match name {
                    "team" => Some(By::Team),
                    "model" => Some(By::Model),
                    "user" => Some(By::User),
                    _ => None,
                })
            }),
            threshold: section.get("anomaly_threshold", |value| {
                decimal(value, 3, 2_000..=100_000)
            }),
            least: section.get("anomaly_least", amount),
        },
    };
    if let Some(file) = &plans.currency_rates {
        let text = std::fs::read_to_string(file).map_err(|error| vec![error.to_string()]);
        for fault in text
            .and_then(|text| Rates::parse(&text))
            .err()
            .into_iter()
            .flatten()
        {
            section.fault("currency_rates", &format!("{}: {fault}", file.display()));
        }
    }
    plans
}

/// A list of tables, each under a name of its own.
fn named<T>(
    value: &Value,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
    name: impl Fn(&T) -> &str,
) -> Converted<Vec<T>> {
    let list = rows(value, read)?;
    if list.len() > MAX_ROWS {
        return Err(vec![Problem::new(
            "",
            format!("must be at most {MAX_ROWS}"),
        )]);
    }
    for (index, one) in list.iter().enumerate() {
        if list[..index].iter().any(|other| name(other) == name(one)) {
            let message = format!("{} is there twice", name(one));
            return Err(vec![Problem::new(format!("[{index}].name"), message)]);
        }
    }
    Ok(list)
}

fn budget(row: &mut Row<'_>) -> Option<Budget> {
    let name = row_name(row);
    let amount = row_amount(row);
    let scope = row.converted("scope", Scope::All, scope);
    let zone = row.converted("timezone", None, |value| zone(value).map(Some));
    let warn_at = row.converted("warn_at", DEFAULT_WARN_AT, share);
    Some(Budget {
        name: name?,
        amount: amount?,
        scope: scope?,
        zone: zone?,
        warn_at: warn_at?,
    })
}

/// 80 %.
const DEFAULT_WARN_AT: i64 = 800_000;

fn fixed(row: &mut Row<'_>) -> Option<Fixed> {
    let name = row_name(row);
    let amount = row_amount(row);
    let period = row.converted("period", Period::Month, period);
    let from = row.converted("from", None, date);
    if from == Some(None) {
        row.problem("from", "is needed: a day such as 2026-04-01");
    }
    let to = row.converted("to", None, date);
    let allocate = row.converted("allocate", Allocate::Proportional, allocate);
    let users = row.optional_number("users");
    if users.is_some_and(|users| users == 0 || users > MAX_SEATS) {
        row.problem("users", "must be a number of seats from 1 to 10000000");
    }
    let (from, to) = (from??, to?);
    if to.is_some_and(|to| to <= from) {
        row.problem("to", "must be after from");
    }
    Some(Fixed {
        name: name?,
        amount: amount?,
        period: period?,
        from,
        to,
        allocate: allocate?,
        users,
    })
}

fn row_name(row: &mut Row<'_>) -> Option<String> {
    let name = row.required("name")?;
    if name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control) {
        return Some(name);
    }
    row.problem("name", "must be a line of at most 80 bytes");
    None
}

fn row_amount(row: &mut Row<'_>) -> Option<PicoUsd> {
    let read = row.converted("amount", None, |value| amount(value).map(Some));
    if read == Some(None) {
        row.problem("amount", "is needed: USD in quotes, such as \"1200.50\"");
    }
    read?
}

/// The largest amount: a hundred billion dollars, so that products with seats and days fit.
const MAX_AMOUNT: i128 = 100_000_000_000_000_000_000_000;

fn amount(value: &Value) -> Converted<PicoUsd> {
    match PicoUsd::parse(&text(value)?) {
        Ok(amount) if (0..=MAX_AMOUNT).contains(&amount.0) => Ok(amount),
        _ => must_be("an amount in USD in quotes, such as \"1200.50\"", value),
    }
}

/// A share of a budget: more than 1 warns only when it is overspent.
fn share(value: &Value) -> Converted<i64> {
    decimal(value, 6, 10_000..=10_000_000)
}

/// A number with decimals as a whole number of `10^-places`, within bounds.
fn decimal(value: &Value, places: u32, within: RangeInclusive<i64>) -> Converted<i64> {
    let is_number = matches!(value, Value::Integer(_) | Value::Float(_));
    let read = is_number.then(|| parse_decimal(&value.to_string(), places).ok());
    let number = read.flatten().and_then(|number| i64::try_from(number).ok());
    if let Some(number) = number.filter(|number| within.contains(number)) {
        return Ok(number);
    }
    let show = |bound: &i64| decimal::short((*bound).into(), places);
    let (least, most) = (show(within.start()), show(within.end()));
    must_be(
        &format!("a number from {least} to {most}, with at most {places} decimals"),
        value,
    )
}

fn zone(value: &Value) -> Converted<TimeZone> {
    match value.as_str().map(TimeZone::get) {
        Some(Ok(zone)) => Ok(zone),
        _ => must_be("an IANA time zone such as UTC or Asia/Tokyo", value),
    }
}

fn scope(value: &Value) -> Converted<Scope> {
    const FORM: &str = "\"all\" or a table such as {team = \"platform\"}, of team, cost_center or \
                        project";
    match (value.as_str(), single(value)) {
        (Some("all"), _) => Ok(Scope::All),
        (_, Some(("team", name))) => Ok(Scope::Team(name)),
        (_, Some(("cost_center", name))) => Ok(Scope::CostCenter(name)),
        (_, Some(("project", name))) => Ok(Scope::Project(name)),
        _ => must_be(FORM, value),
    }
}

fn allocate(value: &Value) -> Converted<Allocate> {
    const FORM: &str = "one of even_users, even_teams, proportional, or a table such as \
                        {team = \"platform\"}, of team or cost_center";
    match (value.as_str(), single(value)) {
        (Some("even_users"), _) => Ok(Allocate::EvenUsers),
        (Some("even_teams"), _) => Ok(Allocate::EvenTeams),
        (Some("proportional"), _) => Ok(Allocate::Proportional),
        (_, Some(("team", name))) => Ok(Allocate::Team(name)),
        (_, Some(("cost_center", name))) => Ok(Allocate::CostCenter(name)),
        _ => must_be(FORM, value),
    }
}

/// The key and the text of a table that has one of each.
fn single(value: &Value) -> Option<(&str, String)> {
    let table = value.as_table().filter(|table| table.len() == 1)?;
    let (key, name) = table.iter().next()?;
    let name = name
        .as_str()
        .map(str::trim)
        .filter(|name| !name.is_empty())?;
    Some((key, name.to_owned()))
}

fn period(value: &Value) -> Converted<Period> {
    choice(value, "month, year, once", |name| match name {
        "month" => Some(Period::Month),
        "year" => Some(Period::Year),
        "once" => Some(Period::Once),
        _ => None,
    })
}

/// A day in quotes or not; empty means none.
fn date(value: &Value) -> Converted<Option<Date>> {
    let text = match value {
        Value::Datetime(day) => day.to_string(),
        other => other.as_str().map_or("-", str::trim).to_owned(),
    };
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(day) => Ok(Some(day)),
        Err(_) => must_be("a day such as 2026-04-01", value),
    }
}

#[cfg(test)]
mod tests;
