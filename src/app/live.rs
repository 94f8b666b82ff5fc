//! What changes while tallyd runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::config::{Applies, Config, Control, Faults, Identity, Models, Source};
use crate::model::access::AccessList;
use crate::telemetry::LevelSwitch;

/// The values that a re-read configuration replaces. Readers load one per request.
#[derive(Clone, Debug)]
pub struct Live {
    pub access: Arc<ArcSwap<AccessList>>,
    pub identity: Arc<ArcSwap<Identity>>,
    pub models: Arc<ArcSwap<Models>>,
    pub control: Arc<ArcSwap<Vec<Control>>>,
}

impl Live {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            access: Arc::new(ArcSwap::from_pointee(config.auth.access_list())),
            identity: Arc::new(ArcSwap::from_pointee(config.identity.clone())),
            models: Arc::new(ArcSwap::from_pointee(config.models.clone())),
            control: Arc::new(ArcSwap::from_pointee(config.sources.control.clone())),
        }
    }

    fn replace(&self, config: &Config) {
        self.access.store(Arc::new(config.auth.access_list()));
        self.identity.store(Arc::new(config.identity.clone()));
        self.models.store(Arc::new(config.models.clone()));
        self.control.store(Arc::new(config.sources.control.clone()));
    }
}

/// Reads the configuration again and applies what can change.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    level: LevelSwitch,
    /// The configuration that tallyd was started with: what needs a restart differs from it.
    started: Config,
    /// The configuration that was read last.
    current: Config,
    live: Live,
}

impl Reloader {
    pub fn new(source: Source, level: LevelSwitch, started: Config, live: Live) -> Self {
        Self {
            source,
            level,
            current: started.clone(),
            started,
            live,
        }
    }

    /// Reads the configuration, says what changed and applies it. With any fault nothing changes.
    pub fn reload(&mut self) -> Result<(), Faults> {
        let new = self.source.load()?;
        if new.log.level != self.current.log.level {
            let changed = self.level.set(&new.log.level);
            changed.map_err(|error| Faults(vec![format!("log.level: {error:#}")]))?;
        }
        self.live.replace(&new);
        let changes = self.current.changes(&new);
        for change in &changes {
            let (key, old, new) = (&change.key, &change.old, &change.new);
            info!(key, old, new, "a setting changed");
        }
        info!(changes = changes.len(), "the configuration was read again");
        for change in self.started.changes(&new) {
            if change.applies == Applies::AfterRestart {
                warn!(key = change.key, "the changed setting needs a restart");
            }
        }
        self.current = new;
        Ok(())
    }
}
