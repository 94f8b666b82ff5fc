//! Dictionaries: identities, models and other names, each stored once.
//!
//! They are held in memory too. After a failed commit the memory may know numbers that the disk
//! does not, so the writer then reads them anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::StoreError;
use super::numbers::NumberMap;
use crate::model::identity::{Identity, Origin};
use crate::model::usage::{Band, Sku, Tier};

/// Identities kept apart; further ones are summed as [`OTHER`]. A company has thousands; more
/// than this means that somebody invents names.
const MAX_IDENTITIES: usize = 200_000;

/// Models and terms kept apart; further ones are summed as [`OTHER`].
const MAX_SKUS: usize = 10_000;

/// Sources kept apart.
const MAX_SOURCES: usize = 1_000;

/// Sessions remembered in memory; the rest is looked up on disk.
const MAX_SESSIONS_CACHED: usize = 100_000;

/// The name under which everything beyond a bound is summed.
pub(crate) const OTHER: &str = "other";

type Result<T> = std::result::Result<T, StoreError>;

/// Names by number and numbers by name.
#[derive(Debug)]
pub(super) struct Dictionary<T> {
    ids: HashMap<Arc<T>, i64>,
    by_id: NumberMap<i64, Arc<T>>,
}

impl<T: Eq + Hash> Dictionary<T> {
    fn new() -> Self {
        Self {
            ids: HashMap::new(),
            by_id: NumberMap::default(),
        }
    }

    fn insert(&mut self, id: i64, value: Arc<T>) {
        self.ids.insert(value.clone(), id);
        self.by_id.insert(id, value);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The value of a number that the ledger gave out.
    pub(super) fn get(&self, id: i64) -> Result<&Arc<T>> {
        self.by_id.get(&id).ok_or(StoreError::Dangling { id })
    }
}

/// All dictionaries of a ledger.
#[derive(Debug)]
pub(super) struct Dictionaries {
    pub(super) identities: Dictionary<Identity>,
    pub(super) skus: Dictionary<Sku>,
    /// The canonical model of each SKU.
    model_of_sku: NumberMap<i64, i64>,
    last_at: NumberMap<i64, i64>,
    sources: HashMap<Box<str>, i64>,
    models: HashMap<Box<str>, i64>,
    labels: HashMap<Box<str>, i64>,
    sessions: HashMap<Box<str>, i64>,
}

impl Dictionaries {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut identities = Dictionary::new();
        let mut last_at = NumberMap::default();
        each(connection, IDENTITIES_AFTER, [0], |row| {
            let id = row.get(0)?;
            last_at.insert(id, row.get(10)?);
            identities.insert(id, Arc::new(identity_of(row)?));
            Ok(())
        })?;
        let mut skus = Dictionary::new();
        each(connection, SKUS_AFTER, [0], |row| {
            skus.insert(row.get(0)?, Arc::new(sku_of(row)?));
            Ok(())
        })?;
        let models = names(connection, "SELECT id, name FROM model")?;
        let model_of_sku = skus
            .by_id
            .iter()
            .filter_map(|(id, sku)| Some((*id, *models.get(&sku.model)?)))
            .collect();
        Ok(Self {
            identities,
            skus,
            model_of_sku,
            last_at,
            sources: names(connection, "SELECT id, name FROM source")?,
            models,
            labels: names(connection, "SELECT id, text FROM label")?,
            sessions: HashMap::new(),
        })
    }

    pub(super) fn identity(
        &mut self,
        connection: &Connection,
        value: &Arc<Identity>,
    ) -> Result<i64> {
        if let Some(id) = self.identities.ids.get(value) {
            return Ok(*id);
        }
        if self.identities.len() >= MAX_IDENTITIES {
            let other = Arc::new(Identity {
                user: Some(OTHER.into()),
                ..Identity::default()
            });
            if *value != other {
                return self.identity_unbounded(connection, &other);
            }
        }
        self.identity_unbounded(connection, value)
    }

    fn identity_unbounded(
        &mut self,
        connection: &Connection,
        value: &Arc<Identity>,
    ) -> Result<i64> {
        if let Some(id) = self.identities.ids.get(value) {
            return Ok(*id);
        }
        connection
            .prepare_cached(
                "INSERT INTO identity (origin, user, device, account, organization, team, \
                 project, department, cost_center, role) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.insert(params![
                    value.origin.name(),
                    value.user,
                    value.device,
                    value.account,
                    value.organization,
                    value.team,
                    value.project,
                    value.department,
                    value.cost_center,
                    value.role
                ])
            })
            .inspect(|id| self.identities.insert(*id, value.clone()))
            .map_err(StoreError::sql("store an identity"))
    }

    pub(super) fn sku(&mut self, connection: &Connection, value: &Arc<Sku>) -> Result<i64> {
        if let Some(id) = self.skus.ids.get(value) {
            return Ok(*id);
        }
        let value = if self.skus.len() >= MAX_SKUS {
            &Arc::new(Sku {
                provider: OTHER.into(),
                model: OTHER.into(),
                raw_model: OTHER.into(),
                scope: OTHER.into(),
                region: None,
                tier: Tier::Standard,
                band: Band::Mixed,
            })
        } else {
            value
        };
        if let Some(id) = self.skus.ids.get(value) {
            return Ok(*id);
        }
        let model = named(
            connection,
            &mut self.models,
            &value.model,
            "INSERT INTO model (name) VALUES (?)",
        )?;
        let band = Band::ALL.iter().position(|band| *band == value.band);
        connection
            .prepare_cached(
                "INSERT INTO sku (provider, model, raw_model, scope, region, tier, band) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| {
                insert.insert(params![
                    value.provider,
                    value.model,
                    value.raw_model,
                    value.scope,
                    value.region,
                    value.tier.name(),
                    band
                ])
            })
            .inspect(|id| {
                self.model_of_sku.insert(*id, model);
                self.skus.insert(*id, value.clone());
            })
            .map_err(StoreError::sql("store a model"))
    }

    pub(super) fn model_of(&self, sku: i64) -> Result<i64> {
        self.model_of_sku
            .get(&sku)
            .copied()
            .ok_or(StoreError::Dangling { id: sku })
    }

    /// The number of a source that was heard before.
    pub(super) fn known_source(&self, name: &str) -> Option<i64> {
        self.sources.get(name).copied()
    }

    pub(super) fn source(&mut self, connection: &Connection, name: &str) -> Result<i64> {
        let full = self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(name);
        let name = if full { OTHER } else { name };
        named(
            connection,
            &mut self.sources,
            name,
            "INSERT INTO source (name) VALUES (?)",
        )
    }

    pub(super) fn label(&mut self, connection: &Connection, text: &str) -> Result<i64> {
        let full = self.labels.len() >= MAX_IDENTITIES && !self.labels.contains_key(text);
        let text = if full { OTHER } else { text };
        named(
            connection,
            &mut self.labels,
            text,
            "INSERT INTO label (text) VALUES (?)",
        )
    }

    pub(super) fn session(&mut self, connection: &Connection, name: &str) -> Result<i64> {
        if let Some(id) = self.sessions.get(name) {
            return Ok(*id);
        }
        let found = connection
            .prepare_cached("SELECT id FROM session WHERE name = ?")
            .and_then(|mut select| select.query_row([name], |row| row.get(0)).optional())
            .map_err(StoreError::sql("find a session"))?;
        if self.sessions.len() >= MAX_SESSIONS_CACHED {
            self.sessions.clear();
        }
        if let Some(id) = found {
            self.sessions.insert(name.into(), id);
            return Ok(id);
        }
        named(
            connection,
            &mut self.sessions,
            name,
            "INSERT INTO session (name) VALUES (?)",
        )
    }

    /// Notes that an identity was active; written to disk at most once a minute each.
    pub(super) fn active(
        &mut self,
        connection: &Connection,
        identity: i64,
        at_ms: i64,
    ) -> Result<()> {
        let known = self.last_at.entry(identity).or_default();
        if at_ms < *known + 60_000 {
            return Ok(());
        }
        *known = at_ms;
        connection
            .prepare_cached("UPDATE identity SET last_at = ? WHERE id = ?")
            .and_then(|mut update| update.execute(params![at_ms, identity]))
            .map(drop)
            .map_err(StoreError::sql("note activity"))
    }

    /// All identities with their numbers and last activity in milliseconds.
    pub(super) fn people(&self) -> impl Iterator<Item = (i64, &Identity, i64)> {
        self.identities.by_id.iter().map(|(id, identity)| {
            let last = self.last_at.get(id).copied().unwrap_or(0);
            (*id, &**identity, last)
        })
    }

    /// Identities that were active since a time, with their last activity.
    pub(super) fn active_since(&self, since_ms: i64) -> Vec<(Arc<Identity>, Timestamp)> {
        self.last_at
            .iter()
            .filter(|(_, at)| **at >= since_ms)
            .filter_map(|(id, at)| {
                let at = Timestamp::from_millisecond(*at).ok()?;
                Some((self.identities.by_id.get(id)?.clone(), at))
            })
            .collect()
    }
}

fn named(
    connection: &Connection,
    known: &mut HashMap<Box<str>, i64>,
    name: &str,
    insert: &str,
) -> Result<i64> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = connection
        .prepare_cached(insert)
        .and_then(|mut insert| insert.insert([name]))
        .map_err(StoreError::sql("store a name"))?;
    known.insert(name.into(), id);
    Ok(id)
}

fn names(connection: &Connection, sql: &str) -> Result<HashMap<Box<str>, i64>> {
    let mut names = HashMap::new();
    each(connection, sql, [], |row| {
        names.insert(row.get(1)?, row.get(0)?);
        Ok(())
    })?;
    Ok(names)
}

fn each(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<()> {
    connection
        .prepare(sql)
        .and_then(|mut select| {
            let mut rows = select.query(parameters)?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        })
        .map_err(StoreError::sql("read a dictionary"))
}

/// Identities with numbers after one, as [`identity_of`] reads them.
pub(super) const IDENTITIES_AFTER: &str = "SELECT id, origin, user, device, account, \
    organization, team, project, department, cost_center, last_at, role FROM identity \
    WHERE id > ? ORDER BY id";

/// SKUs with numbers after one, as [`sku_of`] reads them.
pub(super) const SKUS_AFTER: &str = "SELECT id, provider, model, raw_model, scope, region, \
    tier, band FROM sku WHERE id > ? ORDER BY id";

pub(super) fn identity_of(row: &Row<'_>) -> rusqlite::Result<Identity> {
    let origin: Box<str> = row.get(1)?;
    Ok(Identity {
        origin: Origin::parse(&origin).unwrap_or_default(),
        user: row.get(2)?,
        device: row.get(3)?,
        account: row.get(4)?,
        organization: row.get(5)?,
        team: row.get(6)?,
        project: row.get(7)?,
        department: row.get(8)?,
        cost_center: row.get(9)?,
        role: row.get(11)?,
    })
}

pub(super) fn sku_of(row: &Row<'_>) -> rusqlite::Result<Sku> {
    let tier: Box<str> = row.get(6)?;
    let band: usize = row.get(7)?;
    Ok(Sku {
        provider: row.get(1)?,
        model: row.get(2)?,
        raw_model: row.get(3)?,
        scope: row.get(4)?,
        region: row.get(5)?,
        tier: Tier::parse(&tier).unwrap_or_default(),
        band: Band::ALL.get(band).copied().unwrap_or(Band::Mixed),
    })
}
