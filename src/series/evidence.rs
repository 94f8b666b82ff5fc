//! Silent telemetry: Bedrock says that models are used, and nobody reports it.

use jiff::Timestamp;

use crate::model::catalogue;
use crate::registry::Registry;

/// What Bedrock says is believed this long: its values settle over ten minutes, and a collector
/// that fails for longer knows nothing.
const VALID_SECONDS: i64 = 1_800;

/// Models count as in use for this long after the last use that Bedrock tells.
const IN_USE_SECONDS: i64 = 900;

/// What Bedrock said of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Up to when Bedrock was asked.
    pub checked: Timestamp,
    /// When models were used last, as far as it tells.
    pub last_used: Option<Timestamp>,
}

/// Bedrock's word against what was reported.
#[derive(Debug)]
pub(super) struct Silence {
    last_report: Timestamp,
    /// Commits told so far.
    commits: u64,
    evidence: Option<Evidence>,
}

impl Silence {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last_report: now,
            commits: 0,
            evidence: None,
        }
    }

    pub(super) fn note(&mut self, evidence: Evidence) {
        self.evidence = Some(evidence);
    }

    /// Looks whether a report came since the last time.
    pub(super) fn hear(&mut self, registry: &Registry, now: Timestamp) {
        let commits = registry
            .histogram(catalogue::LEDGER_COMMIT_RECORDS, &[])
            .map_or(0, |commits| commits.counts.iter().sum());
        if commits != self.commits {
            self.commits = commits;
            self.last_report = now;
        }
    }

    /// For how long Bedrock has been in use without a report; `None` without evidence.
    pub(super) fn seconds(&self, now: Timestamp) -> Option<f64> {
        let evidence = self.evidence?;
        let age = now.as_second() - evidence.checked.as_second();
        if age > VALID_SECONDS {
            return None;
        }
        let in_use = evidence
            .last_used
            .filter(|last| evidence.checked.as_second() - last.as_second() <= IN_USE_SECONDS);
        let silent = in_use.map_or(0, |last| last.as_second() - self.last_report.as_second());
        Some(silent.max(0) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn evidence(checked: i64, last_used: Option<i64>) -> Evidence {
        Evidence {
            checked: at(checked),
            last_used: last_used.map(at),
        }
    }

    #[test]
    fn silence_lasts_from_the_last_report_to_the_last_use() {
        let mut silence = Silence::new(at(10_000));
        assert_eq!(silence.seconds(at(20_000)), None);
        silence.note(evidence(20_000, Some(19_400)));
        assert_eq!(silence.seconds(at(20_060)), Some(9_400.0));
        let registry = Registry::default();
        registry.observe(catalogue::LEDGER_COMMIT_RECORDS, &[], 1.0);
        silence.hear(&registry, at(20_070));
        assert_eq!(silence.seconds(at(20_070)), Some(0.0));
    }

    #[test]
    fn rest_is_not_silence_and_old_evidence_is_none() {
        let mut silence = Silence::new(at(10_000));
        silence.note(evidence(20_000, None));
        assert_eq!(silence.seconds(at(20_000)), Some(0.0));
        silence.note(evidence(20_000, Some(19_000)));
        assert_eq!(silence.seconds(at(20_000)), Some(0.0));
        silence.note(evidence(20_000, Some(20_000)));
        assert_eq!(silence.seconds(at(21_801)), None);
    }
}
