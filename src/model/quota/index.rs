//! Which limits may concern a subject, without asking each.

use std::collections::HashMap;

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
    anchored: HashMap<(Field, Box<str>), Vec<usize>>,
    /// The fields that anchor anything.
    fields: Vec<Field>,
    rest: Vec<usize>,
}

impl Index {
    pub(super) fn new(limits: &[Limit]) -> Self {
        let mut index = Self {
            anchored: HashMap::new(),
            fields: Vec::new(),
            rest: Vec::new(),
        };
        for (number, limit) in limits.iter().enumerate() {
            match anchor(limit) {
                Some((field, values)) => {
                    if !index.fields.contains(&field) {
                        index.fields.push(field);
                    }
                    for value in values {
                        let limits = index.anchored.entry((field, value)).or_default();
                        limits.push(number);
                    }
                }
                None => index.rest.push(number),
            }
        }
        index
    }

    /// The limits that may apply, in the policy's order, each once.
    pub(super) fn candidates(&self, subject: &Subject) -> Vec<usize> {
        let mut found = self.rest.clone();
        for field in &self.fields {
            let key = (*field, Box::from(subject.get(*field)));
            found.extend(self.anchored.get(&key).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        found
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
