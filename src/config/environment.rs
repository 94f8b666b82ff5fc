//! The process environment, read once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The variables that tallyd looks at: `TALLYD_*`, those that tell where state belongs, and the
/// one of AWS that its SDK does not look at.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn read() -> Self {
        Self::of(std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        }))
    }

    /// Takes what is of interest from a list of variables.
    #[must_use]
    pub fn of<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let wanted = |name: &str| {
            name.starts_with("TALLYD_")
                || matches!(
                    name,
                    "STATE_DIRECTORY" | "XDG_STATE_HOME" | "HOME" | "AWS_CA_BUNDLE"
                )
        };
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .filter(|(name, _)| wanted(name))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Where state belongs when nothing is configured: systemd's `StateDirectory=`, else the
    /// user's state folder (XDG base directories), else `/var/lib/tallyd`.
    pub(super) fn state_folder(&self) -> PathBuf {
        let set = |name| self.get(name).filter(|value| !value.is_empty());
        if let Some(folders) = set("STATE_DIRECTORY") {
            // systemd separates several folders by colons.
            let first = folders.split(':').next().unwrap_or(folders);
            return PathBuf::from(first);
        }
        if let Some(state) = set("XDG_STATE_HOME") {
            return PathBuf::from(state).join("tallyd");
        }
        match set("HOME") {
            Some(home) if home != "/" => PathBuf::from(home).join(".local/state/tallyd"),
            _ => PathBuf::from("/var/lib/tallyd"),
        }
    }
}

/// Shows names only: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> PathBuf {
        Environment::of(variables.iter().copied()).state_folder()
    }

    #[test]
    fn state_goes_where_the_system_says() {
        let home = ("HOME", "/home/ada");
        let xdg = ("XDG_STATE_HOME", "/state");
        let systemd = ("STATE_DIRECTORY", "/var/lib/tallyd-eu:/other");
        assert_eq!(
            folder(&[home, xdg, systemd]),
            PathBuf::from("/var/lib/tallyd-eu")
        );
        assert_eq!(folder(&[home, xdg]), PathBuf::from("/state/tallyd"));
        assert_eq!(
            folder(&[home]),
            PathBuf::from("/home/ada/.local/state/tallyd")
        );
        assert_eq!(folder(&[]), PathBuf::from("/var/lib/tallyd"));
        assert_eq!(folder(&[("HOME", "/")]), PathBuf::from("/var/lib/tallyd"));
    }
}
