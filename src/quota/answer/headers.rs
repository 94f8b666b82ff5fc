//! Headers of answers: rate limits for whoever asks, and warnings for the client behind it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::limits::reset_after;
use crate::model::policy::{Bound, Mode, Policy, Unit};
use crate::model::quota::Standing;

/// Percent of a limit from which clients are warned.
const WARN_PERCENT: i128 = 75;

/// Headers for an answer, names in lower case.
pub type Headers = Vec<(&'static str, String)>;

/// Rate limit headers of an answer (draft-ietf-httpapi-ratelimit-headers), and those that
/// programs for other providers' APIs read, which tell the token limit with the least left.
#[must_use]
pub fn headers(policy: &Policy, standings: &[Standing], now: Timestamp) -> Headers {
    let (mut policies, mut states) = (String::new(), String::new());
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
        let seconds = u64::try_from(window.as_secs()).unwrap_or(0);
        let unit = match rule.unit {
            Unit::Requests => "requests",
            Unit::Usd => "usd-cents",
            _ => "tokens",
        };
        if !policies.is_empty() {
            policies.push_str(", ");
            states.push_str(", ");
        }
        push_quoted(&mut policies, &rule.name);
        push_quoted(&mut states, &rule.name);
        push_number(&mut policies, ";q=", bound);
        push_number(&mut policies, ";w=", seconds);
        policies.extend([";qu=\"", unit, "\""]);
        push_number(&mut states, ";r=", remaining);
        push_number(&mut states, ";t=", reset);
        if unit == "tokens" && least.is_none_or(|(_, left, _)| remaining < left) {
            least = Some((bound, remaining, reset));
        }
    }
    let mut headers = Headers::new();
    if !policies.is_empty() {
        headers.push(("ratelimit-policy", policies));
        headers.push(("ratelimit", states));
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
        if bound <= 0 || rule.mode != Mode::Enforce {
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

/// Appends a string of structured fields: ASCII without control characters.
fn push_quoted(out: &mut String, name: &str) {
    let is_fit = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    out.push('"');
    if name.chars().all(is_fit) {
        out.push_str(name);
    } else {
        out.extend(name.chars().map(|c| if is_fit(c) { c } else { '_' }));
    }
    out.push('"');
}

fn push_number(out: &mut String, key: &str, number: u64) {
    out.push_str(key);
    out.push_str(itoa::Buffer::new().format(number));
}
