//! From TOML values to typed ones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::reader::{Converted, Problem, must_be};

pub(super) fn text(value: &Value) -> Converted<String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        _ => must_be("a text in quotes", value),
    }
}

pub(super) fn flag(value: &Value) -> Converted<bool> {
    match value {
        Value::Boolean(flag) => Ok(*flag),
        _ => must_be("true or false", value),
    }
}

/// A whole number within bounds.
pub(super) fn count(value: &Value, least: usize, most: usize) -> Converted<usize> {
    let number = value.as_integer().and_then(|n| usize::try_from(n).ok());
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => must_be(&format!("a number from {least} to {most}"), value),
    }
}

/// A number within bounds, with or without decimals.
pub(super) fn number(value: &Value, least: f64, most: f64) -> Converted<f64> {
    let number = match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => must_be(&format!("a number from {least} to {most}"), value),
    }
}

pub(super) fn duration(value: &Value, least: Duration) -> Converted<Duration> {
    let parsed = value
        .as_str()
        .and_then(|text| humantime::parse_duration(text.trim()).ok());
    match parsed {
        Some(duration) if duration >= least => Ok(duration),
        Some(_) => must_be(
            &format!("at least {}", humantime::format_duration(least)),
            value,
        ),
        None => must_be("a duration such as 30s, 5m or 90d", value),
    }
}

/// Bytes: a number, or a number with `KiB`, `MiB` or `GiB`.
pub(super) fn size(value: &Value, least: usize, most: usize) -> Converted<usize> {
    let parsed = match value {
        Value::Integer(bytes) => usize::try_from(*bytes).ok(),
        Value::String(text) => parse_size(text.trim()),
        _ => None,
    };
    match parsed {
        Some(bytes) if (least..=most).contains(&bytes) => Ok(bytes),
        Some(_) => must_be(
            &format!("from {} to {}", show_size(least), show_size(most)),
            value,
        ),
        None => must_be("a size such as 512KiB or 16MiB", value),
    }
}

const SIZE_UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_size(text: &str) -> Option<usize> {
    for (unit, bytes) in SIZE_UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return number.trim().parse::<usize>().ok()?.checked_mul(bytes);
        }
    }
    text.strip_suffix('B').unwrap_or(text).trim().parse().ok()
}

fn show_size(bytes: usize) -> String {
    for (unit, size) in SIZE_UNITS {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// An address to listen on; empty switches the listener off.
pub(super) fn address(value: &Value) -> Converted<Option<SocketAddr>> {
    let Some(text) = value.as_str().map(str::trim) else {
        return must_be("an address such as 127.0.0.1:9477", value);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    match numeric.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => must_be("an address such as 127.0.0.1:9477", value),
    }
}

/// A path; empty means none.
pub(super) fn path(value: &Value) -> Converted<Option<PathBuf>> {
    let text = text(value)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// A file that can be read; empty means none.
pub(super) fn readable_file(value: &Value) -> Converted<Option<PathBuf>> {
    let Some(path) = path(value)? else {
        return Ok(None);
    };
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Ok(Some(path)),
        Ok(_) => must_be("a file", value),
        Err(error) => Err(vec![Problem::new(
            "",
            format!("cannot read {}: {error}", path.display()),
        )]),
    }
}

/// A list of texts, none empty, none twice.
pub(super) fn texts(value: &Value) -> Converted<Vec<String>> {
    let Value::Array(items) = value else {
        return must_be("a list of texts", value);
    };
    let mut texts: Vec<String> = Vec::with_capacity(items.len());
    let mut problems = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("[{index}]");
        match text(item) {
            Ok(text) if text.is_empty() => problems.push(Problem::new(at, "must not be empty")),
            Ok(text) if texts.contains(&text) => {
                problems.push(Problem::new(at, format!("{text} is there twice")));
            }
            Ok(text) => texts.push(text),
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.at(&at))),
        }
    }
    if problems.is_empty() {
        Ok(texts)
    } else {
        Err(problems)
    }
}

/// A list of words from a closed set.
pub(super) fn choices<T>(
    value: &Value,
    names: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Converted<Vec<T>> {
    let mut chosen = Vec::new();
    // What is there twice is told beside what is unknown.
    let mut problems = texts(value).err().unwrap_or_default();
    let items = value.as_array().into_iter().flatten().enumerate();
    for (index, name) in items.filter_map(|(index, item)| Some((index, text(item).ok()?))) {
        match parse(&name) {
            Some(choice) => chosen.push(choice),
            None if name.is_empty() => {}
            None => problems.push(Problem {
                at: format!("[{index}]"),
                message: format!("must be one of {names}"),
                got: Some(name),
            }),
        }
    }
    if problems.is_empty() {
        Ok(chosen)
    } else {
        Err(problems)
    }
}

/// One word of a closed set.
pub(super) fn choice<T>(
    value: &Value,
    names: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Converted<T> {
    match value.as_str().and_then(|text| parse(text.trim())) {
        Some(choice) => Ok(choice),
        None => must_be(&format!("one of {names}"), value),
    }
}

/// A list of tables, each read by `read`; unknown keys of a table are problems.
pub(super) fn rows<T>(
    value: &Value,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Converted<Vec<T>> {
    let Value::Array(items) = value else {
        return must_be("a list of tables", value);
    };
    let mut rows = Vec::with_capacity(items.len());
    let mut problems = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("[{index}]");
        let Value::Table(table) = item else {
            problems.push(Problem::new(at, "must be a table"));
            continue;
        };
        let mut row = Row::new(table);
        let read = read(&mut row);
        problems.extend(row.finish().into_iter().map(|problem| problem.at(&at)));
        rows.extend(read);
    }
    if problems.is_empty() {
        Ok(rows)
    } else {
        Err(problems)
    }
}

/// A table inside a list or under a name.
pub(super) struct Row<'a> {
    table: &'a Table,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Row<'a> {
    pub(super) const fn new(table: &'a Table) -> Self {
        Self {
            table,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A text that must be there; `None` after a problem.
    pub(super) fn required(&mut self, key: &'static str) -> Option<String> {
        let before = self.problems.len();
        let read = self.optional(key);
        if read.is_none() && self.problems.len() == before {
            self.problem(key, "is needed");
        }
        read
    }

    /// A text that may be left out.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = self.keep(key, text(value))?;
        (!text.is_empty()).then_some(text)
    }

    /// A whole number that may be left out.
    pub(super) fn optional_number(&mut self, key: &'static str) -> Option<u64> {
        let value = self.take(key)?;
        let number = match value.as_integer().map(u64::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => must_be("a whole number", value),
        };
        self.keep(key, number)
    }

    /// A value of another form, `default` when left out; `None` after a problem.
    pub(super) fn converted<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl Fn(&Value) -> Converted<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(value) => self.keep(key, convert(value)),
            None => Some(default),
        }
    }

    /// A list of texts, empty when left out.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        self.keep(key, texts(value)).unwrap_or_default()
    }

    /// A value of any type that may be left out.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.take(key)
    }

    pub(super) fn problem(&mut self, key: &str, message: &str) {
        self.problems.push(Problem::new(format!(".{key}"), message));
    }

    /// The problems of this row, unknown keys included.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for key in self.table.keys() {
            if !self.known.contains(&key.as_str()) {
                self.problems
                    .push(Problem::new(format!(".{key}"), "unknown key"));
            }
        }
        self.problems
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.table.get(key)
    }

    fn keep<T>(&mut self, key: &str, converted: Converted<T>) -> Option<T> {
        match converted {
            Ok(value) => Some(value),
            Err(problems) => {
                let at = format!(".{key}");
                self.problems
                    .extend(problems.into_iter().map(|problem| problem.at(&at)));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("512 KiB"), Some(512 << 10));
        assert_eq!(parse_size("100"), Some(100));
        assert_eq!(parse_size("16MB"), None);
        assert_eq!(parse_size("99999999999999999999GiB"), None);
        assert_eq!(show_size(16 << 20), "16MiB");
        assert_eq!(show_size(1500), "1500B");
    }

    #[test]
    fn an_empty_address_is_off_and_localhost_is_loopback() {
        let read = |text: &str| address(&Value::String(text.to_owned()));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("localhost:0"), Ok("127.0.0.1:0".parse().ok()));
        assert_eq!(read("[::1]:9477"), Ok("[::1]:9477".parse().ok()));
        assert!(read("9477").is_err());
    }
}
