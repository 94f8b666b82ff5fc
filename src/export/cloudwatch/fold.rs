//! The bound on custom metrics: which combinations of dimension values leave under their own name.
//!
//! A combination (of one set of dimensions) has a place with all its metrics or none. Totals, and
//! one combination `other` for each set, have theirs always. The rest goes to the first that
//! come, of one minute the largest by requests first. Whoever has a place keeps it: each change
//! makes a metric that is paid for. Only at the turn of the UTC day places are given anew: those
//! who were silent for two weeks lose theirs, and one that had no place takes that of the
//! smallest if it had more than twice its requests in the day.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::minute::{DIMENSIONED, MINUTE_METRICS, OTHER, SeriesKey};
use crate::store::Values;

/// A combination of dimension values.
pub(super) type Group = Values;

/// Combinations that are weighed; further ones have no place before others leave.
const MAX_WEIGHED: usize = 20_000;

/// Days of silence after which a place is free again.
const SILENT_DAYS: i64 = 14;

/// How much larger a newcomer must have been to take a place.
const CLEARLY_LARGER: f64 = 2.0;

/// The metric that tells how large a combination is.
const WEIGHT: &str = "requests_per_minute";

/// Who has a place.
#[derive(Debug)]
pub(super) struct Places {
    /// Combinations that may have a place, `other` not counted.
    capacity: usize,
    groups: HashMap<Group, Weighed>,
    taken: usize,
    day: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Weighed {
    has_place: bool,
    /// Requests in the day so far.
    requests: f64,
    /// The day it was last seen.
    seen: i64,
}

/// Places that were given and taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) given: Vec<Group>,
    pub(super) taken: Vec<Group>,
}

impl Moves {
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty() && self.taken.is_empty()
    }

    fn add(&mut self, more: Self) {
        self.given.extend(more.given);
        self.taken.extend(more.taken);
    }
}

impl Places {
    /// Places for `max_metrics` metrics with `sets` sets of dimensions, and who had one before.
    pub(super) fn new(max_metrics: usize, sets: usize, had: Vec<Group>, day: i64) -> Self {
        let room = max_metrics.saturating_sub(MINUTE_METRICS.len());
        let mut places = Self {
            capacity: (room / DIMENSIONED.len()).saturating_sub(sets),
            groups: HashMap::new(),
            taken: 0,
            day,
        };
        for group in had {
            if places.taken < places.capacity {
                places.give(group, day);
            }
        }
        places
    }

    /// Weighs the series of one minute and gives free places.
    pub(super) fn weigh<'a>(
        &mut self,
        minute: i64,
        series: impl Iterator<Item = (&'a SeriesKey, f64)>,
    ) -> Moves {
        let day = minute.div_euclid(24 * 60);
        let mut moves = self.turn(day);
        let mut new: BTreeMap<&Group, f64> = BTreeMap::new();
        for (key, sum) in series {
            if key.dimensions.is_empty() || is_other(&key.dimensions) {
                continue;
            }
            let requests = if key.metric == WEIGHT { sum } else { 0.0 };
            if let Some(known) = self.groups.get_mut(&key.dimensions) {
                known.requests += requests;
                known.seen = day;
            } else {
                *new.entry(&key.dimensions).or_default() += requests;
            }
        }
        let mut new: Vec<_> = new.into_iter().collect();
        new.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (group, requests) in new {
            if self.taken < self.capacity {
                self.give(group.clone(), day);
                moves.given.push(group.clone());
            }
            if self.groups.len() < MAX_WEIGHED || self.groups.contains_key(group) {
                let weighed = self.groups.entry(group.clone()).or_default();
                weighed.requests += requests;
                weighed.seen = day;
            }
        }
        moves
    }

    /// The series under which a datapoint leaves.
    pub(super) fn place(&self, series: &Arc<SeriesKey>) -> Arc<SeriesKey> {
        let group = &series.dimensions;
        if group.is_empty() || self.groups.get(group).is_some_and(|group| group.has_place) {
            return series.clone();
        }
        let other = group.keys().map(|dimension| (*dimension, Arc::from(OTHER)));
        Arc::new(SeriesKey {
            metric: series.metric,
            dimensions: other.collect(),
        })
    }

    /// Combinations that were seen in the day and leave as `other`.
    pub(super) fn folded(&self) -> usize {
        let without = |group: &&Weighed| !group.has_place;
        self.groups.values().filter(without).count()
    }

    fn give(&mut self, group: Group, day: i64) {
        let weighed = self.groups.entry(group).or_default();
        if !weighed.has_place {
            weighed.has_place = true;
            weighed.seen = weighed.seen.max(day);
            self.taken += 1;
        }
    }

    fn take(&mut self, group: &Group) {
        if let Some(weighed) = self.groups.get_mut(group)
            && weighed.has_place
        {
            weighed.has_place = false;
            self.taken -= 1;
        }
    }

    /// Gives places anew when a day has ended. Days before, from an outbox that was full or a
    /// clock that was set back, change nothing.
    fn turn(&mut self, day: i64) -> Moves {
        let mut moves = Moves::default();
        if day <= self.day {
            return moves;
        }
        moves.taken = self.silent(day);
        for group in &moves.taken {
            self.take(group);
        }
        moves.add(self.exchange());
        self.day = day;
        self.groups.retain(|_, group| group.has_place);
        for group in self.groups.values_mut() {
            group.requests = 0.0;
        }
        moves
    }

    fn silent(&self, day: i64) -> Vec<Group> {
        let groups = self.groups.iter();
        let silent = groups.filter(|(_, it)| it.has_place && day - it.seen > SILENT_DAYS);
        silent.map(|(group, _)| group.clone()).collect()
    }

    fn exchange(&mut self) -> Moves {
        let waiting = self.by_requests(false);
        let mut holding = self.by_requests(true);
        let mut moves = Moves::default();
        // The largest that waits against the smallest that holds a place.
        holding.reverse();
        for (group, requests) in waiting.into_iter().rev() {
            if self.taken >= self.capacity {
                let smallest = holding.pop();
                let Some((smallest, least)) = smallest else {
                    break;
                };
                if requests <= CLEARLY_LARGER * least {
                    break;
                }
                self.take(&smallest);
                moves.taken.push(smallest);
            }
            self.give(group.clone(), self.day);
            moves.given.push(group);
        }
        moves
    }

    /// Those with or without a place, the smallest first, equal ones in a stable order.
    fn by_requests(&self, has_place: bool) -> Vec<(Group, f64)> {
        let groups = self.groups.iter();
        let wanted = groups.filter(|(_, it)| it.has_place == has_place);
        let mut list: Vec<_> = wanted
            .map(|(group, it)| (group.clone(), it.requests))
            .collect();
        list.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        list
    }
}

fn is_other(group: &Group) -> bool {
    group.values().all(|value| &**value == OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::minute::Dimension;

    /// Room for three combinations of one set.
    const ROOM: usize = MINUTE_METRICS.len() + 4 * DIMENSIONED.len();

    const DAY: i64 = 24 * 60;

    fn team(name: &str) -> Group {
        BTreeMap::from([(Dimension::Team, name.into())])
    }

    fn series(name: &str) -> Arc<SeriesKey> {
        Arc::new(SeriesKey {
            metric: WEIGHT,
            dimensions: team(name),
        })
    }

    fn weigh(places: &mut Places, minute: i64, teams: &[(&str, f64)]) -> Moves {
        let keys: Vec<_> = teams.iter().map(|(name, n)| (series(name), *n)).collect();
        places.weigh(minute, keys.iter().map(|(key, n)| (&**key, *n)))
    }

    fn seen_as(places: &Places, name: &str) -> String {
        places.place(&series(name)).dimensions[&Dimension::Team].to_string()
    }

    #[test]
    fn the_smallest_of_the_first_minute_become_other() {
        let mut places = Places::new(ROOM, 1, Vec::new(), 0);
        let moves = weigh(
            &mut places,
            0,
            &[("a", 1.0), ("b", 9.0), ("c", 5.0), ("d", 7.0)],
        );
        assert_eq!(moves.given, ["b", "d", "c"].map(team));
        let seen = ["a", "b", "c", "d"].map(|name| seen_as(&places, name));
        assert_eq!(seen, ["other", "b", "c", "d"]);
        assert_eq!(places.folded(), 1);
        let total = Arc::new(SeriesKey::total(WEIGHT));
        assert_eq!(places.place(&total), total);
    }

    #[test]
    fn a_place_is_kept_against_a_larger_one_until_the_day_ends() {
        let mut places = Places::new(ROOM, 1, Vec::new(), 0);
        weigh(&mut places, 0, &[("a", 4.0), ("b", 3.0), ("c", 2.0)]);
        assert_eq!(
            weigh(&mut places, 1, &[("d", 50.0), ("e", 3.0)]),
            Moves::default()
        );
        assert_eq!(seen_as(&places, "d"), "other");
        let turn = weigh(&mut places, DAY, &[]);
        let expected = Moves {
            given: vec![team("d")],
            taken: vec![team("c")],
        };
        // e had more requests than c, yet not twice as many as b.
        assert_eq!(turn, expected);
        assert_eq!(
            ["c", "d", "e"].map(|name| seen_as(&places, name)),
            ["other", "d", "other"]
        );
    }

    #[test]
    fn two_weeks_of_silence_free_a_place() {
        let mut places = Places::new(ROOM, 1, vec![team("old"), team("b"), team("c")], 0);
        for day in 1..=14 {
            let minute = day * DAY;
            assert_eq!(
                weigh(&mut places, minute, &[("b", 1.0), ("c", 1.0)]),
                Moves::default()
            );
        }
        weigh(&mut places, 14 * DAY, &[("d", 1.0)]);
        let turn = weigh(&mut places, 15 * DAY, &[]);
        assert_eq!(
            (turn.given, turn.taken),
            (vec![team("d")], vec![team("old")])
        );
    }

    #[test]
    fn more_series_than_the_bound_never_leave() {
        for sets in 1..=3 {
            for max_metrics in [MINUTE_METRICS.len(), 60, 100, 101, 500] {
                let mut places = Places::new(max_metrics, sets, Vec::new(), 0);
                let teams: Vec<_> = (0..200).map(|n| n.to_string()).collect();
                let teams: Vec<_> = teams.iter().map(|name| (&**name, 1.0)).collect();
                for day in 0..3 {
                    weigh(&mut places, day * DAY, &teams);
                    let groups = places.taken + sets;
                    let metrics = MINUTE_METRICS.len() + groups * DIMENSIONED.len();
                    let least = MINUTE_METRICS.len() + sets * DIMENSIONED.len();
                    assert!(
                        metrics <= max_metrics.max(least),
                        "{metrics} of {max_metrics}"
                    );
                }
            }
        }
    }
}
