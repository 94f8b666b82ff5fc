//! What every door says of a decision: stable codes, sentences for people, how limits stand, and
//! the answer that a gateway passes on to the client as it is.
//!
//! Clients show the text of a 429 only if a header keeps them from trying again, and take a 403
//! for a failed login; [`ClientAnswer`] has what they show at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, Refused, SettleError};
use crate::model::label::grouped;
use crate::model::policy::{Bound, Policy, Span, Usage};
use crate::model::quota::{Decision, Denial, QuotaError, Standing};
pub use headers::{Headers, headers, warning};
pub use limits::{Amount, LimitStanding, Usd, WindowBounds, grains, limits};
use limits::{Round, amount, reset_after, zone_name};

mod headers;
mod limits;

/// Seconds after which it is worth asking again where leases have to end first.
const RETRY_SOON_SECONDS: u64 = 5;

/// Windows that end within this time are told by the clock alone.
const SOON: SignedDuration = SignedDuration::from_hours(24);

/// Why something was not done, as all doors say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The status of tallyd's own answer.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub text: String,
    pub retry_after_s: Option<u64>,
    /// Names of the limits that had no room.
    pub violated: Vec<Arc<str>>,
    /// Patterns, where the model is not one of them.
    pub allowed_models: Vec<Box<str>>,
    /// `closed` or `open`, where tallyd could not decide: what the gateway should do.
    pub fail_mode: Option<&'static str>,
    /// Nothing where the call itself is over already.
    pub client_answer: Option<ClientAnswer>,
}

/// What a gateway should answer its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClientAnswer {
    #[schema(example = 429)]
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<&'static str, String>,
    pub body: ClientBody,
}

/// An error as Anthropic's API writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClientBody {
    /// Always `error`.
    #[serde(rename = "type")]
    kind: &'static str,
    error: ClientError,
}

/// The error within.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClientError {
    /// `rate_limit_error`, `invalid_request_error` or `api_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    message: String,
}

impl Answer {
    /// How the limits stand that concern the subject.
    #[must_use]
    pub fn limits(&self, now: Timestamp) -> Vec<LimitStanding<'_>> {
        limits(&self.policy, self.standings(), now)
    }

    /// The same in grains.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        match &self.decision {
            Decision::Allowed(grant) => &grant.standings,
            Decision::Denied(denial) => &denial.standings,
        }
    }

    /// Why it was denied; `None` if it was allowed.
    #[must_use]
    pub fn explanation(&self, now: Timestamp) -> Option<Explanation> {
        let Decision::Denied(denial) = &self.decision else {
            return None;
        };
        let policy = &*self.policy;
        let violated = denial.violated.iter().map(|p| &denial.standings[*p]);
        let violated = violated.map(|standing| (standing, &policy.limits[standing.limit]));
        // Waiting for one limit is no use while another has no room.
        let resets = violated.clone();
        let resets = resets.map(|(standing, rule)| reset_after(rule.span, standing, now));
        let retry = resets.max().filter(|_| !denial.never);
        let text = denied_text(policy, denial, &self.resolved.estimate, now);
        let (status, code, client) = if denial.never {
            (422, "never_admissible", 400)
        } else {
            (429, "quota_exceeded", 429)
        };
        Some(Explanation {
            status,
            code,
            client_answer: Some(ClientAnswer::new(client, retry, &text)),
            text,
            retry_after_s: retry,
            violated: violated.map(|(_, rule)| rule.name.clone()).collect(),
            allowed_models: Vec::new(),
            fail_mode: None,
        })
    }

    /// The names of limits in shadow mode that would have denied.
    #[must_use]
    pub fn shadow_denials(&self) -> Vec<Arc<str>> {
        let denials = match &self.decision {
            Decision::Allowed(grant) => &grant.shadow_denials,
            Decision::Denied(denial) => &denial.shadow_denials,
        };
        let name = |limit: &usize| self.policy.limits[*limit].name.clone();
        denials.iter().map(name).collect()
    }
}

impl Explanation {
    /// Of what was refused before limits were asked.
    #[must_use]
    pub fn of_refused(refused: &Refused, contact: Option<&str>) -> Self {
        let (status, code, client, kept) = match refused {
            Refused::NoPolicy => (403, "no_policy", Some(400), None),
            Refused::Model { .. } => (403, "model_not_allowed", Some(400), None),
            Refused::ProjectType { .. } => (403, "project_type_not_allowed", Some(400), None),
            Refused::Quota(QuotaError::Conflict) => (409, "idempotency_conflict", Some(400), None),
            Refused::Quota(QuotaError::Unknown) => (404, "unknown_reservation", None, None),
            Refused::Quota(QuotaError::Ended) => (409, "settle_conflict", None, None),
            Refused::Quota(QuotaError::TooMany) => (
                429,
                "too_many_reservations",
                Some(429),
                Some(RETRY_SOON_SECONDS),
            ),
            Refused::Store { .. } => (503, "store_unavailable", Some(503), None),
        };
        let allowed_models = match refused {
            Refused::Model { allowed, .. } => allowed.clone(),
            _ => Vec::new(),
        };
        let fail_mode = match refused {
            Refused::Store { open } => Some(if *open { "open" } else { "closed" }),
            _ => None,
        };
        let text = with_contact(refused_text(refused), contact);
        // An open policy lets the call pass: there is nothing to tell the client.
        let client = client.filter(|_| fail_mode != Some("open"));
        Self {
            status,
            code,
            client_answer: client.map(|status| ClientAnswer::new(status, kept, &text)),
            text,
            retry_after_s: kept,
            violated: Vec::new(),
            allowed_models,
            fail_mode,
        }
    }

    /// Of a settlement that was not taken. Those that the ledger could not take for want of space
    /// or time are `store_unavailable`: the gateway keeps them and tries again.
    #[must_use]
    pub fn of_settle(error: &SettleError) -> Self {
        let (status, code, retry) = match error {
            SettleError::Unknown => (404, "unknown_reservation", None),
            SettleError::Conflict(_) => (409, "settle_conflict", None),
            SettleError::Refused(_) => (422, "settlement_refused", None),
            SettleError::Record(_) | SettleError::Query(_) => {
                (503, "store_unavailable", Some(RETRY_SOON_SECONDS))
            }
        };
        Self {
            status,
            code,
            text: error.to_string(),
            retry_after_s: retry,
            violated: Vec::new(),
            allowed_models: Vec::new(),
            fail_mode: None,
            client_answer: None,
        }
    }
}

impl ClientAnswer {
    fn new(status: u16, retry_after_s: Option<u64>, text: &str) -> Self {
        let mut headers = BTreeMap::from([("x-should-retry", "false".to_owned())]);
        if let Some(seconds) = retry_after_s {
            headers.insert("retry-after", seconds.to_string());
        }
        let kind = match status {
            429 => "rate_limit_error",
            503 => "api_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            headers,
            body: ClientBody {
                kind: "error",
                error: ClientError {
                    kind,
                    message: text.to_owned(),
                },
            },
        }
    }
}

fn refused_text(refused: &Refused) -> String {
    match refused {
        Refused::NoPolicy => "No usage policy covers you, so this request is not allowed.".into(),
        Refused::Model { role, allowed } if allowed.is_empty() => {
            format!("The role {role} may not use any model.")
        }
        Refused::Model { role, allowed } => format!(
            "The role {role} may not use this model. It may use: {}.",
            allowed.join(", ")
        ),
        Refused::ProjectType { role, kind } => {
            format!("The role {role} may not work on {kind} projects.")
        }
        Refused::Quota(QuotaError::TooMany) => {
            "Too many requests of yours are in work at once. Try again when some have ended.".into()
        }
        Refused::Quota(QuotaError::Conflict) => {
            "The reservation id was used for another request before.".into()
        }
        Refused::Quota(QuotaError::Unknown) => "There is no such reservation.".into(),
        Refused::Quota(QuotaError::Ended) => "The reservation has ended.".into(),
        Refused::Store { .. } => {
            "The quota service cannot write just now, so this request was not admitted.".into()
        }
    }
}

fn with_contact(mut text: String, contact: Option<&str>) -> String {
    if let Some(contact) = contact {
        text.push_str(" Ask ");
        text.push_str(contact);
        text.push('.');
    }
    text
}

/// Names the limit that is in the way longest.
fn denied_text(policy: &Policy, denial: &Denial, asked: &Usage, now: Timestamp) -> String {
    let violated = denial.violated.iter().map(|p| &denial.standings[*p]);
    let bound_of = |standing: &Standing| match standing.bound {
        Bound::At(bound) => bound,
        Bound::Unlimited => i128::MAX,
    };
    let asked_of =
        |standing: &Standing| asked.amount(policy.limits[standing.limit].unit, &policy.weights);
    let worst = if denial.never {
        violated
            .filter(|standing| asked_of(standing) > bound_of(standing))
            .min_by_key(|standing| bound_of(standing))
    } else {
        violated.max_by_key(|standing| standing.window.end)
    };
    let Some(worst) = worst else {
        return with_contact("A limit has no room.".to_owned(), policy.contact.as_deref());
    };
    let rule = &policy.limits[worst.limit];
    let said = |grains, round| {
        let unit = rule.unit.name().replace('_', " ");
        match amount(grains, rule.unit, &policy.weights, round) {
            Amount::Count(count) => (grouped(count), unit),
            Amount::Usd(text) => (format!("${text}"), String::new()),
        }
    };
    let (bound, unit) = said(bound_of(worst), Round::Down);
    let (asked, _) = said(asked_of(worst), Round::Up);
    let of_unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    };
    let text = if denial.never {
        format!(
            "This request may need {asked}{of_unit}, more than the limit {} of {bound} allows at \
             all. Shorten the conversation or lower the maximum output.",
            rule.name
        )
    } else {
        let (used, _) = said(worst.used + worst.held, Round::Up);
        format!(
            "Not enough quota left: {used} of {bound}{of_unit} are used (limit {}) and this request may \
             need {asked}. {}",
            rule.name,
            reset_text(policy, rule.span, worst, now)
        )
    };
    match &policy.contact {
        Some(contact) => format!("{text} For more, ask {contact}."),
        None => text,
    }
}

fn reset_text(policy: &Policy, span: Span, standing: &Standing, now: Timestamp) -> String {
    if let Span::Rolling { seconds } = span {
        let hours = seconds / 3_600;
        return format!("Usage leaves this limit {hours} hours after it was made.");
    }
    let end = standing.window.end;
    let local = end.to_zoned(policy.zone.clone());
    let format = if end.duration_since(now) <= SOON {
        "%H:%M"
    } else {
        "%H:%M on %Y-%m-%d"
    };
    let zone = zone_name(&policy.zone);
    format!("It resets at {} ({zone}).", local.strftime(format))
}

#[cfg(test)]
mod tests;
