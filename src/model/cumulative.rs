//! Cumulative counters: what was added, whatever the order in which points arrive.
//!
//! A point holds the sum since its start. Between two points of one start the difference was
//! added, unless the value fell: then the counter began anew. To be right for points that come
//! out of order, the points of a start are kept, and the whole is computed from them.
//!
//! Where the start is not known, the first point is only what the others are compared with: nobody
//! knows since when its value was added (OpenTelemetry data model: unknown start time).

/// Points kept per series and start. The oldest give way in pairs that lose nothing but the
/// ability to place a point between them: a client that exports every minute fills this in more
/// than four hours, and no export arrives that late out of order.
const MAX_POINTS: usize = 256;

/// The start of a run whose start is not known.
pub const UNKNOWN_START_MS: i64 = 0;

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
        let mut before = (began != UNKNOWN_START_MS).then_some(0);
        let mut increases = Vec::with_capacity(self.points.len());
        for point in &self.points {
            let added = match before {
                None => 0,
                Some(before) if before <= point.value => point.value - before,
                Some(_) => point.value,
            };
            if added > 0 {
                increases.push((began, added));
            }
            began = point.at_ms;
            before = Some(point.value);
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
        filled(1, points)
    }

    fn filled(start_ms: i64, points: &[(i64, u64)]) -> Run {
        let mut run = Run::new(start_ms);
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
        assert_eq!(run(&[(10, 5), (20, 8)]).increases(), [(1, 5), (10, 3)]);
    }

    #[test]
    fn a_falling_value_is_a_restart() {
        assert_eq!(total(&run(&[(10, 5), (20, 8), (30, 2)])), 10);
    }

    #[test]
    fn without_a_known_start_the_first_point_is_what_others_are_compared_with() {
        let run = filled(
            UNKNOWN_START_MS,
            &[(10, 100), (20, 150), (30, 120), (40, 130)],
        );
        assert_eq!(run.increases(), [(10, 50), (20, 120), (30, 10)]);
    }

    #[test]
    fn an_earlier_point_of_an_unknown_start_only_adds() {
        let mut run = filled(UNKNOWN_START_MS, &[(20, 150)]);
        assert_eq!(total(&run), 0);
        run.insert(CumulativePoint {
            at_ms: 10,
            value: 100,
        });
        assert_eq!(total(&run), 50);
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
            prop_assert_eq!(&Run::from_bytes(1, &sorted.to_bytes()), &sorted);
        }
    }
}
