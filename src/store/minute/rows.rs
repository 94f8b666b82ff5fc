//! Rows of `minute`: a datapoint as it is stored.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Result, StoreError};
use crate::model::minute::Datapoint;

/// Bytes of a distinct value and how often it came.
const ENTRY: usize = 12;

/// The columns that [`datapoint_at`] reads.
pub(super) const SELECT: &str =
    "SELECT count, sum, min, max, spread FROM minute WHERE at = ? AND series = ?";

pub(super) fn read(connection: &Connection, minute: i64, series: i64) -> Result<Option<Datapoint>> {
    connection
        .prepare_cached(SELECT)
        .and_then(|mut select| {
            select
                .query_row([minute, series], |row| datapoint_at(row, 0))
                .optional()
        })
        .map_err(StoreError::sql("read a minute"))
}

pub(super) fn write(
    connection: &Connection,
    minute: i64,
    series: i64,
    datapoint: &Datapoint,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO minute (at, series, count, sum, min, max, spread) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .and_then(|mut upsert| {
            upsert.execute(params![
                minute,
                series,
                datapoint.count,
                datapoint.sum,
                datapoint.min,
                datapoint.max,
                spread_of(datapoint)
            ])
        })
        .map(drop)
        .map_err(StoreError::sql("store a minute"))
}

fn spread_of(datapoint: &Datapoint) -> Option<Vec<u8>> {
    if datapoint.values.len() <= 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(datapoint.values.len() * ENTRY);
    for (value, times) in &datapoint.values {
        let times = u32::try_from(*times).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes.extend_from_slice(&times.to_le_bytes());
    }
    Some(bytes)
}

/// The datapoint in five columns from `first` on: count, sum, min, max, spread.
pub(super) fn datapoint_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Datapoint> {
    let (count, min): (u64, f64) = (row.get(first)?, row.get(first + 2)?);
    let values = match row.get_ref(first + 4)?.as_blob_or_null()? {
        Some(bytes) => bytes.as_chunks::<ENTRY>().0.iter().map(entry).collect(),
        None => vec![(min, count)],
    };
    Ok(Datapoint {
        count,
        sum: row.get(first + 1)?,
        min,
        max: row.get(first + 3)?,
        values,
    })
}

fn entry(bytes: &[u8; ENTRY]) -> (f64, u64) {
    let (mut value, mut times) = ([0; 8], [0; 4]);
    value.copy_from_slice(&bytes[..8]);
    times.copy_from_slice(&bytes[8..]);
    (
        f64::from_le_bytes(value),
        u64::from(u32::from_le_bytes(times)),
    )
}
