//! Cumulative counters: what was added, whatever the order in which points arrive.
//!
//! A point holds the sum since its start. Between two points of one start the difference was
//! added, unless the value fell: then the counter began anew. To be right for points that come
//! out of order, the points of a start are kept, and the whole is computed from them.

/// Points kept per series and start. The oldest give way in pairs that lose nothing but the
/// ability to place a point between them: a client that exports every minute fills this in more
/// than four hours, and no export arrives that late out of order.
const MAX_POINTS: usize = 256;

/// One point: time in milliseconds and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CumulativePoint {
    pub at_ms: i64,
    pub value: u64,
}

/// The points of one series and start, by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub start_ms: i64,
    points: Vec<CumulativePoint>,
}

impl Run {
    #[must_use]
    pub fn new(start_ms: i64) -> Self {
        Self {
            start_ms,
            points: Vec::new(),
        }
    }

    /// Adds a point. Returns false if a point of that time is known already.
    pub fn insert(&mut self, point: CumulativePoint) -> bool {
        let Err(place) = self
            .points
            .binary_search_by_key(&point.at_ms, |known| known.at_ms)
        else {
            return false;
        };
        self.points.insert(place, point);
        if self.points.len() > MAX_POINTS {
            self.thin();
        }
        true
    }

    /// What was added, by the time at which each interval began.
    #[must_use]
    pub fn increases(&self) -> Vec<(i64, u64)> {
        let mut began = self.start_ms;
        let mut before = 0;
        let mut increases = Vec::with_capacity(self.points.len());
        for point in &self.points {
            let added = if point.value >= before {
                point.value - before
            } else {
                point.value
            };
            if added > 0 {
                increases.push((began, added));
            }
            began = point.at_ms;
            before = point.value;
        }
        increases
    }

    /// Drops the oldest point between two others on a rising stretch: the sum stays.
    fn thin(&mut self) {
        let droppable = (1..self.points.len() - 1).find(|i| {
            let value = self.points[*i].value;
            self.points[*i - 1].value <= value && value <= self.points[*i + 1].value
        });
        // Without a rising stretch the counter falls at every point: the oldest goes.
        self.points.remove(droppable.unwrap_or(0));
    }

    /// The form in which a run is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.points.len() * 16);
        for point in &self.points {
            bytes.extend_from_slice(&point.at_ms.to_le_bytes());
            bytes.extend_from_slice(&point.value.to_le_bytes());
        }
        bytes
    }

    /// The inverse of [`Run::to_bytes`]; a torn tail is ignored.
    #[must_use]
    pub fn from_bytes(start_ms: i64, bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let points = words
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[at, value]| CumulativePoint {
                at_ms: i64::from_le_bytes(*at),
                value: u64::from_le_bytes(*value),
            })
            .collect();
        Self { start_ms, points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(points: &[(i64, u64)]) -> Run {
        let mut run = Run::new(0);
        for (at_ms, value) in points {
            run.insert(CumulativePoint {
                at_ms: *at_ms,
                value: *value,
            });
        }
        run
    }

    fn total(run: &Run) -> u64 {
        run.increases().iter().map(|(_, added)| added).sum()
    }

    #[test]
    fn a_rising_counter_adds_its_last_value() {
        assert_eq!(run(&[(10, 5), (20, 8)]).increases(), [(0, 5), (10, 3)]);
    }

    #[test]
    fn a_falling_value_is_a_restart() {
        assert_eq!(total(&run(&[(10, 5), (20, 8), (30, 2)])), 10);
    }

    #[test]
    fn a_long_run_keeps_its_sum_and_its_bound() {
        let points: Vec<(i64, u64)> = (1..2_000_i64).map(|i| (i, i.unsigned_abs() * 3)).collect();
        let run = run(&points);
        assert_eq!(total(&run), 1_999 * 3);
        assert_eq!(run.points.len(), MAX_POINTS);
    }

    proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(
            (points, shuffled) in proptest::collection::btree_map(1..100_i64, 0..50_u64, 0..20)
                .prop_map(|map| map.into_iter().collect::<Vec<_>>())
                .prop_flat_map(|points| (Just(points.clone()), Just(points).prop_shuffle()))
        ) {
            let (sorted, shuffled) = (run(&points), run(&shuffled));
            prop_assert_eq!(&sorted, &shuffled);
            prop_assert_eq!(&Run::from_bytes(0, &sorted.to_bytes()), &sorted);
        }
    }
}
