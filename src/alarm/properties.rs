//! The properties of one alarm, read by name; each fault names its property.

use std::fmt::Display;
use std::str::FromStr;

use super::fault::{Faults, hint};
use super::resolve::{Known, Shape, unknown};

/// Properties that are read from.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    /// The line at which they begin, for what is not there.
    line: usize,
    entries: &'a [(String, usize, Known)],
    faults: &'a mut Faults,
}

impl<'a> Properties<'a> {
    pub(super) const fn new(
        line: usize,
        entries: &'a [(String, usize, Known)],
        faults: &'a mut Faults,
    ) -> Self {
        Self {
            line,
            entries,
            faults,
        }
    }

    /// Faults all properties that are refused or not known.
    pub(super) fn refuse(&mut self, refused: &[(&str, &str)], known: &[&str]) {
        for (name, line, _) in self.entries {
            if let Some((_, why)) = refused.iter().find(|(refused, _)| refused == name) {
                self.faults.add(*line, name, *why);
            } else if !known.contains(&name.as_str()) {
                let hint = hint(name, known.iter().copied());
                let message = format!("is no property of an alarm{hint}");
                self.faults.add(*line, name, message);
            }
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Adds a fault at a property, or where the properties begin if it is not there.
    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let line = self.find(name).map_or(self.line, |known| known.line);
        self.faults.add(line, name, message);
    }

    /// Adds a fault at a line.
    pub(super) fn fault_at(&mut self, line: usize, name: &str, message: impl Into<String>) {
        self.faults.add(line, name, message);
    }

    /// Adds a fault unless `good`, and returns `good`.
    pub(super) fn must(&mut self, good: bool, name: &str, what: &str) -> bool {
        if !good {
            self.fault(name, format!("must be {what}"));
        }
        good
    }

    /// A text that may refer to the account.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let known = self.find(name)?;
        match &known.shape {
            Shape::Text(text) | Shape::Deferred(text) => Some(text.clone()),
            Shape::Faulty => None,
            _ => {
                self.faults.add(known.line, name, "must be a text");
                None
            }
        }
    }

    /// A text that must be there and known.
    pub(super) fn needed(&mut self, name: &str) -> Option<String> {
        let Some(known) = self.find(name) else {
            self.faults.add(self.line, name, "is needed");
            return None;
        };
        if let Shape::Deferred(text) = &known.shape {
            self.faults.add(known.line, name, unknown(text));
            return None;
        }
        self.text(name)
    }

    /// A number that must be there.
    pub(super) fn number<T: FromStr + Display>(&mut self, name: &str, what: &str) -> Option<T> {
        let text = self.needed(name)?;
        // Rust reads `inf` and `NaN` as numbers; CloudWatch does not.
        let digits = text.trim().trim_start_matches(['+', '-']);
        let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let number = text.trim().parse::<T>().ok().filter(|_| begins);
        // `1e999` is infinite as well.
        let number = number.filter(|number| !number.to_string().contains("inf"));
        if number.is_none() {
            self.fault(name, format!("must be {what}, got {text}"));
        }
        number
    }

    /// A number that is told elsewhere if it is wrong.
    pub(super) fn peek_number(&self, name: &str) -> Option<u32> {
        match &self.find(name)?.shape {
            // What is not 10, 20 or 30 below a minute is a fault by itself.
            Shape::Text(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|number| matches!(number, 10 | 20 | 30)),
            _ => None,
        }
    }

    /// A word of a closed set; nothing if it is not there.
    pub(super) fn word<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Option<T> {
        if !self.has(name) {
            return None;
        }
        let text = self.needed(name)?;
        let word = parse(&text);
        if word.is_none() {
            let message = format!("must be one of {}, got {text}", words.join(", "));
            self.fault(name, message);
        }
        word
    }

    /// A list of texts that may refer to the account, each with its line; empty if it is not there.
    pub(super) fn texts(&mut self, name: &str) -> Vec<(usize, String)> {
        let Some(known) = self.find(name) else {
            return Vec::new();
        };
        let items = match &known.shape {
            Shape::List(items) => items,
            Shape::Faulty => return Vec::new(),
            _ => {
                self.faults.add(known.line, name, "must be a list");
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match &item.shape {
                Shape::Text(text) | Shape::Deferred(text) => {
                    texts.push((item.line, text.clone()));
                }
                Shape::Faulty => {}
                _ => self
                    .faults
                    .add(item.line, &format!("{name}[{index}]"), "must be a text"),
            }
        }
        texts
    }

    /// A list of maps with two texts: dimensions, tags.
    pub(super) fn pairs(&mut self, name: &str, key: &str, value: &str) -> Vec<(String, String)> {
        let Some(known) = self.find(name) else {
            return Vec::new();
        };
        let items = match &known.shape {
            Shape::List(items) => items,
            Shape::Faulty => return Vec::new(),
            _ => {
                self.faults.add(known.line, name, "must be a list");
                return Vec::new();
            }
        };
        let mut pairs = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{name}[{index}]");
            let Shape::Map(entries) = &item.shape else {
                if item.shape != Shape::Faulty {
                    let message = format!("must be a map of {key} and {value}");
                    self.faults.add(item.line, &at, message);
                }
                continue;
            };
            for (unknown, line, _) in entries {
                if unknown != key && unknown != value {
                    let message = format!("must have {key} and {value} only");
                    self.faults.add(*line, &format!("{at}.{unknown}"), message);
                }
            }
            let mut part = Properties::new(item.line, entries, self.faults);
            let key = part.pair_text(&at, key);
            let value = part.pair_text(&at, value);
            pairs.extend(key.zip(value));
        }
        pairs
    }

    fn pair_text(&mut self, at: &str, name: &str) -> Option<String> {
        let line = self.find(name).map_or(self.line, |known| known.line);
        match self.find(name).map(|known| &known.shape) {
            Some(Shape::Text(text) | Shape::Deferred(text)) => Some(text.clone()),
            Some(Shape::Faulty) => None,
            Some(_) => {
                self.faults
                    .add(line, &format!("{at}.{name}"), "must be a text");
                None
            }
            None => {
                self.faults.add(line, &format!("{at}.{name}"), "is needed");
                None
            }
        }
    }

    fn find(&self, name: &str) -> Option<&'a Known> {
        let entry = self.entries.iter().find(|(known, ..)| known == name);
        entry.map(|(.., known)| known)
    }
}
