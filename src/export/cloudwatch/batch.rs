//! Full calls: as many datums as one may carry.

use super::datum::Datum;

/// AWS: `PutMetricData` takes at most 1,000 datums.
pub(super) const MAX_DATUMS: usize = 1_000;

/// AWS: a body has at most 1 MB. Whether packed or unpacked, and of which megabyte, is not told:
/// this is below either, unpacked.
const MAX_BYTES: usize = 999_000;

/// What a call has beside its datums, the namespace included.
const CALL_BYTES: usize = 512;

/// Puts datums into calls, in their order.
pub(super) fn pack(datums: Vec<Datum>) -> Vec<Vec<Datum>> {
    let mut batches = Vec::new();
    let mut batch: Vec<Datum> = Vec::new();
    let mut bytes = CALL_BYTES;
    for datum in datums {
        let size = datum.size();
        if !batch.is_empty() && (batch.len() >= MAX_DATUMS || bytes + size > MAX_BYTES) {
            batches.push(std::mem::take(&mut batch));
            bytes = CALL_BYTES;
        }
        bytes += size;
        batch.push(datum);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::minute::{Datapoint, SeriesKey};

    fn datums(number: i64, values: u32) -> Vec<Datum> {
        let datapoint = Datapoint::of_all((0..values).map(f64::from).collect());
        let series = SeriesKey::total("response_time");
        let datum = |id| Datum::new(id, &series, datapoint.clone(), vec![id]).unwrap();
        (0..number).map(datum).collect()
    }

    #[test]
    fn ten_thousand_datums_are_ten_calls() {
        let sizes: Vec<_> = pack(datums(10_000, 1)).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000; 10]);
        assert_eq!(pack(Vec::new()), Vec::<Vec<Datum>>::new());
    }

    #[test]
    fn large_distributions_fill_a_call_by_bytes_and_none_is_lost() {
        let batches = pack(datums(1_000, 150));
        let bytes = |batch: &Vec<Datum>| CALL_BYTES + batch.iter().map(Datum::size).sum::<usize>();
        assert!(batches.iter().all(|batch| bytes(batch) <= MAX_BYTES));
        assert!(batches[0].len() > 300);
        let ids: Vec<_> = batches.iter().flatten().map(|datum| datum.ids[0]).collect();
        assert_eq!(ids, (0..1_000).collect::<Vec<_>>());
    }
}
