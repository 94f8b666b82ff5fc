//! Lines of the journal of reservations.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::identity::{Identity, Origin};
use crate::model::policy::{Field, Subject, Usage};
use crate::model::quota::{Asked, Request};
use crate::model::usage::Sku;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry<'a> {
    #[serde(rename = "r")]
    Reserve(Box<Reserved<'a>>),
    /// A later end of the lease.
    #[serde(rename = "x")]
    Extend(Cow<'a, str>, Timestamp),
    /// Settled, released or expired.
    #[serde(rename = "e")]
    End(Cow<'a, str>),
}

/// What has to be known to hold it again, and to settle it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reserved<'a> {
    id: Cow<'a, str>,
    at: Timestamp,
    until: Timestamp,
    /// In the order of [`Field::ALL`].
    subject: [Cow<'a, str>; Field::ALL.len()],
    /// Input, output, cache reads, cache writes, requests, pico-USD.
    estimate: [i64; 6],
    /// User, team, project, organization, cost center and role, as claimed.
    who: [Option<Cow<'a, str>>; 6],
    /// As the caller named it.
    model: Cow<'a, str>,
    provider: Cow<'a, str>,
    /// Output tokens that were asked for, where less was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_output: Option<i64>,
}

impl Entry<'_> {
    /// Appends the entry as a line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("texts, numbers and times have a JSON form");
        out.push(b'\n');
    }

    /// The entry as a line.
    pub(super) fn line(&self) -> Vec<u8> {
        /// Of most reservations.
        const USUAL_BYTES: usize = 512;
        let mut line = Vec::with_capacity(USUAL_BYTES);
        self.write(&mut line);
        line
    }
}

impl<'a> Reserved<'a> {
    pub(super) fn of(request: &'a Request, at: Timestamp, until: Timestamp) -> Self {
        let Asked {
            subject,
            identity: who,
            sku,
        } = &*request.asked;
        let usage = &request.estimate;
        let text = |text: &'a Option<Box<str>>| text.as_deref().map(Cow::Borrowed);
        Self {
            id: (&*request.id).into(),
            at,
            until,
            subject: Field::ALL.map(|field| subject.get(field).into()),
            estimate: [
                usage.input,
                usage.output,
                usage.cache_read,
                usage.cache_write,
                usage.requests,
                usage.cost,
            ],
            who: [
                text(&who.user),
                text(&who.team),
                text(&who.project),
                text(&who.organization),
                text(&who.cost_center),
                text(&who.role),
            ],
            model: (&*sku.raw_model).into(),
            provider: (&*sku.provider).into(),
            asked_output: Some(request.output).filter(|output| *output != usage.output),
        }
    }

    /// The model as named, and its provider.
    pub(super) fn model(&self) -> (&str, &str) {
        (&self.model, &self.provider)
    }

    /// The reservation, and when it was made and ends. `sku` is what [`Reserved::model`] names.
    pub(super) fn parts(&self, sku: Sku) -> (Request, Timestamp, Timestamp) {
        let [input, output, cache_read, cache_write, requests, cost] = self.estimate;
        let values: [&str; Field::ALL.len()] = std::array::from_fn(|place| &*self.subject[place]);
        let asked = Asked {
            subject: Subject::new(values),
            identity: Arc::new(self.identity()),
            sku: Arc::new(sku),
        };
        let request = Request {
            id: (&*self.id).into(),
            asked: Arc::new(asked),
            output: self.asked_output.unwrap_or(output),
            estimate: Usage {
                input,
                output,
                cache_read,
                cache_write,
                requests,
                cost,
            },
            lease: SignedDuration::ZERO,
        };
        (request, self.at, self.until)
    }

    fn identity(&self) -> Identity {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(Box::from);
        let [user, team, project, organization, cost_center, role] = &self.who;
        Identity {
            origin: match user {
                Some(_) => Origin::Gateway,
                None => Origin::Unknown,
            },
            user: text(user),
            team: text(team),
            project: text(project),
            organization: text(organization),
            cost_center: text(cost_center),
            role: text(role),
            ..Identity::default()
        }
    }
}

/// Lines that say that reservations ended.
pub(super) fn ends<S: AsRef<str>>(ids: &[S]) -> Vec<u8> {
    let mut lines = Vec::new();
    for id in ids {
        Entry::End(id.as_ref().into()).write(&mut lines);
    }
    lines
}

/// The reservations that are live after all lines, by id. A line that cannot be read is passed
/// over: it was cut off, or a newer version wrote it.
pub(super) fn live(lines: &[String], now: Timestamp) -> HashMap<String, Reserved<'static>> {
    let mut live = HashMap::new();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Entry::Reserve(reserved)) => {
                live.insert(reserved.id.to_string(), *reserved);
            }
            Ok(Entry::Extend(id, until)) => {
                if let Some(reserved) = live.get_mut(&*id) {
                    reserved.until = until;
                }
            }
            Ok(Entry::End(id)) => {
                live.remove(&*id);
            }
            Err(_) => {}
        }
    }
    live.retain(|_, reserved| reserved.until > now);
    live
}
