//! Reports of requests as rows: identity of a report, what it joins with, reading and writing.

use std::hash::Hasher as _;

use rusqlite::{CachedStatement, Connection, Row, params};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::numbers::NumberHasher;
use crate::model::excess::{Amounts, CLIENT_COST, REQUESTS};
use crate::model::once::Report;
use crate::model::tokens::Tokens;
use crate::model::usage::Outcome;

type Result<T> = std::result::Result<T, StoreError>;

const CONTROL: i64 = 1;
const PROVIDER_FORM: i64 = 2;
const CLIENT: i64 = 4;

/// One report and what counting once has made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) id: i64,
    pub(super) key: [u8; 16],
    pub(super) received: i64,
    pub(super) source: i64,
    pub(super) rank: u32,
    /// Declared control-only.
    pub(super) control: bool,
    /// The request id has the provider's own form.
    pub(super) provider_form: bool,
    /// Told by the client's own events.
    pub(super) client: bool,
    pub(super) at_ms: i64,
    pub(super) booked_ms: Option<i64>,
    pub(super) identity: i64,
    pub(super) sku: i64,
    pub(super) model: i64,
    pub(super) session: Option<i64>,
    pub(super) request: Option<i64>,
    pub(super) client_request: Option<i64>,
    pub(super) reservation: Option<i64>,
    pub(super) tokens: Tokens,
    pub(super) outcome: Outcome,
    pub(super) status_code: Option<u16>,
    pub(super) duration_ms: Option<u32>,
    pub(super) ttft_ms: Option<u32>,
    pub(super) tools: Option<u32>,
    pub(super) query_source: Option<i64>,
    pub(super) entrypoint: Option<i64>,
    /// Micro-USD.
    pub(super) client_cost: Option<i64>,
    pub(super) state: State,
}

/// What counting once has made of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The best report of the request, or `None` if it stands alone.
    pub(super) group: Option<i64>,
    /// The identity under which the request counts, on its best report only.
    pub(super) counted_as: Option<i64>,
    pub(super) pin: Option<i64>,
    /// Pico-USD.
    pub(super) cost: Option<i64>,
}

impl Fact {
    /// What counting once needs to know.
    pub(super) fn report(&self) -> Report {
        Report {
            key: self.key,
            rank: self.rank,
            control: self.control,
            at_ms: self.at_ms,
            session: self.session,
            model: self.model,
            counts: self.counts(),
            request_id: self.request,
            provider_form: self.provider_form,
            client_request_id: self.client_request,
            reservation: self.reservation,
        }
    }

    fn counts(&self) -> [u64; 4] {
        let tokens = &self.tokens;
        [
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_write(),
        ]
    }

    /// The amounts that counters also know.
    pub(super) fn amounts(&self) -> Amounts {
        let mut amounts = Amounts::default();
        for (amount, count) in amounts.iter_mut().zip(self.counts()) {
            *amount = signed(count);
        }
        amounts[CLIENT_COST] = self.client_cost.unwrap_or(0);
        amounts[REQUESTS] = 1;
        amounts
    }

    /// The key under which a report with this source and id is found.
    pub(super) fn claim(&self) -> i64 {
        short_of(&self.key)
    }

    /// The keys under which reports of the same request may be found.
    pub(super) fn joins(&self) -> impl Iterator<Item = i64> + use<> {
        let counts = self.session.map(|session| {
            // Not chosen to withstand an attack: it takes the session's number to make two alike.
            let mut hash = NumberHasher::default();
            hash.write_i64(session);
            hash.write_i64(self.model);
            for count in self.counts() {
                hash.write_u64(count);
            }
            hash.finish().cast_signed()
        });
        [self.request, self.client_request, self.reservation, counts]
            .into_iter()
            .flatten()
    }
}

/// Counts are bounded at the door (`Tokens::MAX`), so this never saturates.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A hash that is the same in every build: keys on disk depend on it.
pub(super) struct Hash(Sha256);

impl Hash {
    pub(super) fn new(domain: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(domain);
        hash
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    pub(super) fn long(self) -> [u8; 16] {
        let digest: [u8; 32] = self.0.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }

    pub(super) fn short(self) -> i64 {
        short_of(&self.long())
    }
}

/// Half a key, where the other half is compared later or not needed.
pub(super) fn short_of(key: &[u8; 16]) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&key[..8]);
    i64::from_le_bytes(word)
}

/// The columns of a report, as [`fact_of`] reads them.
const COLUMNS: &str = "id, key, received, source, rank, flags, at, booked_at, identity, sku, \
    session, request, client_request, reservation, input, output, cache_read, cache_write_5m, \
    cache_write_1h, cache_write_unknown, outcome, status_code, duration_ms, ttft_ms, tools, \
    query_source, entrypoint, client_cost, grp, counted_as, pin, cost, model";

/// Rows that one statement stores.
const ROWS: usize = 16;

fn insert_of(rows: usize) -> String {
    let row = format!("({})", vec!["?"; COLUMNS.split(',').count()].join(", "));
    let rows = vec![row; rows].join(", ");
    format!("INSERT INTO fact ({COLUMNS}) VALUES {rows}")
}

/// The statements that read and write reports.
pub(super) struct Statements<'c> {
    select: CachedStatement<'c>,
    after: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    insert_rows: CachedStatement<'c>,
    update: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self> {
        let prepare = |sql: &str| {
            connection
                .prepare_cached(sql)
                .map_err(StoreError::sql("prepare"))
        };
        Ok(Self {
            select: prepare(&format!("SELECT {COLUMNS} FROM fact WHERE id = ?"))?,
            after: prepare(&format!(
                "SELECT {COLUMNS} FROM fact WHERE id > ? ORDER BY id LIMIT ?"
            ))?,
            insert: prepare(&insert_of(1))?,
            insert_rows: prepare(&insert_of(ROWS))?,
            update: prepare(
                "UPDATE fact SET grp = ?, counted_as = ?, pin = ?, cost = ? WHERE id = ?",
            )?,
        })
    }

    /// Reads a report; `None` if it was pruned.
    pub(super) fn select(&mut self, id: i64) -> Result<Option<Fact>> {
        let mut rows = self
            .select
            .query([id])
            .map_err(StoreError::sql("read a report"))?;
        let row = rows.next().map_err(StoreError::sql("read a report"))?;
        row.map(fact_of)
            .transpose()
            .map_err(StoreError::sql("read a report"))
    }

    /// Reads the reports after a number, `limit` at most, in order of arrival.
    pub(super) fn after(&mut self, id: i64, limit: usize) -> Result<Vec<Fact>> {
        self.after
            .query_map(params![id, limit], fact_of)
            .and_then(Iterator::collect)
            .map_err(StoreError::sql("read the newest reports"))
    }

    /// Stores new reports, several with each statement.
    pub(super) fn insert(&mut self, facts: &[Fact]) -> Result<()> {
        let (chunks, rest) = facts.as_chunks::<ROWS>();
        let doing = "store a report";
        for chunk in chunks {
            bind_rows(&mut self.insert_rows, chunk)
                .and_then(|()| self.insert_rows.raw_execute())
                .map_err(StoreError::sql(doing))?;
        }
        for fact in rest {
            bind_rows(&mut self.insert, std::slice::from_ref(fact))
                .and_then(|()| self.insert.raw_execute())
                .map_err(StoreError::sql(doing))?;
        }
        Ok(())
    }

    pub(super) fn update(&mut self, id: i64, state: &State) -> Result<()> {
        self.update
            .execute(params![
                state.group,
                state.counted_as,
                state.pin,
                state.cost,
                id
            ])
            .map(drop)
            .map_err(StoreError::sql("store what counts"))
    }
}

fn bind_rows(insert: &mut CachedStatement<'_>, facts: &[Fact]) -> rusqlite::Result<()> {
    let mut place = 0;
    for fact in facts {
        let flags = if fact.control { CONTROL } else { 0 }
            | if fact.provider_form { PROVIDER_FORM } else { 0 }
            | if fact.client { CLIENT } else { 0 };
        let outcome = Outcome::ALL.iter().position(|o| *o == fact.outcome);
        let tokens = &fact.tokens;
        let state = &fact.state;
        let columns: [Option<i64>; 31] = [
            Some(fact.received),
            Some(fact.source),
            Some(fact.rank.into()),
            Some(flags),
            Some(fact.at_ms),
            fact.booked_ms,
            Some(fact.identity),
            Some(fact.sku),
            fact.session,
            fact.request,
            fact.client_request,
            fact.reservation,
            Some(signed(tokens.input)),
            Some(signed(tokens.output)),
            Some(signed(tokens.cache_read)),
            Some(signed(tokens.cache_write_5m)),
            Some(signed(tokens.cache_write_1h)),
            Some(signed(tokens.cache_write_unknown)),
            outcome.and_then(|place| i64::try_from(place).ok()),
            fact.status_code.map(Into::into),
            fact.duration_ms.map(Into::into),
            fact.ttft_ms.map(Into::into),
            fact.tools.map(Into::into),
            fact.query_source,
            fact.entrypoint,
            fact.client_cost,
            state.group,
            state.counted_as,
            state.pin,
            state.cost,
            Some(fact.model),
        ];
        insert.raw_bind_parameter(place + 1, fact.id)?;
        insert.raw_bind_parameter(place + 2, fact.key)?;
        place += 2;
        for column in columns {
            place += 1;
            insert.raw_bind_parameter(place, column)?;
        }
    }
    Ok(())
}

fn fact_of(row: &Row<'_>) -> rusqlite::Result<Fact> {
    let flags: i64 = row.get(5)?;
    let outcome: usize = row.get(20)?;
    Ok(Fact {
        id: row.get(0)?,
        key: row.get(1)?,
        received: row.get(2)?,
        source: row.get(3)?,
        rank: row.get(4)?,
        control: flags & CONTROL != 0,
        provider_form: flags & PROVIDER_FORM != 0,
        client: flags & CLIENT != 0,
        at_ms: row.get(6)?,
        booked_ms: row.get(7)?,
        identity: row.get(8)?,
        sku: row.get(9)?,
        model: row.get(32)?,
        session: row.get(10)?,
        request: row.get(11)?,
        client_request: row.get(12)?,
        reservation: row.get(13)?,
        tokens: Tokens {
            input: row.get(14)?,
            output: row.get(15)?,
            cache_read: row.get(16)?,
            cache_write_5m: row.get(17)?,
            cache_write_1h: row.get(18)?,
            cache_write_unknown: row.get(19)?,
        },
        outcome: Outcome::ALL.get(outcome).copied().unwrap_or_default(),
        status_code: row.get(21)?,
        duration_ms: row.get(22)?,
        ttft_ms: row.get(23)?,
        tools: row.get(24)?,
        query_source: row.get(25)?,
        entrypoint: row.get(26)?,
        client_cost: row.get(27)?,
        state: State {
            group: row.get(28)?,
            counted_as: row.get(29)?,
            pin: row.get(30)?,
            cost: row.get(31)?,
        },
    })
}
