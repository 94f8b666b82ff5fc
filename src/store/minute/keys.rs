//! Which series there are, by number.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{Result, StoreError, Values};
use crate::model::minute::{self, Dimension, SeriesKey};

/// Series with dimensions that one minute keeps. Beyond it the values of the dimensions become
/// `other`: somebody chose dimensions with very many values.
const MAX_SERIES_PER_MINUTE: usize = 2_000;

/// Series that the ledger knows by number. Beyond it new ones with dimensions are `other` too.
const MAX_SERIES: i64 = 50_000;

/// The value of all dimensions beyond a bound.
const OTHER: &str = "other";

/// Separates the parts of a stored name. Names of people and models hold no control characters.
const SEPARATOR: char = '\u{1f}';

/// The numbers of series, and which series the open minutes have. Held by the writer; after a
/// failed commit it begins anew and is read from disk again.
#[derive(Debug, Default)]
pub(in crate::store) struct Keys {
    ids: HashMap<SeriesKey, i64>,
    /// Series with dimensions, by minute.
    open: BTreeMap<i64, HashSet<i64>>,
}

impl Keys {
    /// The number of a series in a minute, and whether it was folded into `other`.
    pub(super) fn place(
        &mut self,
        connection: &Connection,
        minute: i64,
        key: &SeriesKey,
    ) -> Result<(i64, bool)> {
        if key.dimensions.is_empty() {
            return Ok((self.id(connection, key)?, false));
        }
        let known = match self.ids.get(key) {
            Some(id) => Some(*id),
            None => find(connection, &name_of(key))?,
        };
        let is_full = self.of_minute(connection, minute)?.len() >= MAX_SERIES_PER_MINUTE;
        let fits = match known {
            Some(id) => !is_full || self.of_minute(connection, minute)?.contains(&id),
            None => !is_full && count(connection)? < MAX_SERIES,
        };
        let folded = folded(key);
        let is_folded = !fits && *key != folded;
        let id = self.id(connection, if fits { key } else { &folded })?;
        self.of_minute(connection, minute)?.insert(id);
        Ok((id, is_folded))
    }

    fn of_minute(&mut self, connection: &Connection, minute: i64) -> Result<&mut HashSet<i64>> {
        // Minutes are open for little more than one; what was sealed since is not asked again.
        while self.open.len() > 8 {
            self.open.pop_first();
        }
        match self.open.entry(minute) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let series = connection
                    .prepare_cached("SELECT series FROM minute WHERE at = ?")
                    .and_then(|mut select| select.query_map([minute], |row| row.get(0))?.collect())
                    .map_err(StoreError::sql("read an open minute"))?;
                Ok(place.insert(series))
            }
        }
    }

    fn id(&mut self, connection: &Connection, key: &SeriesKey) -> Result<i64> {
        if let Some(id) = self.ids.get(key) {
            return Ok(*id);
        }
        let id = id(connection, key)?;
        self.ids.insert(key.clone(), id);
        Ok(id)
    }
}

/// The number of a series; a new one gets the next.
pub(super) fn id(connection: &Connection, key: &SeriesKey) -> Result<i64> {
    let name = name_of(key);
    if let Some(id) = find(connection, &name)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO series (name) VALUES (?)")
        .and_then(|mut insert| insert.insert([name]))
        .map_err(StoreError::sql("store a series"))
}

/// The number of the series of everything together, if it has one yet.
pub(super) fn total(connection: &Connection, metric: &'static str) -> Result<Option<i64>> {
    find(connection, metric)
}

fn find(connection: &Connection, name: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM series WHERE name = ?")
        .and_then(|mut select| select.query_row([name], |row| row.get(0)).optional())
        .map_err(StoreError::sql("find a series"))
}

/// How many series the ledger knows: none is ever let go, so it is the last number.
fn count(connection: &Connection) -> Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM series")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(StoreError::sql("count the series"))
}

fn folded(key: &SeriesKey) -> SeriesKey {
    let names = key.dimensions.keys();
    SeriesKey {
        metric: key.metric,
        dimensions: names.map(|name| (*name, Arc::from(OTHER))).collect(),
    }
}

fn name_of(key: &SeriesKey) -> String {
    if key.dimensions.is_empty() {
        return key.metric.to_owned();
    }
    format!(
        "{}{SEPARATOR}{}",
        key.metric,
        name_of_values(&key.dimensions)
    )
}

/// Values of dimensions as they are stored.
pub(super) fn name_of_values(values: &Values) -> String {
    let mut name = String::new();
    for (dimension, value) in values {
        if !name.is_empty() {
            name.push(SEPARATOR);
        }
        name.push_str(dimension.name());
        name.push('=');
        name.push_str(value);
    }
    name
}

/// The series of a stored name; `None` for a metric or dimension that this build does not know.
pub(super) fn key_of(name: &str) -> Option<SeriesKey> {
    let (metric, values) = name.split_once(SEPARATOR).unwrap_or((name, ""));
    Some(SeriesKey {
        metric: minute::find(metric)?.name,
        dimensions: values_of(values)?,
    })
}

/// The values of a stored text; `None` if a dimension is not one of this build.
pub(super) fn values_of(text: &str) -> Option<Values> {
    let mut values = Values::new();
    for part in text.split(SEPARATOR).filter(|part| !part.is_empty()) {
        let (dimension, value) = part.split_once('=')?;
        values.insert(Dimension::parse(dimension)?, value.into());
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_is_read_as_it_was_written() {
        let key = SeriesKey {
            metric: "tokens_processed",
            dimensions: BTreeMap::from([
                (Dimension::Model, "claude=sonnet".into()),
                (Dimension::Team, "pay ments".into()),
            ]),
        };
        assert_eq!(key_of(&name_of(&key)), Some(key));
        let total = SeriesKey::total("error_rate");
        assert_eq!(name_of(&total), "error_rate");
        assert_eq!(key_of("error_rate"), Some(total));
        assert_eq!(key_of("of_a_newer_build"), None);
    }
}
