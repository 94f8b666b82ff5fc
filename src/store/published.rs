//! What `/metrics` has published, so that counters go on where they were after a restart.
//!
//! A value never goes down. Where counting once takes something back, the difference becomes a
//! debt of its series, and the series stands still until growth has paid it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::minute::MinuteEffects;
use super::numbers::NumberMap;
use crate::model::usage::{ActivityMetric, Outcome, Sku};

type Result<T> = std::result::Result<T, StoreError>;

/// Amounts of a usage series: the four token kinds, cost in pico-USD, the client's cost in
/// micro-USD, unpriced tokens, and requests by outcome.
const AMOUNTS: usize = 12;
pub const COST: usize = 4;
pub const CLIENT_COST: usize = 5;
pub const UNPRICED: usize = 6;
/// Index of the first outcome.
pub const REQUESTS: usize = 7;

/// Signed amounts of a usage series.
pub type Difference = [i64; AMOUNTS];

/// The index of an outcome's requests.
pub(super) fn requests_of(outcome: Outcome) -> usize {
    let place = Outcome::ALL.iter().position(|o| *o == outcome);
    REQUESTS + place.unwrap_or(0)
}

/// Upper bounds of the duration histogram in milliseconds.
pub const DURATION_BOUNDS_MS: [u32; 18] = [
    100, 250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 45_000,
    60_000, 90_000, 120_000, 180_000, 300_000,
];

/// Upper bounds of the histogram of times to the first token in milliseconds.
pub const FIRST_TOKEN_BOUNDS_MS: [u32; 14] = [
    100, 250, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 20_000, 30_000, 60_000,
];

/// What tells usage series apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageLabels {
    pub user: String,
    pub team: String,
    pub provider: String,
    pub model: String,
}

/// What tells activity series apart; `labels` are joined by the unit separator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActivityLabels {
    pub metric: &'static str,
    pub user: String,
    pub team: String,
    pub labels: String,
}

/// Separates label values in [`ActivityLabels::labels`].
pub const SEPARATOR: char = '\u{1f}';

/// Durations of the requests of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// One more than the bounds: the last holds what is longer.
    pub buckets: [u64; DURATION_BOUNDS_MS.len() + 1],
    pub sum_ms: u64,
}

impl Durations {
    fn observe(&mut self, millis: u32) {
        let bucket = DURATION_BOUNDS_MS.partition_point(|bound| *bound < millis);
        self.buckets[bucket] += 1;
        self.sum_ms += u64::from(millis);
    }
}

/// Times to the first token of one model's answers, and its refusals for the rate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstTokens {
    /// One more than the bounds: the last holds what is longer.
    pub buckets: [u64; FIRST_TOKEN_BOUNDS_MS.len() + 1],
    pub sum_ms: u64,
    pub throttled: u64,
}

impl FirstTokens {
    fn observe(&mut self, millis: u32) {
        let bucket = FIRST_TOKEN_BOUNDS_MS.partition_point(|bound| *bound < millis);
        self.buckets[bucket] += 1;
        self.sum_ms += u64::from(millis);
    }

    fn add(&mut self, growth: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(growth.buckets) {
            *bucket += count;
        }
        self.sum_ms += growth.sum_ms;
        self.throttled += growth.throttled;
    }
}

/// Growth of published series by one commit, or everything published at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub usage: Vec<(Arc<UsageLabels>, Difference)>,
    pub activities: Vec<(Arc<ActivityLabels>, u64)>,
    /// By provider and model.
    pub durations: Vec<((String, String), Durations)>,
    /// By provider and model.
    pub first_tokens: Vec<((String, String), FirstTokens)>,
}

#[derive(Debug)]
struct Series {
    labels: Arc<UsageLabels>,
    values: Difference,
    debts: Difference,
}

/// The published series in memory, as they are on disk.
#[derive(Debug, Default)]
pub(super) struct Published {
    ids: HashMap<Arc<UsageLabels>, i64>,
    series: NumberMap<i64, Series>,
    activities: HashMap<Arc<ActivityLabels>, (i64, u64)>,
    durations: HashMap<(String, String), (Durations, u64)>,
    first_tokens: HashMap<(String, String), FirstTokens>,
}

impl Published {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut published = Self::default();
        published
            .read(connection)
            .map_err(StoreError::sql("read what was published"))?;
        Ok(published)
    }

    fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut select = connection
            .prepare("SELECT id, user, team, provider, model, amounts FROM published_usage")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let labels = Arc::new(UsageLabels {
                user: row.get(1)?,
                team: row.get(2)?,
                provider: row.get(3)?,
                model: row.get(4)?,
            });
            let (values, debts) = amounts_of(row.get_ref(5)?.as_blob()?);
            self.ids.insert(labels.clone(), row.get(0)?);
            self.series.insert(
                row.get(0)?,
                Series {
                    labels,
                    values,
                    debts,
                },
            );
        }
        let mut select = connection
            .prepare("SELECT id, metric, user, team, labels, amount FROM published_activity")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            let Some(metric) = ActivityMetric::ALL.iter().find(|m| m.name() == name) else {
                continue;
            };
            let labels = Arc::new(ActivityLabels {
                metric: metric.name(),
                user: row.get(2)?,
                team: row.get(3)?,
                labels: row.get(4)?,
            });
            self.activities.insert(labels, (row.get(0)?, row.get(5)?));
        }
        let mut select = connection
            .prepare("SELECT provider, model, buckets, sum_ms, debt FROM published_duration")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let mut durations = Durations {
                sum_ms: row.get(3)?,
                ..Durations::default()
            };
            read_words(&mut durations.buckets, row.get_ref(2)?.as_blob()?);
            self.durations
                .insert((row.get(0)?, row.get(1)?), (durations, row.get(4)?));
        }
        let mut select = connection.prepare(
            "SELECT provider, model, buckets, sum_ms, throttled FROM published_first_token",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let mut first = FirstTokens {
                sum_ms: row.get(3)?,
                throttled: row.get(4)?,
                ..FirstTokens::default()
            };
            read_words(&mut first.buckets, row.get_ref(2)?.as_blob()?);
            self.first_tokens.insert((row.get(0)?, row.get(1)?), first);
        }
        Ok(())
    }

    /// Everything published, as growth from nothing.
    pub(super) fn all(&self) -> Growth {
        let mut usage: Vec<_> = self.series.iter().collect();
        usage.sort_by_key(|(id, _)| **id);
        let mut activities: Vec<_> = self.activities.iter().collect();
        activities.sort_by_key(|(_, (id, _))| *id);
        Growth {
            usage: usage
                .into_iter()
                .map(|(_, series)| (series.labels.clone(), series.values))
                .collect(),
            activities: activities
                .into_iter()
                .map(|(labels, (_, amount))| (labels.clone(), *amount))
                .collect(),
            durations: self
                .durations
                .iter()
                .map(|(labels, (durations, _))| (labels.clone(), durations.clone()))
                .collect(),
            first_tokens: self
                .first_tokens
                .iter()
                .map(|(labels, first)| (labels.clone(), first.clone()))
                .collect(),
        }
    }

    /// The debts of all usage series, added up.
    pub(super) fn debt(&self) -> Difference {
        let mut sum = Difference::default();
        for series in self.series.values() {
            for (sum, debt) in sum.iter_mut().zip(series.debts) {
                *sum = sum.saturating_add(debt);
            }
        }
        sum
    }

    /// The series with these labels.
    pub(super) fn usage_series(
        &mut self,
        connection: &Connection,
        labels: UsageLabels,
    ) -> Result<i64> {
        if let Some(id) = self.ids.get(&labels) {
            return Ok(*id);
        }
        let labels = Arc::new(labels);
        let id = connection
            .prepare_cached(
                "INSERT INTO published_usage (user, team, provider, model, amounts) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.insert(params![
                    labels.user,
                    labels.team,
                    labels.provider,
                    labels.model,
                    [0_u8; 0]
                ])
            })
            .map_err(StoreError::sql("publish a series"))?;
        self.ids.insert(labels.clone(), id);
        self.series.insert(
            id,
            Series {
                labels,
                values: Difference::default(),
                debts: Difference::default(),
            },
        );
        Ok(id)
    }

    /// Applies differences and returns by how much the published values grew.
    pub(super) fn apply_usage(
        &mut self,
        connection: &Connection,
        differences: NumberMap<i64, Difference>,
    ) -> Result<Vec<(Arc<UsageLabels>, Difference)>> {
        let mut update = connection
            .prepare_cached("UPDATE published_usage SET amounts = ? WHERE id = ?")
            .map_err(StoreError::sql("prepare a series"))?;
        let mut grown = Vec::with_capacity(differences.len());
        for (id, difference) in differences {
            if difference == Difference::default() {
                continue;
            }
            let Some(series) = self.series.get_mut(&id) else {
                return Err(StoreError::Dangling { id });
            };
            let mut growth = Difference::default();
            for (i, change) in difference.into_iter().enumerate() {
                let net = change.saturating_sub(series.debts[i]);
                growth[i] = net.max(0);
                series.debts[i] = net.min(0).saturating_neg();
                series.values[i] = series.values[i].saturating_add(growth[i]);
            }
            update
                .execute(params![bytes_of(&series.values, &series.debts), id])
                .map_err(StoreError::sql("publish a value"))?;
            grown.push((series.labels.clone(), growth));
        }
        Ok(grown)
    }

    pub(super) fn apply_activities(
        &mut self,
        connection: &Connection,
        additions: HashMap<ActivityLabels, i64>,
    ) -> Result<Vec<(Arc<ActivityLabels>, u64)>> {
        let mut grown = Vec::with_capacity(additions.len());
        for (labels, amount) in additions {
            // A cumulative point out of order moves increases but never lowers their sum.
            let amount = u64::try_from(amount).unwrap_or(0);
            if let Some((id, value)) = self.activities.get_mut(&labels) {
                *value = value.saturating_add(amount);
                connection
                    .prepare_cached("UPDATE published_activity SET amount = ? WHERE id = ?")
                    .and_then(|mut update| update.execute(params![*value, *id]))
                    .map_err(StoreError::sql("publish an activity"))?;
                grown.push((Arc::new(labels), amount));
                continue;
            }
            let id = connection
                .prepare_cached(
                    "INSERT INTO published_activity (metric, user, team, labels, amount) \
                     VALUES (?, ?, ?, ?, ?)",
                )
                .and_then(|mut insert| {
                    insert.insert(params![
                        labels.metric,
                        labels.user,
                        labels.team,
                        labels.labels,
                        amount
                    ])
                })
                .map_err(StoreError::sql("publish an activity"))?;
            let labels = Arc::new(labels);
            self.activities.insert(labels.clone(), (id, amount));
            grown.push((labels, amount));
        }
        Ok(grown)
    }

    /// Applies observed durations; `taken_back` requests were observed twice, so that many
    /// further ones are passed over.
    pub(super) fn apply_durations(
        &mut self,
        connection: &Connection,
        observed: HashMap<(String, String), (Vec<u32>, u64)>,
    ) -> Result<Vec<((String, String), Durations)>> {
        let mut grown = Vec::with_capacity(observed.len());
        for (labels, (millis, taken_back)) in observed {
            let (known, debt) = self.durations.entry(labels.clone()).or_default();
            *debt += taken_back;
            let mut growth = Durations::default();
            for millis in millis {
                if *debt > 0 {
                    *debt -= 1;
                    continue;
                }
                growth.observe(millis);
                known.observe(millis);
            }
            let buckets = words_of(&known.buckets);
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO published_duration (provider, model, buckets, \
                     sum_ms, debt) VALUES (?, ?, ?, ?, ?)",
                )
                .and_then(|mut upsert| {
                    upsert.execute(params![labels.0, labels.1, buckets, known.sum_ms, *debt])
                })
                .map_err(StoreError::sql("publish durations"))?;
            grown.push((labels, growth));
        }
        Ok(grown)
    }

    /// Applies what a commit's minutes told of first tokens and refusals.
    pub(super) fn apply_first_tokens(
        &mut self,
        connection: &Connection,
        minutes: &MinuteEffects,
    ) -> Result<Vec<((String, String), FirstTokens)>> {
        let labels = |sku: &Sku| (sku.provider.to_string(), sku.model.to_string());
        let mut told: HashMap<_, FirstTokens> = HashMap::new();
        for (sku, millis) in &minutes.first_tokens {
            told.entry(labels(sku)).or_default().observe(*millis);
        }
        for sku in &minutes.throttled {
            told.entry(labels(sku)).or_default().throttled += 1;
        }
        for (labels, growth) in &told {
            let known = self.first_tokens.entry(labels.clone()).or_default();
            known.add(growth);
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO published_first_token (provider, model, buckets, \
                     sum_ms, throttled) VALUES (?, ?, ?, ?, ?)",
                )
                .and_then(|mut upsert| {
                    let buckets = words_of(&known.buckets);
                    upsert.execute(params![
                        labels.0,
                        labels.1,
                        buckets,
                        known.sum_ms,
                        known.throttled
                    ])
                })
                .map_err(StoreError::sql("publish times to the first token"))?;
        }
        Ok(told.into_iter().collect())
    }
}

fn words_of(counts: &[u64]) -> Vec<u8> {
    counts
        .iter()
        .flat_map(|count| count.to_le_bytes())
        .collect()
}

/// Reads counts; those that are not there stay 0.
fn read_words(counts: &mut [u64], bytes: &[u8]) {
    for (count, word) in counts.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *count = u64::from_le_bytes(*word);
    }
}

fn bytes_of(values: &Difference, debts: &Difference) -> [u8; AMOUNTS * 16] {
    let mut bytes = [0; AMOUNTS * 16];
    let words = bytes.as_chunks_mut::<8>().0;
    for (word, amount) in words.iter_mut().zip(values.iter().chain(debts)) {
        *word = amount.to_le_bytes();
    }
    bytes
}

fn amounts_of(bytes: &[u8]) -> (Difference, Difference) {
    let mut amounts = [Difference::default(); 2];
    let words = bytes.as_chunks::<8>().0;
    for (amount, word) in amounts.as_flattened_mut().iter_mut().zip(words) {
        *amount = i64::from_le_bytes(*word);
    }
    let [values, debts] = amounts;
    (values, debts)
}
