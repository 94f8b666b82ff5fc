//! The configuration: read once, from file and environment, into typed values.
//!
//! Each section is a file: its settings as a constant table, its type, and how it is read. The
//! environment is read nowhere else. All faults are reported together, in the user's words. A new
//! setting is a line in the table and a field; `deploy/tallyd.example.toml` and
//! `docs/configuration.md` are rendered from the tables.

mod alarms;
mod auth;
mod aws;
mod bedrock;
mod bedrock_logs;
mod bill;
mod budgets;
mod business;
mod cloudwatch;
mod collect;
mod cost;
mod environment;
mod envoy;
mod forward;
mod identity;
mod limits;
mod listen;
mod log;
mod maintenance;
mod metrics;
mod models;
mod notify;
mod quota;
mod reader;
mod report;
mod savings;
mod secret;
mod series;
mod setting;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod tls;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

pub use alarms::{Alarms, Evaluate};
pub use auth::{Auth, Token};
pub use aws::{Account, Authorities, Aws};
pub use bedrock::Bedrock;
pub use bedrock_logs::{BedrockLogs, LogKind, LogSource};
pub use bill::Bill;
pub use budgets::{Allocate, Anomalies, Budget, By, Fixed, Period, Plans, Scope};
pub use business::Business;
pub use cloudwatch::{Ambiguous, CloudWatch, Prices, Tier};
pub use collect::Collect;
pub use cost::Cost;
pub use environment::Environment;
pub use envoy::{Envoy, Hit, Key};
pub use forward::{Forward, Signal};
pub use identity::Identity;
pub use limits::Limits;
pub use listen::Listen;
pub use log::{Format, Log};
pub use metrics::{Metrics, PerUser};
pub use models::Models;
pub use notify::{Notify, NotifyKind, TopicArn};
pub use quota::{Audit, Quota};
pub use reader::Faults;
pub use report::{Close, Destination, Every, Report, Schedule};
pub use savings::Savings;
pub use secret::Secret;
pub use series::Series;
pub use setting::Applies;
pub use sources::{Control, Sources};
pub use store::{Backup, Store};
pub use time::Time;
pub use tls::Tls;

use crate::model::notice::Mute;
use reader::Reader;
use setting::{Section, Setting, Shown};

/// All sections, in the order of the example file.
const SECTIONS: &[&Section] = &[
    &listen::SECTION,
    &tls::SECTION,
    &auth::SECTION,
    &store::SECTION,
    &series::SECTION,
    &time::SECTION,
    &identity::SECTION,
    &models::SECTION,
    &sources::SECTION,
    &metrics::SECTION,
    &collect::SECTION,
    &cost::SECTION,
    &report::SECTION,
    &savings::SECTION,
    &business::SECTION,
    &quota::SECTION,
    &envoy::SECTION,
    &aws::SECTION,
    &cloudwatch::SECTION,
    &bedrock::SECTION,
    &bedrock_logs::SECTION,
    &forward::SECTION,
    &maintenance::SECTION,
    &alarms::SECTION,
    &limits::SECTION,
    &log::SECTION,
];

/// Sections of which there can be many, each under a name of its own.
const NAMED_SECTIONS: &[&Section] = &[&notify::SECTION];

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub tls: Option<Tls>,
    pub auth: Auth,
    pub store: Store,
    pub series: Series,
    pub time: Time,
    pub identity: Identity,
    pub models: Models,
    pub sources: Sources,
    pub metrics: Metrics,
    pub collect: Collect,
    pub cost: Cost,
    pub report: Report,
    pub savings: Savings,
    pub business: Business,
    pub quota: Quota,
    pub envoy: Envoy,
    pub aws: Aws,
    pub cloudwatch: CloudWatch,
    pub bedrock: Bedrock,
    pub bedrock_logs: BedrockLogs,
    pub forward: Option<Forward>,
    /// Whom alarms are told, by name.
    pub notify: Vec<Notify>,
    /// Maintenance windows.
    pub maintenance: Vec<Mute>,
    pub alarms: Alarms,
    pub limits: Limits,
    pub log: Log,
    values: Values,
}

impl Config {
    /// Reads a configuration file, or the defaults without one, and the overrides of the
    /// environment. All faults are in the error.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, Faults> {
        let Some(file) = file else {
            return Self::parse("", environment);
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Faults(vec![format!("cannot read {}: {error}", file.display())]))?;
        Self::parse(&text, environment)
    }

    /// Parses the text of a configuration file. Files that it names are checked, and those with
    /// secrets are read.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, Faults> {
        // The error's own text would repeat the line, and the line may hold a secret.
        let file = toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            Faults(vec![format!("line {line}: {}", error.message())])
        })?;
        let mut reader = Reader::new(file, environment);
        let mut config = Self {
            listen: listen::read(&mut reader),
            tls: tls::read(&mut reader),
            auth: auth::read(&mut reader),
            store: store::read(&mut reader),
            series: series::read(&mut reader),
            time: time::read(&mut reader),
            identity: identity::read(&mut reader),
            models: models::read(&mut reader),
            sources: sources::read(&mut reader),
            metrics: metrics::read(&mut reader),
            collect: collect::read(&mut reader),
            cost: cost::read(&mut reader),
            report: report::read(&mut reader),
            savings: savings::read(&mut reader),
            business: business::read(&mut reader),
            quota: quota::read(&mut reader),
            envoy: envoy::read(&mut reader),
            aws: aws::read(&mut reader),
            cloudwatch: cloudwatch::read(&mut reader),
            bedrock: bedrock::read(&mut reader),
            bedrock_logs: bedrock_logs::read(&mut reader),
            forward: forward::read(&mut reader),
            notify: notify::read(&mut reader),
            maintenance: maintenance::read(&mut reader),
            alarms: alarms::read(&mut reader),
            limits: limits::read(&mut reader),
            log: log::read(&mut reader),
            values: Values::default(),
        };
        config.check_across_sections(&mut reader);
        config.values = Values(reader.finish(SECTIONS, NAMED_SECTIONS)?);
        Ok(config)
    }

    fn check_across_sections(&self, reader: &mut Reader<'_>) {
        if self.auth.tokens.is_empty() {
            for (key, address) in self.listen.addresses() {
                if !address.ip().is_loopback() {
                    reader.fault(format!(
                        "listen.{key}: {address} can be reached from other hosts, which needs \
                         auth.tokens; `tallyd token new` makes one"
                    ));
                }
            }
        }
        if self.metrics.per_user == PerUser::Pseudonym && self.identity.pseudonym_key.is_none() {
            reader
                .fault("metrics.per_user: pseudonym needs identity.pseudonym_key_file".to_owned());
        }
        for source in &self.bedrock_logs.sources {
            let known = |id: &String| self.aws.accounts.iter().any(|account| account.id == *id);
            if let Some(id) = source.account.as_ref().filter(|id| !known(id)) {
                let name = &source.name;
                reader.fault(format!(
                    "bedrock_logs.sources: {name} is in account {id}, which [[aws.accounts]] does \
                     not name"
                ));
            }
        }
        for (place, id) in self.cost.bill.accounts.iter().enumerate() {
            let is_named = self.aws.accounts.iter().any(|account| account.id == *id);
            if id != "own" && !is_named {
                reader.fault(format!(
                    "cost.accounts[{place}]: {id} is not in aws.accounts; name it there, or write \
                     own for the account of tallyd's credentials"
                ));
            }
        }
    }

    /// Whether anything that is configured needs AWS.
    #[must_use]
    pub fn uses_aws(&self) -> bool {
        let is_topic = |target: &Notify| matches!(target.kind, NotifyKind::Sns { .. });
        let is_bucket = |one: &Schedule| matches!(one.to, Destination::S3 { .. });
        self.cloudwatch.enabled
            || self.bedrock.enabled
            || self.cost.bill.collect
            || self.reads_logs_in_aws()
            || !self.aws.accounts.is_empty()
            || self.notify.iter().any(is_topic)
            || self.report.schedule.iter().any(is_bucket)
    }

    fn reads_logs_in_aws(&self) -> bool {
        let logs = &self.bedrock_logs;
        logs.enabled && logs.sources.iter().any(LogSource::is_in_aws)
    }

    /// What differs in `new`, by key.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut compare = |section: &Section, path: &str| {
            for setting in section.settings {
                let key = format!("{path}.{}", setting.key);
                let (old, new) = (self.values.0.get(&key), new.values.0.get(&key));
                if old != new {
                    changes.push(Change::new(key, setting, old, new));
                }
            }
        };
        for section in SECTIONS {
            compare(section, section.name);
        }
        for section in NAMED_SECTIONS {
            let of = |values: &Values| values.tables(section.name);
            for path in of(&self.values).union(&of(&new.values)) {
                compare(section, path);
            }
        }
        changes
    }
}

/// Which settings were resolved to what. Never shown: some are secret.
#[derive(Clone, Default, PartialEq)]
struct Values(BTreeMap<String, Value>);

impl Values {
    /// The paths of the tables under a section of which there can be many.
    fn tables(&self, section: &str) -> BTreeSet<String> {
        let keys = self.0.keys();
        keys.filter(|key| key.split('.').next() == Some(section))
            .filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned()))
            .collect()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// A setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `section.key`.
    pub key: String,
    /// The values; `***` where they may be secret.
    pub old: String,
    pub new: String,
    pub applies: Applies,
}

impl Change {
    fn new(key: String, setting: &Setting, old: Option<&Value>, new: Option<&Value>) -> Self {
        let show = |value: Option<&Value>| match (setting.shown, value) {
            (Shown::Plain, Some(value)) => reader::show(value),
            (Shown::Plain, None) => "nothing".to_owned(),
            _ => "***".to_owned(),
        };
        Self {
            key,
            old: show(old),
            new: show(new),
            applies: setting.applies,
        }
    }
}

/// Where a configuration came from, so that it can be read again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub file: Option<PathBuf>,
    pub environment: Environment,
}

impl Source {
    /// Reads the file again; the environment of a process does not change.
    pub fn load(&self) -> Result<Config, Faults> {
        Config::load(self.file.as_deref(), &self.environment)
    }
}

/// The text of `deploy/tallyd.example.toml`.
#[must_use]
pub fn example_file() -> String {
    setting::example_file(SECTIONS, NAMED_SECTIONS)
}

/// The text of `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    setting::reference_page(SECTIONS, NAMED_SECTIONS)
}
