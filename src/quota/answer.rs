//! What every door says of a decision: stable codes, sentences for people, how limits stand, and
//! the answer that a gateway passes on to the client as it is.
//!
//! Clients show the text of a 429 only if a header keeps them from trying again, and take a 403
//! for a failed login; [`ClientAnswer`] has what they show at once.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, Refused, SettleError};
use crate::model::label::grouped;
use crate::model::policy::{Bound, Policy, SCOPE_SEPARATOR, Span, Unit, Usage, Weights};
use crate::model::quota::{Decision, Denial, QuotaError, Standing};
use crate::model::window::QUARTER_SECONDS;

/// Percent of a limit from which clients are warned.
const WARN_PERCENT: i128 = 75;

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
    pub violated: Vec<Box<str>>,
    pub limits: Vec<LimitStanding>,
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

/// An amount in a unit: a whole number, or USD as exact decimal text. Parts of a weighted token
/// are counted whole where they are used and not at all where they are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Amount {
    Count(u64),
    Usd(String),
}

/// How one limit stands for one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LimitStanding {
    #[schema(example = "role-developer-day")]
    pub name: Box<str>,
    /// The fields by which the limit counts, with the values of this counter.
    pub scope: BTreeMap<&'static str, String>,
    /// `tokens`, `input_tokens`, `output_tokens`, `weighted_tokens`, `requests` or `usd`.
    #[schema(example = "weighted_tokens")]
    pub unit: &'static str,
    /// `null` where it is unlimited.
    pub limit: Option<Amount>,
    pub used: Amount,
    /// Held by live reservations.
    pub reserved: Amount,
    /// `null` where it is unlimited; never below zero.
    pub remaining: Option<Amount>,
    /// What is used and reserved beyond the limit.
    pub over_by: Amount,
    /// `enforce`, or `shadow` where the limit only tells.
    pub mode: &'static str,
    pub window: WindowBounds,
    /// Seconds to the end of the window; of a rolling one, to its next step.
    pub reset_after_s: u64,
}

/// A window, half-open, in the policy's zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QuotaWindow)]
pub struct WindowBounds {
    #[schema(example = "2026-11-22T00:00:00+09:00")]
    pub start: String,
    #[schema(example = "2026-11-23T00:00:00+09:00")]
    pub end: String,
    #[schema(example = "Asia/Tokyo")]
    pub tz: String,
}

/// Headers for an answer, names in lower case.
pub type Headers = Vec<(&'static str, String)>;

impl Answer {
    /// How the limits stand that concern the subject.
    #[must_use]
    pub fn limits(&self, now: Timestamp) -> Vec<LimitStanding> {
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
        let limits = self.limits(now);
        let name = |place: &usize| limits[*place].name.clone();
        let violated: Vec<_> = denial.violated.iter().map(name).collect();
        // Waiting for one limit is no use while another has no room.
        let retry = denial.violated.iter().map(|p| limits[*p].reset_after_s);
        let retry = retry.max().filter(|_| !denial.never);
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
            violated,
            limits,
            allowed_models: Vec::new(),
            fail_mode: None,
        })
    }

    /// The names of limits in shadow mode that would have denied.
    #[must_use]
    pub fn shadow_denials(&self) -> Vec<Box<str>> {
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
            limits: Vec::new(),
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
            limits: Vec::new(),
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

/// How limits stand, in units.
#[must_use]
pub fn limits(policy: &Policy, standings: &[Standing], now: Timestamp) -> Vec<LimitStanding> {
    let standing = |standing: &Standing| limit_of(policy, standing, now);
    standings.iter().map(standing).collect()
}

fn limit_of(policy: &Policy, standing: &Standing, now: Timestamp) -> LimitStanding {
    let rule = &policy.limits[standing.limit];
    let used_up = |grains| amount(grains, rule.unit, &policy.weights, Round::Up);
    let left = |grains| amount(grains, rule.unit, &policy.weights, Round::Down);
    let bound = match standing.bound {
        Bound::Unlimited => None,
        Bound::At(bound) => Some(left(bound)),
    };
    let values = standing.scope.split(SCOPE_SEPARATOR).map(str::to_owned);
    LimitStanding {
        name: rule.name.clone(),
        scope: rule
            .per
            .iter()
            .map(|field| field.name())
            .zip(values)
            .collect(),
        unit: rule.unit.name(),
        limit: bound,
        used: used_up(standing.used),
        reserved: used_up(standing.held),
        remaining: standing.remaining().map(left),
        over_by: used_up(standing.over_by()),
        mode: rule.mode.name(),
        window: WindowBounds {
            start: time_text(standing.window.start, &policy.zone),
            end: time_text(standing.window.end, &policy.zone),
            tz: zone_name(&policy.zone).to_owned(),
        },
        reset_after_s: reset_after(rule.span, standing, now),
    }
}

/// Seconds until there is room again: whole ones, at least one.
fn reset_after(span: Span, standing: &Standing, now: Timestamp) -> u64 {
    let seconds = match span {
        Span::Calendar(_) => {
            let left = standing.window.end.duration_since(now);
            left.as_secs() + i64::from(left.subsec_nanos() > 0)
        }
        Span::Rolling { .. } => QUARTER_SECONDS - now.as_second().rem_euclid(QUARTER_SECONDS),
    };
    u64::try_from(seconds).unwrap_or(0).max(1)
}

/// Grains in their unit; parts of a whole are left out.
#[must_use]
pub fn grains(grains: i128, unit: Unit, weights: &Weights) -> Amount {
    amount(grains, unit, weights, Round::Down)
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

fn amount(grains: i128, unit: Unit, weights: &Weights, round: Round) -> Amount {
    if unit == Unit::Usd {
        return Amount::Usd(usd(grains));
    }
    let per = weights.grains(unit);
    let whole = match round {
        Round::Up => (grains + per - 1).div_euclid(per),
        Round::Down => grains.div_euclid(per),
    };
    Amount::Count(u64::try_from(whole.max(0)).unwrap_or(u64::MAX))
}

/// Pico-USD as exact decimal text with two places or as many as it needs.
#[must_use]
pub fn usd(pico: i128) -> String {
    const PICO_PER_USD: u128 = 1_000_000_000_000;
    let sign = if pico < 0 { "-" } else { "" };
    let pico = pico.unsigned_abs();
    let digits = format!("{:012}", pico % PICO_PER_USD);
    let places = digits.trim_end_matches('0').len().max(2);
    format!("{sign}{}.{}", pico / PICO_PER_USD, &digits[..places])
}

fn time_text(at: Timestamp, zone: &TimeZone) -> String {
    // Whole seconds: the ends of rolling windows have parts that nobody needs.
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    at.display_with_offset(zone.to_offset(at)).to_string()
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
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

/// Rate limit headers of an answer (draft-ietf-httpapi-ratelimit-headers), and those that
/// programs for the API of `OpenAI` read, which tell the token limit with the least left.
#[must_use]
pub fn headers(policy: &Policy, standings: &[Standing], now: Timestamp) -> Headers {
    let mut policies = Vec::new();
    let mut states = Vec::new();
    let mut least: Option<(u64, u64, u64)> = None;
    for standing in standings {
        let rule = &policy.limits[standing.limit];
        let (Bound::At(bound), Some(remaining)) = (standing.bound, standing.remaining()) else {
            continue;
        };
        // USD have no whole numbers of their own: cents.
        let per = match rule.unit {
            Unit::Usd => policy.weights.grains(rule.unit) / 100,
            unit => policy.weights.grains(unit),
        };
        let (bound, remaining) = (whole(bound / per), whole(remaining / per));
        let reset = reset_after(rule.span, standing, now);
        let window = standing.window.end.duration_since(standing.window.start);
        let unit = match rule.unit {
            Unit::Requests => "requests",
            Unit::Usd => "usd-cents",
            _ => "tokens",
        };
        let name = quoted(&rule.name);
        policies.push(format!(
            "{name};q={bound};w={};qu=\"{unit}\"",
            window.as_secs()
        ));
        states.push(format!("{name};r={remaining};t={reset}"));
        if unit == "tokens" && least.is_none_or(|(_, left, _)| remaining < left) {
            least = Some((bound, remaining, reset));
        }
    }
    let mut headers = Headers::new();
    if !policies.is_empty() {
        headers.push(("ratelimit-policy", policies.join(", ")));
        headers.push(("ratelimit", states.join(", ")));
    }
    if let Some((bound, remaining, reset)) = least {
        headers.push(("x-ratelimit-limit-tokens", bound.to_string()));
        headers.push(("x-ratelimit-remaining-tokens", remaining.to_string()));
        headers.push(("x-ratelimit-reset-tokens", format!("{reset}s")));
    }
    headers
}

/// Headers with which a gateway warns its client on success: the limit that is nearest to its
/// end, from three quarters on. Clients know them from Anthropic's own limits.
#[must_use]
pub fn warning(policy: &Policy, standings: &[Standing]) -> BTreeMap<&'static str, String> {
    let share = |standing: &Standing| {
        let Bound::At(bound) = standing.bound else {
            return None;
        };
        let rule = &policy.limits[standing.limit];
        if bound <= 0 || rule.mode != crate::model::policy::Mode::Enforce {
            return None;
        }
        Some((standing.used + standing.held) * 100 / bound)
    };
    let nearest = standings
        .iter()
        .filter_map(|standing| Some((share(standing)?, standing.window.end)))
        .filter(|(percent, _)| *percent >= WARN_PERCENT)
        .max();
    nearest.map_or_else(BTreeMap::new, |(_, end)| {
        BTreeMap::from([
            (
                "anthropic-ratelimit-unified-status",
                "allowed_warning".to_owned(),
            ),
            (
                "anthropic-ratelimit-unified-reset",
                end.as_second().to_string(),
            ),
        ])
    })
}

/// Integers of structured fields have at most 15 digits (RFC 9651, section 3.3.1).
fn whole(number: i128) -> u64 {
    const MOST: i128 = 999_999_999_999_999;
    u64::try_from(number.clamp(0, MOST)).unwrap_or(0)
}

/// A string of structured fields: ASCII without control characters.
fn quoted(name: &str) -> String {
    let fit = |c: char| match c {
        '"' | '\\' => '_',
        c if c.is_ascii_graphic() || c == ' ' => c,
        _ => '_',
    };
    format!("\"{}\"", name.chars().map(fit).collect::<String>())
}

#[cfg(test)]
mod tests;
