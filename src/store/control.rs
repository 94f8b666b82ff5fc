//! Control totals: what each source reported, and how much of it counted.

use rusqlite::{Connection, params_from_iter};

use super::StoreError;
use super::numbers::NumberMap;

/// Day, source and SKU; then requests, counted requests, six reported and six counted counts.
pub(super) type Totals = NumberMap<(i64, i64, i64), [i64; 14]>;

pub(super) fn apply(connection: &Connection, totals: Totals) -> Result<(), StoreError> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO control_day (day, source, sku, requests, counted_requests, input, \
             output, cache_read, cache_write_5m, cache_write_1h, cache_write_unknown, \
             counted_input, counted_output, counted_cache_read, counted_cache_write_5m, \
             counted_cache_write_1h, counted_cache_write_unknown) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (day, source, sku) DO UPDATE SET \
             requests = requests + excluded.requests, \
             counted_requests = counted_requests + excluded.counted_requests, \
             input = input + excluded.input, output = output + excluded.output, \
             cache_read = cache_read + excluded.cache_read, \
             cache_write_5m = cache_write_5m + excluded.cache_write_5m, \
             cache_write_1h = cache_write_1h + excluded.cache_write_1h, \
             cache_write_unknown = cache_write_unknown + excluded.cache_write_unknown, \
             counted_input = counted_input + excluded.counted_input, \
             counted_output = counted_output + excluded.counted_output, \
             counted_cache_read = counted_cache_read + excluded.counted_cache_read, \
             counted_cache_write_5m = counted_cache_write_5m + excluded.counted_cache_write_5m, \
             counted_cache_write_1h = counted_cache_write_1h + excluded.counted_cache_write_1h, \
             counted_cache_write_unknown = \
             counted_cache_write_unknown + excluded.counted_cache_write_unknown",
        )
        .map_err(StoreError::sql("prepare control totals"))?;
    for ((day, source, sku), sums) in totals {
        if sums == [0; 14] {
            continue;
        }
        upsert
            .execute(params_from_iter([day, source, sku].iter().chain(&sums)))
            .map_err(StoreError::sql("store control totals"))?;
    }
    Ok(())
}
