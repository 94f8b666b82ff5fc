//! Sends sealed minutes from the ledger's outbox to Amazon CloudWatch.
//!
//! The pure half says what is sent: `datum` makes and checks, `fold` keeps the bound on
//! metrics, `batch` fills calls. This half sends. `PutMetricData` knows no key by which a call
//! could be recognised: what is sent twice counts twice. So the SDK's own attempts are off. After
//! an answer that says no, a call is made again; after none at all nobody knows, and the setting
//! `ambiguous` decides. Rows are marked on disk before a call and leave the outbox after it: a
//! row that is found marked at the start is of unknown fate too.

mod batch;
mod datum;
mod fold;
mod plan;
mod send;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, warn};

use crate::aws::{Aws, Permission};
use crate::config::{Ambiguous, CloudWatch};
use crate::model::catalogue;
use crate::model::minute::{Minute, SeriesKey};
use crate::registry::Registry;
use crate::schedule::{Stop, Ticks, jitter};
use crate::store::{Ledger, QueryError, Waiting};
use datum::{Age, Datum};
use fold::Places;

pub use plan::{Line, Plan, plan, totals};

/// Rows of the outbox that are read at once: five full calls.
const READ: usize = 5_000;

/// Minutes are sealed 15 to 20 s after their end, and should be gone 45 s after it.
const EARLIEST_SECOND: Duration = Duration::from_secs(22);

/// The time after [`EARLIEST_SECOND`] over which daemons spread.
const SPREAD: Duration = Duration::from_secs(18);

/// Kinds of rejected datums that are told in the log.
const MAX_TOLD: usize = 100;

/// Where in its period an exporter sends: the same place until it starts again.
#[must_use]
pub fn offset() -> Duration {
    EARLIEST_SECOND + jitter(SPREAD)
}

/// What became of datapoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    Rejected,
    Ambiguous,
    Expired,
}

impl Fate {
    const ALL: [Self; 4] = [
        Self::Delivered,
        Self::Rejected,
        Self::Ambiguous,
        Self::Expired,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Ambiguous => "ambiguous",
            Self::Expired => "expired",
        }
    }
}

/// Empties the outbox, a round at a time.
#[derive(Debug)]
pub struct Exporter {
    ledger: Ledger,
    aws: Aws,
    registry: Arc<Registry>,
    settings: CloudWatch,
    permission: Permission,
    stop: Stop,
    /// First pause after an answer that says no; doubled after each.
    first_pause: Duration,
    /// Read from the ledger in the first round.
    places: Option<Places>,
    /// The last call got no answer. Before anything is risked, a call without datums has to get
    /// one.
    is_cautious: bool,
    /// Whether CloudWatch was asked once, so that what is wrong shows at the start.
    is_checked: bool,
    told: HashSet<String>,
}

/// Leaves the last of several minutes for the next read: a part of its series could only be
/// joined to a part of a datapoint, and CloudWatch would see two.
fn leave_last_minute(waiting: &mut Vec<Waiting>) {
    let minute = |row: &Waiting| row.minute.minute;
    let (Some(first), Some(last)) = (waiting.first().map(minute), waiting.last().map(minute))
    else {
        return;
    };
    if first < last {
        waiting.retain(|row| row.minute.minute < last);
    }
}

/// Rounds until `stop`. What is set up wrongly is told at the start, however long the time is until
/// the first round.
pub async fn run(mut ticks: Ticks, mut exporter: Exporter, now: Timestamp) {
    let (aws, stop) = (exporter.aws.clone(), exporter.stop.clone());
    tokio::select! {
        () = aws.looked(now) => exporter.check().await,
        () = stop.stopped() => return,
    }
    while let Some(now) = ticks.next().await {
        exporter.check().await;
        if let Err(error) = exporter.round(now).await {
            error!(%error, "the outbox of CloudWatch cannot be read, the next round tries again");
        }
    }
}

impl Exporter {
    /// An exporter that has sent nothing yet.
    pub fn new(
        ledger: Ledger,
        aws: Aws,
        registry: Arc<Registry>,
        settings: CloudWatch,
        stop: Stop,
    ) -> Self {
        for fate in Fate::ALL {
            registry.add(catalogue::CLOUDWATCH_DATAPOINTS, &[fate.name()], 0);
        }
        Self {
            permission: Permission::put_metrics(&settings.namespace),
            ledger,
            aws,
            registry,
            settings,
            stop,
            first_pause: send::FIRST_PAUSE,
            places: None,
            is_cautious: false,
            is_checked: false,
            told: HashSet::new(),
        }
    }

    /// Sends what waits, the oldest first, until nothing waits or CloudWatch cannot take more
    /// now. What is left is due in the next round.
    pub async fn round(&mut self, now: Timestamp) -> Result<(), QueryError> {
        if self.places.is_none() {
            self.begin(now).await?;
        }
        self.publish(now).await?;
        let drained = self.drain(now).await;
        self.publish(now).await?;
        drained
    }

    /// Takes up what the process before left.
    async fn begin(&mut self, now: Timestamp) -> Result<(), QueryError> {
        let interrupted = self.ledger.outbox_interrupted().await?;
        if !interrupted.is_empty() {
            let datapoints = interrupted.len();
            warn!(
                datapoints,
                "a call to CloudWatch was interrupted by the end of tallyd"
            );
            self.give_up(interrupted).await?;
        }
        let sets = &self.settings.dimensions;
        let mut had = self.ledger.exported_groups().await?;
        had.retain(|group| sets.contains(&group.keys().copied().collect()));
        let day = now.as_second().div_euclid(86_400);
        self.places = Some(Places::new(self.settings.max_metrics, sets.len(), had, day));
        Ok(())
    }

    async fn drain(&mut self, now: Timestamp) -> Result<(), QueryError> {
        loop {
            let mut oldest = self.ledger.outbox_oldest(READ).await?;
            if oldest.is_cut {
                leave_last_minute(&mut oldest.waiting);
            }
            let unknown = oldest.unknown.len();
            self.leave(oldest.unknown, Fate::Rejected).await?;
            let (datums, gone) = self.sort(oldest.waiting, now).await?;
            let is_stuck = datums.is_empty() && gone + unknown == 0;
            let Ok(client) = self.aws.cloudwatch() else {
                return Ok(());
            };
            if !datums.is_empty() && !self.is_answered(&client).await {
                return Ok(());
            }
            let mut batches = batch::pack(datums);
            if oldest.is_cut && batches.len() > 1 {
                // Not full: the next read fills it.
                batches.pop();
            }
            for batch in batches {
                if self.stop.is_stopped() || !self.deliver(&client, batch).await? {
                    return Ok(());
                }
            }
            if !oldest.is_cut || is_stuck {
                return Ok(());
            }
        }
    }

    /// Makes datums of rows. Those that can never be sent leave the outbox; returns how many.
    async fn sort(
        &mut self,
        waiting: Vec<Waiting>,
        now: Timestamp,
    ) -> Result<(Vec<Datum>, usize), QueryError> {
        let now = now.as_second().div_euclid(60);
        let mut expired = Vec::new();
        let mut rejected = Vec::new();
        let mut fit = Vec::with_capacity(waiting.len());
        for row in waiting {
            match datum::age(row.minute.minute, now) {
                Age::TooOld => expired.push(row.id),
                Age::TooEarly => {}
                Age::Fits => fit.push(row),
            }
        }
        self.weigh(&fit).await?;
        let mut datums = Vec::with_capacity(fit.len());
        for ((minute, series), (datapoint, ids)) in self.fold(fit) {
            match Datum::new(minute, &series, datapoint, ids.clone()) {
                Ok(datum) => datums.push(datum),
                Err(unfit) => {
                    self.tell_rejected(series.metric, &unfit.to_string());
                    rejected.extend(ids);
                }
            }
        }
        let gone = expired.len() + rejected.len();
        if !expired.is_empty() {
            let datapoints = expired.len();
            warn!(datapoints, "datapoints have grown too old for CloudWatch");
        }
        self.leave(expired, Fate::Expired).await?;
        self.leave(rejected, Fate::Rejected).await?;
        Ok((datums, gone))
    }

    /// Gives places to combinations of dimension values, and keeps them on disk: after a restart
    /// the same metrics go on.
    async fn weigh(&mut self, rows: &[Waiting]) -> Result<(), QueryError> {
        let Some(places) = &mut self.places else {
            return Ok(());
        };
        let mut by_minute: BTreeMap<i64, Vec<&Minute>> = BTreeMap::new();
        for row in rows {
            let minute = by_minute.entry(row.minute.minute).or_default();
            minute.push(&row.minute);
        }
        let before = places.folded();
        for (minute, rows) in by_minute {
            let series = rows.iter().map(|row| (&*row.series, row.datapoint.sum));
            let moves = places.weigh(minute, series);
            if !moves.is_empty() {
                self.ledger
                    .change_exported_groups(moves.given, moves.taken)
                    .await?;
            }
        }
        let folded = places.folded();
        self.registry
            .set(catalogue::CLOUDWATCH_FOLDED, &[], folded as f64);
        if folded > before && folded.next_power_of_two() > before.next_power_of_two() {
            warn!(
                folded,
                max_metrics = self.settings.max_metrics,
                "the bound on metrics in CloudWatch is reached: the smallest values of dimensions \
                 are sent as other"
            );
        }
        Ok(())
    }

    /// Joins what leaves under one name, the oldest minutes first.
    fn fold(&self, rows: Vec<Waiting>) -> BTreeMap<(i64, Arc<SeriesKey>), Joined> {
        let mut joined: BTreeMap<(i64, Arc<SeriesKey>), Joined> = BTreeMap::new();
        for Waiting { id, minute } in rows {
            let series = match &self.places {
                Some(places) => places.place(&minute.series),
                None => minute.series.clone(),
            };
            joined
                .entry((minute.minute, series))
                .and_modify(|(datapoint, ids)| {
                    let metric = minute.series.metric;
                    datum::join(metric, datapoint, &minute.datapoint);
                    ids.push(id);
                })
                .or_insert_with(|| (minute.datapoint.clone(), vec![id]));
        }
        joined
    }

    /// Takes rows out of the outbox and counts what became of them.
    async fn leave(&self, ids: Vec<i64>, fate: Fate) -> Result<(), QueryError> {
        if ids.is_empty() {
            return Ok(());
        }
        let datapoints = ids.len() as u128;
        self.ledger.outbox_done(ids).await?;
        let labels = [fate.name()];
        self.registry
            .add(catalogue::CLOUDWATCH_DATAPOINTS, &labels, datapoints);
        Ok(())
    }

    /// Does what the setting says with rows of unknown fate.
    async fn give_up(&self, ids: Vec<i64>) -> Result<(), QueryError> {
        match self.settings.ambiguous {
            Ambiguous::Drop => self.leave(ids, Fate::Ambiguous).await,
            Ambiguous::Resend => {
                let datapoints = ids.len() as u128;
                let labels = [Fate::Ambiguous.name()];
                self.registry
                    .add(catalogue::CLOUDWATCH_DATAPOINTS, &labels, datapoints);
                self.ledger.outbox_waiting(ids).await
            }
        }
    }

    /// Each kind of fault is told once; the metric counts all.
    fn tell_rejected(&mut self, metric: &str, reason: &str) {
        let kind = format!("{metric}: {reason}");
        if self.told.len() < MAX_TOLD && self.told.insert(kind) {
            warn!(
                metric,
                reason, "a datapoint cannot be sent to CloudWatch and is left out"
            );
        }
    }

    async fn publish(&self, now: Timestamp) -> Result<(), QueryError> {
        let state = self.ledger.outbox_state().await?;
        // The age of what happened, so from the end of the oldest minute on.
        let ended = state.oldest_minute.map(|minute| (minute + 1) * 60);
        let age = ended.map_or(0, |ended| (now.as_second() - ended).max(0));
        let gauges = [
            (catalogue::CLOUDWATCH_WAITING, state.waiting as f64),
            (catalogue::CLOUDWATCH_BACKLOG, age as f64),
        ];
        for (desc, value) in gauges {
            self.registry.set(desc, &[], value);
        }
        Ok(())
    }
}

/// A datapoint and the rows that it is made of.
type Joined = (crate::model::minute::Datapoint, Vec<i64>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::minute::Datapoint;

    fn row(id: i64, minute: i64) -> Waiting {
        Waiting {
            id,
            minute: Minute {
                minute,
                series: SeriesKey::total("error_rate").into(),
                datapoint: Datapoint::of(0.0),
            },
        }
    }

    #[test]
    fn a_minute_that_may_lack_series_waits_for_the_next_read() {
        let cut = |minutes: &[i64]| {
            let mut rows: Vec<_> = (0..).zip(minutes).map(|(id, at)| row(id, *at)).collect();
            leave_last_minute(&mut rows);
            rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[7, 7, 8, 9, 9]), [0, 1, 2]);
        assert_eq!(cut(&[9, 9]), [0, 1]);
        assert!(cut(&[]).is_empty());
    }
}
