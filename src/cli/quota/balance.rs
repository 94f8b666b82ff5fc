//! How limits stand, as the daemon tells it and as people read it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::cli::table::usd;
use crate::model::label::grouped;

/// Places in a bar.
const BAR: usize = 10;

/// The daemon's answer.
#[derive(Debug, Deserialize)]
pub(super) struct Balances {
    pub(super) limits: Vec<Standing>,
}

/// One limit for one subject.
#[derive(Debug, Deserialize)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) scope: BTreeMap<String, String>,
    pub(super) unit: String,
    pub(super) limit: Option<Amount>,
    pub(super) used: Amount,
    pub(super) reserved: Amount,
    pub(super) remaining: Option<Amount>,
    pub(super) mode: String,
    pub(super) window: Window,
}

#[derive(Debug, Deserialize)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// A whole number, or USD as exact decimal text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Count(u64),
    Usd(String),
}

impl Amount {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Count(count) => grouped(*count),
            Self::Usd(exact) => format!("${}", usd(exact)),
        }
    }

    pub(super) fn number(&self) -> f64 {
        match self {
            Self::Count(count) => *count as f64,
            Self::Usd(exact) => exact.parse().unwrap_or(0.0),
        }
    }
}

impl Standing {
    /// What is used, in percent; `None` if it is unlimited. A limit of nothing is full.
    pub(super) fn percent(&self) -> Option<u64> {
        let bound = self.limit.as_ref()?.number();
        if bound <= 0.0 {
            return Some(100);
        }
        let percent = (self.used.number() / bound * 100.0).floor();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shares of limits are not negative, and casts saturate"
        )]
        let percent = percent as u64;
        Some(percent)
    }

    pub(super) fn bound_text(&self) -> String {
        let bound = self.limit.as_ref();
        bound.map_or_else(|| "unlimited".to_owned(), Amount::text)
    }

    /// `weighted tokens`; nothing for USD, whose amounts say it.
    pub(super) fn unit_text(&self) -> String {
        match self.unit.as_str() {
            "usd" => String::new(),
            unit => unit.replace('_', " "),
        }
    }

    /// Rolling windows end now, calendar ones later.
    pub(super) fn is_rolling(&self, now: Timestamp) -> bool {
        self.window.end <= now
    }

    /// When the window ends, in a zone; rolling windows never do.
    pub(super) fn resets(&self, zone: &TimeZone, now: Timestamp) -> String {
        if self.is_rolling(now) {
            return "rolling".to_owned();
        }
        let local = self.window.end.to_zoned(zone.clone());
        local.strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// One line about the limit.
    pub(super) fn line(&self, zone: &TimeZone, now: Timestamp) -> String {
        let unit = match self.unit_text() {
            unit if unit.is_empty() => unit,
            unit => format!(" {unit}"),
        };
        let used = self.used.text();
        let shadow = match self.mode.as_str() {
            "shadow" => ", only told",
            _ => "",
        };
        let name = &self.name;
        let resets = match self.resets(zone, now) {
            rolling if self.is_rolling(now) => rolling,
            at => format!("resets {at}"),
        };
        let (Some(percent), Some(remaining)) = (self.percent(), &self.remaining) else {
            return format!("{name}  unlimited, {used}{unit} used, {resets}{shadow}");
        };
        format!(
            "{name}  {} {percent:>3}%  {used} of {}{unit}, {} reserved, {} left, \
             {resets}{shadow}",
            bar(percent),
            self.bound_text(),
            self.reserved.text(),
            remaining.text(),
        )
    }
}

/// `[######----]`
pub(super) fn bar(percent: u64) -> String {
    let percent = usize::try_from(percent).unwrap_or(100).min(100);
    let full = percent * BAR / 100;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

#[cfg(test)]
pub(super) const NOON: Timestamp = Timestamp::constant(1_795_348_800, 0);

#[cfg(test)]
pub(super) fn sample() -> Balances {
    let answer = serde_json::json!({"now": "2026-11-22T12:00:00Z", "limits": [
        {"name": "role-developer-day", "scope": {"user": "ada@example.com"},
         "unit": "weighted_tokens", "limit": 50_000, "used": 31_000, "reserved": 0,
         "remaining": 19_000, "over_by": 0, "mode": "enforce",
         "window": {"start": "2026-11-22T00:00:00+09:00", "end": "2026-11-23T00:00:00+09:00",
                    "tz": "Asia/Tokyo"}, "reset_after_s": 10_800},
        {"name": "team-month", "scope": {"team": "payments"}, "unit": "usd", "limit": "500.00",
         "used": "120.5", "reserved": "0.00", "remaining": "379.5", "over_by": "0.00",
         "mode": "shadow",
         "window": {"start": "2026-11-01T00:00:00+09:00", "end": "2026-12-01T00:00:00+09:00",
                    "tz": "Asia/Tokyo"}, "reset_after_s": 700_000},
    ]});
    serde_json::from_value(answer).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_line_in_local_time() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let lines: Vec<_> = sample()
            .limits
            .iter()
            .map(|one| one.line(&zone, NOON))
            .collect();
        assert_eq!(
            lines,
            [
                "role-developer-day  [######----]  62%  31,000 of 50,000 weighted tokens, 0 \
                 reserved, 19,000 left, resets 2026-11-23 00:00",
                "team-month  [##--------]  24%  $120.50 of $500.00, $0.00 reserved, $379.50 left, \
                 resets 2026-12-01 00:00, only told",
            ]
        );
    }

    #[test]
    fn a_bar_is_never_longer_than_full() {
        assert_eq!(bar(0), "[----------]");
        assert_eq!(bar(62), "[######----]");
        assert_eq!(bar(250), "[##########]");
    }
}
