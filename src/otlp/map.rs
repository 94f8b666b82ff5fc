//! Turns the items of one delivery into facts. The walks over protobuf and JSON call it in the
//! order of the request; [`events`](super::events), [`counters`](super::counters) and
//! [`genai`](super::genai) know what the items mean.

use std::sync::Arc;

use axum::http::HeaderMap;

use super::Signal;
use super::ids::Hash;
use super::item::{DataPoint, LogRecord, Metric};
use super::key::Key;
use super::recent::Recent;
use super::tally::Tally;
use super::value::{Attributes, Value};
use super::who::Who;
use super::{counters, events};
use crate::heard::Sender;
use crate::model::access::Grant;
use crate::model::identify::IdentityRules;
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::usage::{
    Activity, Band, Intake, Labels, Point, Refusal, Sku, Tier, UsageRecord, source,
};

/// Bytes of a client's name or version that are kept for the list of senders.
const MAX_SENDER_NAME: usize = 64;

/// What the mapping needs to know besides the request's body.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    pub names: &'c ModelNames,
    pub rules: &'c IdentityRules,
    /// The request's headers; the grant tells whether they are believed.
    pub headers: &'c HeaderMap,
    pub grant: &'c Grant,
}

/// The sources of this door, shared by all facts of a delivery.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) events: Arc<str>,
    pub(super) retries: Arc<str>,
    pub(super) metrics: Arc<str>,
    pub(super) genai: Arc<str>,
    pub(super) genai_errors: Arc<str>,
}

/// A model as built before: what the source said of the provider, and the result.
type KnownSku = (Option<Box<str>>, Arc<Sku>);

/// Builds the intake of one delivery.
#[derive(Debug)]
pub(super) struct Mapper<'c, 'a> {
    names: &'c ModelNames,
    who: Who<'c>,
    signal: Signal,
    pub(super) sources: Sources,
    resource: Attributes<'a>,
    scope: Value<'a>,
    /// The hash of resource and scope, with which the ids of their series begin.
    origin: Option<Hash>,
    client: Sender,
    sender: u16,
    metric: counters::Current<'a>,
    skus: Recent<KnownSku>,
    texts: Recent<Arc<str>>,
    labels: Recent<Labels>,
    tally: Tally,
    intake: Intake,
}

impl<'c, 'a> Mapper<'c, 'a> {
    pub(super) fn new(context: Context<'c>, signal: Signal) -> Self {
        Self {
            names: context.names,
            who: Who::new(context.rules, context.headers, context.grant),
            signal,
            sources: Sources {
                events: source::EVENTS.into(),
                retries: source::RETRIES.into(),
                metrics: source::METRICS.into(),
                genai: source::GENAI.into(),
                genai_errors: source::GENAI_ERRORS.into(),
            },
            resource: Attributes::default(),
            scope: Value::Absent,
            origin: None,
            client: Sender {
                client: String::new(),
                version: String::new(),
                signal: signal.name(),
                source: String::new(),
            },
            sender: 0,
            metric: counters::Current::default(),
            skus: Recent::default(),
            texts: Recent::default(),
            labels: Recent::default(),
            tally: Tally::default(),
            intake: Intake::default(),
        }
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    pub(super) fn begin_resource(&mut self, attributes: Attributes<'a>) {
        self.resource = attributes;
        self.client.client = shown(self.resource.get(Key::ServiceName));
        self.client.version = shown(self.resource.get(Key::ServiceVersion));
        self.heard_from(match self.signal {
            Signal::Logs => source::EVENTS,
            Signal::Metrics => source::METRICS,
            Signal::Traces => "traces",
        });
    }

    /// Notes the source that the next items come from.
    fn heard_from(&mut self, source: &str) {
        if self.client.source != source {
            source.clone_into(&mut self.client.source);
        }
        self.sender = self.tally.sender(&self.client);
    }

    /// Protobuf does not write empty names, JSON may: both are no name.
    pub(super) fn begin_scope(&mut self, name: Value<'a>) {
        self.scope = match name {
            Value::Text(name) if name.is_empty() => Value::Absent,
            name => name,
        };
        self.origin = None;
    }

    /// A span repeats tokens that logs and metrics tell; it is only counted as heard.
    pub(super) fn span(&mut self) {
        self.tally.take(self.sender, Origin::Unknown, 1);
    }

    pub(super) fn log(&mut self, record: &LogRecord<'a>) {
        if let Err(refusal) = events::map(self, record) {
            self.refuse(refusal, 1);
        }
    }

    pub(super) fn begin_metric(&mut self, metric: Metric<'a>) {
        self.metric = counters::Current::of(metric);
        self.heard_from(if self.metric.is_genai() {
            source::GENAI
        } else {
            source::METRICS
        });
    }

    pub(super) fn point(&mut self, point: &DataPoint<'a>) {
        let mut metric = std::mem::take(&mut self.metric);
        let mapped = counters::map(self, &mut metric, point);
        self.metric = metric;
        if let Err(refusal) = mapped {
            self.refuse(refusal, 1);
        }
    }

    pub(super) fn end_metric(&mut self) {
        let metric = std::mem::take(&mut self.metric);
        counters::finish(self, metric);
    }

    /// Ends the delivery.
    pub(super) fn finish(self) -> (Intake, Tally) {
        (self.intake, self.tally)
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, items: u64) {
        self.tally.refuse(self.sender, refusal, items);
    }

    /// Notes an item as taken; the facts added next belong to it. `weight` is the number of
    /// items in the request that it stands for.
    pub(super) fn take(&mut self, origin: Origin, weight: u32) {
        self.tally.take(self.sender, origin, weight);
    }

    pub(super) fn add_record(&mut self, record: UsageRecord) {
        self.tally.add_record();
        self.intake.records.push(record);
    }

    pub(super) fn add_point(&mut self, point: Point) {
        self.tally.add_point();
        self.intake.points.push(point);
    }

    pub(super) fn add_activity(&mut self, activity: Activity) {
        self.tally.add_activity();
        self.intake.activities.push(activity);
    }

    /// Refuses an item or resource with too many attributes.
    pub(super) fn check(&self, own: &Attributes<'_>) -> Result<(), Refusal> {
        own.check()?;
        self.resource.check()
    }

    /// The hash that tells series of the current resource and scope apart.
    pub(super) fn series_hash(&mut self) -> Hash {
        let (resource, scope) = (&self.resource, &self.scope);
        let origin = self.origin.get_or_insert_with(|| {
            let mut hash = Hash::of("series");
            hash.attributes(resource, None);
            hash.value(scope);
            hash
        });
        origin.clone()
    }

    /// The identity of an item, if this sender may report it.
    pub(super) fn identity(&mut self, own: &Attributes<'_>) -> Result<Arc<Identity>, Refusal> {
        self.who.identify(own, &self.resource)
    }

    /// A text that many items have in common, from the item or else from the resource.
    pub(super) fn shared_text(
        &mut self,
        own: &Attributes<'_>,
        key: Key,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let text = match own.text(key)? {
            None => self.resource.text(key)?,
            text => text,
        };
        let Some(text) = text else {
            return Ok(None);
        };
        if let Some(known) = self.texts.find(|known| **known == *text) {
            return Ok(Some(Arc::clone(known)));
        }
        let shared: Arc<str> = text.as_ref().into();
        self.texts.keep(Arc::clone(&shared));
        Ok(Some(shared))
    }

    /// The model with its terms.
    pub(super) fn sku(
        &mut self,
        raw_model: &str,
        provider: Option<&str>,
        tier: Tier,
        band: Band,
    ) -> Arc<Sku> {
        let known = self.skus.find(|(said, sku)| {
            *sku.raw_model == *raw_model
                && said.as_deref() == provider
                && (sku.tier, sku.band) == (tier, band)
        });
        if let Some((_, sku)) = known {
            return Arc::clone(sku);
        }
        let name = self.names.resolve(raw_model, provider);
        let sku = Arc::new(Sku {
            provider: name.provider,
            model: name.model,
            raw_model: raw_model.into(),
            scope: name.scope,
            region: None,
            tier,
            band,
        });
        let said = provider.map(Box::from);
        self.skus.keep((said, Arc::clone(&sku)));
        sku
    }

    pub(super) fn labels(&mut self, values: &[&str]) -> Labels {
        let known = self.labels.find(|labels| {
            labels.len() == values.len() && labels.iter().zip(values).all(|(a, b)| **a == **b)
        });
        if let Some(labels) = known {
            return Arc::clone(labels);
        }
        let labels: Labels = values.iter().map(|value| Box::from(*value)).collect();
        self.labels.keep(Arc::clone(&labels));
        labels
    }
}

/// A client's name or version, short enough for the list of senders.
fn shown(value: &Value<'_>) -> String {
    let Value::Text(text) = value else {
        return "unknown".to_owned();
    };
    let mut end = text.len().min(MAX_SENDER_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(char::is_control, "_")
}
