//! Counting once: which reports tell of the same request, and which of them counts.
//!
//! The answer depends on the set of reports alone, never on the order in which they came. That
//! is why the ledger resolves a neighbourhood anew whenever a report joins it, instead of
//! keeping decisions taken when it knew less.

use std::collections::{BTreeMap, HashMap};

/// Reports whose counts are equal are one request only within this span.
const PAIR_WITHIN_MS: i64 = 24 * 3_600 * 1_000;

/// What counting once needs to know of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash of source and id: orders reports that are otherwise equal.
    pub key: [u8; 16],
    /// The source's place in the order of preference; equal only within one source.
    pub rank: u32,
    /// Declared control-only: never counts, but can be recognised.
    pub control: bool,
    pub at_ms: i64,
    pub session: Option<i64>,
    /// Canonical model.
    pub model: i64,
    /// Input, output, cache reads, all cache writes.
    pub counts: [u64; 4],
    pub request_id: Option<i64>,
    /// The request id has the form that the provider gives (`req_...`), so two different ones
    /// are certainly two requests.
    pub provider_form: bool,
    pub client_request_id: Option<i64>,
    pub reservation: Option<i64>,
}

/// Reports of one request. Indices point into the resolved slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Best report first.
    pub members: Vec<usize>,
    /// False when every member is control-only.
    pub counts: bool,
}

impl Group {
    /// The report that speaks for the group.
    #[must_use]
    pub fn best(&self) -> usize {
        self.members[0]
    }
}

/// Sorts reports into requests. Groups come ordered by their best report's time and key.
#[must_use]
pub fn resolve(reports: &[Report]) -> Vec<Group> {
    let joined = join_by_id(reports);
    let mut groups = pair_by_counts(reports, joined);
    groups.sort_by_key(|members| (reports[members[0]].at_ms, reports[members[0]].key));
    groups
        .into_iter()
        .map(|members| Group {
            counts: !reports[members[0]].control,
            members,
        })
        .collect()
}

/// Reports with a common reservation, client request id or request id are one request; request
/// ids count within a session where both reports have one.
fn join_by_id(reports: &[Report]) -> Vec<Vec<usize>> {
    let mut sets = Sets::new(reports.len());
    let mut by_id: HashMap<(u8, i64), Vec<usize>> = HashMap::new();
    for (index, report) in reports.iter().enumerate() {
        let ids = [
            (0, report.reservation),
            (1, report.client_request_id),
            (2, report.request_id),
        ];
        for (kind, id) in ids {
            if let Some(id) = id {
                by_id.entry((kind, id)).or_default().push(index);
            }
        }
    }
    for ((kind, _), members) in by_id {
        let across_sessions = kind != 2 || members.iter().any(|m| reports[*m].session.is_none());
        let mut first_of: HashMap<Option<i64>, usize> = HashMap::new();
        for member in members {
            let place = if across_sessions {
                None
            } else {
                reports[member].session
            };
            let first = *first_of.entry(place).or_insert(member);
            sets.union(first, member);
        }
    }
    sets.collect()
}

/// Pairs, one to one, what no id joined: same session, model and counts within a day, from
/// different sources.
fn pair_by_counts(reports: &[Report], joined: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let mut unpaired = Vec::new();
    let mut buckets: BTreeMap<(i64, i64, [u64; 4]), Vec<Vec<usize>>> = BTreeMap::new();
    for mut members in joined {
        sort_best_first(reports, &mut members);
        let best = &reports[members[0]];
        let session = members.iter().find_map(|m| reports[*m].session);
        match session {
            Some(session) => buckets
                .entry((session, best.model, best.counts))
                .or_default()
                .push(members),
            None => unpaired.push(members),
        }
    }
    for (_, mut bucket) in buckets {
        bucket.sort_by_key(|members| {
            let best = &reports[members[0]];
            (best.rank, best.at_ms, best.key)
        });
        let mut requests: Vec<Vec<usize>> = Vec::new();
        for members in bucket {
            match requests
                .iter_mut()
                .filter(|request| may_pair(reports, request, &members))
                .min_by_key(|request| (reports[request[0]].at_ms, reports[request[0]].key))
            {
                Some(request) => {
                    request.extend(members);
                    sort_best_first(reports, request);
                }
                None => requests.push(members),
            }
        }
        unpaired.extend(requests);
    }
    unpaired
}

fn may_pair(reports: &[Report], one: &[usize], other: &[usize]) -> bool {
    let apart = reports[one[0]].at_ms.abs_diff(reports[other[0]].at_ms);
    if apart > PAIR_WITHIN_MS.unsigned_abs() {
        return false;
    }
    one.iter().all(|a| {
        other.iter().all(|b| {
            let (a, b) = (&reports[*a], &reports[*b]);
            a.rank != b.rank && !contradict(a, b)
        })
    })
}

/// True if ids prove that these are two requests.
fn contradict(a: &Report, b: &Report) -> bool {
    let differ = |x: Option<i64>, y: Option<i64>| matches!((x, y), (Some(x), Some(y)) if x != y);
    differ(a.client_request_id, b.client_request_id)
        || differ(a.reservation, b.reservation)
        || (a.provider_form && b.provider_form && differ(a.request_id, b.request_id))
}

/// The best report: one that may count, from the preferred source, with tokens, then the larger,
/// the earlier, and by key.
fn sort_best_first(reports: &[Report], members: &mut [usize]) {
    members.sort_by_key(|member| {
        let report = &reports[*member];
        let total: u64 = report.counts.iter().sum();
        (
            report.control,
            report.rank,
            std::cmp::Reverse(total),
            report.at_ms,
            report.key,
        )
    });
}

/// Disjoint sets over indices.
struct Sets(Vec<usize>);

impl Sets {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn collect(mut self) -> Vec<Vec<usize>> {
        let mut sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for index in 0..self.0.len() {
            sets.entry(self.root(index)).or_default().push(index);
        }
        sets.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(key: u8, rank: u32) -> Report {
        Report {
            key: [key; 16],
            rank,
            control: false,
            at_ms: 0,
            session: Some(1),
            model: 1,
            counts: [10, 1, 0, 0],
            request_id: None,
            provider_form: false,
            client_request_id: None,
            reservation: None,
        }
    }

    fn members(reports: &[Report]) -> Vec<Vec<usize>> {
        resolve(reports).into_iter().map(|g| g.members).collect()
    }

    #[test]
    fn a_common_request_id_joins_different_counts() {
        let gateway = Report {
            request_id: Some(7),
            counts: [11, 1, 0, 0],
            ..report(1, 0)
        };
        let event = Report {
            request_id: Some(7),
            ..report(2, 1)
        };
        assert_eq!(members(&[event, gateway]), [[1, 0]]);
    }

    #[test]
    fn request_ids_of_two_sessions_are_two_requests_unless_one_has_none() {
        let a = Report {
            request_id: Some(7),
            ..report(1, 1)
        };
        let b = Report {
            session: Some(2),
            ..a.clone()
        };
        let b = Report { key: [2; 16], ..b };
        assert_eq!(members(&[a.clone(), b.clone()]).len(), 2);
        let gateway = Report {
            session: None,
            key: [3; 16],
            rank: 0,
            ..a.clone()
        };
        assert_eq!(members(&[a, b, gateway]).len(), 1);
    }

    #[test]
    fn equal_counts_pair_one_to_one_across_sources() {
        let reports = [report(1, 0), report(2, 1), report(3, 1)];
        assert_eq!(members(&reports), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn two_equal_requests_of_one_source_stay_two() {
        assert_eq!(members(&[report(1, 1), report(2, 1)]).len(), 2);
    }

    #[test]
    fn different_provider_ids_are_never_paired_by_counts() {
        let a = Report {
            request_id: Some(1),
            provider_form: true,
            ..report(1, 0)
        };
        let b = Report {
            request_id: Some(2),
            provider_form: true,
            ..report(2, 1)
        };
        assert_eq!(members(&[a, b]).len(), 2);
    }

    #[test]
    fn a_gateways_own_request_id_does_not_prevent_pairing() {
        let gateway = Report {
            request_id: Some(1),
            ..report(1, 0)
        };
        let event = Report {
            request_id: Some(2),
            provider_form: true,
            ..report(2, 1)
        };
        assert_eq!(members(&[gateway, event]).len(), 1);
    }

    #[test]
    fn equal_counts_a_day_apart_are_two_requests() {
        let late = Report {
            at_ms: PAIR_WITHIN_MS + 1,
            ..report(2, 1)
        };
        assert_eq!(members(&[report(1, 0), late]).len(), 2);
    }

    #[test]
    fn a_control_report_is_recognised_but_never_counts() {
        let control = Report {
            control: true,
            ..report(1, 0)
        };
        let groups = resolve(&[control.clone(), report(2, 1)]);
        assert_eq!(
            groups,
            [Group {
                members: vec![1, 0],
                counts: true
            }]
        );
        assert!(!resolve(&[control])[0].counts);
    }

    fn any_report() -> impl Strategy<Value = Report> {
        (
            any::<[u8; 2]>(),
            0..4_u8,
            proptest::bool::weighted(0.1),
            0..3_i64,
            proptest::option::of(0..2_i64),
            proptest::option::of(0..3_i64),
            proptest::option::weighted(0.2, 0..3_i64),
            0..2_u64,
        )
            .prop_map(
                |(key, rank, control, day, session, request, client, count)| Report {
                    key: [key[0], key[1], rank, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    rank: rank.into(),
                    control,
                    at_ms: day * PAIR_WITHIN_MS * 2 / 3,
                    session,
                    model: 1,
                    counts: [count, 0, 0, 0],
                    request_id: request,
                    provider_form: request == Some(0),
                    client_request_id: client,
                    reservation: None,
                },
            )
    }

    proptest! {
        #[test]
        fn the_order_of_reports_does_not_matter(
            (reports, shuffled) in proptest::collection::vec(any_report(), 0..12)
                .prop_map(|mut reports| {
                    reports.sort_by_key(|r| r.key);
                    reports.dedup_by_key(|r| r.key);
                    reports
                })
                .prop_flat_map(|reports| (Just(reports.clone()), Just(reports).prop_shuffle()))
        ) {
            let keys = |reports: &[Report]| -> Vec<Vec<[u8; 16]>> {
                resolve(reports)
                    .iter()
                    .map(|g| g.members.iter().map(|m| reports[*m].key).collect())
                    .collect()
            };
            prop_assert_eq!(keys(&reports), keys(&shuffled));
        }
    }
}
