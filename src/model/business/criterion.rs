//! Criteria of a phase: `adoption_rate > 0.8`.

use std::fmt;

use super::{MICRO_DIGITS, Span};
use crate::model::decimal;
use crate::model::money::parse_decimal;

/// What tallyd can measure for a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    AdoptionRate,
    ActiveUsers,
    WeeklyActiveRatio,
    RetentionRate,
    RoiPercent,
    ProductivityGain,
    AcceptanceRate,
    BugsFixed,
    BugsFixedWithClaude,
    MergedChanges,
    ClaudeChangeShare,
    Sessions,
    Commits,
    PullRequests,
    CodeLinesGenerated,
    TimeSavedMinutes,
    CostSavingsUsd,
    CostUsd,
    CostPerActiveUserUsd,
    ErrorRate,
}

impl Known {
    pub const ALL: [Self; 20] = [
        Self::AdoptionRate,
        Self::ActiveUsers,
        Self::WeeklyActiveRatio,
        Self::RetentionRate,
        Self::RoiPercent,
        Self::ProductivityGain,
        Self::AcceptanceRate,
        Self::BugsFixed,
        Self::BugsFixedWithClaude,
        Self::MergedChanges,
        Self::ClaudeChangeShare,
        Self::Sessions,
        Self::Commits,
        Self::PullRequests,
        Self::CodeLinesGenerated,
        Self::TimeSavedMinutes,
        Self::CostSavingsUsd,
        Self::CostUsd,
        Self::CostPerActiveUserUsd,
        Self::ErrorRate,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdoptionRate => "adoption_rate",
            Self::ActiveUsers => "active_users",
            Self::WeeklyActiveRatio => "weekly_active_ratio",
            Self::RetentionRate => "retention_rate",
            Self::RoiPercent => "roi_percent",
            Self::ProductivityGain => "productivity_gain",
            Self::AcceptanceRate => "acceptance_rate",
            Self::BugsFixed => "bugs_fixed",
            Self::BugsFixedWithClaude => "bugs_fixed_with_claude",
            Self::MergedChanges => "merged_changes",
            Self::ClaudeChangeShare => "claude_change_share",
            Self::Sessions => "sessions",
            Self::Commits => "commits",
            Self::PullRequests => "pull_requests",
            Self::CodeLinesGenerated => "code_lines_generated",
            Self::TimeSavedMinutes => "time_saved_minutes",
            Self::CostSavingsUsd => "cost_savings_usd",
            Self::CostUsd => "cost_usd",
            Self::CostPerActiveUserUsd => "cost_per_active_user_usd",
            Self::ErrorRate => "error_rate",
        }
    }
}

/// What a criterion is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Known(Known),
    /// A name of `business.measures`, whose value a tracker tells.
    Declared(Box<str>),
}

impl Measure {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(known) => known.name(),
            Self::Declared(name) => name,
        }
    }
}

/// How a value is held against a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

/// Signs, the longer ones first.
const SIGNS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl Comparison {
    #[must_use]
    pub const fn holds(self, value: i128, threshold: i128) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
            Self::Equal => value == threshold,
        }
    }

    #[must_use]
    pub fn sign(self) -> &'static str {
        let found = SIGNS.iter().find(|(_, known)| *known == self);
        found.map_or("", |(sign, _)| sign)
    }
}

/// A condition that a phase should meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criterion {
    pub measure: Measure,
    pub comparison: Comparison,
    /// In millionths.
    pub threshold: i128,
}

/// Why a text is no criterion. It names the criterion and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CriterionError {
    #[error("`{0}` must be a name, one of > >= < <= ==, and a number, such as adoption_rate > 0.8")]
    Form(String),
    #[error("`{text}` measures {name}, which is not known; known are {known}")]
    Unknown {
        text: String,
        name: String,
        known: String,
    },
    #[error("`{text}`: {number} is no number with up to six decimal places")]
    Number { text: String, number: String },
}

impl Criterion {
    /// Reads `NAME SIGN NUMBER`; the number may end in `%`. `declared` are names of further
    /// measures.
    pub fn parse(text: &str, declared: &[String]) -> Result<Self, CriterionError> {
        let form = || CriterionError::Form(text.to_owned());
        let at = text.find(['>', '<', '=']).ok_or_else(form)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let sign = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, comparison) = sign.ok_or_else(form)?;
        let number = rest[sign.len()..].trim();
        if name.is_empty() || number.is_empty() {
            return Err(form());
        }
        let measure = measure(name, declared).ok_or_else(|| CriterionError::Unknown {
            text: text.to_owned(),
            name: name.to_owned(),
            known: names(declared),
        })?;
        let (digits, is_percent) = match number.strip_suffix('%') {
            Some(digits) => (digits.trim(), true),
            None => (number, false),
        };
        // What is in percent by its name has the number in front of the sign.
        let places = if is_percent && measure != Measure::Known(Known::RoiPercent) {
            MICRO_DIGITS - 2
        } else {
            MICRO_DIGITS
        };
        let threshold = parse_decimal(digits, places).map_err(|_| CriterionError::Number {
            text: text.to_owned(),
            number: number.to_owned(),
        })?;
        Ok(Self {
            measure,
            comparison,
            threshold,
        })
    }

    /// Whether a measured range meets it: by its middle, or, where none is stated, by its low
    /// end.
    #[must_use]
    pub fn met_by(&self, value: Span) -> bool {
        let value = value.mid.unwrap_or(value.low);
        self.comparison.holds(value, self.threshold)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, sign) = (self.measure.name(), self.comparison.sign());
        write!(f, "{name} {sign} {}", shown(self.threshold))
    }
}

/// Millionths as a decimal number without trailing zeros.
fn shown(micro: i128) -> String {
    decimal::short(micro, MICRO_DIGITS)
}

fn measure(name: &str, declared: &[String]) -> Option<Measure> {
    let known = Known::ALL.into_iter().find(|known| known.name() == name);
    let own = || declared.iter().find(|own| *own == name);
    known
        .map(Measure::Known)
        .or_else(|| own().map(|own| Measure::Declared(own.as_str().into())))
}

fn names(declared: &[String]) -> String {
    let known = Known::ALL.iter().map(|known| known.name());
    let own = declared.iter().map(String::as_str);
    known.chain(own).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Criterion, String> {
        Criterion::parse(text, &["code_quality".to_owned()]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_forms_of_a_criterion_are_read() {
        let read = [
            ("adoption_rate > 0.8", "adoption_rate > 0.8"),
            ("adoption_rate>=80%", "adoption_rate >= 0.8"),
            ("roi_percent > 300", "roi_percent > 300"),
            ("roi_percent > 300%", "roi_percent > 300"),
            ("productivity_gain > -0.2", "productivity_gain > -0.2"),
            ("code_quality == 1", "code_quality == 1"),
            ("error_rate <= 0.5 %", "error_rate <= 0.005"),
        ];
        for (text, shown) in read {
            assert_eq!(
                parse(text).map(|read| read.to_string()),
                Ok(shown.to_owned())
            );
        }
    }

    #[test]
    fn a_fault_names_the_criterion_and_what_is_known() {
        let error = parse("adoption > 0.8").unwrap_err();
        assert!(
            error.starts_with("`adoption > 0.8` measures adoption, which is not known; known are")
                && error.contains("adoption_rate")
                && error.ends_with("code_quality"),
            "{error}"
        );
        for text in [
            "adoption_rate",
            "adoption_rate = 1",
            "> 1",
            "adoption_rate >",
            "",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("must be a name"), "{text}: {error}");
        }
        for text in [
            "adoption_rate > many",
            "adoption_rate > 0.1234567",
            "sessions > 1,000",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("is no number"), "{text}: {error}");
        }
    }

    #[test]
    fn without_a_middle_the_low_end_decides() {
        let criterion = parse("roi_percent > 300").unwrap();
        let span = |low, mid, high| Span { low, mid, high };
        assert!(criterion.met_by(span(0, Some(300_000_001), 0)));
        assert!(!criterion.met_by(span(0, Some(300_000_000), 900_000_000)));
        assert!(!criterion.met_by(span(299_000_000, None, 900_000_000)));
        assert!(criterion.met_by(span(301_000_000, None, 900_000_000)));
    }
}
