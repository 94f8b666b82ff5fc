//! Sheets of days: the rows of a UTC day as one blob of columns.
//!
//! A sheet is made from the rows of `usage_span` and always equals them: triggers of the schema let
//! go of it when one of its rows changes, and upkeep makes it anew. Without one the rows are read,
//! which takes longer. The form: for each SKU its number and the count of its rows, then
//! a [`Column`](put) each for the steps from identity to identity and for the ten sums.

use std::ops::Range;

use flate2::Crc;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::rollup::Sums;
use super::span::Kind;
use super::sums::{Place, sums_of};

type Result<T> = std::result::Result<T, StoreError>;

/// The form that this build writes. Sheets of another one are made anew.
const VERSION: i64 = 1;

/// The version of a sheet that says that a day has too many rows.
const ROWS_ONLY: i64 = 0;

/// Rows of a day that are put into a sheet, so that its maker holds 100 MB at most.
const MAX_ROWS: usize = 1_000_000;

/// Sums in a row.
const SUMS: usize = 10;

/// Days that one round of upkeep looks at, and sheets that it makes at most.
const DAYS_PER_ROUND: usize = 100;
const SHEETS_PER_ROUND: usize = 4;

/// Quarter hours of a UTC day.
pub(super) const QUARTERS_A_DAY: i64 = 96;

/// The rows of one SKU, in the order of identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) sku: i64,
    identities: Vec<i64>,
    /// In the order of [`Sums::columns`].
    columns: [Vec<i64>; SUMS],
}

impl Part {
    fn push(&mut self, identity: i64, sums: &Sums) {
        self.identities.push(identity);
        for (column, value) in self.columns.iter_mut().zip(sums.columns()) {
            column.push(value);
        }
    }

    /// Identities and sums, row by row.
    pub(super) fn rows(&self) -> impl Iterator<Item = (i64, Sums)> {
        let [requests, errors, tokens @ .., cost, unpriced] = &self.columns;
        let rows = self.identities.iter().enumerate();
        rows.map(move |(row, identity)| {
            let sums = Sums {
                requests: requests[row],
                errors: errors[row],
                tokens: std::array::from_fn(|kind| tokens[kind][row]),
                cost: cost[row],
                unpriced: unpriced[row],
            };
            (*identity, sums)
        })
    }
}

/// Reads the sheet of a day, if there is one that can be read.
pub(super) fn read(connection: &Connection, start: i64) -> Result<Option<Vec<Part>>> {
    let found = connection
        .prepare_cached("SELECT version, crc, columns FROM day_sheet WHERE start = ?")
        .and_then(|mut select| {
            let read = |row: &rusqlite::Row<'_>| {
                let (version, crc): (i64, u32) = (row.get(0)?, row.get(1)?);
                if version != VERSION {
                    return Ok(None);
                }
                let blob = row.get_ref(2)?.as_blob()?;
                let parts = (crc_of(blob) == crc).then(|| decode(blob)).flatten();
                if parts.is_none() {
                    tracing::warn!(start, "the sheet of a day is damaged: its rows are read");
                }
                Ok(parts)
            };
            select.query_row([start], read).optional()
        })
        .map_err(StoreError::sql("read the sheet of a day"))?;
    Ok(found.flatten())
}

/// Makes the sheet of a day from its rows.
pub(super) fn make(connection: &Connection, start: i64) -> Result<()> {
    let parts = parts_of(connection, start)?;
    let (version, blob) = parts.map_or((ROWS_ONLY, Vec::new()), |parts| (VERSION, encode(&parts)));
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO day_sheet (start, version, crc, columns) VALUES (?, ?, ?, ?)",
        )
        .and_then(|mut insert| insert.execute(params![start, version, crc_of(&blob), blob]))
        .map(drop)
        .map_err(StoreError::sql("store the sheet of a day"))
}

/// The rows of a day by SKU; `None` if they are too many.
pub(super) fn parts_of(connection: &Connection, start: i64) -> Result<Option<Vec<Part>>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut count = 0;
    let doing = "read the rows of a day";
    let mut select = connection
        .prepare_cached(
            "SELECT start, identity, sku, requests, errors, input, output, cache_read, \
             cache_write_5m, cache_write_1h, cache_write_unknown, cost, unpriced \
             FROM usage_span WHERE span = ? AND start = ? ORDER BY sku, identity",
        )
        .map_err(StoreError::sql(doing))?;
    let mut rows = select
        .query([Kind::UtcDay.number(), start])
        .map_err(StoreError::sql(doing))?;
    while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
        count += 1;
        if count > MAX_ROWS {
            return Ok(None);
        }
        let place = Place::of(row).map_err(StoreError::sql(doing))?;
        let sums = sums_of(row).map_err(StoreError::sql(doing))?;
        if parts.last().is_none_or(|part| part.sku != place.sku) {
            parts.push(Part {
                sku: place.sku,
                ..Part::default()
            });
        }
        if let Some(part) = parts.last_mut() {
            part.push(place.identity, &sums);
        }
    }
    Ok(Some(parts))
}

/// Makes sheets that are missing, of some days from `cursor` on. Returns true if more may be due.
pub(super) fn round(connection: &Connection, cursor: &mut i64) -> Result<bool> {
    let mut made = 0;
    for _ in 0..DAYS_PER_ROUND {
        let day: Option<(i64, bool)> = connection
            .prepare_cached(
                "SELECT start, EXISTS (SELECT 1 FROM day_sheet WHERE day_sheet.start = \
                 usage_span.start AND version IN (?, ?)) FROM usage_span \
                 WHERE span = ? AND start >= ? ORDER BY start LIMIT 1",
            )
            .and_then(|mut select| {
                let values = [ROWS_ONLY, VERSION, Kind::UtcDay.number(), *cursor];
                let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                select.query_row(values, read).optional()
            })
            .map_err(StoreError::sql("look for sheets of days"))?;
        let Some((start, has_sheet)) = day else {
            *cursor = i64::MIN;
            return Ok(made > 0);
        };
        if !has_sheet {
            if made == SHEETS_PER_ROUND {
                return Ok(true);
            }
            make(connection, start)?;
            made += 1;
        }
        *cursor = start + 1;
    }
    Ok(made > 0)
}

/// The first days at or after each quarter hour of a range.
pub(super) fn days(range: Range<i64>) -> impl Iterator<Item = i64> {
    let first = -(-range.start).div_euclid(QUARTERS_A_DAY) * QUARTERS_A_DAY;
    let ends = range.end;
    (0..)
        .map(move |day| first + day * QUARTERS_A_DAY)
        .take_while(move |start| *start < ends)
}

fn crc_of(blob: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(blob);
    crc.sum()
}

fn encode(parts: &[Part]) -> Vec<u8> {
    let mut blob = Vec::new();
    for part in parts {
        blob.extend_from_slice(&part.sku.to_le_bytes());
        blob.extend_from_slice(&(part.identities.len() as u64).to_le_bytes());
        let mut last = 0;
        let steps = part.identities.iter().map(|identity| {
            let step = identity - last;
            last = *identity;
            step
        });
        let steps: Vec<i64> = steps.collect();
        // The first step may be wide: it would make the others so.
        blob.extend_from_slice(&steps.first().copied().unwrap_or(0).to_le_bytes());
        put(&mut blob, steps.get(1..).unwrap_or_default());
        for column in &part.columns {
            put(&mut blob, column);
        }
    }
    blob
}

/// Puts a column: its least value, how many bytes wide the others are above it, and those.
fn put(blob: &mut Vec<u8>, values: &[i64]) {
    let least = values.iter().copied().min().unwrap_or(0);
    let most = values.iter().copied().max().unwrap_or(0);
    let above = |value: i64| value.wrapping_sub(least).cast_unsigned();
    let bits = u64::BITS - above(most).leading_zeros();
    let width = bits.div_ceil(8);
    blob.extend_from_slice(&least.to_le_bytes());
    blob.extend(width.to_le_bytes().first());
    for value in values {
        let bytes = above(*value).to_le_bytes();
        blob.extend(bytes.iter().take(width as usize));
    }
}

fn decode(mut blob: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while !blob.is_empty() {
        let sku = i64::from_le_bytes(*take(&mut blob)?);
        let count = usize::try_from(u64::from_le_bytes(*take(&mut blob)?)).ok()?;
        if count == 0 || count > MAX_ROWS {
            return None;
        }
        let mut identity = i64::from_le_bytes(*take(&mut blob)?);
        let mut identities = vec![identity; count];
        let steps = column(&mut blob, count - 1)?;
        for (place, step) in identities[1..].iter_mut().zip(steps) {
            identity = identity.checked_add(step)?;
            *place = identity;
        }
        let mut columns: [Vec<i64>; SUMS] = Default::default();
        for values in &mut columns {
            *values = column(&mut blob, count)?;
        }
        parts.push(Part {
            sku,
            identities,
            columns,
        });
    }
    Some(parts)
}

fn take<'b, const N: usize>(blob: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (taken, rest) = blob.split_first_chunk()?;
    *blob = rest;
    Some(taken)
}

fn column(blob: &mut &[u8], count: usize) -> Option<Vec<i64>> {
    let least = i64::from_le_bytes(*take(blob)?);
    let [width] = *take(blob)?;
    let (bytes, rest) = blob.split_at_checked(usize::from(width).checked_mul(count)?)?;
    *blob = rest;
    Some(match width {
        0 => vec![least; count],
        1 => values::<1>(bytes, least),
        2 => values::<2>(bytes, least),
        3 => values::<3>(bytes, least),
        4 => values::<4>(bytes, least),
        5 => values::<5>(bytes, least),
        6 => values::<6>(bytes, least),
        7 => values::<7>(bytes, least),
        8 => values::<8>(bytes, least),
        _ => return None,
    })
}

/// Values of a width that the compiler knows: a loop without branches.
fn values<const WIDTH: usize>(bytes: &[u8], least: i64) -> Vec<i64> {
    let (chunks, _) = bytes.as_chunks::<WIDTH>();
    let value = |chunk: &[u8; WIDTH]| {
        let mut wide = [0; 8];
        wide[..WIDTH].copy_from_slice(chunk);
        least.wrapping_add(i64::from_le_bytes(wide))
    };
    chunks.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_part() -> impl Strategy<Value = Part> {
        let value = prop_oneof![Just(0_i64), 0_i64..300, any::<i64>()];
        let row = (1_i64..1 << 40, prop::array::uniform10(value));
        (any::<i64>(), prop::collection::vec(row, 1..20)).prop_map(|(sku, rows)| {
            let mut part = Part {
                sku,
                ..Part::default()
            };
            let mut identity = 0;
            for (step, values) in rows {
                identity += step;
                part.identities.push(identity);
                for (column, value) in part.columns.iter_mut().zip(values) {
                    column.push(value);
                }
            }
            part
        })
    }

    proptest! {
        #[test]
        fn a_sheet_is_read_as_it_was_written(parts in prop::collection::vec(any_part(), 0..5)) {
            prop_assert_eq!(decode(&encode(&parts)), Some(parts));
        }

        #[test]
        fn no_bytes_are_too_odd_to_be_refused(blob in prop::collection::vec(any::<u8>(), 0..200)) {
            // Whatever comes out: it ends, and takes no more memory than the bound.
            let _ = decode(&blob);
        }

        #[test]
        fn a_sheet_that_is_cut_is_refused(parts in prop::collection::vec(any_part(), 1..3)) {
            let blob = encode(&parts);
            prop_assert_eq!(decode(&blob[..blob.len() - 1]), None);
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        let days = |range| days(range).collect::<Vec<i64>>();
        assert_eq!(days(0..97), [0, 96]);
        assert_eq!(days(1..192), [96]);
        assert_eq!(days(-96..1), [-96, 0]);
    }
}
