//! Whole numbers of small units as decimal text.

/// A number of `10^-places` with exactly that many decimal places.
#[must_use]
pub fn fixed(number: i128, places: u32) -> String {
    let mut text = String::new();
    put_fixed(&mut text, number, places);
    text
}

/// Writes the same behind a text.
pub fn put_fixed(text: &mut String, number: i128, places: u32) {
    if number < 0 {
        text.push('-');
    }
    let number = number.unsigned_abs();
    // Of most numbers: divisions of 64 bits are faster.
    if let (Ok(number), Some(unit)) = (u64::try_from(number), 10_u64.checked_pow(places)) {
        text.push_str(itoa::Buffer::new().format(number / unit));
        put_part(text, (number % unit).into(), places);
    } else {
        let unit = 10_u128.pow(places);
        text.push_str(itoa::Buffer::new().format(number / unit));
        put_part(text, number % unit, places);
    }
}

fn put_part(text: &mut String, part: u128, places: u32) {
    if places == 0 {
        return;
    }
    text.push('.');
    let mut digits = itoa::Buffer::new();
    let digits = match u64::try_from(part) {
        Ok(part) => digits.format(part),
        Err(_) => digits.format(part),
    };
    for _ in digits.len()..places as usize {
        text.push('0');
    }
    text.push_str(digits);
}

/// A number of `10^-places` without zeros at its end.
#[must_use]
pub fn short(number: i128, places: u32) -> String {
    let text = fixed(number, places);
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Decimal text with commas between its thousands.
#[must_use]
pub fn grouped(number: &str) -> String {
    let sign = usize::from(number.starts_with('-'));
    let point = number.find('.').unwrap_or(number.len());
    let mut text = String::with_capacity(number.len() + number.len() / 3);
    for (at, c) in number.char_indices() {
        if at > sign && at < point && (point - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_places_or_no_more_than_it_needs() {
        let numbers = [0, 5, -5, 1_500, -1_000, 1_000_001];
        assert_eq!(
            numbers.map(|number| fixed(number, 3)),
            ["0.000", "0.005", "-0.005", "1.500", "-1.000", "1000.001"]
        );
        assert_eq!(
            numbers.map(|number| short(number, 3)),
            ["0", "0.005", "-0.005", "1.5", "-1", "1000.001"]
        );
        assert_eq!([100, -20].map(|number| short(number, 0)), ["100", "-20"]);
    }

    #[test]
    fn thousands_are_apart() {
        let shown = ["0", "-123", "1234", "-1234567.8901", "100000"].map(grouped);
        assert_eq!(shown, ["0", "-123", "1,234", "-1,234,567.8901", "100,000"]);
    }
}
