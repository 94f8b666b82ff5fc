//! The control total: what the ledger counted of what Bedrock counted.

use std::collections::{BTreeMap, BTreeSet};

use super::metric::Measure;
use super::window::{DAY, MAX_LAG};
use crate::model::catalogue;
use crate::model::query::UsageRow;
use crate::model::tokens::TokenKind;
use crate::registry::Sample;

/// The ledger answers in quarter hours, so the day that is compared begins and ends at one.
const QUARTER: i64 = 900;

/// The provider of the ledger's records that went through Bedrock's runtime.
pub(super) const PROVIDER: &str = "bedrock";

/// Amounts by canonical model and measure.
pub(super) type Totals = BTreeMap<(String, Measure), f64>;

/// The day that is compared, as seconds `[from, to)`: the last one that every account and region
/// was read for. `None` if one of them cannot be read: the whole ledger would be held against a
/// part.
pub(super) fn day(read_to: &[Option<i64>], end: i64) -> Option<(i64, i64)> {
    let read: Option<Vec<i64>> = read_to.iter().copied().collect();
    let to = read?.into_iter().min()?.min(end).div_euclid(QUARTER) * QUARTER;
    (end - to <= MAX_LAG).then_some((to - DAY, to))
}

/// What the ledger counted, from rows that are grouped by provider and model.
///
/// Requests that failed are left out: throttled ones, the most frequent, are no invocations.
pub(super) fn counted(rows: &[UsageRow]) -> Totals {
    let mut totals = Totals::new();
    for row in rows {
        let [provider, model] = row.keys.as_slice() else {
            continue;
        };
        if provider != PROVIDER {
            continue;
        }
        for measure in Measure::ALL {
            let amount = match measure {
                Measure::Requests => row.requests.saturating_sub(row.errors),
                Measure::Input => row.tokens.of(TokenKind::Input),
                Measure::Output => row.tokens.of(TokenKind::Output),
                Measure::CacheRead => row.tokens.of(TokenKind::CacheRead),
                Measure::CacheCreation => row.tokens.of(TokenKind::CacheCreation),
            };
            *totals.entry((model.clone(), measure)).or_default() += amount as f64;
        }
    }
    totals
}

/// Both totals of every model and measure that either side knows, and the ratio where Bedrock
/// counted anything: nothing of nothing is no ratio.
pub(super) fn samples(counted: &Totals, provider: &Totals) -> Vec<Sample> {
    let mut samples = Vec::new();
    let known: BTreeSet<_> = counted.keys().chain(provider.keys()).collect();
    for key in known {
        let amount = |totals: &Totals| totals.get(key).copied().unwrap_or_default();
        let (ours, theirs) = (amount(counted), amount(provider));
        let sample = |desc, value| Sample {
            desc,
            labels: vec![PROVIDER.to_owned(), key.0.clone(), key.1.name().to_owned()],
            value,
        };
        samples.push(sample(catalogue::COVERAGE_COUNTED, ours));
        samples.push(sample(catalogue::COVERAGE_PROVIDER, theirs));
        let ratio = ours / theirs;
        if theirs > 0.0 && ratio.is_finite() {
            samples.push(sample(catalogue::USAGE_COVERAGE, ratio));
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::money::PicoUsd;
    use crate::model::tokens::Tokens;

    fn row(provider: &str, model: &str, requests: u64, errors: u64, tokens: Tokens) -> UsageRow {
        UsageRow {
            keys: vec![provider.to_owned(), model.to_owned()],
            requests,
            errors,
            tokens,
            cost: PicoUsd(0),
            unpriced_tokens: 0,
        }
    }

    fn totals(amounts: &[(&str, Measure, f64)]) -> Totals {
        let pairs = amounts.iter();
        pairs
            .map(|(model, measure, amount)| (((*model).to_owned(), *measure), *amount))
            .collect()
    }

    fn shown(samples: &[Sample]) -> Vec<String> {
        let line = |sample: &Sample| {
            let labels = sample.labels.join(" ");
            format!("{} {labels} {}", sample.desc.name, sample.value)
        };
        samples.iter().map(line).collect()
    }

    #[test]
    fn the_day_ends_where_all_were_read_and_is_not_told_when_one_falls_behind() {
        let end = 1_795_305_600 + 600;
        let quarter = 1_795_305_600;
        let ending = |to: i64| Some((to - DAY, to));
        let cases: [(&[Option<i64>], _); 6] = [
            (&[Some(end), Some(end)], ending(quarter)),
            (&[Some(end), Some(quarter - 1)], ending(quarter - QUARTER)),
            (&[Some(end + 900)], ending(quarter)),
            (&[Some(end), Some(end - MAX_LAG - 1)], None),
            (&[Some(end), None], None),
            (&[], None),
        ];
        for (read_to, expected) in cases {
            assert_eq!(day(read_to, end), expected, "{read_to:?}");
        }
    }

    #[test]
    fn only_what_went_through_bedrock_and_worked_is_counted() {
        let tokens = Tokens {
            input: 100,
            output: 20,
            cache_read: 5_000,
            cache_write_5m: 30,
            cache_write_1h: 2,
            cache_write_unknown: 1,
        };
        let rows = [
            row("anthropic", "claude-opus-5", 9, 0, tokens),
            row("bedrock", "claude-opus-5", 12, 2, tokens),
        ];
        assert_eq!(
            counted(&rows),
            totals(&[
                ("claude-opus-5", Measure::Requests, 10.0),
                ("claude-opus-5", Measure::Input, 100.0),
                ("claude-opus-5", Measure::Output, 20.0),
                ("claude-opus-5", Measure::CacheRead, 5_000.0),
                ("claude-opus-5", Measure::CacheCreation, 33.0),
            ])
        );
    }

    #[test]
    fn there_is_a_ratio_only_where_bedrock_counted_something() {
        let ledger = totals(&[
            ("a", Measure::Requests, 30.0),
            ("b", Measure::Requests, 5.0),
        ]);
        let bedrock = totals(&[
            ("a", Measure::Requests, 40.0),
            ("b", Measure::Input, 0.0),
            ("c", Measure::Requests, 8.0),
        ]);
        assert_eq!(
            shown(&samples(&ledger, &bedrock)),
            [
                "tallyd_usage_coverage_counted bedrock a requests 30",
                "tallyd_usage_coverage_provider bedrock a requests 40",
                "tallyd_usage_coverage_ratio bedrock a requests 0.75",
                "tallyd_usage_coverage_counted bedrock b requests 5",
                "tallyd_usage_coverage_provider bedrock b requests 0",
                "tallyd_usage_coverage_counted bedrock b input 0",
                "tallyd_usage_coverage_provider bedrock b input 0",
                "tallyd_usage_coverage_counted bedrock c requests 0",
                "tallyd_usage_coverage_provider bedrock c requests 8",
                "tallyd_usage_coverage_ratio bedrock c requests 0",
            ]
        );
    }
}
