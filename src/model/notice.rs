//! What is to be told of alarms, to whom, and when nothing is told.

use jiff::Timestamp;

use super::alarm::{State, Transition};

/// A transition that a target is to hear of.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The name of the target: `NAME` of `[notify.NAME]`.
    pub target: String,
    pub transition: Transition,
    /// Not told before; leaves time to gather what happens together.
    pub due: Timestamp,
}

/// A maintenance window: a half-open range of time in which alarms are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// `None`: from the configuration, which is the only place where it can be ended.
    pub id: Option<i64>,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Which alarms, as [`matches()`] reads it.
    pub alarms: String,
    pub reason: String,
    /// Who set it: the name of a token, or `configuration`.
    pub created_by: String,
}

impl Mute {
    /// True if the alarm is muted at that time.
    #[must_use]
    pub fn covers(&self, alarm: &str, at: Timestamp) -> bool {
        self.from <= at && at < self.to && matches(&self.alarms, alarm)
    }
}

/// True if a target that heard `told` last is told `new`. A target that heard nothing takes an
/// alarm to be OK, so a recovery is told only to those who were told of the trouble.
#[must_use]
pub fn is_news(told: Option<State>, new: State) -> bool {
    told.unwrap_or(State::Ok) != new
}

/// Holds a name against a pattern in which `*` stands for any text and `?` for one character.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one more character taken by it.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n + 1));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, next)) = retry else {
                    return false;
                };
                (p, n) = (after_star, next);
                retry = Some((after_star, next + 1));
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_stars_and_question_marks() {
        let name = "ClaudeCode-HighErrorRate";
        let taken = [
            "*",
            name,
            "ClaudeCode-*",
            "*Rate",
            "*High*",
            "Claude????-*",
            "**",
            "*-*-*",
            "claude*",
            "",
            "*High",
            "ClaudeCode-",
        ]
        .map(|pattern| matches(pattern, name));
        assert_eq!(
            taken,
            [
                true, true, true, true, true, true, true, false, false, false, false, false
            ]
        );
        assert!(matches("*a*b", "aXbXaXb") && matches("", "") && matches("é?", "éü"));
    }

    #[test]
    fn a_recovery_is_news_only_to_those_who_heard_of_the_trouble() {
        use State::{Alarm, InsufficientData, Ok};
        let news = |told, new| is_news(told, new);
        assert!(!news(None, Ok) && news(None, Alarm) && news(None, InsufficientData));
        assert!(news(Some(Alarm), Ok) && !news(Some(Ok), Ok));
        assert!(!news(Some(Alarm), Alarm) && news(Some(Alarm), InsufficientData));
    }

    #[test]
    fn a_mute_is_half_open() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mute = Mute {
            id: None,
            from: at("2026-11-22T10:00:00Z"),
            to: at("2026-11-22T11:00:00Z"),
            alarms: "ClaudeCode-*".to_owned(),
            reason: "upgrade".to_owned(),
            created_by: "configuration".to_owned(),
        };
        assert!(mute.covers("ClaudeCode-X", at("2026-11-22T10:00:00Z")));
        assert!(!mute.covers("ClaudeCode-X", at("2026-11-22T11:00:00Z")));
        assert!(!mute.covers("Other", at("2026-11-22T10:30:00Z")));
    }
}
