//! Rows of one day, usage type and user are one line: exports tell them by the hour.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Format, ImportError, Imported, MAX_LINES};
use crate::model::bill::{Amounts, BillDay, BillLine};
use crate::model::money::PicoUsd;

/// A day of an account.
type DayKey = (Date, Box<str>, Box<str>);

/// Adds rows up.
#[derive(Debug)]
pub(super) struct Sums {
    format: Format,
    now: Timestamp,
    /// By day, provider and account: whether it is an estimate.
    days: BTreeMap<DayKey, bool>,
    /// By what lines are of; its amounts and quantity are empty.
    lines: HashMap<(DayKey, BillLine), Sum>,
    left_out: u64,
}

/// What is summed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) amounts: Amounts,
    /// In millionths of a millionth of its unit.
    pub(super) quantity: Option<PicoUsd>,
    pub(super) tokens: Option<u64>,
}

impl Sums {
    pub(super) fn new(format: Format, now: Timestamp) -> Self {
        Self {
            format,
            now,
            days: BTreeMap::new(),
            lines: HashMap::new(),
            left_out: 0,
        }
    }

    /// Notes that the file tells of a day, whatever it tells.
    pub(super) fn note(&mut self, day: Date, provider: &str, account: &str, is_estimate: bool) {
        let key = (day, provider.into(), account.into());
        *self.days.entry(key).or_default() |= is_estimate;
    }

    /// Counts a row that is not for Claude.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Adds a row to its line. `of` says what it is of, without quantity and amounts.
    pub(super) fn add(
        &mut self,
        provider: &str,
        account: &str,
        of: BillLine,
        row: &Sum,
    ) -> Result<(), ImportError> {
        let key = (of.day, provider.into(), account.into());
        let line = self.lines.entry((key, of)).or_default();
        let too_large = || ImportError::new(0, "", "the amounts of a day are too large");
        let add = |sum: &mut Option<PicoUsd>, more: Option<PicoUsd>| {
            let Some(more) = more else { return Ok(()) };
            let whole = sum.unwrap_or_default().checked_add(more);
            *sum = Some(whole.ok_or_else(too_large)?);
            Ok(())
        };
        add(&mut line.amounts.unblended, row.amounts.unblended)?;
        add(&mut line.amounts.net, row.amounts.net)?;
        add(&mut line.amounts.blended, row.amounts.blended)?;
        add(&mut line.quantity, row.quantity)?;
        if let Some(tokens) = row.tokens {
            let sum = line.tokens.unwrap_or(0).checked_add(tokens);
            line.tokens = Some(sum.ok_or_else(too_large)?);
        }
        if self.lines.len() > MAX_LINES {
            let message = format!(
                "the file has more than {MAX_LINES} lines of days, usage types and users; import \
                 fewer days at once"
            );
            return Err(ImportError::new(0, "", message));
        }
        Ok(())
    }

    /// The days. `tokens` finds those of a line from its quantity, where rows did not tell them.
    pub(super) fn finish(
        self,
        rows: u64,
        rounded: u64,
        tokens: impl Fn(&BillLine) -> Option<u64>,
    ) -> Imported {
        let mut lines: BTreeMap<DayKey, Vec<BillLine>> = BTreeMap::new();
        for ((key, of), sum) in self.lines {
            let quantity = sum
                .quantity
                .map(|quantity| trimmed(&quantity.to_string()).into());
            let mut line = BillLine {
                quantity: quantity.unwrap_or_default(),
                amounts: sum.amounts,
                tokens: sum.tokens,
                ..of
            };
            if line.tokens.is_none() {
                line.tokens = tokens(&line);
            }
            lines.entry(key).or_default().push(line);
        }
        let mut days = Vec::with_capacity(self.days.len());
        for (key, estimated) in self.days {
            let mut lines = lines.remove(&key).unwrap_or_default();
            // A map has no order, and the same file gives the same days.
            lines.sort_by_cached_key(|line| format!("{line:?}"));
            let (day, provider, account) = key;
            days.push(BillDay {
                source: self.format.source().into(),
                provider,
                account,
                day,
                estimated,
                revision: 0,
                pulled_at: self.now,
                lines,
            });
        }
        Imported {
            days,
            rows,
            left_out: self.left_out,
            rounded,
        }
    }
}

/// `1.50` is `1.5`.
fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') {
        return decimal.trim_end_matches('0').trim_end_matches('.');
    }
    decimal
}
