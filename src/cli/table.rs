//! Aligned tables, and numbers as people read them.

use crate::model::label::grouped;

use std::fmt::Write as _;

/// On which side a column's texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Writes rows under a header; the last `totals` rows are set off by a line.
pub(super) fn table(columns: &[(&str, Align)], rows: &[Vec<String>], totals: usize) -> String {
    let width = |index: usize| {
        let header = columns[index].0.chars().count();
        let cells = rows.iter().filter_map(|row| row.get(index));
        cells
            .map(|cell| cell.chars().count())
            .fold(header, usize::max)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let wide = widths[index];
            if index > 0 {
                line.push_str("  ");
            }
            let _ = match columns[index].1 {
                Align::Left => write!(line, "{cell:<wide$}"),
                Align::Right => write!(line, "{cell:>wide$}"),
            };
        }
        line.trim_end().to_owned() + "\n"
    };
    let headers: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
    let rule = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    let rule = "-".repeat(rule) + "\n";
    let mut text = line(&headers) + &rule;
    for (index, row) in rows.iter().enumerate() {
        if totals > 0 && index + totals == rows.len() && index > 0 {
            text.push_str(&rule);
        }
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        text.push_str(&line(&cells));
    }
    text
}

/// Exact decimal text of an amount, rounded half up to cents with thousands separators; below a
/// cent, to its first two digits that are not zero.
pub(super) fn usd(exact: &str) -> String {
    let (whole, fraction) = exact.split_once('.').unwrap_or((exact, ""));
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => ("-", whole),
        None => ("", whole),
    };
    let readable = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    let Some(whole) = whole.parse::<u64>().ok().filter(|_| readable(fraction)) else {
        return exact.to_owned();
    };
    let zeros = fraction.chars().take_while(|digit| *digit == '0').count();
    let places = match zeros {
        0 | 1 => 2,
        _ if whole > 0 || zeros == fraction.len() => 2,
        zeros => zeros + 2,
    };
    let mut kept: String = fraction.chars().take(places).collect();
    while kept.len() < places {
        kept.push('0');
    }
    let up = fraction.chars().nth(places).is_some_and(|next| next >= '5');
    let Ok(part) = kept.parse::<u64>() else {
        return exact.to_owned();
    };
    let part = (part + u64::from(up)).to_string();
    // A carry makes the fraction one digit longer than it may be.
    if part.len() > places {
        return format!("{sign}{}.{}", grouped(whole.saturating_add(1)), &part[1..]);
    }
    format!("{sign}{}.{part:0>places$}", grouped(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_totals_set_off() {
        let columns = [("team", Align::Left), ("requests", Align::Right)];
        let row = |team: &str, requests: u64| vec![team.to_owned(), grouped(requests)];
        let rows = [row("payments", 1_234), row("ä", 7), row("total", 1_241)];
        assert_eq!(
            table(&columns, &rows, 1),
            "team      requests\n\
             ------------------\n\
             payments     1,234\n\
             ä                7\n\
             ------------------\n\
             total        1,241\n"
        );
    }

    #[test]
    fn thousands_are_separated() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn money_has_cents_unless_it_is_tiny() {
        let cases = [
            ("0.00", "0.00"),
            ("12", "12.00"),
            ("1234567.891", "1,234,567.89"),
            ("0.995", "1.00"),
            ("999.999", "1,000.00"),
            ("0.014379", "0.01"),
            ("0.0043791", "0.0044"),
            ("0.00000012", "0.00000012"),
            ("-3.5", "-3.50"),
            ("n/a", "n/a"),
        ];
        for (exact, text) in cases {
            assert_eq!(usd(exact), text, "{exact}");
        }
    }
}
