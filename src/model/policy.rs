//! Who may use what, and how much: roles, projects, groups and limits of a policy file.
//!
//! Three values of a bound are three things: absent says nothing, 0 allows nothing, and
//! `unlimited` is a promise that shows in balances.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::glob::Glob;
use super::tokens::Tokens;
use super::window::Window;

mod narrow;
mod read;

/// One thing that is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `limits[2].window`, `roles.developer.allowed_models`.
    pub place: String,
    pub message: String,
}

/// A policy file, parsed.
#[derive(Clone, Debug)]
pub struct Policy {
    pub zone: TimeZone,
    /// For people of whom nothing says a role.
    pub default_role: Option<Box<str>>,
    pub roles: BTreeMap<Box<str>, Role>,
    pub projects: BTreeMap<Box<str>, ProjectType>,
    pub groups: BTreeMap<Box<str>, Group>,
    /// Names of the tokens whose senders may state roles and groups themselves.
    pub claims_from: Vec<Box<str>>,
    pub weights: Weights,
    /// Those of the file, then one for each role with `max_tokens_per_day`.
    pub limits: Vec<Limit>,
    pub raises: Vec<Raise>,
    /// Whom to ask for more, told with every denial.
    pub contact: Option<Box<str>>,
}

/// What people of one role may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Canonical names; `None` allows all, an empty list none.
    pub allowed_models: Option<Vec<Glob>>,
    pub allowed_project_types: Option<Vec<ProjectType>>,
    /// Told in answers; the gateway enforces it.
    pub can_access_external_apis: bool,
    pub audit_level: AuditLevel,
}

/// How confidential a project is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProjectType {
    Internal,
    CustomerFacing,
    Confidential,
}

impl ProjectType {
    pub const ALL: [Self; 3] = [Self::Internal, Self::CustomerFacing, Self::Confidential];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::CustomerFacing => "customer_facing",
            Self::Confidential => "confidential",
        }
    }
}

/// How much the audit log says of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditLevel {
    /// Denials.
    Minimal,
    /// Denials, and admissions without detail.
    #[default]
    Standard,
    /// All that is known, never prompts.
    Full,
}

impl AuditLevel {
    pub const ALL: [Self; 3] = [Self::Minimal, Self::Standard, Self::Full];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Standard => "standard",
            Self::Full => "full",
        }
    }
}

/// Where the members of a group belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub role: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub cost_center: Option<Box<str>>,
    /// People and services, case-folded; globs such as `*@contractor.example.com`.
    pub members: Vec<Glob>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// The plain sum of all kinds.
    Tokens,
    /// Uncached input.
    InputTokens,
    OutputTokens,
    /// Each kind times its weight.
    WeightedTokens,
    Requests,
    Usd,
}

impl Unit {
    pub const ALL: [Self; 6] = [
        Self::Tokens,
        Self::InputTokens,
        Self::OutputTokens,
        Self::WeightedTokens,
        Self::Requests,
        Self::Usd,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::WeightedTokens => "weighted_tokens",
            Self::Requests => "requests",
            Self::Usd => "usd",
        }
    }
}

/// How much each kind of token weighs: whole numbers over one denominator, never floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    pub input: u32,
    pub output: u32,
    pub cache_read: u32,
    pub cache_write: u32,
    pub denominator: u32,
}

impl Default for Weights {
    /// Cache reads weigh a tenth: they are nine tenths of plain sums.
    fn default() -> Self {
        Self {
            input: 10,
            output: 10,
            cache_read: 1,
            cache_write: 10,
            denominator: 10,
        }
    }
}

/// Pico-USD in a USD.
const PICO: i128 = 1_000_000_000_000;

impl Weights {
    /// How many grains make one of a unit. Amounts are kept in grains, so that a tenth of a token
    /// and a millionth of a cent are whole numbers.
    #[must_use]
    pub fn grains(&self, unit: Unit) -> i128 {
        match unit {
            Unit::WeightedTokens => self.denominator.into(),
            Unit::Usd => PICO,
            _ => 1,
        }
    }
}

/// What was used, or is expected to be: all that a unit can count. Signed, since corrections take
/// back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub cache_write: i64,
    pub requests: i64,
    /// Pico-USD; tokens without a price add nothing.
    pub cost: i64,
}

impl Usage {
    /// One request with these tokens.
    #[must_use]
    pub fn of(tokens: &Tokens, cost: Option<i64>) -> Self {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            input: signed(tokens.input),
            output: signed(tokens.output),
            cache_read: signed(tokens.cache_read),
            cache_write: signed(tokens.cache_write()),
            requests: 1,
            cost: cost.unwrap_or(0),
        }
    }

    /// The amount in grains of a unit.
    #[must_use]
    pub fn amount(&self, unit: Unit, weights: &Weights) -> i128 {
        let [input, output, read, write] =
            [self.input, self.output, self.cache_read, self.cache_write].map(i128::from);
        match unit {
            Unit::Tokens => input + output + read + write,
            Unit::InputTokens => input,
            Unit::OutputTokens => output,
            Unit::WeightedTokens => {
                input * i128::from(weights.input)
                    + output * i128::from(weights.output)
                    + read * i128::from(weights.cache_read)
                    + write * i128::from(weights.cache_write)
            }
            Unit::Requests => self.requests.into(),
            Unit::Usd => self.cost.into(),
        }
    }
}

/// What tells the counters of a limit apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    User,
    Role,
    Team,
    Project,
    CostCenter,
    Organization,
    Provider,
    Model,
}

impl Field {
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Role,
        Self::Team,
        Self::Project,
        Self::CostCenter,
        Self::Organization,
        Self::Provider,
        Self::Model,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
            Self::Team => "team",
            Self::Project => "project",
            Self::CostCenter => "cost_center",
            Self::Organization => "organization",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }
}

/// Who uses what: the values by which limits match and count. Empty where nothing is known.
///
/// One shared text: every reservation has a subject, and those of one call are one.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The values one after the other, in the order of [`Field::ALL`].
    text: Arc<str>,
    /// Where each ends, in bytes.
    ends: [u32; Field::ALL.len()],
}

impl Subject {
    /// A subject with these values, in the order of [`Field::ALL`].
    #[must_use]
    pub fn new(values: [&str; Field::ALL.len()]) -> Self {
        let mut end = 0;
        let ends = values.map(|value| {
            end += value.len();
            u32::try_from(end).expect("names have some hundred bytes at most")
        });
        Self {
            text: values.concat().into(),
            ends,
        }
    }

    /// The same with another value.
    #[must_use]
    pub fn with(&self, field: Field, value: &str) -> Self {
        Self::new(Field::ALL.map(|known| {
            if known == field {
                value
            } else {
                self.get(known)
            }
        }))
    }

    #[must_use]
    pub fn get(&self, field: Field) -> &str {
        let place = field as usize;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.text[start as usize..self.ends[place] as usize]
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = Field::ALL.map(|field| (field.name(), self.get(field)));
        f.debug_map().entries(values).finish()
    }
}

/// The most that may be used in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Unlimited,
    /// In grains of the limit's unit.
    At(i128),
}

/// The time over which a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Calendar(Window),
    /// The last so many seconds, in steps of a quarter hour: what was used in a quarter hour
    /// leaves when all of it is that old.
    Rolling {
        seconds: i64,
    },
}

/// What a gateway should do when tallyd cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreError {
    #[default]
    Closed,
    Open,
}

/// What becomes of a hold whose lease ends without a settlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    #[default]
    Release,
    ChargeEstimate,
    ChargeInput,
}

/// Whether a limit denies or only tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    Shadow,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Shadow];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// One limit. Each combination of the values of `per` has a counter of its own; without `per`
/// there is one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: Arc<str>,
    /// All named fields have to fit one of their patterns.
    pub matches: BTreeMap<Field, Vec<Glob>>,
    pub per: Arc<[Field]>,
    pub unit: Unit,
    pub bound: Bound,
    pub span: Span,
    pub on_store_error: OnStoreError,
    pub on_expiry: OnExpiry,
    pub mode: Mode,
    /// Percent of the bound at which to warn, ascending.
    pub warn_at: Vec<u8>,
}

impl Limit {
    /// True if the limit concerns a subject.
    #[must_use]
    pub fn applies(&self, subject: &Subject) -> bool {
        self.matches.iter().all(|(field, patterns)| {
            let value = subject.get(*field);
            patterns.iter().any(|pattern| pattern.matches(value))
        })
    }

    /// The counter of a subject: the values of `per`, joined. Those who lack a value share one
    /// counter, so that leaving it out evades nothing.
    pub fn scope_into(&self, subject: &Subject, scope: &mut String) {
        scope.clear();
        for (i, field) in self.per.iter().enumerate() {
            if i > 0 {
                scope.push(SCOPE_SEPARATOR);
            }
            scope.push_str(subject.get(*field));
        }
    }
}

/// Separates the values in a scope.
pub const SCOPE_SEPARATOR: char = '\u{1f}';

/// More for somebody, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    pub limit: Box<str>,
    /// Whose counters; all of the limit's if empty.
    pub matches: BTreeMap<Field, Vec<Glob>>,
    /// Grains on top of the bound.
    pub add: i128,
    pub until: Timestamp,
    pub reason: Box<str>,
}

impl Policy {
    /// Reads a policy file (TOML). All faults are reported together; with any, nothing is used.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        read::parse(text)
    }

    /// The role of somebody: as claimed, else of the first group that names the person, else the
    /// default. `None` if the policy has roles and knows none for the person.
    #[must_use]
    pub fn role<'a>(&'a self, claimed: Option<&'a str>, user: &str) -> Option<&'a str> {
        claimed
            .filter(|role| self.roles.contains_key(*role))
            .or_else(|| {
                let group = self.group_of(user)?;
                group.role.as_deref()
            })
            .or(self.default_role.as_deref())
    }

    /// The first group, by name, that lists the person.
    #[must_use]
    pub fn group_of(&self, user: &str) -> Option<&Group> {
        let lists = |group: &&Group| group.members.iter().any(|member| member.matches(user));
        self.groups.values().find(lists)
    }
}
