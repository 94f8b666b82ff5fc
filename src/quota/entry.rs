//! Lines of the journal of reservations.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Resolved;
use crate::model::identity::{Identity, Origin};
use crate::model::policy::{Field, Subject, Usage};
use crate::model::quota::Request;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    #[serde(rename = "r")]
    Reserve(Box<Reserved>),
    /// A later end of the lease.
    #[serde(rename = "x")]
    Extend(Box<str>, Timestamp),
    /// Settled, released or expired.
    #[serde(rename = "e")]
    End(Box<str>),
}

/// What has to be known to hold it again, and to settle it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reserved {
    id: Box<str>,
    at: Timestamp,
    until: Timestamp,
    /// In the order of [`Field::ALL`].
    subject: Vec<Box<str>>,
    /// Input, output, cache reads, cache writes, requests, pico-USD.
    estimate: [i64; 6],
    /// User, team, project, organization, cost center and role, as claimed.
    who: [Option<Box<str>>; 6],
    /// As the caller named it.
    model: Box<str>,
    provider: Box<str>,
    /// Output tokens that were asked for, where less was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_output: Option<i64>,
}

impl Entry {
    /// The entry as a line without its end.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and times have a JSON form")
    }
}

impl Reserved {
    pub(super) fn new(
        request: &Request,
        resolved: &Resolved,
        at: Timestamp,
        until: Timestamp,
    ) -> Self {
        let usage = &request.estimate;
        let who = &resolved.identity;
        Self {
            id: request.id.clone(),
            at,
            until,
            subject: Field::ALL
                .map(|field| request.subject.get(field).into())
                .to_vec(),
            estimate: [
                usage.input,
                usage.output,
                usage.cache_read,
                usage.cache_write,
                usage.requests,
                usage.cost,
            ],
            who: [
                who.user.clone(),
                who.team.clone(),
                who.project.clone(),
                who.organization.clone(),
                who.cost_center.clone(),
                who.role.clone(),
            ],
            model: resolved.sku.raw_model.clone(),
            provider: resolved.sku.provider.clone(),
            asked_output: None,
        }
    }

    pub(super) fn asked(self, asked_output: Option<i64>) -> Self {
        Self {
            asked_output,
            ..self
        }
    }

    /// What was granted when this much output was asked for and less was given.
    pub(super) fn capped(&self, asked_output: i64) -> Option<Usage> {
        (self.asked_output == Some(asked_output)).then(|| self.parts().0.estimate)
    }

    pub(super) fn until(self, until: Timestamp) -> Self {
        Self { until, ..self }
    }

    /// When it was reserved: the time at which quotas book it.
    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    /// Who it was for.
    pub(super) fn identity(&self) -> Identity {
        let [user, team, project, organization, cost_center, role] = self.who.clone();
        Identity {
            origin: match user {
                Some(_) => Origin::Gateway,
                None => Origin::Unknown,
            },
            user,
            team,
            project,
            organization,
            cost_center,
            role,
            ..Identity::default()
        }
    }

    /// The model as named, and its provider.
    pub(super) fn model(&self) -> (&str, &str) {
        (&self.model, &self.provider)
    }

    /// The reservation, and when it was made and ends.
    pub(super) fn parts(&self) -> (Request, Timestamp, Timestamp) {
        let mut subject = Subject::default();
        for (field, value) in Field::ALL.into_iter().zip(&self.subject) {
            subject = subject.with(field, value);
        }
        let [input, output, cache_read, cache_write, requests, cost] = self.estimate;
        let request = Request {
            id: self.id.clone(),
            subject,
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
}

/// The reservations that are live after all lines. A line that cannot be read is passed over: it
/// was cut off, or a newer version wrote it.
pub(super) fn live(lines: &[String], now: Timestamp) -> HashMap<Box<str>, Box<Reserved>> {
    let mut live: HashMap<Box<str>, Box<Reserved>> = HashMap::new();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Entry::Reserve(reserved)) => {
                live.insert(reserved.id.clone(), reserved);
            }
            Ok(Entry::Extend(id, until)) => {
                if let Some(reserved) = live.get_mut(&id) {
                    reserved.until = until;
                }
            }
            Ok(Entry::End(id)) => {
                live.remove(&id);
            }
            Err(_) => {}
        }
    }
    live.retain(|_, reserved| reserved.until > now);
    live
}
