//! A UTC day of the estimate: its rows in one order, and their money by kind.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::super::StoreError;
use super::super::day_sheet::QUARTERS_A_DAY;
use super::super::query::Reader;
use super::super::rollup::Sums;
use super::super::span::start_of;
use super::super::sums::Place;
use super::super::terms::Terms;
use super::KINDS;
use super::split::{Units, estimate, units};
use crate::model::cost::CostDay;

/// The day that is being read.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// UTC days since 1970.
    number: Option<i64>,
    rows: Vec<(Place, u32, Sums)>,
    told: CostDay,
    /// By group: the day on which it was last used.
    used_on: Vec<i64>,
}

impl Day {
    /// True if a row is of another day than those before.
    pub(super) fn is_over(&self, place: Place) -> bool {
        self.number
            .is_some_and(|number| number != place.start.div_euclid(QUARTERS_A_DAY))
    }

    pub(super) fn push(&mut self, place: Place, group: u32, sums: &Sums) {
        self.number = Some(place.start.div_euclid(QUARTERS_A_DAY));
        self.rows.push((place, group, *sums));
    }

    /// The day in columns, if it has any rows; the next row begins another one.
    pub(super) fn take(
        &mut self,
        reader: &Reader,
        terms: &Terms,
    ) -> Result<Option<&CostDay>, StoreError> {
        let Some(number) = self.number.take() else {
            return Ok(None);
        };
        let order = |(place, ..): &(Place, u32, Sums)| (place.sku, place.identity, place.start);
        // Sheets have this order already.
        if !self.rows.is_sorted_by_key(order) {
            self.rows.sort_unstable_by_key(order);
        }
        let start = number * QUARTERS_A_DAY;
        self.told.date = start_of(start).to_zoned(TimeZone::UTC).date();
        self.told.parts.clear();
        self.told.groups.clear();
        self.told.idle.clear();
        self.told.unpriced = 0;
        for column in self.told.tokens.iter_mut().chain(&mut self.told.estimate) {
            column.clear();
        }
        let mut first = 0;
        for part in self.rows.chunk_by(|(a, ..), (b, ..)| a.sku == b.sku) {
            let number = part[0].0.sku;
            let sku = reader.skus.get(&number);
            let sku = sku.ok_or(StoreError::Dangling { id: number })?;
            let rows = first..first + part.len();
            first = rows.end;
            put(
                &mut self.told,
                rows.clone(),
                part,
                &units(sku, start, terms),
            );
            self.told.parts.push(rows);
        }
        self.rows.clear();
        self.leave_out_used(number);
        Ok(Some(&self.told))
    }
}

impl Day {
    /// Leaves out idle groups of which other rows of the day used something.
    fn leave_out_used(&mut self, number: i64) {
        let day = &mut self.told;
        if day.idle.is_empty() {
            return;
        }
        for kind in 0..KINDS {
            let columns = day.tokens[kind].iter().zip(&day.estimate[kind]);
            for (group, (tokens, estimate)) in day.groups.iter().zip(columns) {
                if *tokens != 0 || *estimate != 0 {
                    let place = *group as usize;
                    if place >= self.used_on.len() {
                        self.used_on.resize(place + 1, i64::MIN);
                    }
                    self.used_on[place] = number;
                }
            }
        }
        let used = |group: &u32| self.used_on.get(*group as usize) == Some(&number);
        day.idle.retain(|group| !used(group));
    }
}

/// Puts the rows of a SKU behind those before.
fn put(day: &mut CostDay, rows: Range<usize>, part: &[(Place, u32, Sums)], units: &Units) {
    for kind in 0..KINDS {
        // A column that others have begun goes on; one that nobody needs stays empty.
        for column in [&mut day.tokens[kind], &mut day.estimate[kind]] {
            if !column.is_empty() {
                column.resize(rows.end, 0);
            }
        }
    }
    for (row, (_, group, sums)) in rows.clone().zip(part) {
        day.groups.push(*group);
        day.unpriced = day.unpriced.saturating_add(count(sums.unpriced));
        let estimate = estimate(sums, units);
        let mut is_used = false;
        for kind in 0..KINDS {
            let (tokens, estimate) = (sums.tokens[kind].max(0), estimate[kind]);
            if tokens == 0 && estimate == 0 {
                continue;
            }
            is_used = true;
            if day.tokens[kind].is_empty() {
                day.tokens[kind].resize(rows.end, 0);
                day.estimate[kind].resize(rows.end, 0);
            }
            day.tokens[kind][row] = tokens;
            day.estimate[kind][row] = estimate;
        }
        if !is_used && sums.requests > 0 {
            day.idle.push(*group);
        }
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
