//! Warnings of limits that were told and stand.

use jiff::Timestamp;
use rusqlite::params;

use super::{Ledger, QueryError, StoreError, notice};
use crate::model::alarm::Transition;
use crate::model::notice::Notice;

/// A warning that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Warned {
    /// The end of the window that it is about; `None` for rolling ones.
    pub ends: Option<Timestamp>,
    /// What was told.
    pub transition: Transition,
}

impl Ledger {
    /// The warnings that stand. Those that another version wrote and this one cannot read are left
    /// out.
    pub async fn warnings(&self) -> Result<Vec<Warned>, QueryError> {
        self.read(|reader| {
            let rows: rusqlite::Result<Vec<(Option<i64>, String)>> = reader
                .connection
                .prepare_cached("SELECT ends, transition FROM quota_warning ORDER BY name")
                .and_then(|mut select| {
                    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    rows.collect()
                });
            let rows = rows.map_err(StoreError::sql("read warnings"))?;
            let warned = rows.into_iter().filter_map(|(ends, transition)| {
                Some(Warned {
                    ends: ends.and_then(|at| Timestamp::from_millisecond(at).ok()),
                    transition: serde_json::from_str(&transition).ok()?,
                })
            });
            Ok(warned.collect())
        })
        .await
    }

    /// Writes which warnings ended and which began, and what is to be told of both, in one step.
    pub async fn change_warnings(
        &self,
        ended: Vec<String>,
        begun: Vec<Warned>,
        notices: Vec<Notice>,
    ) -> Result<(), QueryError> {
        self.change(move |transaction| {
            let write = || {
                let mut delete =
                    transaction.prepare_cached("DELETE FROM quota_warning WHERE name = ?")?;
                for name in &ended {
                    delete.execute([name])?;
                }
                let mut insert = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO quota_warning (name, ends, transition) \
                     VALUES (?, ?, ?)",
                )?;
                for Warned { ends, transition } in &begun {
                    let ends = ends.map(Timestamp::as_millisecond);
                    let text = serde_json::to_string(transition)
                        .expect("a transition has only texts as keys");
                    insert.execute(params![transition.alarm.name, ends, text])?;
                }
                Ok(())
            };
            write().map_err(StoreError::sql("write warnings"))?;
            notice::insert(transaction, &notices)
        })
        .await
    }
}
