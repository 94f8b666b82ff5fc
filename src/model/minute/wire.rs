//! Values of dimensions in the characters that CloudWatch takes, and back.

use std::fmt::Write as _;

/// A value in printable ASCII. What is not, and the percent sign, is written as in URLs: two
/// different values never become the same.
#[must_use]
pub fn encoded(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The value that is meant by one that may be [`encoded`]; what is not stays as it is.
#[must_use]
pub fn plain(value: &str) -> String {
    let decoded = decoded(value).filter(|plain| encoded(plain) == value);
    decoded.unwrap_or_else(|| value.to_owned())
}

fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_be_named_plainly_or_as_cloudwatch_has_it() {
        let names = ["決済", "100%", "a\nb", "payments", "50%20off", "é %"];
        let encodings = [
            "%E6%B1%BA%E6%B8%88",
            "100%25",
            "a%0Ab",
            "payments",
            "50%2520off",
            "%C3%A9 %25",
        ];
        assert_eq!(names.map(encoded), encodings);
        assert_eq!(names.map(plain), names);
        assert_eq!(encodings.map(plain), names);
    }

    #[test]
    fn what_is_no_encoding_stays_as_it_is() {
        for value in ["%", "%2", "%zz", "%FF", "%e6%b1%ba", "%+1", "決%25"] {
            assert_eq!(plain(value), value);
        }
    }
}
