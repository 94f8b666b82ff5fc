//! From what was found to tables.
#![deny(clippy::float_arithmetic)]

use std::sync::Arc;

use super::outcome::{ACHIEVED_BATCH, GroupBy, Key, Line, Opportunity, Outcomes, Sum};
use crate::model::money::PicoUsd;
use crate::model::saving::batch_limits;
use crate::report::table::{Cell, Column, Kind, Rows, Table};

/// All tables: the savings themselves first.
pub(super) fn of(found: &Outcomes, group_by: &[GroupBy]) -> Vec<Table> {
    vec![
        savings(found, group_by),
        summary(found),
        batches(found),
        left_out(found),
    ]
}

/// Whether a sum tells what was saved, or what could be.
fn is_achieved(key: &Key) -> bool {
    key.opportunity == Opportunity::Cache || key.rule == ACHIEVED_BATCH
}

/// What was saved is what would have been paid, less what was.
fn achieved(key: &Key, sum: &Sum) -> Option<PicoUsd> {
    is_achieved(key).then(|| PicoUsd(sum.saving().0.saturating_neg()))
}

fn potential(key: &Key, sum: &Sum) -> Option<PicoUsd> {
    (!is_achieved(key)).then(|| sum.saving())
}

fn money(amount: Option<PicoUsd>) -> Cell {
    amount.map_or(Cell::Empty, Cell::Money)
}

fn text(text: &str) -> Cell {
    if text.is_empty() {
        return Cell::Empty;
    }
    Cell::Text(text.into())
}

/// A share in millionths, rounded down; nothing of nothing is not known.
fn ratio(part: i128, whole: i128) -> Cell {
    let share = part
        .checked_mul(1_000_000)
        .and_then(|part| part.checked_div(whole));
    share.map_or(Cell::Empty, |share| {
        Cell::Ratio(i64::try_from(share).unwrap_or(i64::MAX))
    })
}

const SAVINGS: [Column; 13] = [
    Column::of(
        "opportunity",
        Kind::Text,
        "model, batch, endpoint, cache, unread_writes",
    ),
    Column::of(
        "rule",
        Kind::Text,
        "The rule that chose the requests; see docs/cost.md",
    ),
    Column::of("provider", Kind::Text, "Who was asked"),
    Column::of(
        "scope",
        Kind::Text,
        "Endpoint or region by which the price is found",
    ),
    Column::of("model", Kind::Text, "The model that was used"),
    Column::of(
        "instead",
        Kind::Text,
        "The model, endpoint or tier that would cost less",
    ),
    Column::of(
        "requests",
        Kind::Count,
        "Requests; one may be in several rows",
    ),
    Column::of(
        "sessions",
        Kind::Count,
        "Sessions, where the rule is about sessions",
    ),
    Column::of(
        "tokens",
        Kind::Count,
        "Tokens of all kinds; of unread writes the written ones",
    ),
    Column::of(
        "cost_usd",
        Kind::Money,
        "What these requests cost by the price table, in USD",
    ),
    Column::of(
        "instead_usd",
        Kind::Money,
        "What they would have cost otherwise, in USD",
    ),
    Column::summed(
        "achieved_usd",
        Kind::Money,
        "Saved already, in USD; negative if it cost more",
    ),
    Column::of(
        "potential_usd",
        Kind::Money,
        "At most this could be saved, in USD; not to be added over opportunities",
    ),
];

const HIT_RATE: Column = Column::of(
    "hit_rate",
    Kind::Ratio,
    "Share of the tokens read that came from the cache",
);

/// Rows of the first table, made when they are read.
#[derive(Debug)]
struct SavingRows {
    groups: Vec<Vec<Arc<str>>>,
    lines: Vec<Line>,
    sums: Vec<(Key, Sum)>,
}

impl Rows for SavingRows {
    fn len(&self) -> usize {
        self.sums.len()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        let (key, sum) = &self.sums[index];
        let line = &self.lines[key.line];
        cells.clear();
        cells.extend(self.groups[key.group].iter().map(|name| text(name)));
        let hit_rate = match key.opportunity {
            Opportunity::Cache => ratio(sum.cache_reads.into(), sum.context.into()),
            _ => Cell::Empty,
        };
        let sessions = match sum.sessions {
            0 => Cell::Empty,
            count => Cell::Count(count.into()),
        };
        cells.extend([
            text(key.opportunity.name()),
            text(key.rule),
            text(&line.provider),
            text(&line.scope),
            text(&line.model),
            text(&key.instead),
            Cell::Count(sum.requests.into()),
            sessions,
            Cell::Count(sum.tokens.into()),
            Cell::Money(sum.cost),
            Cell::Money(sum.instead),
            money(achieved(key, sum)),
            money(potential(key, sum)),
            hit_rate,
        ]);
    }
}

fn savings(found: &Outcomes, group_by: &[GroupBy]) -> Table {
    let split = group_by.iter().map(|by| {
        Column::of(
            by.name(),
            Kind::Text,
            "As the directory says for the time of the request",
        )
    });
    let mut sums: Vec<(Key, Sum)> = found
        .sums
        .iter()
        .map(|(key, sum)| (key.clone(), *sum))
        .collect();
    let place = |key: &Key| {
        let line = &found.lines[key.line];
        (
            found.groups[key.group].clone(),
            key.opportunity,
            line.provider.clone(),
            line.scope.clone(),
            line.model.clone(),
        )
    };
    sums.sort_by_cached_key(|(key, _)| (place(key), key.rule, key.instead.clone()));
    Table {
        name: "savings",
        columns: split.chain(SAVINGS).chain([HIT_RATE]).collect(),
        rows: Box::new(SavingRows {
            groups: found.groups.clone(),
            lines: found.lines.clone(),
            sums,
        }),
    }
}

/// One row an opportunity, and the one that may be added up.
fn summary(found: &Outcomes) -> Table {
    let of_all = |amount: PicoUsd| ratio(amount.0, found.all.cost.0);
    let mut rows = Vec::new();
    for opportunity in Opportunity::ALL {
        for is_past in [true, false] {
            let these = found
                .sums
                .iter()
                .filter(|(key, _)| key.opportunity == opportunity && is_achieved(key) == is_past);
            let mut all = Sum::default();
            these.for_each(|(_, sum)| all.add(sum));
            if all.requests == 0 && (is_past || opportunity == Opportunity::Cache) {
                continue;
            }
            let saved = if is_past {
                PicoUsd(all.saving().0.saturating_neg())
            } else {
                all.saving()
            };
            rows.push(vec![
                text(opportunity.name()),
                Cell::Count(all.requests.into()),
                Cell::Money(all.cost),
                money(is_past.then_some(saved)),
                money((!is_past).then_some(saved)),
                of_all(saved),
            ]);
        }
    }
    rows.push(vec![
        text("any_one"),
        Cell::Count(found.all.requests.into()),
        Cell::Money(found.all.cost),
        Cell::Empty,
        Cell::Money(found.any_one),
        of_all(found.any_one),
    ]);
    Table {
        name: "summary",
        columns: vec![
            Column::of(
                "opportunity",
                Kind::Text,
                "any_one: each request once, with its best measure of model, endpoint and batch",
            ),
            Column::of("requests", Kind::Count, "Requests it is about"),
            Column::of(
                "cost_usd",
                Kind::Money,
                "What they cost by the price table, in USD",
            ),
            Column::summed("achieved_usd", Kind::Money, "Saved already, in USD"),
            Column::of(
                "potential_usd",
                Kind::Money,
                "At most this could be saved, in USD",
            ),
            Column::of(
                "share",
                Kind::Ratio,
                "Of the cost of all requests looked at",
            ),
        ],
        rows: Box::new(rows),
    }
}

fn batches(found: &Outcomes) -> Table {
    let rows = found.batches.iter().map(|(line, sum)| {
        let line = &found.lines[*line];
        let limits = batch_limits(&line.provider);
        let count =
            |number: Option<u64>| number.map_or(Cell::Empty, |number| Cell::Count(number.into()));
        vec![
            text(&line.provider),
            text(&line.scope),
            text(&line.model),
            Cell::Count(sum.requests.into()),
            count(limits.map(|limits| sum.requests.div_ceil(limits.most_requests))),
            count(limits.map(|limits| limits.least_requests)),
            count(limits.map(|limits| limits.most_requests)),
            Cell::Money(sum.cost),
            Cell::Money(sum.instead),
            Cell::Money(sum.saving()),
        ]
    });
    Table {
        name: "batches",
        columns: vec![
            Column::of("provider", Kind::Text, "Who would be asked"),
            Column::of(
                "scope",
                Kind::Text,
                "Endpoint or region by which the price is found",
            ),
            Column::of("model", Kind::Text, "One batch is of one model"),
            Column::summed("requests", Kind::Count, "Requests that could have waited"),
            Column::summed(
                "batches",
                Kind::Count,
                "Batches they fill, if the provider has limits",
            ),
            Column::of("least_requests", Kind::Count, "A smaller batch is refused"),
            Column::of("most_requests", Kind::Count, "A larger batch is refused"),
            Column::summed(
                "cost_usd",
                Kind::Money,
                "What they cost by the price table, in USD",
            ),
            Column::summed(
                "batch_usd",
                Kind::Money,
                "What they would have cost in batches, in USD",
            ),
            Column::summed("potential_usd", Kind::Money, "The difference, in USD"),
        ],
        rows: Box::new(rows.collect::<Vec<_>>()),
    }
}

/// Why requests are in no potential, so that nobody takes a small one for the truth.
fn left_out(found: &Outcomes) -> Table {
    let rows = found.left_out.iter().map(|((opportunity, reason), sum)| {
        vec![
            text(opportunity.name()),
            text(reason.name()),
            Cell::Count(sum.requests.into()),
            Cell::Money(sum.cost),
            text(reason.text()),
        ]
    });
    Table {
        name: "left_out",
        columns: vec![
            Column::of("opportunity", Kind::Text, "As in the table savings"),
            Column::of("reason", Kind::Text, "Why these requests are not in it"),
            Column::of("requests", Kind::Count, "Requests"),
            Column::of(
                "cost_usd",
                Kind::Money,
                "What they cost by the price table, in USD",
            ),
            Column::of("text", Kind::Text, "The reason in words"),
        ],
        rows: Box::new(rows.collect::<Vec<_>>()),
    }
}
