//! Merged changes and what trackers tell, each counted once however often it is told, and the
//! activities that business figures are made of.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::dict::{IDENTITIES_AFTER, identity_of};
use super::minute::add_totals;
use super::published::SEPARATOR;
use super::span::quarter_of;
use super::terms::{BusinessTerms, Terms};
use super::{Ledger, LeftOut, QueryError, StoreError, alarm};
use crate::model::business::{BusinessEvent, MICRO};
use crate::model::directory::Kind;
use crate::model::identity::Identity;
use crate::model::usage::ActivityMetric;

type Result<T> = std::result::Result<T, StoreError>;

/// Changes and events kept at most: fifty a person in a company of 20,000.
const MAX_EVENTS: i64 = 1_000_000;

/// One delivery of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub source: &'static str,
    /// The same each time it is sent.
    pub id: Box<str>,
}

/// What became of what was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    New,
    /// It was known and stands otherwise now.
    Changed,
    /// Known as it is, or told of an earlier time.
    Unchanged,
    /// The delivery came before.
    Replayed,
    /// Known under this id as something else; nothing was changed.
    Conflict,
}

/// Fixed bugs as they are published, by whether Claude Code took part: `yes`, `no`, `unknown`.
pub type BugsPublished = Vec<(Box<str>, u64)>;

/// What a change of business events did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessEffect {
    pub taken: Taken,
    pub bugs: BugsPublished,
    /// Why it is in no minute, if it is in none.
    pub left_out: Option<LeftOut>,
}

/// What one person did in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivitySum {
    pub user: String,
    /// True if it is a person, not a pipeline.
    pub is_person: bool,
    pub team: String,
    pub metric: ActivityMetric,
    pub labels: Vec<Box<str>>,
    pub amount: i64,
}

impl Ledger {
    /// Takes a change as a webhook tells it. What was told of a later time stays.
    ///
    /// Errors: [`QueryError::TooLarge`] if there are too many already.
    pub async fn take_change(
        &self,
        delivery: Delivery,
        event: BusinessEvent,
        now: Timestamp,
    ) -> std::result::Result<BusinessEffect, QueryError> {
        let terms = self.inner.terms.load_full();
        let taken = self.change(move |transaction| {
            let mut book = Book::new(transaction, now, &terms.business);
            if !book.is_first(&delivery)? {
                return Ok(Some(book.effect(Taken::Replayed)?));
            }
            let Some(taken) = book.take(event, Told::Again)? else {
                return Ok(None);
            };
            book.effect(taken).map(Some)
        });
        taken.await?.ok_or_else(too_many)
    }

    /// Takes what a tracker tells; an id that is known stays as it is.
    ///
    /// Errors: [`QueryError::TooLarge`] if there are too many already; those before it are kept.
    pub async fn take_events(
        &self,
        events: Vec<BusinessEvent>,
        now: Timestamp,
    ) -> std::result::Result<Vec<BusinessEffect>, QueryError> {
        let terms = self.inner.terms.load_full();
        let taken = self.change(move |transaction| {
            let mut effects = Vec::with_capacity(events.len());
            let mut book = Book::new(transaction, now, &terms.business);
            for event in events {
                book.left_out = None;
                let Some(taken) = book.take(event, Told::Once)? else {
                    return Ok(None);
                };
                effects.push(book.effect(taken)?);
            }
            Ok(Some(effects))
        });
        taken.await?.ok_or_else(too_many)
    }

    /// Takes commits in which Claude Code took part; changes that they merged turn over.
    pub async fn take_commits(
        &self,
        delivery: Delivery,
        hashes: Vec<Box<str>>,
        now: Timestamp,
    ) -> std::result::Result<BusinessEffect, QueryError> {
        let terms = self.inner.terms.load_full();
        self.change(move |transaction| {
            let mut book = Book::new(transaction, now, &terms.business);
            if !book.is_first(&delivery)? {
                return book.effect(Taken::Replayed);
            }
            let mut taken = Taken::Unchanged;
            for hash in hashes {
                if book.take_commit(&hash)? {
                    taken = Taken::Changed;
                }
            }
            book.effect(taken)
        })
        .await
    }

    /// Events and merged changes of a range, the oldest first.
    pub async fn business_events(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> std::result::Result<Vec<BusinessEvent>, QueryError> {
        self.read(move |reader| {
            let found = reader
                .connection
                .prepare_cached(
                    "SELECT source, id, at, updated, kind, is_fix, claude, merge_commit, user, \
                     team, amount FROM business_event WHERE at >= ? AND at < ? \
                     ORDER BY at, source, id",
                )
                .and_then(|mut select| {
                    let range = [from.as_millisecond(), to.as_millisecond()];
                    select.query_map(range, event)?.collect()
                });
            Ok(found.map_err(StoreError::sql("read business events"))?)
        })
        .await
    }

    /// When the first merged change happened of which a webhook told, if any did.
    pub async fn first_change(&self) -> std::result::Result<Option<Timestamp>, QueryError> {
        self.read(|reader| {
            let first = reader.connection.query_row(
                "SELECT min(at) FROM business_event WHERE kind = 'change'",
                [],
                |row| row.get::<_, Option<i64>>(0),
            );
            let first = first.map_err(StoreError::sql("find the first change"))?;
            Ok(first.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
        })
        .await
    }

    /// Fixed bugs as they were published last.
    pub async fn bugs_published(&self) -> std::result::Result<BugsPublished, QueryError> {
        self.read(|reader| Ok(published(&reader.connection)?)).await
    }

    /// What people did in a range, by person, team, metric and labels: sessions, lines, commits,
    /// pull requests, decisions over edits and active time.
    pub async fn activities(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> std::result::Result<Vec<ActivitySum>, QueryError> {
        let terms = self.inner.terms.load_full();
        self.read(move |reader| Ok(activities(&reader.connection, &terms, from, to)?))
            .await
    }
}

fn too_many() -> QueryError {
    QueryError::TooLarge(format!(
        "there are {MAX_EVENTS} changes and events already; they are let go after 25 months"
    ))
}

/// How a source tells of a thing that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Each time as it stands.
    Again,
    /// Once for all.
    Once,
}

/// One change of the tables.
struct Book<'a> {
    connection: &'a Connection,
    now: Timestamp,
    terms: &'a BusinessTerms,
    left_out: Option<LeftOut>,
    /// How many events there are, once that was asked: counting looks at all.
    count: Option<i64>,
}

impl<'a> Book<'a> {
    const fn new(connection: &'a Connection, now: Timestamp, terms: &'a BusinessTerms) -> Self {
        Self {
            connection,
            now,
            terms,
            left_out: None,
            count: None,
        }
    }

    fn effect(&self, taken: Taken) -> Result<BusinessEffect> {
        Ok(BusinessEffect {
            taken,
            bugs: published(self.connection)?,
            left_out: self.left_out,
        })
    }

    fn is_first(&self, delivery: &Delivery) -> Result<bool> {
        self.connection
            .prepare_cached(
                "INSERT OR IGNORE INTO business_delivery (source, id, at) VALUES (?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    delivery.source,
                    &*delivery.id,
                    self.now.as_millisecond()
                ])
            })
            .map(|inserted| inserted == 1)
            .map_err(StoreError::sql("note a delivery"))
    }

    /// Takes an event; `None` if there are too many.
    fn take(&mut self, mut event: BusinessEvent, told: Told) -> Result<Option<Taken>> {
        if event.claude != Some(true)
            && let Some(commit) = &event.commit
            && self.knows_commit(commit)?
        {
            event.claude = Some(true);
        }
        let Some(known) = self.known(&event)? else {
            let known = match self.count {
                Some(known) => known,
                None => self.count()?,
            };
            if known >= MAX_EVENTS {
                return Ok(None);
            }
            self.count = Some(known + 1);
            self.write(&event)?;
            self.publish(None, &event)?;
            return Ok(Some(Taken::New));
        };
        let standing = BusinessEvent {
            updated: event.updated,
            ..known.clone()
        };
        if standing == event {
            return Ok(Some(Taken::Unchanged));
        }
        if told == Told::Once {
            return Ok(Some(Taken::Conflict));
        }
        if event.updated < known.updated {
            // Of what came before it only this is news: GitLab tells it at the merge alone.
            event = BusinessEvent {
                at: event.at.min(known.at),
                user: known.user.clone().or(event.user),
                ..known.clone()
            };
            if event == known {
                return Ok(Some(Taken::Unchanged));
            }
        } else {
            event.at = event.at.min(known.at);
            event.user = event.user.or_else(|| known.user.clone());
            if event.claude != Some(true) && event.commit.is_none() {
                event.commit.clone_from(&known.commit);
            }
        }
        self.write(&event)?;
        self.publish(Some(&known), &event)?;
        Ok(Some(Taken::Changed))
    }

    /// Notes a commit; true if a change turned over.
    fn take_commit(&mut self, hash: &str) -> Result<bool> {
        let inserted = self
            .connection
            .prepare_cached("INSERT OR IGNORE INTO business_commit (hash, at) VALUES (?, ?)")
            .and_then(|mut insert| insert.execute(params![hash, self.now.as_millisecond()]))
            .map_err(StoreError::sql("note a commit"))?;
        if inserted == 0 {
            return Ok(false);
        }
        let merged: Vec<BusinessEvent> = self
            .connection
            .prepare_cached(
                "SELECT source, id, at, updated, kind, is_fix, claude, merge_commit, user, team, \
                 amount FROM business_event WHERE merge_commit = ? AND claude IS NOT 1",
            )
            .and_then(|mut select| select.query_map([hash], event)?.collect())
            .map_err(StoreError::sql("find the change of a commit"))?;
        let found = !merged.is_empty();
        for before in merged {
            let after = BusinessEvent {
                claude: Some(true),
                ..before.clone()
            };
            self.write(&after)?;
            self.publish(Some(&before), &after)?;
        }
        Ok(found)
    }

    fn knows_commit(&self, hash: &str) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM business_commit WHERE hash = ?)")
            .and_then(|mut select| select.query_row([hash], |row| row.get(0)))
            .map_err(StoreError::sql("look for a commit"))
    }

    fn known(&self, wanted: &BusinessEvent) -> Result<Option<BusinessEvent>> {
        self.connection
            .prepare_cached(
                "SELECT source, id, at, updated, kind, is_fix, claude, merge_commit, user, team, \
                 amount FROM business_event WHERE source = ? AND id = ?",
            )
            .and_then(|mut select| {
                select
                    .query_row(params![&*wanted.source, &*wanted.id], event)
                    .optional()
            })
            .map_err(StoreError::sql("look for an event"))
    }

    fn count(&self) -> Result<i64> {
        self.connection
            .prepare_cached("SELECT count(*) FROM business_event")
            .and_then(|mut select| select.query_row([], |row| row.get(0)))
            .map_err(StoreError::sql("count events"))
    }

    fn write(&self, event: &BusinessEvent) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO business_event (source, id, at, updated, kind, is_fix, \
                 claude, merge_commit, user, team, amount) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![
                    &*event.source,
                    &*event.id,
                    event.at.as_millisecond(),
                    event.updated.as_millisecond(),
                    &*event.kind,
                    event.is_fix,
                    event.claude,
                    event.commit.as_deref(),
                    event.user.as_deref(),
                    event.team.as_deref(),
                    event.amount,
                ])
            })
            .map(drop)
            .map_err(StoreError::sql("keep an event"))
    }

    /// Brings published counters and minutes up to an event that is new or stands otherwise.
    fn publish(&mut self, before: Option<&BusinessEvent>, after: &BusinessEvent) -> Result<()> {
        let mut differences: HashMap<&'static str, i64> = HashMap::new();
        if let Some(before) = before {
            *differences.entry(part_of(before)).or_default() -= bugs_of(before);
        }
        *differences.entry(part_of(after)).or_default() += bugs_of(after);
        let net: i64 = differences.values().sum();
        for (part, difference) in differences {
            self.grow(part, difference)?;
        }
        let mut amounts = Vec::new();
        if net > 0 {
            amounts.push(("bugs_fixed", net as f64));
        }
        let assumed = self.terms.assumptions.as_ref();
        let saved =
            |event: &BusinessEvent| assumed.and_then(|assumed| assumed.saved_by_event(event));
        let told = before.and_then(saved).unwrap_or(0);
        let more = saved(after).map_or(0, |saved| saved - told);
        // What counts less than it did stays in its minute, which may be sealed.
        if more != 0 && (before.is_none() || more > 0) {
            amounts.extend(self.terms.saved(more));
        }
        if amounts.is_empty() {
            return Ok(());
        }
        let (at, now) = (after.at.as_millisecond(), self.now.as_millisecond());
        if let Err(reason) = add_totals(self.connection, at, now, &amounts)? {
            self.left_out = Some(reason);
        }
        Ok(())
    }

    /// Adds to a published counter, debts first; what is taken back becomes a debt.
    fn grow(&self, part: &str, difference: i64) -> Result<()> {
        if difference == 0 {
            return Ok(());
        }
        let (value, debt): (i64, i64) = self
            .connection
            .prepare_cached("SELECT value, debt FROM business_published WHERE claude = ?")
            .and_then(|mut select| {
                select
                    .query_row([part], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(StoreError::sql("read fixed bugs"))?
            .unwrap_or_default();
        let owed = debt - difference;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO business_published (claude, value, debt) VALUES (?, ?, ?)",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![part, value + (-owed).max(0), owed.max(0)])
            })
            .map(drop)
            .map_err(StoreError::sql("publish fixed bugs"))
    }
}

/// The label under which an event counts.
fn part_of(event: &BusinessEvent) -> &'static str {
    match event.claude {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

fn bugs_of(event: &BusinessEvent) -> i64 {
    if !event.is_fix {
        return 0;
    }
    let whole = i128::from(event.amount) / MICRO;
    i64::try_from(whole).unwrap_or(0)
}

fn published(connection: &Connection) -> Result<BugsPublished> {
    connection
        .prepare_cached("SELECT claude, value FROM business_published ORDER BY claude")
        .and_then(|mut select| {
            let rows = select.query_map([], |row| {
                let value: i64 = row.get(1)?;
                Ok((row.get(0)?, value.unsigned_abs()))
            })?;
            rows.collect()
        })
        .map_err(StoreError::sql("read fixed bugs"))
}

fn event(row: &Row<'_>) -> rusqlite::Result<BusinessEvent> {
    Ok(BusinessEvent {
        source: row.get("source")?,
        id: row.get("id")?,
        at: alarm::time(row, "at")?,
        updated: alarm::time(row, "updated")?,
        kind: row.get("kind")?,
        is_fix: row.get("is_fix")?,
        claude: row.get("claude")?,
        commit: row.get("merge_commit")?,
        user: row.get("user")?,
        team: row.get("team")?,
        amount: row.get("amount")?,
    })
}

/// Milliseconds in a quarter hour.
const QUARTER_MS: i64 = 900_000;

const ACTIVITIES: &str = "SELECT a.quarter, a.identity, a.metric, l.text, sum(a.amount) \
    FROM activity_quarter a JOIN label l ON l.id = a.labels \
    WHERE a.quarter >= ? AND a.quarter < ? AND a.metric IN ('sessions', 'lines', 'pull_requests', \
    'commits', 'edit_decisions', 'active_time_ms') \
    GROUP BY a.identity, a.metric, a.labels, a.quarter / ?";

/// Quarter hours whose rows are added by the store already, when the directory has no dates
/// within the range.
const ALL_AT_ONCE: i64 = i64::MAX;

fn activities(
    connection: &Connection,
    terms: &Terms,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ActivitySum>> {
    let identities = identities(connection)?;
    let edges = terms.directory.edges();
    let changes = edges.iter().any(|edge| from < *edge && *edge < to);
    let step = if changes { 1 } else { ALL_AT_ONCE };
    let mut sums: HashMap<(String, bool, String, ActivityMetric, String), i64> = HashMap::new();
    let mut select = connection
        .prepare_cached(ACTIVITIES)
        .map_err(StoreError::sql("ask for activities"))?;
    let range = [
        quarter_of(from.as_millisecond()),
        // The quarter hour that a range ends in belongs to it, as in queries of usage.
        quarter_of(to.as_millisecond() + QUARTER_MS - 1),
        step,
    ];
    let mut rows = select
        .query(range)
        .map_err(StoreError::sql("ask for activities"))?;
    while let Some(row) = rows.next().map_err(StoreError::sql("read activities"))? {
        let (quarter, identity, metric, labels, amount) = (|| {
            let metric: String = row.get(2)?;
            let labels: String = row.get(3)?;
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                metric,
                labels,
                row.get::<_, i64>(4)?,
            ))
        })()
        .map_err(StoreError::sql("read activities"))?;
        let Some(metric) = ActivityMetric::ALL.into_iter().find(|m| m.name() == metric) else {
            continue;
        };
        let who = identities
            .get(&identity)
            .ok_or(StoreError::Dangling { id: identity })?;
        let at = super::span::start_of(quarter);
        let attributed = terms.attribute(who, at);
        let key = (
            attributed.user.clone().into_owned(),
            matches!(attributed.kind, Kind::Person | Kind::Device),
            attributed.team.unwrap_or_default().to_owned(),
            metric,
            labels,
        );
        *sums.entry(key).or_default() += amount;
    }
    let mut list: Vec<ActivitySum> = sums
        .into_iter()
        .map(
            |((user, is_person, team, metric, labels), amount)| ActivitySum {
                user,
                is_person,
                team,
                metric,
                labels: labels.split(SEPARATOR).map(Box::from).collect(),
                amount,
            },
        )
        .collect();
    list.sort_by(|a, b| {
        (&a.team, &a.user, a.metric, &a.labels).cmp(&(&b.team, &b.user, b.metric, &b.labels))
    });
    Ok(list)
}

fn identities(connection: &Connection) -> Result<HashMap<i64, Identity>> {
    connection
        .prepare_cached(IDENTITIES_AFTER)
        .and_then(|mut select| {
            let rows = select.query_map([0], |row| Ok((row.get(0)?, identity_of(row)?)))?;
            rows.collect()
        })
        .map_err(StoreError::sql("read identities"))
}

#[cfg(test)]
mod tests;
