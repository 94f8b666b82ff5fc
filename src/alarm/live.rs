//! The alarms of a running daemon: the set, and how each stands. Rounds write, doors read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tracing::warn;

use super::define::Measured;
use super::fault::Fault;
use super::files::{Stamp, files};
use super::read::{AlarmSet, read_measured};
use crate::config::{Config, Evaluate};
use crate::store::AlarmStatus;

/// The parameter of the built-in template that follows `cloudwatch.namespace`.
const NAMESPACE_PARAMETER: &str = "Namespace";

/// The alarms of a running daemon.
#[derive(Debug, Default)]
pub struct Alarms {
    loaded: ArcSwap<Loaded>,
    standing: ArcSwap<BTreeMap<String, Standing>>,
}

/// What was read, and of what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    pub set: AlarmSet,
    /// The namespace whose alarms tallyd can evaluate.
    pub namespace: String,
    /// Who acts on them.
    pub evaluate: Evaluate,
}

impl Loaded {
    /// How many alarms the account has to have: none where CloudWatch does not act.
    #[must_use]
    pub fn in_cloudwatch(&self) -> u64 {
        match self.evaluate {
            Evaluate::CloudWatch | Evaluate::Both => self.set.alarms.len() as u64,
            Evaluate::Local | Evaluate::Off => 0,
        }
    }
}

/// How an alarm stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub status: AlarmStatus,
    /// The end of the last minute that it was evaluated for.
    pub evaluated: Option<Timestamp>,
}

impl Alarms {
    /// Reads the set that the configuration names.
    ///
    /// Errors: everything that is wrong with its files.
    pub fn load(config: &Config) -> Result<Self, Vec<Fault>> {
        let alarms = Self::default();
        alarms.replace(load(config)?);
        Ok(alarms)
    }

    /// What was read last without a fault.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// How each alarm stands, by name; empty before the first round.
    pub fn standing(&self) -> Arc<BTreeMap<String, Standing>> {
        self.standing.load_full()
    }

    pub(super) fn replace(&self, loaded: Loaded) {
        for warning in &loaded.set.warnings {
            let warning = warning.to_string();
            warn!(warning, "an alarm may mean something else");
        }
        self.loaded.store(Arc::new(loaded));
    }

    pub(super) fn set_standing(&self, standing: BTreeMap<String, Standing>) {
        self.standing.store(Arc::new(standing));
    }
}

/// Reads the set that the configuration names, as a start would.
///
/// Errors: everything that is wrong with its files.
pub fn load(config: &Config) -> Result<Loaded, Vec<Fault>> {
    let settings = &config.alarms;
    let namespace = config.cloudwatch.namespace.clone();
    let mut parameters = settings.parameters.clone();
    if settings.files.is_empty() {
        let name = NAMESPACE_PARAMETER.to_owned();
        parameters.entry(name).or_insert_with(|| namespace.clone());
    }
    let measured = Measured {
        namespace: namespace.clone(),
        dimensions: Some(config.cloudwatch.dimensions.clone()),
    };
    let set = read_measured(&files(&settings.files)?, &parameters, &measured)?;
    Ok(Loaded {
        set,
        namespace,
        evaluate: settings.evaluate,
    })
}

/// What tells that the set has to be read again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    files: Vec<PathBuf>,
    parameters: BTreeMap<String, String>,
    namespace: String,
    evaluate: Evaluate,
    stamp: Stamp,
}

impl Source {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            files: config.alarms.files.clone(),
            parameters: config.alarms.parameters.clone(),
            namespace: config.cloudwatch.namespace.clone(),
            evaluate: config.alarms.evaluate,
            stamp: Stamp::of(&config.alarms.files),
        }
    }
}
