//! What enters the ledger: requests, counter points and activities.
//!
//! Doors build these from what a client sent; [`record`](crate::record) takes them. Prompts,
//! responses and tool inputs have no place here, so they cannot be kept by accident.

use std::sync::Arc;

use jiff::Timestamp;

use super::identity::Identity;
use super::money::PicoUsd;
use super::tokens::{TokenKind, Tokens};

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    #[default]
    Ok,
    Error,
    /// The user or a deadline stopped it.
    Cancelled,
    /// The model declined to answer.
    Refused,
    Unknown,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Error,
        Self::Cancelled,
        Self::Refused,
        Self::Unknown,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Names of the sources that tallyd itself knows. Any other name may come through the usage API.
pub mod source {
    pub const GATEWAY: &str = "gateway";
    pub const LITELLM: &str = "litellm";
    /// Estimates that a policy charges for reservations that nobody settled.
    pub const EXPIRED: &str = "quota_expired";
    /// Claude Code's `api_request`, `api_error` and `api_refusal` events.
    pub const EVENTS: &str = "events";
    /// `api_retries_exhausted`: the same failure told a second time.
    pub const RETRIES: &str = "events_retries";
    /// Claude Code's counters.
    pub const METRICS: &str = "metrics";
    /// OpenTelemetry's GenAI histograms, as gateways send them.
    pub const GENAI: &str = "genai";
    /// The failed requests of these histograms (`error.type`).
    pub const GENAI_ERRORS: &str = "genai_errors";
    /// Amazon Bedrock's model invocation logs.
    pub const BEDROCK_LOGS: &str = "bedrock_logs";

    /// What a name has to be, in words.
    pub const RULE: &str = "must be 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`";

    /// True for what may be a source's name: see [`RULE`].
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(allowed)
    }
}

/// Which model was used, on which terms: all that a price can depend on but the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sku {
    /// `anthropic`, `bedrock`, `vertex`, ... or what the gateway said.
    pub provider: Box<str>,
    /// The canonical name, equal across providers: `claude-sonnet-4-6`.
    pub model: Box<str>,
    /// The name as reported.
    pub raw_model: Box<str>,
    /// The price scope: `base`, or a Bedrock inference-profile prefix, or `in_region`.
    pub scope: Box<str>,
    pub region: Option<Box<str>>,
    pub tier: Tier,
    pub band: Band,
}

/// The service tier of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    #[default]
    Standard,
    Batch,
    /// Claude Code's fast mode (`speed = fast`).
    Fast,
    Flex,
    Priority,
}

impl Tier {
    pub const ALL: [Self; 5] = [
        Self::Standard,
        Self::Batch,
        Self::Fast,
        Self::Flex,
        Self::Priority,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Fast => "fast",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// The size of a request's context, in the steps at which list prices change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Band {
    /// Up to 100,000 tokens.
    #[default]
    UpTo100k,
    /// Above 100,000, up to 200,000.
    UpTo200k,
    Above200k,
    /// A sum over several requests: the band is not known.
    Mixed,
}

impl Band {
    pub const ALL: [Self; 4] = [Self::UpTo100k, Self::UpTo200k, Self::Above200k, Self::Mixed];

    /// The name in reports. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpTo100k => "up_to_100k",
            Self::UpTo200k => "up_to_200k",
            Self::Above200k => "above_200k",
            Self::Mixed => "mixed",
        }
    }

    /// The band of one request.
    #[must_use]
    pub fn of(tokens: &Tokens) -> Self {
        match tokens.context() {
            0..=100_000 => Self::UpTo100k,
            100_001..=200_000 => Self::UpTo200k,
            _ => Self::Above200k,
        }
    }
}

/// One report of one model request.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    pub source: Arc<str>,
    /// Unique within the source.
    pub id: Box<str>,
    /// The provider's id of the request.
    pub request_id: Option<Box<str>>,
    /// The client's id of the request (header `x-client-request-id`).
    pub client_request_id: Option<Box<str>>,
    pub session: Option<Arc<str>>,
    /// The quota reservation that this request used.
    pub reservation: Option<Box<str>>,
    pub at: Timestamp,
    /// The reservation's time, else `at`: quota windows use it, reports use `at`.
    pub booked_at: Timestamp,
    pub identity: Arc<Identity>,
    pub sku: Arc<Sku>,
    pub tokens: Tokens,
    pub outcome: Outcome,
    pub status_code: Option<u16>,
    pub duration_ms: Option<u32>,
    pub ttft_ms: Option<u32>,
    pub tools: Option<u32>,
    pub query_source: Option<Arc<str>>,
    pub entrypoint: Option<Arc<str>>,
    /// The client's own estimate, in pico-USD; a second opinion, never used for figures.
    pub client_cost: Option<PicoUsd>,
}

impl UsageRecord {
    /// A request that worked and of which nothing more is known; callers set what they know.
    pub fn new(
        source: impl Into<Arc<str>>,
        id: impl Into<Box<str>>,
        at: Timestamp,
        identity: Arc<Identity>,
        sku: Arc<Sku>,
        tokens: Tokens,
    ) -> Self {
        Self {
            source: source.into(),
            id: id.into(),
            request_id: None,
            client_request_id: None,
            session: None,
            reservation: None,
            at,
            booked_at: at,
            identity,
            sku,
            tokens,
            outcome: Outcome::Ok,
            status_code: None,
            duration_ms: None,
            ttft_ms: None,
            tools: None,
            query_source: None,
            entrypoint: None,
            client_cost: None,
        }
    }

    /// One of nobody and without tokens, for tests to change what matters.
    #[cfg(test)]
    pub fn plain(source: &str, id: &str, at: Timestamp) -> Self {
        let sku = Arc::new(Sku::plain("claude-sonnet-4-6"));
        Self::new(source, id, at, Arc::default(), sku, Tokens::default())
    }
}

#[cfg(test)]
impl Sku {
    /// A model as Anthropic sells it, in a small context.
    pub fn plain(model: &str) -> Self {
        Self {
            provider: "anthropic".into(),
            model: model.into(),
            raw_model: model.into(),
            scope: "base".into(),
            region: None,
            tier: Tier::Standard,
            band: Band::UpTo100k,
        }
    }
}

/// How a counter's points relate to each other (OTLP aggregation temporality).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// The value is what was added between `start` and `at`.
    Delta,
    /// The value is the sum since `start`.
    Cumulative,
    /// The value is a sum since a time that is not known; `start` says nothing.
    CumulativeFromUnknown,
}

/// One point of a monotonic counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub source: Arc<str>,
    /// Identifies the series: a hash over resource, metric and point attributes.
    pub series: [u8; 16],
    pub temporality: Temporality,
    pub start: Timestamp,
    pub at: Timestamp,
    /// In the unit of `what`, never negative.
    pub value: u64,
    pub identity: Arc<Identity>,
    pub session: Option<Arc<str>>,
    pub what: Counted,
}

/// What a counter point counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    Tokens {
        kind: TokenKind,
        sku: Arc<Sku>,
    },
    /// Tokens that the source's input includes: they count as their own kind, and the input is as
    /// much less.
    IncludedTokens {
        kind: TokenKind,
        sku: Arc<Sku>,
    },
    /// The client's own estimate, in micro-USD.
    ClientCost {
        sku: Arc<Sku>,
    },
    /// Finished requests, as a gateway's duration histogram counts them.
    Requests {
        sku: Arc<Sku>,
    },
    Activity {
        metric: ActivityMetric,
        labels: Labels,
    },
}

/// Label values of an activity, in the order of the metric's label names.
pub type Labels = Arc<[Box<str>]>;

/// What people did besides model requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActivityMetric {
    /// `claude_code.session.count`, labels `start_type`.
    Sessions,
    /// `claude_code.lines_of_code.count`, labels `type`, `model`.
    Lines,
    PullRequests,
    Commits,
    /// `claude_code.code_edit_tool.decision`, labels `tool_name`, `decision`, `source`, `language`.
    EditDecisions,
    /// `claude_code.active_time.total` in milliseconds, labels `type`.
    ActiveTime,
    /// Events by name, labels `event`.
    Events,
    /// Counter metrics that tallyd has no meaning for, labels `metric`; the amount is the number
    /// of points.
    UnknownMetrics,
    /// `tool_result` events, labels `tool_name`, `success`.
    ToolResults,
}

impl ActivityMetric {
    pub const ALL: [Self; 9] = [
        Self::Sessions,
        Self::Lines,
        Self::PullRequests,
        Self::Commits,
        Self::EditDecisions,
        Self::ActiveTime,
        Self::Events,
        Self::UnknownMetrics,
        Self::ToolResults,
    ];

    /// The name in the ledger. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Lines => "lines",
            Self::PullRequests => "pull_requests",
            Self::Commits => "commits",
            Self::EditDecisions => "edit_decisions",
            Self::ActiveTime => "active_time_ms",
            Self::Events => "events",
            Self::UnknownMetrics => "unknown_metrics",
            Self::ToolResults => "tool_results",
        }
    }
}

/// One thing that happened, told by an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    pub source: Arc<str>,
    /// Unique within the source.
    pub id: [u8; 16],
    pub at: Timestamp,
    pub identity: Arc<Identity>,
    pub metric: ActivityMetric,
    pub labels: Labels,
    pub amount: u64,
}

/// Everything one delivery brought, in the order in which answers are given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intake {
    pub records: Vec<UsageRecord>,
    pub points: Vec<Point>,
    pub activities: Vec<Activity>,
    /// What it is to be counted in.
    pub reach: Reach,
}

/// Where a delivery counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere: ledger, reports, quotas, `/metrics`, minutes and the alarms over them.
    #[default]
    Live,
    /// In the ledger, in reports and in quota windows of its own time. No counter of `/metrics`
    /// and no minute moves, so that history that is imported makes no rate and fires no alarm.
    Backfill,
}

impl Intake {
    /// How many records, points and activities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.points.len() + self.activities.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What became of one record, point or activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// The same fact was known already.
    Duplicate,
    Rejected(Refusal),
}

/// Why something was not taken, with a stable code and a sentence that names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
}

/// The answers to an [`Intake`], index by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub records: Vec<Verdict>,
    pub points: Vec<Verdict>,
    pub activities: Vec<Verdict>,
}
