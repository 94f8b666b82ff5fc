//! The one door by which usage enters.
//!
//! Everything from the doors passes here: times are checked, the ledger makes it durable and
//! counts it once, and what that changed is published in the registry before the sender gets
//! its acknowledgement.

mod horizon;
mod people;
mod publish;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::model::usage::{Intake, Receipt, Verdict};
use crate::registry::Registry;
use crate::store::{
    AppendError, Booked, Difference, Forgotten, Ledger, Opened, QueryError, StoreError, Terms,
    WriterThread,
};
use horizon::Horizon;
use people::People;
pub use publish::Naming;
use publish::Publisher;

/// Why nothing of a delivery was taken. The sender should keep it and try again.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Too much is waiting; try again after a second.
    #[error("too many deliveries are waiting")]
    Overloaded,
    /// The ledger cannot be written just now, for example because the disk is full.
    #[error("the ledger cannot be written: {reason}")]
    Unavailable { reason: String },
    #[error("tallyd is stopping")]
    Stopping,
}

/// Hears what a commit booked, before the commit is acknowledged.
pub type OnBooked = Box<dyn Fn(&[Booked]) + Send>;

/// Takes usage and acknowledges it when it is durable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    ledger: Ledger,
    registry: Arc<Registry>,
    people: Arc<People>,
    naming: Arc<Naming>,
    clock: Clock,
}

impl Recorder {
    /// Publishes what was published before, and starts the ledger's writer.
    pub fn start(
        opened: Opened,
        registry: Arc<Registry>,
        terms: Arc<ArcSwap<Terms>>,
        naming: Naming,
        on_booked: OnBooked,
        clock: Clock,
    ) -> Result<(Self, WriterThread), StoreError> {
        let people = Arc::new(People::new(terms));
        let naming = Arc::new(naming);
        let publisher = Publisher::new(registry.clone(), naming.clone());
        publisher.grow(&opened.restored.growth);
        people.note(&opened.restored.active);
        let heard = people.clone();
        let (ledger, thread) = opened.start(Box::new(move |effects, report| {
            publisher.grow(&effects.growth);
            publisher.commit(effects, report);
            on_booked(&effects.booked);
            heard.note(&effects.active);
        }))?;
        let recorder = Self {
            ledger,
            registry,
            people,
            naming,
            clock,
        };
        Ok((recorder, thread))
    }

    /// The ledger that is recorded into.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Records a delivery. When this returns `Ok`, everything accepted is on disk and counted.
    pub async fn record(&self, mut intake: Intake) -> Result<Receipt, RecordError> {
        let horizon = Horizon::at(self.clock.now());
        let records = Horizon::sift(&mut intake.records, |r| horizon.record(r));
        let points = Horizon::sift(&mut intake.points, |p| horizon.point(p));
        let activities = Horizon::sift(&mut intake.activities, |a| horizon.activity(a));
        let receipt = if intake.is_empty() {
            Receipt::default()
        } else {
            self.ledger
                .append(intake)
                .await
                .map_err(|error| match error {
                    AppendError::Overloaded => RecordError::Overloaded,
                    AppendError::Unavailable(reason) => RecordError::Unavailable { reason },
                    AppendError::Closed => RecordError::Stopping,
                })?
        };
        Ok(Receipt {
            records: horizon::join(records, receipt.records),
            points: horizon::join(points, receipt.points),
            activities: horizon::join(activities, receipt.activities),
        })
    }

    /// Forgets a person: the ledger and `/metrics` show a name that says nothing; sums stay.
    /// `None` if nobody is known by the name.
    pub async fn forget(&self, person: &str) -> Result<Option<Forgotten>, QueryError> {
        let forgotten = self.ledger.forget(person).await?;
        if let Some(forgotten) = &forgotten {
            for name in &forgotten.names {
                self.people.rename(name, &forgotten.stand_in);
                let labels = [name, &forgotten.stand_in].map(|name| self.naming.label(name));
                if labels[0] != labels[1] {
                    self.registry.rename_user(&labels[0], &labels[1]);
                }
            }
        }
        Ok(forgotten)
    }

    /// Brings the gauges up to date that depend on the time or on the ledger's state.
    pub fn refresh(&self, now: Timestamp) {
        self.people.publish(&self.registry, now);
        publish::ledger_gauges(&self.registry, &self.ledger);
    }

    /// By how much published counters are ahead of the ledger, as gauges.
    pub async fn refresh_debt(&self) -> Result<(), QueryError> {
        let debt: Difference = self.ledger.debt().await?;
        publish::debt_gauges(&self.registry, &debt);
        Ok(())
    }
}

/// What a check decided of each item, in order: `None` is left to the ledger.
type Sifted = Vec<Option<Verdict>>;

/// A recorder on a ledger of its own, for tests of what stands above it.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::config::PerUser;
    use crate::store::Settings;

    /// Keeps the ledger's folder as long as it lives.
    pub(crate) struct Scratch {
        pub(crate) recorder: Recorder,
        folder: tempfile::TempDir,
    }

    impl Scratch {
        pub(crate) fn new(clock: Clock) -> Self {
            Self::with(clock, Box::new(|_| {}))
        }

        pub(crate) fn with(clock: Clock, on_booked: OnBooked) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings {
                folder: folder.path().to_owned(),
                retain_raw: std::time::Duration::from_hours(90 * 24),
                zone: jiff::tz::TimeZone::UTC,
            };
            let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
            let registry = Arc::new(Registry::default());
            let opened = Ledger::open(&settings, terms.clone(), clock.clone()).unwrap();
            let naming = Naming {
                per_user: PerUser::On,
                pseudonyms: None,
            };
            let (recorder, _) =
                Recorder::start(opened, registry, terms, naming, on_booked, clock).unwrap();
            Self { recorder, folder }
        }

        /// Where the ledger is.
        pub(crate) fn folder(&self) -> &std::path::Path {
            self.folder.path()
        }
    }
}
