//! One delivery in the making: the records that could be built, and the refusals of the rest.
//!
//! A batch repeats few users, models and sessions, so each distinct one is checked, resolved and
//! allocated once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::elements::{self, BodyFault, Layout, Sink};
use super::lenient::{Part, invalid, missing};
use crate::model::access::Binding;
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Refusal, Sku, Tier, UsageRecord, source};

/// The age up to which a record is taken: the roll-ups are kept that long.
const MAX_AGE_MONTHS: i64 = 25;

/// How far the clock of a sender may be ahead.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// The sources that only tallyd's own receivers may use.
const RESERVED_SOURCES: [&str; 7] = [
    source::BEDROCK_LOGS,
    source::EXPIRED,
    source::EVENTS,
    source::RETRIES,
    source::METRICS,
    source::GENAI,
    source::GENAI_ERRORS,
];

/// What building records depends on besides the body.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    pub names: &'c ModelNames,
    /// What the caller's token may report.
    pub binding: &'c Binding,
    pub now: Timestamp,
    pub door: Door,
}

/// By which door records come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// Gateways report what happens.
    #[default]
    Usage,
    /// An operator brings history, that of Bedrock's logs included.
    Import,
}

/// An element that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Position in the delivery, from 0.
    pub index: usize,
    pub source: Arc<str>,
    pub refusal: Refusal,
}

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub records: Vec<UsageRecord>,
    /// The position in the delivery of each record.
    pub indices: Vec<usize>,
    pub rejected: Vec<Rejected>,
    /// Elements that are no usage, such as token counting calls.
    pub skipped: u64,
}

/// A way of writing one record.
pub(super) trait Wire<'a>: serde::Deserialize<'a> {
    /// The source of a record that does not name one.
    const DEFAULT_SOURCE: &'static str;

    /// The source, for the answer and the list of senders.
    fn source(&self, shop: &mut Shop<'a, '_>) -> Result<Arc<str>, Refusal>;

    /// Builds the record; `None` if the element is no usage.
    fn build(
        self,
        source: Arc<str>,
        shop: &mut Shop<'a, '_>,
    ) -> Result<Option<UsageRecord>, Refusal>;
}

/// Reads a body in which each element is a `W`.
pub(super) fn read<'a, W: Wire<'a>>(
    body: &'a [u8],
    layout: Layout,
    context: Context<'_>,
) -> Result<Batch, BodyFault> {
    let reading = elements::read(body, layout, || Reading::<W>::new(context))?;
    Ok(reading.batch)
}

/// Builds the one record of a body that was read already.
pub(super) fn read_one<'a, W: Wire<'a>>(element: Part<W>, context: Context<'_>) -> Batch {
    let mut reading = Reading::new(context);
    reading.take(Ok(element));
    reading.batch
}

struct Reading<'a, 'c, W> {
    shop: Shop<'a, 'c>,
    batch: Batch,
    count: usize,
    wire: std::marker::PhantomData<W>,
}

impl<'a, 'c, W: Wire<'a>> Reading<'a, 'c, W> {
    fn new(context: Context<'c>) -> Self {
        Self {
            shop: Shop::new(context),
            batch: Batch::default(),
            count: 0,
            wire: std::marker::PhantomData,
        }
    }
}

impl<'a, W: Wire<'a>> Sink<'a> for Reading<'a, '_, W> {
    type Element = W;

    fn take(&mut self, element: Result<Part<W>, Refusal>) {
        let index = self.count;
        self.count += 1;
        let mut told = None;
        let built = element
            .and_then(|part| {
                part.optional("record")?
                    .ok_or_else(|| invalid("record", "must be an object, got null"))
            })
            .and_then(|wire| {
                let source = wire.source(&mut self.shop)?;
                told = Some(Arc::clone(&source));
                wire.build(source, &mut self.shop)
            });
        match built {
            Ok(Some(record)) => {
                self.batch.records.push(record);
                self.batch.indices.push(index);
            }
            Ok(None) => self.batch.skipped += 1,
            Err(refusal) => {
                let source =
                    told.unwrap_or_else(|| self.shop.shared(Cow::Borrowed(W::DEFAULT_SOURCE)));
                self.batch.rejected.push(Rejected {
                    index,
                    source,
                    refusal,
                });
            }
        }
    }
}

/// Who it was, as the body says. Blank is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Who<'a> {
    pub user: Option<Cow<'a, str>>,
    pub device: Option<Cow<'a, str>>,
    pub account: Option<Cow<'a, str>>,
    pub organization: Option<Cow<'a, str>>,
    pub team: Option<Cow<'a, str>>,
    pub project: Option<Cow<'a, str>>,
    pub department: Option<Cow<'a, str>>,
    pub cost_center: Option<Cow<'a, str>>,
}

/// Which model on which terms, as the body says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct What<'a> {
    pub provider: Option<Cow<'a, str>>,
    pub model: Cow<'a, str>,
    pub region: Option<Cow<'a, str>>,
    pub tier: Tier,
}

/// Hands out shared values for a delivery's repeated ones, and knows the bounds of time.
pub(super) struct Shop<'a, 'c> {
    context: Context<'c>,
    oldest: Timestamp,
    newest: Timestamp,
    texts: HashMap<Cow<'a, str>, Arc<str>>,
    identities: HashMap<Who<'a>, Result<Arc<Identity>, Refusal>>,
    skus: HashMap<(What<'a>, Band), Arc<Sku>>,
}

impl<'a, 'c> Shop<'a, 'c> {
    fn new(context: Context<'c>) -> Self {
        let oldest = context
            .now
            .to_zoned(TimeZone::UTC)
            .checked_sub(MAX_AGE_MONTHS.months())
            .map_or(Timestamp::MIN, |zoned| zoned.timestamp());
        Self {
            context,
            oldest,
            newest: context.now.checked_add(MAX_AHEAD).unwrap_or(Timestamp::MAX),
            texts: HashMap::new(),
            identities: HashMap::new(),
            skus: HashMap::new(),
        }
    }

    /// One shared copy of a text.
    pub(super) fn shared(&mut self, text: Cow<'a, str>) -> Arc<str> {
        if let Some(shared) = self.texts.get(&text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = Arc::from(text.as_ref());
        self.texts.insert(text, Arc::clone(&shared));
        shared
    }

    /// A source's name: up to 64 of `a-z`, `0-9`, `_`, `.`, `-`, and none of tallyd's own.
    pub(super) fn source(&mut self, name: Cow<'a, str>) -> Result<Arc<str>, Refusal> {
        check_source(&name, self.context.door)?;
        Ok(self.shared(name))
    }

    /// The identity, if the caller's token may report it.
    pub(super) fn identity(&mut self, who: Who<'a>) -> Result<Arc<Identity>, Refusal> {
        if let Some(known) = self.identities.get(&who) {
            return known.clone();
        }
        let identity = identity_of(&who);
        let answer = self
            .context
            .binding
            .permits(&identity)
            .map(|()| Arc::new(identity));
        self.identities.insert(who, answer.clone());
        answer
    }

    /// The model and its terms, with the canonical name.
    pub(super) fn sku(&mut self, what: What<'a>, tokens: &Tokens) -> Arc<Sku> {
        let key = (what, Band::of(tokens));
        if let Some(known) = self.skus.get(&key) {
            return Arc::clone(known);
        }
        let (what, band) = &key;
        let name = self
            .context
            .names
            .resolve(&what.model, what.provider.as_deref());
        let sku = Arc::new(Sku {
            provider: name.provider,
            model: name.model,
            raw_model: what.model.as_ref().into(),
            scope: name.scope,
            region: what.region.as_deref().map(Box::from),
            tier: what.tier,
            band: *band,
        });
        self.skus.insert(key, Arc::clone(&sku));
        sku
    }

    /// A time in full milliseconds, from 25 months ago to one hour ahead.
    pub(super) fn in_bounds(&self, at: Timestamp, field: &str) -> Result<Timestamp, Refusal> {
        if at < self.oldest || at > self.newest {
            return Err(self.out_of_bounds(field, format_args!("{at:.0}")));
        }
        Timestamp::from_millisecond(at.as_millisecond())
            .map_err(|_| invalid(field, "is out of range"))
    }

    fn out_of_bounds(&self, field: &str, got: impl fmt::Display) -> Refusal {
        let (oldest, newest) = (self.oldest, self.newest);
        Refusal {
            code: "time_out_of_range",
            message: format!("{field}: must be between {oldest:.0} and {newest:.0}, got {got}"),
        }
    }

    /// A written time, within the bounds.
    pub(super) fn time(
        &self,
        text: Option<Cow<'_, str>>,
        field: &str,
    ) -> Result<Timestamp, Refusal> {
        let text = text.ok_or_else(|| missing(field))?;
        let at: Timestamp = text.parse().map_err(|_| {
            if let Some(date) = date_of(&text) {
                return self.out_of_bounds(field, date);
            }
            invalid(
                field,
                "must be a time as in RFC 3339 with an offset, such as 2026-11-22T03:06:46.650Z, \
                 and between the years 0 and 9999",
            )
        })?;
        self.in_bounds(at, field)
    }
}

/// The date of a well-formed time that is beyond all timestamps, such as the last of the year 9999.
fn date_of(text: &str) -> Option<Date> {
    let pieces = Pieces::parse(text).ok()?;
    pieces.time()?;
    pieces.offset()?;
    Some(pieces.date())
}

fn check_source(name: &str, door: Door) -> Result<(), Refusal> {
    if !source::is_name(name) {
        return Err(invalid("source", source::RULE));
    }
    let is_imported = door == Door::Import && name == source::BEDROCK_LOGS;
    if RESERVED_SOURCES.contains(&name) && !is_imported {
        return Err(Refusal {
            code: "source_reserved",
            message: format!("source: {name} is one of tallyd's own"),
        });
    }
    Ok(())
}

fn identity_of(who: &Who<'_>) -> Identity {
    let boxed = |text: &Option<Cow<'_, str>>| text.as_deref().map(Box::from);
    let user = who.user.as_deref().map(|user| user.to_lowercase().into());
    let origin = match (&user, &who.device) {
        (Some(_), _) => Origin::Gateway,
        (None, Some(_)) => Origin::Device,
        (None, None) => Origin::Unknown,
    };
    Identity {
        user,
        origin,
        device: boxed(&who.device),
        account: boxed(&who.account),
        organization: boxed(&who.organization),
        team: boxed(&who.team),
        project: boxed(&who.project),
        department: boxed(&who.department),
        cost_center: boxed(&who.cost_center),
        role: None,
    }
}

/// A status code as the outcome's second best witness.
pub(super) fn status_code(number: Option<u64>, field: &str) -> Result<Option<u16>, Refusal> {
    match number.map(u16::try_from) {
        None => Ok(None),
        Some(Ok(code @ 100..=999)) => Ok(Some(code)),
        Some(_) => Err(invalid(field, "must be between 100 and 999")),
    }
}
