//! Whole numbers of small units as decimal text.

/// A number of `10^-places` with exactly that many decimal places.
#[must_use]
pub fn fixed(number: i128, places: u32) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let unit = 10_u128.pow(places);
    let (whole, part) = (number.unsigned_abs() / unit, number.unsigned_abs() % unit);
    if places == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{part:0width$}", width = places as usize)
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
