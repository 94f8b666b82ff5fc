//! What is wrong with an alarm file: all of it, each with file, line and property.

use std::fmt;
use std::path::{Path, PathBuf};

/// Faults told of one reading; a file of nonsense need not be told whole.
const MAX_FAULTS: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// The property in the words of the file: `Dimensions[0].Name`; empty for the file itself.
    pub property: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.property.is_empty() {
            write!(f, "{}: ", self.property)?;
        }
        f.write_str(&self.message)
    }
}

/// Gathers the faults of one file.
#[derive(Debug)]
pub(super) struct Faults {
    file: PathBuf,
    list: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, line: usize, property: &str, message: impl Into<String>) {
        let fault = Fault {
            file: self.file.clone(),
            line,
            property: property.to_owned(),
            message: message.into(),
        };
        // A value that several alarms refer to is told once.
        if self.list.len() < MAX_FAULTS && !self.list.contains(&fault) {
            self.list.push(fault);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn into_list(self) -> Vec<Fault> {
        self.list
    }
}

/// The known name that is nearest to a wrong one, if any is near.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What is longer than any name need not be compared.
    let wrong: Vec<char> = wrong.to_lowercase().chars().take(64).collect();
    let near = known
        .into_iter()
        .map(|name| (distance(&wrong, name), name))
        .min()?;
    (near.0 <= near.1.chars().count().max(wrong.len()).div_ceil(2)).then_some(near.1)
}

/// True if a text is another one but for a few characters or capitals.
pub(super) fn is_near(text: &str, other: &str) -> bool {
    let chars: Vec<char> = text.to_lowercase().chars().take(64).collect();
    text != other && distance(&chars, other) <= 3
}

/// `; did you mean NAME?`, or nothing.
#[must_use]
pub fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Insertions, deletions and replacements from one name to the other (Levenshtein).
fn distance(wrong: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=wrong.len()).collect();
    for (index, right) in name.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, left) in wrong.iter().enumerate() {
            let replaced = diagonal + usize::from(*left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[wrong.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_unless_none_is_near() {
        let names = ["error_rate", "response_time", "active_users"];
        assert_eq!(nearest("eror_rate", names), Some("error_rate"));
        assert_eq!(nearest("ResponseTime", names), Some("response_time"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzz", names), None);
        assert!(is_near("ClaudeCode/Enterprize", "ClaudeCode/Enterprise"));
        assert!(!is_near("AWS/Bedrock", "ClaudeCode/Enterprise"));
        assert_eq!(hint("active_user", names), "; did you mean active_users?");
    }
}
