//! Sums of roll-ups over a range, from the largest that answer a question exactly.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Params, Row};

use super::day_sheet;
use super::rollup::Sums;
use super::span::{Kind, Spans, quarter_of, start_of};
use super::{QueryError, StoreError};
use crate::model::query::{Dimension, UsageQuery};

type Result<T> = std::result::Result<T, StoreError>;

/// A piece of the range, and the roll-up that answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// `None`: quarter hours.
    kind: Option<Kind>,
    from: i64,
    to: i64,
}

/// Of what a row of a roll-up is the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The quarter hour with which it begins.
    pub(super) start: i64,
    pub(super) identity: i64,
    pub(super) sku: i64,
}

impl Place {
    /// Reads the first three columns of a row.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            start: row.get(0)?,
            identity: row.get(1)?,
            sku: row.get(2)?,
        })
    }
}

/// Reads the sums of a query's range from the largest roll-ups that answer it exactly, in order
/// of time. Returns the range that they are of: that of the query, widened to the quarter hours,
/// or to the days, that are kept.
pub(super) fn each_sum(
    connection: &Connection,
    query: &UsageQuery,
    spans: &Spans,
    edges: &[Timestamp],
    mut visit: impl FnMut(Place, &Sums) -> std::result::Result<(), QueryError>,
) -> std::result::Result<Range<Timestamp>, QueryError> {
    let segments = segments(connection, query, spans, edges)?;
    let covered = match (segments.first(), segments.last()) {
        (Some(first), Some(last)) => start_of(first.from)..start_of(last.to),
        _ => query.from..query.to,
    };
    for Segment { kind, from, to } in segments {
        match kind {
            None => each_row(connection, QUARTERS, [from, to], &mut visit)?,
            Some(Kind::UtcDay) => {
                for start in day_sheet::days(from..to) {
                    each_of_day(connection, start, &mut visit)?;
                }
            }
            Some(kind) => {
                each_row(connection, SPANS, [from, to, kind.number()], &mut visit)?;
            }
        }
    }
    Ok(covered)
}

/// Refuses groups that are finer than what is kept of the range: hours, and days and months of a
/// zone that is neither UTC nor the configured one.
///
/// Errors: [`QueryError::TooFine`].
pub(super) fn check_kept(query: &UsageQuery, spans: &Spans) -> std::result::Result<(), QueryError> {
    let from = quarter_of(query.from.as_millisecond());
    if !spans.quarters_are_gone(from) {
        return Ok(());
    }
    let by = |dimension| query.group_by.contains(&dimension);
    let by_day = by(Dimension::Day) || by(Dimension::Month);
    let zones = match spans.zone().iana_name() {
        None | Some("UTC") => "UTC".to_owned(),
        Some(home) => format!("UTC and {home}"),
    };
    let mend = if by(Dimension::Hour) {
        "group by day".to_owned()
    } else if by_day && !usable(query, spans).iter().any(|k| spans.is_told(*k, from)) {
        "use such a zone".to_owned()
    } else {
        return Ok(());
    };
    let kept_from = spans.first_kept();
    Err(QueryError::TooFine(format!(
        "before {kept_from} only whole days in {zones} are kept: {mend}, or begin later"
    )))
}

/// Reads the rows of a UTC day, from its sheet if it has one.
fn each_of_day(
    connection: &Connection,
    start: i64,
    visit: &mut impl FnMut(Place, &Sums) -> std::result::Result<(), QueryError>,
) -> std::result::Result<(), QueryError> {
    let Some(parts) = day_sheet::read(connection, start)? else {
        let day = [start, start + 1, Kind::UtcDay.number()];
        return each_row(connection, SPANS, day, visit);
    };
    for part in parts {
        let sku = part.sku;
        for (identity, sums) in part.rows() {
            let place = Place {
                start,
                identity,
                sku,
            };
            visit(place, &sums)?;
        }
    }
    Ok(())
}

const QUARTERS: &str = "SELECT quarter, identity, sku, requests, errors, input, output, \
    cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced \
    FROM usage_quarter WHERE quarter >= ?1 AND quarter < ?2 ORDER BY quarter";

const SPANS: &str = "SELECT start, identity, sku, requests, errors, input, output, \
    cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced \
    FROM usage_span WHERE start >= ?1 AND start < ?2 AND span = ?3 ORDER BY start";

fn each_row(
    connection: &Connection,
    sql: &'static str,
    parameters: impl Params,
    visit: &mut impl FnMut(Place, &Sums) -> std::result::Result<(), QueryError>,
) -> std::result::Result<(), QueryError> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(StoreError::sql("prepare a question"))?;
    let mut rows = statement
        .query(parameters)
        .map_err(StoreError::sql("ask for usage"))?;
    while let Some(row) = rows.next().map_err(StoreError::sql("read usage"))? {
        let place = Place::of(row).map_err(StoreError::sql("read usage"))?;
        let sums = sums_of(row).map_err(StoreError::sql("read usage"))?;
        visit(place, &sums)?;
    }
    Ok(())
}

/// Cuts a range into the largest roll-ups that answer it exactly.
fn segments(
    connection: &Connection,
    query: &UsageQuery,
    spans: &Spans,
    edges: &[Timestamp],
) -> Result<Vec<Segment>> {
    let mut from = quarter_of(query.from.as_millisecond());
    let to = quarter_of(query.to.as_millisecond() + 899_999);
    let kinds = usable(query, spans);
    // Where quarter hours are gone, whole days are the finest there is, whatever is asked for.
    let days = [Kind::ZoneDay, Kind::UtcDay].into_iter();
    let days = days.filter(|kind| *kind == Kind::UtcDay || kinds.contains(kind));
    let day_from = |at| {
        let mut days = days.clone().filter(|kind| spans.is_told(*kind, at));
        days.find(|kind| spans.span(*kind, at).start == at)
    };
    if spans.quarters_are_gone(from) && day_from(from).is_none() {
        from = spans.span(Kind::UtcDay, from).start;
    }
    let mut stale: Vec<(Kind, BTreeSet<i64>)> = Vec::with_capacity(kinds.len());
    for kind in kinds.iter().copied() {
        stale.push((kind, Spans::stale(connection, kind)?));
    }
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = from;
    while at < to {
        let whole = stale.iter().find_map(|(kind, stale)| {
            let span = spans.span(*kind, at);
            let fits = span.start == at
                && span.end <= to
                && spans.is_rolled(*kind, at)
                && !stale.contains(&at)
                && !changes_within(edges, &span);
            fits.then_some((*kind, span.end))
        });
        let (kind, end) = match whole {
            Some((kind, end)) => (Some(kind), end),
            None if spans.quarters_are_gone(at) => {
                let kind = day_from(at).unwrap_or(Kind::UtcDay);
                (Some(kind), spans.span(kind, at).end)
            }
            None => (None, spans.next_edge(at).min(to)),
        };
        match segments.last_mut() {
            Some(last) if last.kind == kind && last.to == at => last.to = end,
            _ => segments.push(Segment {
                kind,
                from: at,
                to: end,
            }),
        }
        at = end;
    }
    Ok(segments)
}

/// True if the directory changes inside a span: then its sums belong to more than one person or
/// team.
fn changes_within(edges: &[Timestamp], span: &Range<i64>) -> bool {
    let first = edges.partition_point(|edge| *edge <= start_of(span.start));
    edges
        .get(first)
        .is_some_and(|edge| *edge < start_of(span.end))
}

/// The kinds of roll-ups that a query can use, largest first.
fn usable(query: &UsageQuery, spans: &Spans) -> Vec<Kind> {
    let same_zone = |zone: &TimeZone| zone.iana_name() == query.zone.iana_name();
    let utc = query.zone == TimeZone::UTC || same_zone(&TimeZone::UTC);
    let home = same_zone(spans.zone());
    let by = |dimension| query.group_by.contains(&dimension);
    if by(Dimension::Hour) {
        return Vec::new();
    }
    let in_zone = by(Dimension::Day) || by(Dimension::Month);
    let mut kinds = Vec::new();
    if !by(Dimension::Day) {
        if utc || !in_zone {
            kinds.push(Kind::UtcMonth);
        }
        if home || !in_zone {
            kinds.push(Kind::ZoneMonth);
        }
    }
    if utc || !in_zone {
        kinds.push(Kind::UtcDay);
    }
    if home || !in_zone {
        kinds.push(Kind::ZoneDay);
    }
    kinds
}

pub(super) fn sums_of(row: &Row<'_>) -> rusqlite::Result<Sums> {
    let mut tokens = [0; 6];
    for (place, count) in tokens.iter_mut().enumerate() {
        *count = row.get(5 + place)?;
    }
    Ok(Sums {
        requests: row.get(3)?,
        errors: row.get(4)?,
        tokens,
        cost: row.get(11)?,
        unpriced: row.get(12)?,
    })
}
