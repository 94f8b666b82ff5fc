//! Whether tallyd can do its work: named conditions, shown by `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One thing that has to be so before tallyd can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub name: &'static str,
    pub ok: bool,
    /// What is the case, in a few words and without secrets.
    pub detail: String,
}

/// The conditions, by name. Whoever owns a condition sets it whenever it changes.
#[derive(Debug, Default)]
pub struct Readiness {
    conditions: Mutex<BTreeMap<&'static str, (bool, String)>>,
}

impl Readiness {
    /// Sets one condition.
    pub fn set(&self, name: &'static str, ok: bool, detail: impl Into<String>) {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, (ok, detail.into()));
    }

    /// All conditions, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<Condition> {
        let conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .map(|(name, (ok, detail))| Condition {
                name,
                ok: *ok,
                detail: detail.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_last_state() {
        let readiness = Readiness::default();
        readiness.set("ledger", false, "opening");
        readiness.set("aws", true, "not used");
        readiness.set("ledger", true, "open");
        let condition = |name, detail: &str| Condition {
            name,
            ok: true,
            detail: detail.to_owned(),
        };
        assert_eq!(
            readiness.list(),
            [condition("aws", "not used"), condition("ledger", "open")]
        );
    }
}
