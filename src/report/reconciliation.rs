//! `reconciliation`: estimate beside bill, and what the difference is made of.
//!
//! Days are UTC days, as bills have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::cost_detail::in_utc;
use super::costs::{billed_days, foreign, in_parts, note};
use super::reconcile::{Actual, Cause, Compared, Estimated, Key, Sides};
use super::table::{Cell, Column, Kind, Table};
use super::{Report, ReportError, Reports, Request, chargeback};
use crate::model::bill::{BillDay, BillLine, Charge, PricedKind, Standing};
use crate::model::cost::{By, CostDay, CostGroups};
use crate::model::money::PicoUsd;
use crate::model::rates::USD;
use crate::model::usage::{Band, Sku};
use crate::model::window::day_start;
use crate::store::Terms;

mod columns;
mod facts;
mod lines;

use columns::columns;
use facts::Facts;
use lines::Lines;

const NAME: &str = "reconciliation";

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
    let asked = [
        By::Provider,
        By::Account,
        By::Model,
        By::Scope,
        By::Region,
        By::Tier,
    ];
    let estimates = |_, _| Estimates {
        accounts: accounts.clone(),
        ..Estimates::default()
    };
    let mut unpriced = 0_u64;
    for part in in_parts(reports, days, &asked, estimates, Estimates::day).await? {
        unpriced = unpriced.saturating_add(part.unpriced);
        for (key, sum) in part.sums {
            sides.add_estimated(key, sum);
        }
    }
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

/// The estimate, taken in day by day.
#[derive(Default)]
struct Estimates {
    sums: Vec<(Key, Estimated)>,
    /// The accounts of the bill. Others are left out: there may be as many as there are people.
    accounts: BTreeSet<Arc<str>>,
    unpriced: u64,
    /// By group: the place of its key.
    places: Vec<usize>,
    /// Keys without day and kind, and what was used under them on the day.
    keys: Vec<(Key, [Estimated; PricedKind::ALL.len()])>,
    known: BTreeMap<Key, usize>,
}

impl Estimates {
    fn day(&mut self, day: &CostDay, groups: &CostGroups) {
        self.learn(groups);
        self.unpriced = self.unpriced.saturating_add(day.unpriced);
        for rows in &day.parts {
            for kind in PricedKind::ALL {
                let Some((tokens, estimate)) = day.uses(kind, rows) else {
                    continue;
                };
                let groups = &day.groups[rows.clone()];
                for ((group, tokens), estimate) in groups.iter().zip(tokens).zip(estimate) {
                    let (_, sums) = &mut self.keys[self.places[*group as usize]];
                    let sum = &mut sums[kind as usize];
                    sum.tokens += i128::from(*tokens);
                    sum.cost += i128::from(*estimate);
                }
            }
        }
        for (key, sums) in &mut self.keys {
            for (kind, sum) in PricedKind::ALL.into_iter().zip(std::mem::take(sums)) {
                if sum != Estimated::default() {
                    let key = Key {
                        day: day.date,
                        kind: Some(kind),
                        ..key.clone()
                    };
                    self.sums.push((key, sum));
                }
            }
        }
    }

    /// Learns what new groups are. There are no more keys than accounts and SKUs have together.
    fn learn(&mut self, groups: &CostGroups) {
        let known = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        for group in known..groups.count() {
            let value = |by| groups.key(group, by);
            let is_global = [By::Scope, By::Region].map(value).contains(&GLOBAL);
            let account = self.accounts.get(value(By::Account));
            let key = Key {
                day: Date::ZERO,
                provider: value(By::Provider).into(),
                account: account.cloned().unwrap_or_else(|| "".into()),
                model: value(By::Model).into(),
                charge: Charge::Tokens,
                kind: None,
                geo: if is_global { GLOBAL } else { "" }.into(),
                tier: value(By::Tier).into(),
            };
            let next = self.keys.len();
            let place = *self.known.entry(key.clone()).or_insert(next);
            self.places.push(place);
            if place == next {
                self.keys.push((key, Default::default()));
            }
        }
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
    let money = |name, help| Column::summed(name, Kind::Money, help);
    Table {
        name: "causes",
        columns: vec![
            Column::of("cause", Kind::Text, "Why lines differ."),
            Column::summed("lines", Kind::Count, "Lines of the finest form."),
            money("delta_usd", "Actual less estimated cost."),
            money("price_variance_usd", "What is a matter of price."),
            money("quantity_variance_usd", "What is a matter of quantity."),
        ],
        rows: Box::new(rows),
    }
}
