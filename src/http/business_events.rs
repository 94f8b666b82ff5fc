//! `POST /api/v1/business/events`: what other trackers tell of fixed bugs, reviews, tasks of
//! operations and own measures.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::elements::{self, Layout, Sink};
use super::error::Problem;
use super::lenient::{Part, Text, invalid};
use super::receipt::RejectedRecord;
use super::webhooks;
use crate::config::Business;
use crate::model::access::{Binding, Scope};
use crate::model::business::{BusinessEvent, EventKind, MICRO, MICRO_DIGITS};
use crate::model::catalogue;
use crate::model::identity::Identity;
use crate::model::label;
use crate::model::money::parse_decimal;
use crate::model::usage::Refusal;
use crate::store::{BusinessEffect, Taken};

/// The content types, lines last: newline-delimited JSON goes by several names.
const TYPES: [&str; 5] = [
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// Names of sources that only tallyd's own doors use.
const RESERVED: [&str; 2] = ["github", "gitlab"];

/// The source of an event that names none.
const DEFAULT_SOURCE: &str = "tracker";

/// The longest name of a source, in bytes.
const MAX_SOURCE: usize = 64;

/// Things in one event at most: more would be a slip.
const MOST_THINGS: i128 = 1_000_000;

/// A measure is at most this far from zero.
const MOST_MEASURE: i128 = 1_000_000_000;

/// The age up to which an event is taken: events are kept that long.
const MAX_AGE_MONTHS: i64 = 25;

/// How far the clock of a sender may be ahead.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// One event. Fields that are not named here are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = BusinessEvent, example = json!({
    "id": "JIRA-4711", "at": "2026-11-22T03:06:46Z", "kind": "bug_fixed", "source": "jira",
    "team": "payments", "user": "alice@example.com", "amount": 1, "claude": true
}))]
pub(super) struct WireBusinessEvent<'a> {
    /// Unique within the source; the same id with other fields is a conflict.
    #[serde(borrow, default)]
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    id: Text<'a>,
    /// Who tells it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9_.-]{1,64}$", default = "tracker")]
    source: Text<'a>,
    /// When it happened (RFC 3339), from 25 months ago to one hour ahead.
    #[serde(borrow, default)]
    #[schema(value_type = String, format = DateTime)]
    at: Text<'a>,
    /// `bug_fixed`, `code_review`, `operation`, or a name of `business.measures`.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    team: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    user: Text<'a>,
    /// How many; for a measure its value, as a number or as decimal text.
    #[serde(default)]
    #[schema(value_type = Option<f64>, default = 1)]
    amount: Value,
    /// Whether Claude Code took part; `null` if that is not known.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    claude: Value,
}

/// What became of a delivery. It is sent when everything accepted is on disk.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BusinessReceipt {
    /// Events that are new.
    accepted: u64,
    /// Events that were known already.
    duplicates: u64,
    /// Events that were not taken, in the order of the delivery.
    rejected: Vec<RejectedRecord>,
}

/// What reading depends on besides the body.
#[derive(Clone, Copy)]
struct Context<'c> {
    business: &'c Business,
    binding: &'c Binding,
    now: Timestamp,
}

/// Report events of a tracker
///
/// Takes one event, an array, or newline-delimited events. Good events of a batch are kept, bad
/// ones are named. The key of an event is `(source, id)`: sending it again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/business/events", tag = "business",
    operation_id = "reportBusinessEvents",
    security((), ("bearer" = ["ingest"])),
    request_body(content(
        (WireBusinessEvent<'static> = "application/json"),
        (WireBusinessEvent<'static> = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "Everything accepted is on disk.", body = BusinessReceipt),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BusinessReceipt>, Problem> {
    let grant = auth::grant(&api, &headers, Scope::Ingest)?;
    let layout = match body::media_type(&headers, &TYPES)? {
        "application/json" => Layout::Json,
        _ => Layout::Lines,
    };
    let body = body::read(&headers, body, api.body_limits).await?;
    let now = api.clock.now();
    let config = api.reports.config.load_full();
    let context = Context {
        business: &config.business,
        binding: &grant.binding,
        now,
    };
    let batch = elements::read(&body, layout, || Batch::new(context))?;
    let effects = if batch.events.is_empty() {
        Vec::new()
    } else {
        api.ledger.take_events(batch.events, now).await?
    };
    for effect in &effects {
        webhooks::publish(&api, effect);
    }
    let receipt = receipt(batch.indices, &effects, batch.rejected);
    count(&api, &receipt);
    Ok(Json(receipt))
}

fn receipt(
    indices: Vec<usize>,
    effects: &[BusinessEffect],
    mut rejected: Vec<RejectedRecord>,
) -> BusinessReceipt {
    let mut receipt = BusinessReceipt::default();
    for (index, effect) in indices.into_iter().zip(effects) {
        match effect.taken {
            Taken::New | Taken::Changed => receipt.accepted += 1,
            Taken::Unchanged | Taken::Replayed => receipt.duplicates += 1,
            Taken::Conflict => rejected.push(RejectedRecord {
                index,
                code: "id_conflict",
                message: "id: known already with other fields".to_owned(),
            }),
        }
    }
    rejected.sort_by_key(|rejected| rejected.index);
    receipt.rejected = rejected;
    receipt
}

fn count(api: &Api, receipt: &BusinessReceipt) {
    let results = [
        ("accepted", receipt.accepted),
        ("duplicate", receipt.duplicates),
        ("rejected", receipt.rejected.len() as u64),
    ];
    for (result, number) in results {
        if number > 0 {
            api.registry
                .add(catalogue::BUSINESS_EVENTS, &[result], number.into());
        }
    }
}

struct Batch<'c> {
    context: Context<'c>,
    count: usize,
    events: Vec<BusinessEvent>,
    /// The position in the delivery of each event.
    indices: Vec<usize>,
    rejected: Vec<RejectedRecord>,
}

impl<'c> Batch<'c> {
    const fn new(context: Context<'c>) -> Self {
        Self {
            context,
            count: 0,
            events: Vec::new(),
            indices: Vec::new(),
            rejected: Vec::new(),
        }
    }
}

impl<'a> Sink<'a> for Batch<'_> {
    type Element = WireBusinessEvent<'a>;

    fn take(&mut self, element: Result<Part<Self::Element>, Refusal>) {
        let index = self.count;
        self.count += 1;
        let read = element
            .and_then(|part| {
                part.optional("event")?
                    .ok_or_else(|| invalid("event", "must be an object, got null"))
            })
            .and_then(|wire| wire.event(self.context));
        match read {
            Ok(event) => {
                self.events.push(event);
                self.indices.push(index);
            }
            Err(refusal) => self.rejected.push(RejectedRecord {
                index,
                code: refusal.code,
                message: refusal.message,
            }),
        }
    }
}

impl WireBusinessEvent<'_> {
    fn event(self, context: Context<'_>) -> Result<BusinessEvent, Refusal> {
        let source = self.source.optional("source")?;
        let source = source.as_deref().unwrap_or(DEFAULT_SOURCE);
        check_source(source)?;
        let at = time(&self.at.required("at")?, context.now)?;
        let kind = self.kind.required("kind")?;
        let is_measure = is_measure(&kind, context.business)?;
        let clean = |text: Text<'_>, field| -> Result<Option<Box<str>>, Refusal> {
            let text = text.optional(field)?;
            Ok(text.and_then(|text| label::clean(&text).map(Into::into)))
        };
        let team = clean(self.team, "team")?;
        let user = self.user.optional("user")?;
        let user: Option<Box<str>> = user.and_then(|user| label::fold(&user).map(Into::into));
        let identity = Identity {
            user: user.clone(),
            team: team.clone(),
            ..Identity::default()
        };
        context.binding.permits(&identity)?;
        let claude = match self.claude {
            Value::Null => None,
            Value::Bool(claude) => Some(claude),
            _ => return Err(invalid("claude", "must be true, false or null")),
        };
        Ok(BusinessEvent {
            id: self.id.required("id")?.into(),
            source: source.into(),
            at,
            updated: at,
            is_fix: *kind == *EventKind::BugFixed.name(),
            kind: kind.into(),
            claude,
            commit: None,
            user,
            team,
            amount: amount(&self.amount, is_measure)?,
        })
    }
}

fn check_source(source: &str) -> Result<(), Refusal> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if source.len() > MAX_SOURCE || !source.bytes().all(allowed) {
        let fault = "must be 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`";
        return Err(invalid("source", fault));
    }
    if RESERVED.contains(&source) {
        return Err(Refusal {
            code: "source_reserved",
            message: format!("source: {source} has a webhook of its own"),
        });
    }
    Ok(())
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let at: Timestamp = text.parse().map_err(|_| {
        invalid(
            "at",
            "must be a time as in RFC 3339 with an offset, such as 2026-11-22T03:06:46Z",
        )
    })?;
    let utc = now.to_zoned(TimeZone::UTC);
    let oldest = utc
        .checked_sub(MAX_AGE_MONTHS.months())
        .map_or(Timestamp::MIN, |zoned| zoned.timestamp());
    let newest = now.checked_add(MAX_AHEAD).unwrap_or(Timestamp::MAX);
    if at < oldest || at > newest {
        return Err(Refusal {
            code: "time_out_of_range",
            message: format!("at: must be between {oldest:.0} and {newest:.0}, got {at:.0}"),
        });
    }
    Timestamp::from_millisecond(at.as_millisecond()).map_err(|_| invalid("at", "is out of range"))
}

/// True for a measure of the configuration, false for a thing that is counted.
fn is_measure(kind: &str, business: &Business) -> Result<bool, Refusal> {
    let things = [
        EventKind::BugFixed,
        EventKind::CodeReview,
        EventKind::Operation,
    ];
    if things.iter().any(|thing| thing.name() == kind) {
        return Ok(false);
    }
    if business.measures.iter().any(|measure| measure == kind) {
        return Ok(true);
    }
    let names = things.map(EventKind::name).join(", ");
    Err(invalid(
        "kind",
        format_args!("must be one of {names}, or a name of business.measures"),
    ))
}

fn amount(value: &Value, is_measure: bool) -> Result<i64, Refusal> {
    let text = match value {
        Value::Null => "1".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return Err(invalid("amount", "must be a number")),
    };
    let read = parse_decimal(&text, MICRO_DIGITS);
    let good = |micro: &i128| {
        if is_measure {
            micro.abs() <= MOST_MEASURE * MICRO
        } else {
            micro % MICRO == 0 && (1..=MOST_THINGS).contains(&(micro / MICRO))
        }
    };
    let micro = read
        .ok()
        .filter(good)
        .and_then(|micro| i64::try_from(micro).ok());
    micro.ok_or_else(|| {
        if is_measure {
            invalid("amount", "must be a number with up to six decimal places")
        } else {
            invalid("amount", "must be a whole number from 1 to 1000000")
        }
    })
}
