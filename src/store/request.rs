//! Single requests as they count, read one after another.
//!
//! For reports that have to look at each request. They are there for as long as raw reports are
//! kept (`store.retain_raw`).

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{CachedStatement, OptionalExtension, Row, params};

use super::query::Reader;
use super::{Ledger, QueryError, StoreError};
use crate::model::identity::Identity;
use crate::model::tokens::Tokens;
use crate::model::usage::{Outcome, Sku};

type Result<T> = std::result::Result<T, StoreError>;

/// Names of query sources and entrypoints remembered; they are few, unless somebody invents them.
const MAX_LABELS: usize = 10_000;

/// A report may be of usage an hour ahead of its arrival, so a day earlier has them all.
const MARGIN_DAYS: i64 = 1;

const SECONDS_PER_DAY: i64 = 86_400;

/// One request that counts, with what any of its reports told.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub at: Timestamp,
    /// The same number is the same identity.
    pub identity_id: i64,
    pub identity: Arc<Identity>,
    /// The same number is the same SKU.
    pub sku_id: i64,
    pub sku: Arc<Sku>,
    /// The same number is the same session.
    pub session: Option<i64>,
    pub tokens: Tokens,
    pub outcome: Outcome,
    pub tools: Option<u32>,
    pub query_source: Option<Arc<str>>,
    pub entrypoint: Option<Arc<str>>,
}

const SELECT: &str = "SELECT at, counted_as, sku, session, input, output, cache_read, \
    cache_write_5m, cache_write_1h, cache_write_unknown, outcome, tools, query_source, \
    entrypoint, grp FROM fact \
    WHERE id >= ?1 AND counted_as IS NOT NULL AND at >= ?2 AND at < ?3 ORDER BY id";

/// What the reports of one request tell together.
const MEMBERS: &str = "SELECT max(session), max(tools), max(query_source), max(entrypoint) \
    FROM fact WHERE grp = ?";

const LABEL: &str = "SELECT text FROM label WHERE id = ?";

impl Ledger {
    /// Shows `visit` each request of a half-open range that counts, in order of arrival, with
    /// `state` to gather what it needs. Only one request is in memory at a time.
    pub async fn fold_requests<S: Send + 'static>(
        &self,
        from: Timestamp,
        to: Timestamp,
        state: S,
        visit: impl FnMut(&mut S, &Counted) + Send + 'static,
    ) -> std::result::Result<S, QueryError> {
        self.read(move |reader| {
            let (mut state, mut visit) = (state, visit);
            reader.begin()?;
            let read = reader.requests(from, to, |counted| visit(&mut state, counted));
            reader.end()?;
            read?;
            Ok(state)
        })
        .await
    }
}

impl Reader {
    pub(super) fn begin(&self) -> Result<()> {
        self.connection
            .execute_batch("BEGIN")
            .map_err(StoreError::sql("begin to read"))
    }

    pub(super) fn end(&self) -> Result<()> {
        self.connection
            .execute_batch("COMMIT")
            .map_err(StoreError::sql("end reading"))
    }

    fn requests(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        mut visit: impl FnMut(&Counted),
    ) -> Result<()> {
        self.refresh()?;
        let prepare = |sql| {
            self.connection
                .prepare_cached(sql)
                .map_err(StoreError::sql("prepare to read requests"))
        };
        let mut members = prepare(MEMBERS)?;
        let mut labels = Labels {
            select: prepare(LABEL)?,
            known: HashMap::new(),
        };
        let first = self.first_received(from)?;
        let mut select = prepare(SELECT)?;
        let mut rows = select
            .query(params![first, from.as_millisecond(), to.as_millisecond()])
            .map_err(StoreError::sql("read requests"))?;
        while let Some(row) = rows.next().map_err(StoreError::sql("read requests"))? {
            let told = told(row, &mut members).map_err(StoreError::sql("read a request"))?;
            let mut counted = self.counted(row)?;
            counted.session = told.session;
            counted.tools = told.tools;
            counted.query_source = labels.text(told.query_source)?;
            counted.entrypoint = labels.text(told.entrypoint)?;
            visit(&counted);
        }
        Ok(())
    }

    fn counted(&self, row: &Row<'_>) -> Result<Counted> {
        let (identity_id, sku_id): (i64, i64) = row
            .get(1)
            .and_then(|identity| Ok((identity, row.get(2)?)))
            .map_err(StoreError::sql("read a request"))?;
        let identity = self.identities.get(&identity_id);
        let identity = identity.ok_or(StoreError::Dangling { id: identity_id })?;
        let sku = self.skus.get(&sku_id);
        let sku = sku.ok_or(StoreError::Dangling { id: sku_id })?;
        let (at, tokens, outcome) = measured(row).map_err(StoreError::sql("read a request"))?;
        Ok(Counted {
            at,
            identity_id,
            identity: identity.clone(),
            sku_id,
            sku: sku.clone(),
            session: None,
            tokens,
            outcome,
            tools: None,
            query_source: None,
            entrypoint: None,
        })
    }

    /// The first report that may tell of usage at or after a time. Reports are numbered in order
    /// of arrival, so it is found by halving.
    fn first_received(&self, from: Timestamp) -> Result<i64> {
        let day = from.as_second().div_euclid(SECONDS_PER_DAY) - MARGIN_DAYS;
        let doing = "find the first report";
        let (mut low, mut high): (i64, i64) = self
            .connection
            .query_row(
                "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM fact",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(StoreError::sql(doing))?;
        let mut received = self
            .connection
            .prepare_cached("SELECT received FROM fact WHERE id >= ? ORDER BY id LIMIT 1")
            .map_err(StoreError::sql(doing))?;
        while low < high {
            let middle = low + (high - low) / 2;
            let came: Option<i64> = received
                .query_row([middle], |row| row.get(0))
                .optional()
                .map_err(StoreError::sql(doing))?;
            if came.is_some_and(|came| came < day) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// What may be in any report of a request.
struct Told {
    session: Option<i64>,
    tools: Option<u32>,
    query_source: Option<i64>,
    entrypoint: Option<i64>,
}

fn told(row: &Row<'_>, members: &mut CachedStatement<'_>) -> rusqlite::Result<Told> {
    let mut told = Told {
        session: row.get(3)?,
        tools: row.get(11)?,
        query_source: row.get(12)?,
        entrypoint: row.get(13)?,
    };
    let group: Option<i64> = row.get(14)?;
    if let Some(group) = group {
        members.query_row([group], |row| {
            told.session = told.session.or(row.get(0)?);
            told.tools = told.tools.or(row.get(1)?);
            told.query_source = told.query_source.or(row.get(2)?);
            told.entrypoint = told.entrypoint.or(row.get(3)?);
            Ok(())
        })?;
    }
    Ok(told)
}

fn measured(row: &Row<'_>) -> rusqlite::Result<(Timestamp, Tokens, Outcome)> {
    let at = Timestamp::from_millisecond(row.get(0)?).unwrap_or(Timestamp::UNIX_EPOCH);
    let tokens = Tokens {
        input: row.get(4)?,
        output: row.get(5)?,
        cache_read: row.get(6)?,
        cache_write_5m: row.get(7)?,
        cache_write_1h: row.get(8)?,
        cache_write_unknown: row.get(9)?,
    };
    let outcome: usize = row.get(10)?;
    let outcome = Outcome::ALL.get(outcome).copied().unwrap_or_default();
    Ok((at, tokens, outcome))
}

/// Texts by number, the latest in memory.
struct Labels<'c> {
    select: CachedStatement<'c>,
    known: HashMap<i64, Arc<str>>,
}

impl Labels<'_> {
    fn text(&mut self, id: Option<i64>) -> Result<Option<Arc<str>>> {
        let Some(id) = id else {
            return Ok(None);
        };
        if let Some(text) = self.known.get(&id) {
            return Ok(Some(text.clone()));
        }
        let text: String = self
            .select
            .query_row([id], |row| row.get(0))
            .optional()
            .map_err(StoreError::sql("read a name"))?
            .ok_or(StoreError::Dangling { id })?;
        if self.known.len() >= MAX_LABELS {
            self.known.clear();
        }
        let text: Arc<str> = text.into();
        self.known.insert(id, text.clone());
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::clock::Clock;
    use crate::model::usage::{Intake, UsageRecord};
    use crate::store::{Settings, Terms};

    const NOON: &str = "2026-11-22T12:00:00Z";

    fn record(source: &str, id: &str, at: &str) -> UsageRecord {
        UsageRecord {
            request_id: Some("req_1".into()),
            sku: Arc::new(Sku::plain("claude-opus-4-8")),
            tokens: Tokens {
                input: 7,
                output: 3,
                ..Tokens::default()
            },
            ..UsageRecord::plain(source, id, at.parse().unwrap())
        }
    }

    #[tokio::test]
    async fn a_request_that_two_sources_told_is_read_once_with_what_both_know() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: folder.path().to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Terms {
            order: ["gateway", "events"].map(str::to_owned).to_vec(),
            ..Terms::default()
        };
        let clock = Clock::manual(NOON.parse().unwrap());
        let opened = Ledger::open(&settings, Arc::new(ArcSwap::from_pointee(terms)), clock);
        let (ledger, thread) = opened.unwrap().start(Box::new(|_, _| {})).unwrap();
        let gateway = UsageRecord {
            tools: Some(4),
            ..record("gateway", "g", "2026-11-22T11:00:00Z")
        };
        let event = UsageRecord {
            query_source: Some("repl_main_thread".into()),
            entrypoint: Some("cli".into()),
            ..record("events", "e", "2026-11-22T11:00:01Z")
        };
        let earlier = UsageRecord {
            request_id: None,
            ..record("gateway", "before", "2026-11-22T10:59:59Z")
        };
        let intake = Intake {
            records: vec![gateway, event, earlier],
            ..Intake::default()
        };
        ledger.append(intake).await.unwrap();
        let from = "2026-11-22T11:00:00Z".parse().unwrap();
        let to = NOON.parse().unwrap();
        let read = |all: &mut Vec<Counted>, one: &Counted| all.push(one.clone());
        let all = ledger.fold_requests(from, to, Vec::new(), read).await;
        let all: Vec<_> = all.unwrap();
        let told: Vec<_> = all
            .iter()
            .map(|one| {
                let name = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
                (
                    one.at,
                    one.tools,
                    name(&one.query_source),
                    name(&one.entrypoint),
                )
            })
            .collect();
        assert_eq!(
            told,
            [(
                from,
                Some(4),
                Some("repl_main_thread".to_owned()),
                Some("cli".to_owned())
            )]
        );
        ledger.close();
        thread.join();
    }
}
