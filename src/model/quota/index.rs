//! Which limits may concern a subject, without asking each.

use std::collections::{BTreeMap, HashMap};

use crate::model::policy::{Field, Limit, Subject};

/// Fields by how well they tell limits apart.
const ANCHORS: [Field; 6] = [
    Field::User,
    Field::Project,
    Field::Team,
    Field::CostCenter,
    Field::Role,
    Field::Model,
];

/// Limits that name exact values of one field, by those values; and the rest.
#[derive(Debug)]
pub(super) struct Index {
    anchored: BTreeMap<Field, HashMap<Box<str>, Vec<usize>>>,
    /// In the policy's order.
    rest: Vec<usize>,
}

impl Index {
    pub(super) fn new(limits: &[Limit]) -> Self {
        let mut index = Self {
            anchored: BTreeMap::new(),
            rest: Vec::new(),
        };
        for (number, limit) in limits.iter().enumerate() {
            match anchor(limit) {
                Some((field, values)) => {
                    let anchored = index.anchored.entry(field).or_default();
                    for value in values {
                        anchored.entry(value).or_default().push(number);
                    }
                }
                None => index.rest.push(number),
            }
        }
        index
    }

    /// Puts the limits that may apply into `found`, in the policy's order, each once.
    pub(super) fn candidates_into(&self, subject: &Subject, found: &mut Vec<usize>) {
        found.clear();
        found.extend(&self.rest);
        for (field, limits) in &self.anchored {
            found.extend(limits.get(subject.get(*field)).into_iter().flatten());
        }
        if !self.anchored.is_empty() {
            found.sort_unstable();
            found.dedup();
        }
    }
}

/// The first field of which a limit names exact values only.
fn anchor(limit: &Limit) -> Option<(Field, Vec<Box<str>>)> {
    ANCHORS.into_iter().find_map(|field| {
        let patterns = limit.matches.get(&field)?;
        let exact = |pattern: &crate::model::glob::Glob| pattern.exact().map(Box::from);
        let values: Option<Vec<_>> = patterns.iter().map(exact).collect();
        Some((field, values?))
    })
}
