//! Questions to the ledger, answered from roll-ups on read-only connections.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row};

use super::dict::{IDENTITIES_AFTER, SKUS_AFTER, identity_of, sku_of};
use super::rollup::Sums;
use super::span::{Spans, start_of};
use super::sums::{check_kept, each_sum};
use super::terms::Terms;
use super::{QueryError, StoreError};
use crate::model::identity::Identity;
use crate::model::money::PicoUsd;
use crate::model::query::{ControlRow, Dimension, UsageQuery, UsageRow, UsageRows};
use crate::model::tokens::{TokenKind, Tokens};
use crate::model::usage::Sku;
use crate::model::window;

type Result<T> = std::result::Result<T, StoreError>;

/// Rows in one answer at most; a page of more is no use to anybody.
const MAX_ROWS: usize = 200_000;

/// A read-only connection with the dictionaries it has read so far.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) identities: HashMap<i64, Arc<Identity>>,
    pub(super) skus: HashMap<i64, Arc<Sku>>,
    last: [i64; 2],
}

/// Sums of one group in exact integers wider than a row's.
#[derive(Clone, Debug, Default)]
struct Total {
    requests: i128,
    errors: i128,
    tokens: [i128; 6],
    cost: i128,
    unpriced: i128,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            identities: HashMap::new(),
            skus: HashMap::new(),
            last: [0; 2],
        }
    }

    /// Reads what the dictionaries have gained. Numbers only grow.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let [identities, skus] = &mut self.last;
        grow(&self.connection, IDENTITIES_AFTER, identities, |id, row| {
            self.identities.insert(id, Arc::new(identity_of(row)?));
            Ok(())
        })?;
        grow(&self.connection, SKUS_AFTER, skus, |id, row| {
            self.skus.insert(id, Arc::new(sku_of(row)?));
            Ok(())
        })
    }

    /// Usage in a range, grouped.
    pub(super) fn usage(
        &mut self,
        query: &UsageQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> std::result::Result<UsageRows, QueryError> {
        self.connection
            .execute_batch("BEGIN")
            .map_err(StoreError::sql("begin to read"))?;
        let answer = self.usage_now(query, terms, spans);
        self.connection
            .execute_batch("COMMIT")
            .map_err(StoreError::sql("end reading"))?;
        answer
    }

    fn usage_now(
        &mut self,
        query: &UsageQuery,
        terms: &Terms,
        spans: &Spans,
    ) -> std::result::Result<UsageRows, QueryError> {
        self.refresh()?;
        let spans = spans.reload(&self.connection)?;
        check_kept(query, &spans)?;
        let mut totals: BTreeMap<Vec<String>, Total> = BTreeMap::new();
        let edges = terms.directory.edges();
        let mut keys = Keys::new(query, terms, &edges);
        let range = each_sum(&self.connection, query, &spans, &edges, |place, sums| {
            let Some(key) = keys.of(self, place.start, place.identity, place.sku)? else {
                return Ok(());
            };
            if totals.len() >= MAX_ROWS && !totals.contains_key(key) {
                return Err(QueryError::TooLarge(format!(
                    "the answer has more than {MAX_ROWS} rows: ask for less"
                )));
            }
            if let Some(total) = totals.get_mut(key) {
                total.add(sums);
            } else {
                let mut total = Total::default();
                total.add(sums);
                totals.insert(key.to_vec(), total);
            }
            Ok(())
        })?;
        Ok(UsageRows {
            range,
            rows: rows_of(query, totals),
        })
    }

    /// Control totals by day, source and model.
    pub(super) fn control(&mut self, from_day: i64, to_day: i64) -> Result<Vec<ControlRow>> {
        self.refresh()?;
        let mut rows: BTreeMap<[String; 4], [u64; 14]> = BTreeMap::new();
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT day, source.name, sku, requests, counted_requests, input, output, \
                 cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, counted_input, \
                 counted_output, counted_cache_read, counted_cache_write_5m, \
                 counted_cache_write_1h, counted_cache_write_unknown FROM control_day \
                 JOIN source ON source.id = control_day.source WHERE day >= ? AND day < ?",
            )
            .map_err(StoreError::sql("prepare a question"))?;
        let mut found = select
            .query([from_day, to_day])
            .map_err(StoreError::sql("ask for control totals"))?;
        while let Some(row) = found.next().map_err(StoreError::sql("read totals"))? {
            let (key, counts) = (|| {
                let day: i64 = row.get(0)?;
                let source: String = row.get(1)?;
                let sku = self.skus.get(&row.get(2)?);
                let (provider, model) =
                    sku.map_or(("", ""), |sku| (sku.provider.as_ref(), sku.model.as_ref()));
                let day = start_of(day * 96)
                    .to_zoned(TimeZone::UTC)
                    .date()
                    .to_string();
                let mut counts = [0; 14];
                for (place, count) in counts.iter_mut().enumerate() {
                    let value: i64 = row.get(3 + place)?;
                    *count = value.max(0).unsigned_abs();
                }
                Ok(([day, source, provider.to_owned(), model.to_owned()], counts))
            })()
            .map_err(StoreError::sql("read totals"))?;
            let sums = rows.entry(key).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        Ok(rows
            .into_iter()
            .map(|([day, source, provider, model], counts)| ControlRow {
                source,
                provider,
                model,
                day,
                reported_requests: counts[0],
                counted_requests: counts[1],
                reported: tokens_of(&counts[2..8]),
                counted: tokens_of(&counts[8..14]),
            })
            .collect())
    }
}

/// Builds the group keys of rows, with a memory of what it has looked up.
struct Keys<'q> {
    query: &'q UsageQuery,
    terms: &'q Terms,
    times: HashMap<i64, Vec<String>>,
    /// The times at which the directory changes.
    edges: &'q [Timestamp],
    /// By identity and the number of edges passed.
    people: HashMap<(i64, usize), Option<Vec<String>>>,
    key: Vec<String>,
}

impl<'q> Keys<'q> {
    fn new(query: &'q UsageQuery, terms: &'q Terms, edges: &'q [Timestamp]) -> Self {
        Self {
            query,
            terms,
            edges,
            times: HashMap::new(),
            people: HashMap::new(),
            key: Vec::new(),
        }
    }

    /// The key of a row, or `None` if the query does not ask for it.
    fn of(
        &mut self,
        reader: &Reader,
        start: i64,
        identity: i64,
        sku: i64,
    ) -> Result<Option<&[String]>> {
        let who = reader
            .identities
            .get(&identity)
            .ok_or(StoreError::Dangling { id: identity })?;
        let what = reader
            .skus
            .get(&sku)
            .ok_or(StoreError::Dangling { id: sku })?;
        let (query, terms) = (self.query, self.terms);
        let at = start_of(start);
        let epoch = self.edges.partition_point(|edge| *edge <= at);
        let person = self.people.entry((identity, epoch)).or_insert_with(|| {
            let attributed = terms.attribute(who, at);
            if query
                .user
                .as_ref()
                .is_some_and(|user| **user != *attributed.user)
            {
                return None;
            }
            let parts = query.group_by.iter().filter_map(|dimension| {
                let part: Cow<'_, str> = match dimension {
                    Dimension::User => attributed.user.clone(),
                    Dimension::Team => attributed.team.unwrap_or_default().into(),
                    Dimension::Project => attributed.project.unwrap_or_default().into(),
                    Dimension::CostCenter => attributed.cost_center.unwrap_or_default().into(),
                    _ => return None,
                };
                Some(part.into_owned())
            });
            Some(parts.collect())
        });
        let Some(person) = person else {
            return Ok(None);
        };
        let time = self.times.entry(start).or_insert_with(|| {
            let zone = &query.zone;
            let parts = query
                .group_by
                .iter()
                .filter_map(|dimension| match dimension {
                    Dimension::Month => Some(window::month_key(at, zone)),
                    Dimension::Day => Some(window::day_key(at, zone)),
                    Dimension::Hour => Some(window::hour_key(at, zone)),
                    _ => None,
                });
            parts.collect()
        });
        self.key.resize(query.group_by.len(), String::new());
        let (mut person, mut time) = (person.iter(), time.iter());
        for (slot, dimension) in self.key.iter_mut().zip(&query.group_by) {
            let part = match dimension {
                Dimension::Provider => Some(&*what.provider),
                Dimension::Model => Some(&*what.model),
                Dimension::Month | Dimension::Day | Dimension::Hour => {
                    time.next().map(String::as_str)
                }
                Dimension::TokenType => None,
                _ => person.next().map(String::as_str),
            };
            slot.clear();
            slot.push_str(part.unwrap_or_default());
        }
        Ok(Some(&self.key))
    }
}

impl Total {
    fn add(&mut self, sums: &Sums) {
        self.requests += i128::from(sums.requests);
        self.errors += i128::from(sums.errors);
        for (total, count) in self.tokens.iter_mut().zip(sums.tokens) {
            *total += i128::from(count);
        }
        self.cost += i128::from(sums.cost);
        self.unpriced += i128::from(sums.unpriced);
    }

    fn is_empty(&self) -> bool {
        self.requests == 0 && self.tokens == [0; 6] && self.cost == 0
    }
}

fn rows_of(query: &UsageQuery, totals: BTreeMap<Vec<String>, Total>) -> Vec<UsageRow> {
    let by_type = query.group_by.contains(&Dimension::TokenType);
    let mut rows = Vec::with_capacity(totals.len());
    for (keys, total) in totals {
        if total.is_empty() {
            continue;
        }
        let row = row_of(keys, &total);
        if !by_type {
            rows.push(row);
            continue;
        }
        for kind in TokenKind::ALL {
            let mut keys = row.keys.clone();
            for (key, dimension) in keys.iter_mut().zip(&query.group_by) {
                if *dimension == Dimension::TokenType {
                    kind.label().clone_into(key);
                }
            }
            let count = row.tokens;
            let tokens = match kind {
                TokenKind::Input => Tokens {
                    input: count.input,
                    ..Tokens::default()
                },
                TokenKind::Output => Tokens {
                    output: count.output,
                    ..Tokens::default()
                },
                TokenKind::CacheRead => Tokens {
                    cache_read: count.cache_read,
                    ..Tokens::default()
                },
                TokenKind::CacheCreation => Tokens {
                    input: 0,
                    output: 0,
                    cache_read: 0,
                    ..count
                },
            };
            rows.push(UsageRow {
                keys,
                tokens,
                ..row.clone()
            });
        }
    }
    rows.sort_by(|a, b| a.keys.cmp(&b.keys));
    rows
}

fn row_of(keys: Vec<String>, total: &Total) -> UsageRow {
    let count = |value: i128| u64::try_from(value).unwrap_or(0);
    let [input, output, read, short, long, unknown] = total.tokens.map(count);
    UsageRow {
        keys,
        requests: count(total.requests),
        errors: count(total.errors),
        tokens: Tokens {
            input,
            output,
            cache_read: read,
            cache_write_5m: short,
            cache_write_1h: long,
            cache_write_unknown: unknown,
        },
        cost: PicoUsd(total.cost),
        unpriced_tokens: count(total.unpriced),
    }
}

fn tokens_of(counts: &[u64]) -> Tokens {
    Tokens {
        input: counts[0],
        output: counts[1],
        cache_read: counts[2],
        cache_write_5m: counts[3],
        cache_write_1h: counts[4],
        cache_write_unknown: counts[5],
    }
}

fn grow(
    connection: &Connection,
    sql: &str,
    last: &mut i64,
    mut take: impl FnMut(i64, &Row<'_>) -> rusqlite::Result<()>,
) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut select| {
            let mut rows = select.query([*last])?;
            while let Some(row) = rows.next()? {
                *last = row.get(0)?;
                take(*last, row)?;
            }
            Ok(())
        })
        .map_err(StoreError::sql("read a dictionary"))
}
