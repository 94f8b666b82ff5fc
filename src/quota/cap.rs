//! Smaller grants: as much output as still fits, for gateways that can lower a call's maximum.

use jiff::Timestamp;

use super::Resolved;
use crate::model::policy::Usage;
use crate::model::quota::{Book, Decision};
use crate::model::tokens::Tokens;
use crate::store::Terms;

/// Whether less than what was asked for may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// All or nothing.
    Strict,
    /// Less output where the whole does not fit.
    Cap,
}

/// The largest estimate with at least one and fewer output tokens than asked for that fits under
/// every limit.
pub(super) fn largest(
    book: &mut Book,
    resolved: &Resolved,
    terms: &Terms,
    now: Timestamp,
) -> Option<Usage> {
    let asked = &resolved.estimate;
    let with = |output: i64| {
        let whole = |count: i64| u64::try_from(count).unwrap_or(0);
        let tokens = Tokens {
            input: whole(asked.input),
            cache_read: whole(asked.cache_read),
            output: whole(output),
            ..Tokens::default()
        };
        Usage::of(&tokens, terms.cost(&tokens, &resolved.sku, now))
    };
    let mut fits = |output: i64| {
        let decision = book.check(&resolved.subject, &with(output), now);
        matches!(decision, Decision::Allowed(_))
    };
    let (mut most, mut too_many) = (0, asked.output);
    while most + 1 < too_many {
        let middle = most + (too_many - most) / 2;
        if fits(middle) {
            most = middle;
        } else {
            too_many = middle;
        }
    }
    (most > 0).then(|| with(most))
}
