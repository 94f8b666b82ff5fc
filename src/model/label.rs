//! Text from outside, made fit to be a name: trimmed, bounded, without control characters.
//!
//! Every name that becomes a label, a ledger key or a table cell passes here once, at the door.
//! Both functions give their own output back unchanged.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::decimal;

/// The longest name kept. A longer one is cut and suffixed, so that names stay distinct.
pub const MAX_BYTES: usize = 256;

/// `~` and eight hex digits.
const SUFFIX_BYTES: usize = 9;

/// Makes a name of reported text; `None` if nothing is left.
///
/// Control characters, line separators and marks that turn the writing direction become `_`.
/// A name above [`MAX_BYTES`] is cut at a character and ends in `~` and eight hex digits of the
/// SHA-256 of the whole.
#[must_use]
pub fn clean(raw: &str) -> Option<Cow<'_, str>> {
    let trimmed = raw.trim();
    if trimmed.is_empty() {
        return None;
    }
    let is_plain = trimmed.bytes().all(|b| matches!(b, b' '..=b'~'));
    if is_plain || !trimmed.chars().any(is_unfit) {
        return Some(bounded(Cow::Borrowed(trimmed)));
    }
    let replaced: String = trimmed
        .chars()
        .map(|c| if is_unfit(c) { '_' } else { c })
        .collect();
    Some(bounded(Cow::Owned(replaced)))
}

/// As [`clean`], and case-folded, so that two spellings are one name.
#[must_use]
pub fn fold(raw: &str) -> Option<Cow<'_, str>> {
    if raw.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return clean(raw);
    }
    clean(&raw.to_lowercase()).map(|name| Cow::Owned(name.into_owned()))
}

/// An error with all its sources, in one line.
#[must_use]
pub fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// True for characters that break a line, a table or the reading order.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn bounded(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= MAX_BYTES {
        return name;
    }
    let cut = name.floor_char_boundary(MAX_BYTES - SUFFIX_BYTES);
    let mut short = String::with_capacity(MAX_BYTES);
    short.push_str(&name[..cut]);
    short.push('~');
    for byte in &Sha256::digest(name.as_bytes())[..4] {
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// A count with thousands separators.
#[must_use]
pub fn grouped(number: u64) -> String {
    decimal::grouped(&number.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_name_is_borrowed_and_trimmed() {
        assert!(matches!(
            clean("  Alice Smith\n"),
            Some(Cow::Borrowed("Alice Smith"))
        ));
        assert!(matches!(
            fold(" alice@example.com"),
            Some(Cow::Borrowed("alice@example.com"))
        ));
    }

    #[test]
    fn nothing_but_space_is_no_name() {
        assert_eq!(
            (clean(""), clean(" \t\r\n "), fold("\u{3000}")),
            (None, None, None)
        );
    }

    #[test]
    fn characters_that_break_a_line_or_its_direction_are_replaced() {
        assert_eq!(
            clean("a\nb\u{0}c\u{202e}d\u{2028}e").as_deref(),
            Some("a_b_c_d_e")
        );
    }

    #[test]
    fn case_is_folded_beyond_ascii() {
        assert_eq!(
            fold("ÄRZTE@Example.COM").as_deref(),
            Some("ärzte@example.com")
        );
    }

    #[test]
    fn a_long_name_is_cut_at_a_character_and_stays_distinct() {
        let one = clean(&"ü".repeat(5_000)).map(Cow::into_owned);
        let two = clean(&"ü".repeat(5_001)).map(Cow::into_owned);
        let expected = |hash: &str| Some(format!("{}~{hash}", "ü".repeat(123)));
        assert_eq!((one, two), (expected("51233c3f"), expected("3a37c4b7")));
    }

    #[test]
    fn a_name_of_the_longest_length_is_kept_whole() {
        let name = "x".repeat(MAX_BYTES);
        assert_eq!(clean(&name).as_deref(), Some(name.as_str()));
    }

    proptest! {
        #[test]
        fn every_name_is_bounded_and_given_back_unchanged(raw in "\\PC{0,40}|[\u{0}-\u{ff}İΣ]{0,400}") {
            for name in [clean(&raw), fold(&raw)].into_iter().flatten() {
                prop_assert!(!name.is_empty() && name.len() <= MAX_BYTES);
                let again = clean(&name);
                prop_assert_eq!(again.as_deref(), Some(&*name));
            }
            if let Some(folded) = fold(&raw) {
                let again = fold(&folded);
                prop_assert_eq!(again.as_deref(), Some(&*folded));
            }
        }
    }
}
