//! What changes while tallyd runs.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::{alarms, prices, reports};
use crate::config::{Applies, Config, Faults, Identity, Models, Quota, Source};
use crate::model::access::AccessList;
use crate::model::directory::Directory;
use crate::model::identify::IdentityRules;
use crate::model::names::ModelNames;
use crate::model::policy::Policy;
use crate::store::{BusinessTerms, ControlRule, Terms};
use crate::telemetry::LevelSwitch;

/// The values that a re-read configuration replaces. Readers load one per request.
#[derive(Clone, Debug)]
pub struct Live {
    pub access: Arc<ArcSwap<AccessList>>,
    pub rules: Arc<ArcSwap<IdentityRules>>,
    pub names: Arc<ArcSwap<ModelNames>>,
    pub terms: Arc<ArcSwap<Terms>>,
    /// The configuration as it was read last.
    pub config: Arc<ArcSwap<Config>>,
}

impl Live {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        reports::check(config)?;
        Ok(Self {
            access: Arc::new(ArcSwap::from_pointee(config.auth.access_list())),
            rules: Arc::new(ArcSwap::from_pointee(rules(&config.identity))),
            names: Arc::new(ArcSwap::from_pointee(names(&config.models))),
            terms: Arc::new(ArcSwap::from_pointee(terms(config)?)),
            config: Arc::new(ArcSwap::from_pointee(config.clone())),
        })
    }

    fn replace(&self, config: &Config) -> anyhow::Result<()> {
        let terms = terms(config)?;
        reports::check(config)?;
        self.access.store(Arc::new(config.auth.access_list()));
        self.rules.store(Arc::new(rules(&config.identity)));
        self.names.store(Arc::new(names(&config.models)));
        self.terms.store(Arc::new(terms));
        self.config.store(Arc::new(config.clone()));
        Ok(())
    }

    /// Reads the directory again. With any fault the old one stays.
    pub(super) fn reload_directory(&self) -> anyhow::Result<()> {
        let terms = Terms {
            directory: directory(&self.config.load())?,
            ..Terms::clone(&self.terms.load())
        };
        self.terms.store(Arc::new(terms));
        Ok(())
    }
}

fn rules(identity: &Identity) -> IdentityRules {
    IdentityRules {
        order: identity.order.clone(),
        custom_attribute: identity.custom_attribute.clone(),
        team_attributes: identity.team_attributes.clone(),
        project_attributes: identity.project_attributes.clone(),
        department_attributes: identity.department_attributes.clone(),
        cost_center_attributes: identity.cost_center_attributes.clone(),
        ..IdentityRules::default()
    }
}

fn names(models: &Models) -> ModelNames {
    ModelNames::new(&models.default_provider, models.aliases.clone())
}

fn terms(config: &Config) -> anyhow::Result<Terms> {
    let control = config.sources.control.iter().map(|rule| ControlRule {
        source: rule.source.clone(),
        provider: rule.provider.clone(),
        team: rule.team.clone(),
        account: rule.account.clone(),
    });
    let dimensions = config.cloudwatch.dimensions.iter();
    Ok(Terms {
        prices: prices::table(&config.cost)?,
        unknown_write: config.cost.cache_write_unknown,
        unknown_write_of: config.cost.cache_write_unknown_of.clone(),
        directory: directory(config)?,
        order: config.sources.order.clone(),
        control: control.collect(),
        counted_log_accounts: config.bedrock_logs.counted_accounts.clone(),
        dimensions: dimensions
            .map(|set| set.iter().copied().collect())
            .collect(),
        business: BusinessTerms {
            tells_bugs: config.business.tells_bugs(),
            assumptions: Some(Arc::new(config.business.assumptions.clone())),
        },
    })
}

fn directory(config: &Config) -> anyhow::Result<Directory> {
    let Some(file) = &config.identity.directory else {
        return Ok(Directory::default());
    };
    Directory::parse(&read(file)?, &config.time.zone).map_err(|faults| {
        let file = file.display();
        let lines = faults.iter().map(|fault| {
            let (line, column, message) = (fault.line, &fault.column, &fault.message);
            format!("{file}:{line}: {column}: {message}")
        });
        Faults(lines.collect()).into()
    })
}

pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Reads the policy file.
pub(super) fn policy(quota: &Quota) -> anyhow::Result<Option<Policy>> {
    let Some(file) = &quota.policy else {
        return Ok(None);
    };
    let policy = Policy::parse(&read(file)?).map_err(|faults| {
        let file = file.display();
        let lines = faults
            .iter()
            .map(|fault| format!("{file}: {}: {}", fault.place, fault.message));
        Faults(lines.collect())
    })?;
    Ok(Some(policy))
}

/// Checks the files that the configuration names, as a start would. Returns what is allowed and
/// still worth a look.
pub fn check_files(config: &Config) -> anyhow::Result<Vec<String>> {
    terms(config)?;
    reports::check(config)?;
    let alarms = alarms::load(config)?;
    let policy = policy(&config.quota)?;
    let narrow = policy.map_or_else(Vec::new, |policy| policy.narrow_limits());
    let narrow = narrow
        .into_iter()
        .map(|text| format!("quota.policy: {text}"));
    let mut warnings: Vec<String> = narrow.collect();
    warnings.extend(prices::warnings(&config.cost)?);
    let of_alarms = alarms.loaded();
    warnings.extend(of_alarms.set.warnings.iter().map(ToString::to_string));
    Ok(warnings)
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
    pub fn reload(&mut self) -> anyhow::Result<()> {
        let new = self.source.load()?;
        self.live.replace(&new)?;
        if new.log.level != self.current.log.level {
            let changed = self.level.set(&new.log.level);
            changed.map_err(|error| Faults(vec![format!("log.level: {error:#}")]))?;
        }
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
