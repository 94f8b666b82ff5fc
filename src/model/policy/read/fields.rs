//! Fields of one table, each read once; what is left over is a fault.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{Bound, Fault, Field, Glob, Policy, Unit, Weights, folded, parse_decimal};

/// Collects faults.
#[derive(Debug, Default)]
pub(super) struct Reader {
    faults: RefCell<Vec<Fault>>,
}

impl Reader {
    pub(super) fn fields<'a>(&'a self, place: &str, table: &'a Table) -> Fields<'a> {
        Fields {
            reader: self,
            place: place.to_owned(),
            table,
            read: BTreeSet::new(),
        }
    }

    pub(super) fn fault(&self, place: String, message: &str) {
        self.faults.borrow_mut().push(Fault {
            place,
            message: message.to_owned(),
        });
    }

    pub(super) fn finish(&self, policy: Policy) -> Result<Policy, Vec<Fault>> {
        let faults = self.faults.take();
        if faults.is_empty() {
            Ok(policy)
        } else {
            Err(faults)
        }
    }
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    reader: &'a Reader,
    place: String,
    table: &'a Table,
    read: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn fault(&self, field: &str, message: &str) {
        let place = if self.place.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.place)
        };
        self.reader.fault(place, message);
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    pub(super) fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        self.read.insert(field);
        self.table.get(field)
    }

    /// Tells what the table has and nobody asked for.
    pub(super) fn end(&self) {
        for key in self.table.keys() {
            if !self.read.contains(&**key) {
                let known: Vec<_> = self.read.iter().copied().collect();
                let message = format!("is not known here; known are {}", known.join(", "));
                self.fault(key, &message);
            }
        }
    }

    pub(super) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.value(field)?;
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.fault(field, "must be a text in quotes");
        }
        text
    }

    /// A name, case-folded as the ledger has it.
    pub(super) fn name(&mut self, field: &'static str) -> Option<Box<str>> {
        self.text(field).and_then(folded)
    }

    pub(super) fn required_name(&mut self, field: &'static str) -> Option<Box<str>> {
        if !self.has(field) {
            self.fault(field, "is missing");
        }
        self.name(field)
    }

    pub(super) fn flag(&mut self, field: &'static str) -> bool {
        let Some(value) = self.value(field) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.fault(field, "must be true or false");
            false
        })
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        field: &'static str,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let value = self.value(field)?;
        let found = all.iter().find(|one| value.as_str() == Some(name(**one)));
        if found.is_none() {
            self.fault(field, &format!("must be one of {}", listed(all, name)));
        }
        found.copied()
    }

    pub(super) fn required_word<T: Copy>(
        &mut self,
        field: &'static str,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        if !self.has(field) {
            let message = format!("is missing; one of {}", listed(all, name));
            self.fault(field, &message);
        }
        self.word(field, all, name)
    }

    pub(super) fn words<T: Copy>(
        &mut self,
        field: &'static str,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<Vec<T>> {
        let find = |value: &Value| {
            let found = all.iter().find(|one| value.as_str() == Some(name(**one)));
            found.copied()
        };
        let message = format!("must be a list of {}", listed(all, name));
        self.each(field, find, &message)
    }

    pub(super) fn names(&mut self, field: &'static str) -> Option<Vec<Box<str>>> {
        let name = |value: &Value| value.as_str().and_then(folded);
        self.each(field, name, "must be a list of names")
    }

    fn each<T>(
        &mut self,
        field: &'static str,
        convert: impl Fn(&Value) -> Option<T>,
        message: &str,
    ) -> Option<Vec<T>> {
        let list = self.value(field)?.as_array();
        let converted = list.and_then(|list| list.iter().map(convert).collect());
        if converted.is_none() {
            self.fault(field, message);
        }
        converted
    }

    pub(super) fn globs(&mut self, field: &'static str) -> Option<Vec<Glob>> {
        let names = self.names(field)?;
        Some(names.iter().map(|name| Glob::new(name)).collect())
    }

    /// `{team = "ml", model = ["claude-opus-*"]}`.
    pub(super) fn matches(&mut self, field: &'static str) -> BTreeMap<Field, Vec<Glob>> {
        let mut matches = BTreeMap::new();
        let Some(fields) = self.table(field) else {
            return matches;
        };
        for (key, value) in fields.table {
            let Some(by) = Field::ALL.into_iter().find(|by| by.name() == key) else {
                let known = listed(&Field::ALL, Field::name);
                fields.fault(key, &format!("must be one of {known}"));
                continue;
            };
            let one = std::slice::from_ref(value);
            let values = value.as_array().map_or(one, Vec::as_slice);
            let glob = |value: &Value| Some(Glob::new(&folded(value.as_str()?)?));
            match values.iter().map(glob).collect() {
                Some(globs) => drop(matches.insert(by, globs)),
                None => fields.fault(key, "must be a name or a list of names"),
            }
        }
        matches
    }

    /// A whole number, an amount of USD in quotes, or `"unlimited"`.
    pub(super) fn bound(
        &mut self,
        field: &'static str,
        unit: Unit,
        weights: &Weights,
    ) -> Option<Bound> {
        let bound = match self.value(field)? {
            Value::Integer(count @ 0..) => {
                Some(Bound::At(i128::from(*count) * weights.grains(unit)))
            }
            Value::String(text) if text == "unlimited" => Some(Bound::Unlimited),
            Value::String(text) if unit == Unit::Usd => parse_decimal(text, 12)
                .ok()
                .filter(|amount| *amount >= 0)
                .map(Bound::At),
            _ => None,
        };
        if bound.is_none() {
            let message = if unit == Unit::Usd {
                "must be USD such as \"250.00\", or \"unlimited\""
            } else {
                "must be a whole number, or \"unlimited\""
            };
            self.fault(field, message);
        }
        bound
    }

    /// Tables by name: `[roles.NAME]`.
    pub(super) fn tables(&mut self, field: &'static str) -> Vec<(Box<str>, Fields<'a>)> {
        let Some(fields) = self.table(field) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in fields.table {
            match (folded(name), value.as_table()) {
                (Some(folded), Some(table)) => {
                    let place = format!("{field}.{name}");
                    tables.push((folded, self.reader.fields(&place, table)));
                }
                _ => fields.fault(name, "must be a table"),
            }
        }
        tables
    }

    /// One table: `[weights]`.
    pub(super) fn table(&mut self, field: &'static str) -> Option<Fields<'a>> {
        let Some(table) = self.value(field)?.as_table() else {
            self.fault(field, "must be a table");
            return None;
        };
        let place = match &*self.place {
            "" => field.to_owned(),
            place => format!("{place}.{field}"),
        };
        Some(self.reader.fields(&place, table))
    }

    /// A list of tables: `[[limits]]`.
    pub(super) fn list(&mut self, field: &'static str) -> Vec<Fields<'a>> {
        let Some(value) = self.value(field) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            self.fault(field, &format!("must be tables such as [[{field}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let place = format!("{field}[{}]", index + 1);
            match value.as_table() {
                Some(table) => tables.push(self.reader.fields(&place, table)),
                None => self.reader.fault(place, "must be a table"),
            }
        }
        tables
    }
}

fn listed<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
    names.join(", ")
}
