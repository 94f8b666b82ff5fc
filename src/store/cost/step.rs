//! A step of the estimate: what rows of one time sum up to, by group and kind.

use super::super::rollup::Sums;
use super::KINDS;
use super::groups::Keys;
use super::split::Split;
use crate::model::bill::PricedKind;
use crate::model::cost::{By, CostGroups, CostLine, CostLines};
use crate::model::money::PicoUsd;

/// The step that is being read. It holds no more than the groups of one time.
pub(super) struct Step {
    groups: Vec<Group>,
    /// The numbers of the groups, and by number where a group is.
    met: Vec<u32>,
    places: Vec<u32>,
    lines: CostLines,
}

/// Where a group is not in the step.
const NOWHERE: u32 = u32::MAX;

impl Step {
    pub(super) fn new(by: &[By]) -> Self {
        let lines = CostLines {
            groups: CostGroups::new(by.to_vec(), Vec::new(), Vec::new()),
            lines: Vec::new(),
        };
        Self {
            groups: Vec::new(),
            met: Vec::new(),
            places: Vec::new(),
            lines,
        }
    }

    pub(super) fn group(&mut self, number: u32) -> &mut Group {
        let at = number as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, NOWHERE);
        }
        if self.places[at] == NOWHERE {
            self.places[at] = u32::try_from(self.groups.len()).unwrap_or(NOWHERE);
            self.groups.push(Group::default());
            self.met.push(number);
        }
        &mut self.groups[self.places[at] as usize]
    }

    /// Lets the step be visited, and forgets it.
    pub(super) fn tell<S>(
        &mut self,
        keys: &Keys<'_>,
        state: &mut S,
        visit: &mut impl FnMut(&mut S, &CostLines),
    ) {
        if self.met.is_empty() {
            return;
        }
        self.lines.groups.extend(keys.met());
        for (number, group) in self.met.drain(..).zip(self.groups.drain(..)) {
            self.places[number as usize] = NOWHERE;
            group.lines(number, &mut self.lines.lines);
        }
        visit(state, &self.lines);
        self.lines.lines.clear();
    }
}

/// Sums of one group by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    requests: i64,
    tokens: [i64; KINDS],
    estimate: [i128; KINDS],
    list: [i128; KINDS],
    unpriced: [i64; KINDS],
}

impl Group {
    pub(super) fn add(&mut self, sums: &Sums, split: &Split) {
        self.requests += sums.requests;
        for kind in 0..KINDS {
            self.tokens[kind] += sums.tokens[kind];
            self.estimate[kind] += split.estimate[kind];
            self.list[kind] += split.list[kind];
            self.unpriced[kind] += split.unpriced[kind];
        }
    }

    /// A line for each kind that was used; the first one tells the requests.
    pub(super) fn lines(&self, group: u32, lines: &mut Vec<CostLine>) {
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let mut requests = count(self.requests);
        for (place, kind) in PricedKind::ALL.into_iter().enumerate() {
            let used = self.tokens[place] != 0 || self.estimate[place] != 0;
            let last = place + 1 == KINDS;
            if used || (last && requests > 0) {
                lines.push(CostLine {
                    group,
                    // Requests without any tokens are told with the input.
                    kind: if used { kind } else { PricedKind::Input },
                    tokens: count(self.tokens[place]),
                    requests: std::mem::take(&mut requests),
                    estimate: PicoUsd(self.estimate[place]),
                    list: PicoUsd(self.list[place]),
                    unpriced: count(self.unpriced[place]),
                });
            }
        }
    }
}
