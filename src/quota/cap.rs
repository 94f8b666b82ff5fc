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

/// What to hold: the whole estimate if it fits, else less output if some fits. What was granted
/// before under the same id is granted again.
pub(super) fn fitting(
    book: &mut Book,
    id: &str,
    resolved: &Resolved,
    terms: &Terms,
    now: Timestamp,
) -> Usage {
    let asked = resolved.estimate;
    if let Some(known) = book.reservation(id) {
        let same = known.output == asked.output;
        return if same { known.estimate } else { asked };
    }
    match book.check(resolved.subject(), &asked, now) {
        Decision::Allowed(_) => asked,
        Decision::Denied(_) => largest(book, resolved, terms, now).unwrap_or(asked),
    }
}

/// The largest estimate with at least one and fewer output tokens than asked for that fits under
/// every limit.
fn largest(book: &mut Book, resolved: &Resolved, terms: &Terms, now: Timestamp) -> Option<Usage> {
    let asked = &resolved.estimate;
    let with = |output: i64| {
        let whole = |count: i64| u64::try_from(count).unwrap_or(0);
        let tokens = Tokens {
            input: whole(asked.input),
            cache_read: whole(asked.cache_read),
            output: whole(output),
            ..Tokens::default()
        };
        Usage::of(&tokens, terms.cost(&tokens, &resolved.asked.sku, now))
    };
    let mut fits = |output: i64| {
        let decision = book.check(resolved.subject(), &with(output), now);
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
