//! From standings and explanations to Envoy's answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::call::Call;
use super::proto::{
    Code, DescriptorStatus, Duration, HeaderValue, Kind, RateLimit, RateLimitResponse, Struct,
    Unit, Value,
};
use crate::config::Hit;
use crate::model::policy::{self, Bound, Policy, Span};
use crate::model::quota::{Decision, Standing};
use crate::model::window::Window;
use crate::quota::Answer;
use crate::quota::answer::{self, Amount, Explanation, LimitStanding};

/// How it went with one request of a call.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Absent where the policy does not get as far as limits.
    pub(super) answer: Option<Answer>,
    /// Why it is over the limit, if it is.
    pub(super) denied: Option<Explanation>,
}

impl Outcome {
    fn code(&self) -> Code {
        match self.denied {
            Some(_) => Code::OverLimit,
            None => Code::Ok,
        }
    }

    fn standings(&self) -> (&[Standing], &[usize]) {
        match self.answer.as_ref().map(|answer| &answer.decision) {
            Some(Decision::Allowed(grant)) => (&grant.standings, &[]),
            Some(Decision::Denied(denial)) => (&denial.standings, &denial.violated),
            None => (&[], &[]),
        }
    }
}

/// The answer to a call. `outcomes` are those of its groups.
pub(super) fn response(call: &Call, outcomes: &[Outcome], now: Timestamp) -> RateLimitResponse {
    let statuses = call.places.iter();
    let statuses = statuses.map(|(group, hit)| status(&outcomes[*group], *hit, now));
    // The first denial speaks for all: a client reads one sentence.
    let denied = outcomes.iter().find(|outcome| outcome.denied.is_some());
    let code = denied.map_or(Code::Ok, Outcome::code);
    let mut headers = BTreeMap::new();
    if let Some(outcome) = denied.or(outcomes.first())
        && let Some(answer) = &outcome.answer
    {
        let (standings, _) = outcome.standings();
        headers.extend(answer::headers(&answer.policy, standings, now));
        if denied.is_none() {
            headers.extend(answer::warning(&answer.policy, standings));
        }
    }
    let client = denied.and_then(|outcome| outcome.denied.as_ref()?.client_answer.as_ref());
    let mut raw_body = Vec::new();
    if let Some(client) = client {
        headers.extend(client.headers.clone());
        headers.insert("content-type", "application/json".to_owned());
        raw_body = json!(client.body).to_string().into_bytes();
    }
    RateLimitResponse {
        overall_code: code.into(),
        statuses: statuses.collect(),
        response_headers_to_add: headers
            .into_iter()
            .map(|(key, value)| HeaderValue {
                key: key.to_owned(),
                value,
            })
            .collect(),
        raw_body,
        dynamic_metadata: Some(metadata(call, outcomes, now)),
    }
}

fn status(outcome: &Outcome, hit: Hit, now: Timestamp) -> DescriptorStatus {
    let code = outcome.code().into();
    let (standings, violated) = outcome.standings();
    let Some((answer, standing)) = outcome
        .answer
        .as_ref()
        .and_then(|answer| Some((answer, tightest(&answer.policy, standings, violated, hit)?)))
    else {
        return DescriptorStatus {
            code,
            current_limit: None,
            limit_remaining: match outcome.denied {
                Some(_) => 0,
                None => u32::MAX,
            },
            duration_until_reset: None,
        };
    };
    let policy = &*answer.policy;
    let rule = &policy.limits[standing.limit];
    let per = match rule.unit {
        // USD are told in cents.
        policy::Unit::Usd => policy.weights.grains(rule.unit) / 100,
        unit => policy.weights.grains(unit),
    };
    let whole = |grains: i128| u32::try_from((grains / per).max(0)).unwrap_or(u32::MAX);
    let bound = match standing.bound {
        Bound::At(bound) => whole(bound),
        Bound::Unlimited => u32::MAX,
    };
    let until = standing.window.end.duration_since(now);
    DescriptorStatus {
        code,
        current_limit: Some(RateLimit {
            requests_per_unit: bound,
            unit: unit(rule.span).into(),
            name: rule.name.to_string(),
        }),
        limit_remaining: standing.remaining().map_or(u32::MAX, whole),
        duration_until_reset: Some(Duration {
            seconds: until.as_secs().max(0),
            nanos: until.subsec_nanos().max(0),
        }),
    }
}

/// The limit that a status tells of: the one that denied and ends last, else of those that count
/// what the hits count the one with the smallest share left.
fn tightest<'s>(
    policy: &Policy,
    standings: &'s [Standing],
    violated: &[usize],
    hit: Hit,
) -> Option<&'s Standing> {
    let denying = violated.iter().map(|place| &standings[*place]);
    if let Some(standing) = denying.max_by_key(|standing| standing.window.end) {
        return Some(standing);
    }
    let counts_another = |standing: &Standing| {
        let counts_requests = policy.limits[standing.limit].unit == policy::Unit::Requests;
        counts_requests != (hit == Hit::Request)
    };
    let parts_left = |standing: &Standing| match (standing.bound, standing.remaining()) {
        (Bound::At(bound), Some(left)) if bound > 0 => left.saturating_mul(1_000_000) / bound,
        (Bound::At(_), _) => 0,
        (Bound::Unlimited, _) => i128::MAX,
    };
    standings
        .iter()
        .min_by_key(|standing| (counts_another(standing), parts_left(standing)))
}

fn unit(span: Span) -> Unit {
    match span {
        Span::Calendar(Window::Minute) => Unit::Minute,
        Span::Calendar(Window::Hour) => Unit::Hour,
        Span::Calendar(Window::Day { .. }) => Unit::Day,
        Span::Calendar(Window::Week { .. }) => Unit::Week,
        Span::Calendar(Window::Month { .. }) => Unit::Month,
        Span::Rolling { .. } => Unit::Unknown,
    }
}

/// What 32 bits cannot say, and why something was denied.
fn metadata(call: &Call, outcomes: &[Outcome], now: Timestamp) -> Struct {
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    let answers = outcomes
        .iter()
        .filter_map(|outcome| outcome.answer.as_ref());
    let limits = answers.clone().flat_map(|answer| answer.limits(now));
    put("limits", limits.map(|limit| limit_value(&limit)).collect());
    if let Some(answer) = answers.clone().next() {
        put("policy_version", answer.version.into());
    }
    if let Some(denied) = outcomes.iter().find_map(|outcome| outcome.denied.as_ref()) {
        put("code", denied.code.into());
        put("text", denied.text.as_str().into());
        let violated = denied.violated.iter().map(|name| &**name);
        put("violated", violated.collect());
    }
    if !call.ignored.is_empty() {
        let ignored = call.ignored.iter().map(String::as_str);
        put("ignored_keys", ignored.collect());
    }
    Struct { fields }
}

/// How a limit stands, as the other doors tell it, without what the gateway said itself.
fn limit_value(limit: &LimitStanding<'_>) -> Value {
    let amount = |amount: &Amount| match amount {
        Amount::Count(count) => (*count).into(),
        Amount::Usd(usd) => Kind::Text(usd.to_string()).into(),
    };
    let bound = |bound: &Option<Amount>| bound.as_ref().map_or(Kind::Null(0).into(), amount);
    let fields = [
        ("name", limit.name.into()),
        ("unit", limit.unit.into()),
        ("mode", limit.mode.into()),
        ("limit", bound(&limit.limit)),
        ("used", amount(&limit.used)),
        ("reserved", amount(&limit.reserved)),
        ("remaining", bound(&limit.remaining)),
        ("over_by", amount(&limit.over_by)),
        ("reset_after_s", limit.reset_after_s.into()),
    ];
    let fields = fields.map(|(name, value): (&str, Value)| (name.to_owned(), value));
    Kind::Struct(Struct {
        fields: fields.into(),
    })
    .into()
}
