//! `reconciliation`: estimate beside bill, and what the difference is made of.
//!
//! Days are UTC days, as bills have them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::cost_detail::in_utc;
use super::costs::{billed_days, foreign, note};
use super::reconcile::{Actual, Cause, Compared, Estimated, Key, Sides};
use super::sheet::charge_name;
use super::table::{Cell, Column, Kind, Rows, Table};
use super::{Report, ReportError, Reports, Request, chargeback};
use crate::model::bill::{Basis, BillDay, BillLine, Charge, PricedKind, Standing};
use crate::model::cost::{By, CostLines};
use crate::model::money::{PICO_DIGITS, PicoUsd, parse_decimal};
use crate::model::usage::{Band, Sku};
use crate::model::window::day_start;
use crate::store::Terms;

const NAME: &str = "reconciliation";

/// The currency of the ledger.
const USD: &str = "USD";

const GLOBAL: &str = "global";

/// What lines can be told apart by, in the order of columns.
const DIMENSIONS: [&str; 9] = [
    "period",
    "day",
    "provider",
    "account",
    "model",
    "charge",
    "token_type",
    "geo",
    "tier",
];

/// Makes the report.
pub async fn report(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let by = dimensions(&request.group_by)?;
    let request = in_utc(request);
    let days = billed_days(request.from, request.to, &TimeZone::UTC);
    let mut manifest = reports.manifest(NAME, &request, now);
    let bill = reports.ledger.bill(days.0, days.1).await?;
    let terms = reports.terms.load_full();
    let mut facts = Facts::default();
    let mut sides = Sides::default();
    for day in &bill {
        for line in day.lines.iter().filter(|line| *line.currency == *USD) {
            let key = key_of(line);
            facts.add(&key, day, line);
            let actual = Actual {
                tokens: line.tokens.map(i128::from),
                cost: line.amounts.on(request.basis).0,
                at_table: at_table(line, &terms),
            };
            sides.add_actual(key, actual);
        }
    }
    let accounts: BTreeSet<Arc<str>> = sides.actual.keys().map(|key| key.account.clone()).collect();
    let asked = vec![
        By::Provider,
        By::Account,
        By::Model,
        By::Scope,
        By::Region,
        By::Tier,
    ];
    let work = (sides, accounts, 0_u64);
    let read = reports
        .ledger
        .cost_days(days, asked, work, estimate)
        .await?;
    let (sides, _, unpriced) = read.0;
    let foreign = foreign(&bill, request.basis);
    note(&mut manifest, &bill, days, unpriced, &foreign);
    let is_final = |day: &BillDay| day.standing() == Standing::Final;
    if !bill.is_empty() && bill.iter().all(is_final) {
        manifest.standing = Standing::Final;
    }
    let today = now.to_zoned(TimeZone::UTC).date();
    let compared = sides.compare(today);
    let causes = causes_table(&compared);
    let lines = Lines::of(&compared, &by, &facts);
    let mut tables = vec![
        Table {
            name: NAME,
            columns: columns(&by, request.basis),
            rows: Box::new(lines),
        },
        causes,
    ];
    if !foreign.is_empty() {
        tables.push(chargeback::foreign_table(&foreign));
    }
    Ok(Report {
        name: NAME,
        title: "Estimate and bill, and why they differ".to_owned(),
        tables,
        manifest,
    })
}

/// Takes a day of the estimate in. Accounts that no bill has are left out: there may be as many
/// as there are people.
fn estimate(
    (sides, accounts, unpriced): &mut (Sides, BTreeSet<Arc<str>>, u64),
    day: Date,
    lines: &CostLines,
) {
    let known = |name: &str| {
        let account = accounts.get(name);
        account.cloned().unwrap_or_else(|| "".into())
    };
    let mut sums: HashMap<(u32, PricedKind), Estimated> = HashMap::new();
    for line in &lines.lines {
        let sum = sums.entry((line.group, line.kind)).or_default();
        sum.tokens += i128::from(line.tokens);
        sum.cost += line.estimate.0;
        *unpriced = unpriced.saturating_add(line.unpriced);
    }
    for ((group, kind), sum) in sums {
        let value = |by| lines.key(group, by);
        let is_global = [By::Scope, By::Region].map(value).contains(&GLOBAL);
        let key = Key {
            day,
            provider: value(By::Provider).into(),
            account: known(value(By::Account)),
            model: value(By::Model).into(),
            charge: Charge::Tokens,
            kind: Some(kind),
            geo: if is_global { GLOBAL } else { "" }.into(),
            tier: value(By::Tier).into(),
        };
        sides.add_estimated(key, sum);
    }
}

fn key_of(line: &BillLine) -> Key {
    let sku = &line.sku;
    let places = [sku.scope.as_deref(), sku.region.as_deref()];
    let is_global = places.contains(&Some(GLOBAL));
    Key {
        day: line.day,
        provider: Arc::from(&*line.provider),
        account: Arc::from(&*line.account),
        model: sku.model.as_deref().unwrap_or_default().into(),
        charge: line.charge,
        kind: sku.kind,
        geo: if is_global { GLOBAL } else { "" }.into(),
        tier: sku.tier.name().into(),
    }
}

/// What the tokens of a line cost by the price table.
fn at_table(line: &BillLine, terms: &Terms) -> Option<i128> {
    let price = table_price(line, terms)?;
    i128::from(price).checked_mul(line.tokens?.into())
}

/// The price of a line in the table, per token, for the first scope that fits what it tells.
fn table_price(line: &BillLine, terms: &Terms) -> Option<u64> {
    let billed = &line.sku;
    let kind = billed.kind?;
    let at = day_start(line.day, &TimeZone::UTC);
    let told = billed.scope.as_deref().into_iter();
    told.chain(["in_region", "us", "base"]).find_map(|scope| {
        let sku = Sku {
            provider: line.provider.clone(),
            model: billed.model.clone()?,
            raw_model: "".into(),
            scope: scope.into(),
            region: billed.region.clone(),
            tier: billed.tier,
            band: if billed.long_context {
                Band::Above200k
            } else {
                Band::UpTo100k
            },
        };
        let lifetime = terms.write_lifetime(&sku.provider);
        terms.prices.unit(&sku, at)?.of(kind, lifetime)
    })
}

/// What the bill tells of a key besides amounts.
#[derive(Clone, Debug, Default)]
struct Fact {
    /// In 1e-12 of the unit; `None` if it cannot be read.
    quantity: Option<i128>,
    /// Empty if there are several.
    unit: Arc<str>,
    estimated: bool,
    pulled_at: Option<Timestamp>,
    revision: u32,
    /// Unblended, net and blended.
    amounts: [i128; 3],
}

/// By day, account, model, charge and kind: what is left when a side leaves places out.
type FactKey = (
    Date,
    Arc<str>,
    Arc<str>,
    Arc<str>,
    &'static str,
    &'static str,
    Arc<str>,
    Arc<str>,
);

#[derive(Debug, Default)]
struct Facts(HashMap<FactKey, Fact>);

fn fact_key(key: &Key) -> FactKey {
    (
        key.day,
        key.provider.clone(),
        key.account.clone(),
        key.model.clone(),
        charge_name(key.charge),
        key.kind.map_or("", PricedKind::name),
        key.geo.clone(),
        key.tier.clone(),
    )
}

impl Facts {
    /// Adds a line under its own place, and under the one where places are left out.
    fn add(&mut self, key: &Key, day: &BillDay, line: &BillLine) {
        let whole = Key {
            geo: "".into(),
            tier: "".into(),
            ..key.clone()
        };
        let new = Fact {
            quantity: parse_decimal(&line.quantity, PICO_DIGITS).ok(),
            unit: Arc::from(&*line.unit),
            estimated: day.estimated,
            pulled_at: Some(day.pulled_at),
            revision: day.revision,
            amounts: Basis::ALL.map(|basis| line.amounts.on(basis).0),
        };
        for key in [key.clone(), whole] {
            match self.0.get_mut(&fact_key(&key)) {
                Some(fact) => fact.add(&new),
                None => {
                    self.0.insert(fact_key(&key), new.clone());
                }
            }
        }
    }
}

impl Fact {
    fn add(&mut self, other: &Self) {
        if self.unit == other.unit {
            let sum = |a: i128, b: i128| a.checked_add(b);
            self.quantity = self
                .quantity
                .zip(other.quantity)
                .and_then(|(a, b)| sum(a, b));
        } else {
            self.quantity = None;
            self.unit = "".into();
        }
        self.estimated |= other.estimated;
        self.pulled_at = self.pulled_at.max(other.pulled_at);
        self.revision = self.revision.max(other.revision);
        for (sum, more) in self.amounts.iter_mut().zip(other.amounts) {
            *sum += more;
        }
    }
}

/// The parameter `group_by`.
fn dimensions(asked: &[Arc<str>]) -> Result<Vec<&'static str>, ReportError> {
    if asked.is_empty() {
        return Ok(DIMENSIONS[1..].to_vec());
    }
    let mut by = Vec::new();
    for name in asked {
        let name = if **name == *"month" { "period" } else { name };
        let Some(known) = DIMENSIONS.iter().find(|known| **known == name) else {
            let names = DIMENSIONS.join(", ");
            return Err(ReportError::Parameter(format!(
                "group_by: must be a list of {names}"
            )));
        };
        if !by.contains(known) {
            by.push(*known);
        }
    }
    Ok(by)
}

#[expect(clippy::too_many_lines, reason = "a table, a column an entry")]
fn columns(by: &[&'static str], basis: Basis) -> Vec<Column> {
    let column = |name, kind, sums, help| Column {
        name,
        kind,
        sums,
        help,
    };
    let mut columns: Vec<Column> = by
        .iter()
        .map(|name| {
            let (kind, help) = match *name {
                "day" => (Kind::Date, "The UTC day."),
                "period" => (Kind::Text, "The month, in UTC."),
                "geo" => (Kind::Text, "global, or empty: a region, or not told."),
                _ => (Kind::Text, "Empty where it is not known or not told."),
            };
            column(name, kind, false, help)
        })
        .collect();
    let money = |name, help| column(name, Kind::Money, true, help);
    let count = |name, help| column(name, Kind::Count, true, help);
    columns.extend([
        count("est_tokens", "Tokens that telemetry counted."),
        column(
            "billed_quantity",
            Kind::Text,
            false,
            "The quantity as billed, in its unit; empty where units differ.",
        ),
        column("quantity_unit", Kind::Text, false, "The unit as billed."),
        count(
            "billed_tokens",
            "The billed quantity in tokens, where the unit is understood.",
        ),
        count("token_delta", "Billed tokens less counted ones."),
        column(
            "coverage",
            Kind::Ratio,
            false,
            "Counted tokens as a part of the billed ones.",
        ),
        money("est_cost_usd", "tallyd's estimate."),
        money(
            "actual_cost_usd",
            match basis {
                Basis::Unblended => "What was billed, unblended.",
                Basis::Net => "What was billed, net of discounts.",
                Basis::Blended => "What was billed, blended.",
            },
        ),
        money("actual_unblended_usd", "What was billed, unblended."),
        money("actual_net_usd", "What was billed, net of discounts."),
        money("actual_blended_usd", "What was billed, blended."),
        money(
            "delta_usd",
            "Actual less estimated cost; the sum of both variances.",
        ),
        column(
            "delta_pct",
            Kind::Ratio,
            false,
            "The delta as a part of the estimate.",
        ),
        money(
            "price_variance_usd",
            "What the billed tokens cost more than at the prices of the estimate.",
        ),
        money(
            "quantity_variance_usd",
            "What the tokens that differ cost at the prices of the estimate.",
        ),
        column(
            "implied_unit_price_usd",
            Kind::UnitPrice,
            false,
            "What was billed for a million tokens.",
        ),
        column(
            "table_unit_price_usd",
            Kind::UnitPrice,
            false,
            "What the estimate takes for a million tokens.",
        ),
        column(
            "cause",
            Kind::Text,
            false,
            "Of the larger part of the delta: price, quantity, missing_in_telemetry, \
             missing_in_bill, timing, not_usage, unclassified, or none within the tolerance.",
        ),
        column(
            "is_estimated",
            Kind::Text,
            false,
            "yes if the provider calls the bill an estimate.",
        ),
        column(
            "pulled_at",
            Kind::Time,
            false,
            "When the bill was read last.",
        ),
        column(
            "revision",
            Kind::Count,
            false,
            "How often the billed day has changed.",
        ),
    ]);
    columns
}

/// What one row sums.
#[derive(Clone, Debug, Default)]
struct Line {
    estimated: Option<Estimated>,
    actual: Option<Actual>,
    /// Of what is billed by token alone: credits and taxes have none.
    billed: Tokens,
    price_variance: i128,
    quantity_variance: i128,
    /// Absolute differences by cause.
    causes: BTreeMap<Cause, i128>,
    fact: Option<Fact>,
}

/// What was billed by token.
#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    /// Those of lines whose unit is understood.
    tokens: Option<i128>,
    cost: i128,
    /// The unit of some line is not understood: no price follows from the rest.
    is_part: bool,
}

impl Tokens {
    fn add(&mut self, actual: Actual) {
        self.cost += actual.cost;
        match actual.tokens {
            Some(more) => *self.tokens.get_or_insert(0) += more,
            None => self.is_part = true,
        }
    }
}

#[derive(Debug)]
struct Lines(Vec<(Vec<Cell>, Line)>);

impl Lines {
    fn of(compared: &[Compared], by: &[&'static str], facts: &Facts) -> Self {
        let mut places: HashMap<Vec<String>, usize> = HashMap::new();
        let mut lines: Vec<(Vec<Cell>, Line)> = Vec::new();
        for compared in compared {
            let cells: Vec<Cell> = by.iter().map(|name| cell(&compared.key, name)).collect();
            let key = cells.iter().map(|cell| format!("{cell:?}")).collect();
            let place = *places.entry(key).or_insert_with(|| {
                lines.push((cells, Line::default()));
                lines.len() - 1
            });
            lines[place].1.add(compared, facts);
        }
        Self(lines)
    }
}

fn cell(key: &Key, name: &str) -> Cell {
    let text = |text: &Arc<str>| Cell::Text(text.clone());
    match name {
        "day" => Cell::Date(key.day),
        "period" => Cell::Text(key.day.strftime("%Y-%m").to_string().into()),
        "provider" => text(&key.provider),
        "account" => text(&key.account),
        "model" => text(&key.model),
        "charge" => Cell::Text(charge_name(key.charge).into()),
        "geo" => text(&key.geo),
        "tier" => text(&key.tier),
        _ => Cell::Text(key.kind.map_or("", PricedKind::name).into()),
    }
}

impl Line {
    fn add(&mut self, compared: &Compared, facts: &Facts) {
        if let Some(more) = compared.estimated {
            let sum = self.estimated.get_or_insert_default();
            sum.tokens += more.tokens;
            sum.cost += more.cost;
        }
        if let Some(more) = compared.actual {
            let sum = self.actual.get_or_insert(Actual {
                tokens: Some(0),
                cost: 0,
                at_table: Some(0),
            });
            sum.tokens = sum.tokens.zip(more.tokens).map(|(a, b)| a + b);
            sum.at_table = sum.at_table.zip(more.at_table).map(|(a, b)| a + b);
            sum.cost += more.cost;
            if compared.key.charge == Charge::Tokens {
                self.billed.add(more);
            }
        }
        self.price_variance += compared.price_variance;
        self.quantity_variance += compared.quantity_variance;
        let delta = compared.price_variance + compared.quantity_variance;
        *self.causes.entry(compared.cause).or_default() += delta.abs();
        if let Some(fact) = facts.0.get(&fact_key(&compared.key)) {
            match &mut self.fact {
                Some(sum) => sum.add(fact),
                None => self.fact = Some(fact.clone()),
            }
        }
    }

    /// The cause of the largest part.
    fn cause(&self) -> Cause {
        let largest = self.causes.iter().max_by_key(|(_, amount)| **amount);
        largest.map_or(Cause::None, |(cause, _)| *cause)
    }

    fn cells(&self, cells: &mut Vec<Cell>) {
        let money = |amount: Option<i128>| {
            amount.map_or(Cell::Empty, |amount| Cell::Money(PicoUsd(amount)))
        };
        let count = |count: Option<i128>| count.map_or(Cell::Empty, Cell::Count);
        let text = |text: &str| Cell::Text(text.into());
        let billed = self.billed.tokens;
        let counted = self.estimated.map(|estimated| estimated.tokens);
        // Also where a side has none, so that all groupings add up to the same.
        let more = match (billed, counted) {
            (None, None) => None,
            (billed, counted) => Some(billed.unwrap_or(0) - counted.unwrap_or(0)),
        };
        let whole = billed.filter(|_| !self.billed.is_part).unwrap_or(0);
        let was = self.estimated.map(|estimated| estimated.cost);
        let is = self.actual.map(|actual| actual.cost);
        let delta = self.price_variance + self.quantity_variance;
        let fact = self.fact.as_ref();
        let quantity = fact.and_then(|fact| fact.quantity);
        cells.push(count(counted));
        cells.push(quantity.map_or(Cell::Empty, |quantity| text(&decimal(quantity))));
        cells.push(fact.map_or(Cell::Empty, |fact| Cell::Text(fact.unit.clone())));
        cells.push(count(billed));
        cells.push(count(more));
        cells.push(ratio(counted.unwrap_or(0), whole));
        cells.push(money(was));
        cells.push(money(is));
        for basis in 0..Basis::ALL.len() {
            cells.push(money(fact.map(|fact| fact.amounts[basis])));
        }
        cells.push(money(Some(delta)));
        cells.push(ratio(delta, was.unwrap_or(0)));
        cells.push(money(Some(self.price_variance)));
        cells.push(money(Some(self.quantity_variance)));
        cells.push(unit_price(self.billed.cost, whole));
        let table = match (was, counted) {
            (Some(was), Some(counted)) if counted > 0 => unit_price(was, counted),
            _ => self
                .actual
                .and_then(|actual| actual.at_table)
                .map_or(Cell::Empty, |cost| unit_price(cost, whole)),
        };
        cells.push(table);
        cells.push(text(self.cause().name()));
        cells.push(match fact {
            None => Cell::Empty,
            Some(fact) if fact.estimated => text("yes"),
            Some(_) => text("no"),
        });
        let pulled_at = fact.and_then(|fact| fact.pulled_at);
        cells.push(pulled_at.map_or(Cell::Empty, Cell::Time));
        cells.push(fact.map_or(Cell::Empty, |fact| Cell::Count(fact.revision.into())));
    }
}

/// Pico-dollars for one token, rounded half away from zero.
fn unit_price(cost: i128, tokens: i128) -> Cell {
    if tokens <= 0 {
        return Cell::Empty;
    }
    let half = if cost < 0 { -tokens / 2 } else { tokens / 2 };
    Cell::UnitPrice(PicoUsd((cost + half) / tokens))
}

/// A part of a whole in millionths.
fn ratio(part: i128, whole: i128) -> Cell {
    if whole == 0 {
        return Cell::Empty;
    }
    let ratio = part.saturating_mul(1_000_000) / whole;
    i64::try_from(ratio).map_or(Cell::Empty, Cell::Ratio)
}

/// A quantity as decimal text without needless zeros.
fn decimal(quantity: i128) -> String {
    let text = PicoUsd(quantity).to_string();
    match text.strip_suffix(".00") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let (keys, line) = &self.0[index];
        cells.clear();
        cells.extend_from_slice(keys);
        line.cells(cells);
    }
}

/// How much of the difference has which cause.
fn causes_table(compared: &[Compared]) -> Table {
    let mut sums: BTreeMap<Cause, [i128; 3]> = BTreeMap::new();
    for line in compared {
        let sum = sums.entry(line.cause).or_default();
        sum[0] += 1;
        sum[1] += line.price_variance;
        sum[2] += line.quantity_variance;
    }
    let rows: Vec<Vec<Cell>> = sums
        .into_iter()
        .map(|(cause, [lines, price, quantity])| {
            let money = |amount| Cell::Money(PicoUsd(amount));
            vec![
                Cell::Text(cause.name().into()),
                Cell::Count(lines),
                money(price + quantity),
                money(price),
                money(quantity),
            ]
        })
        .collect();
    let money = |name, help| Column {
        name,
        kind: Kind::Money,
        sums: true,
        help,
    };
    Table {
        name: "causes",
        columns: vec![
            Column {
                name: "cause",
                kind: Kind::Text,
                sums: false,
                help: "Why lines differ.",
            },
            Column {
                name: "lines",
                kind: Kind::Count,
                sums: true,
                help: "Lines of the finest form.",
            },
            money("delta_usd", "Actual less estimated cost."),
            money("price_variance_usd", "What is a matter of price."),
            money("quantity_variance_usd", "What is a matter of quantity."),
        ],
        rows: Box::new(rows),
    }
}
