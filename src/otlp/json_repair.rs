//! Makes JSON readable whose text was cut in the middle of a character.
//!
//! Clients that cut text by UTF-16 units leave half a pair, which `JSON.stringify` writes as a lone
//! escape (`\ud83d`); others cut bytes and leave invalid UTF-8. Both make a whole delivery
//! unreadable, and no client sends it again. Only a body that was refused comes here.

use std::ops::Range;

/// What is written in the place of half a pair: U+FFFD, as encoders of UTF-8 do.
const REPLACEMENT: &[u8; 4] = b"fffd";

/// The body with half pairs replaced by U+FFFD, and text that is no UTF-8 by an empty object, which
/// no reader takes for text: it costs the item that needs it. `None` if there is nothing to mend.
/// All stays in its place, so that errors name the line and column of the original.
pub(super) fn repair(body: &[u8]) -> Option<Vec<u8>> {
    let mut mended = body.to_vec();
    let mut at = 0;
    while let Some(quote) = body[at..].iter().position(|byte| *byte == b'"') {
        let opening = at + quote;
        let Some(closing) = mend_halves(&mut mended, opening + 1) else {
            break;
        };
        if str::from_utf8(&body[opening..closing]).is_err() {
            blank(&mut mended, opening..closing + 1);
        }
        at = closing + 1;
    }
    (mended != body).then_some(mended)
}

/// Replaces the half pairs of the text that begins at `at`, and gives the place of its end.
fn mend_halves(body: &mut [u8], mut at: usize) -> Option<usize> {
    loop {
        match body.get(at)? {
            b'"' => return Some(at),
            b'\\' => {}
            _ => {
                at += 1;
                continue;
            }
        }
        at += match (escaped_unit(body, at), escaped_unit(body, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                body[at + 2..at + 6].copy_from_slice(REPLACEMENT);
                6
            }
            _ => 2,
        };
    }
}

/// The UTF-16 unit of an escape `\uXXXX`.
fn escaped_unit(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// Replaces a text, from quote to quote. A key stays one: nobody knows it, so it is passed over.
fn blank(body: &mut [u8], text: Range<usize>) {
    let mut after = body[text.end..].iter();
    if after.find(|byte| !byte.is_ascii_whitespace()) == Some(&b':') {
        body[text.start + 1..text.end - 1].fill(b'?');
    } else {
        // It holds at least one byte between its quotes.
        body[text.clone()].fill(b' ');
        body[text.start..text.start + 2].copy_from_slice(b"{}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(body: &[u8]) -> Option<String> {
        repair(body).map(|mended| String::from_utf8(mended).expect("mended text"))
    }

    #[test]
    fn half_pairs_become_the_replacement_character() {
        let rows = [
            (r#"["cut \ud83d"]"#, r#"["cut \ufffd"]"#),
            (r#"["\uDE00 tail"]"#, r#"["\ufffd tail"]"#),
            (r#"["\ud83d\ud83d\ude00"]"#, r#"["\ufffd\ud83d\ude00"]"#),
            (r#"["\ud83dxude00"]"#, r#"["\ufffdxude00"]"#),
            (r#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#),
        ];
        for (body, expected) in rows {
            assert_eq!(mended(body.as_bytes()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_whole_is_left_alone() {
        for body in [
            r#"["\ud83d\ude00", "\\ud83d", "\"\\", "\u00e9", "é"]"#,
            r#"["\ud83"#,
            r#"["\"#,
            r#"["\u+123", 1"#,
            "",
        ] {
            assert_eq!(mended(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn text_that_is_no_utf8_is_taken_out_in_its_place() {
        let rows: [(&[u8], &str); 3] = [
            (b"[\"a\xf0\x9f\", 1]", r"[{}   , 1]"),
            (b"[\"\xff\"]", r"[{} ]"),
            (b"{\"k\xff\" : \"v\"}", r#"{"??" : "v"}"#),
        ];
        for (body, expected) in rows {
            assert_eq!(mended(body).as_deref(), Some(expected));
        }
    }
}
