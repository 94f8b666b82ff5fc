//! From minutes to the periods that an alarm looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::alarm::{Alarm, Reading};
use crate::model::minute::{self, Datapoint, Dimension, Minute, SeriesKey};
use crate::store::{Dimensions, Ledger, MinuteQuery, QueryError};

/// Minutes that are read together where a metric has series for many values of dimensions, so
/// that an answer stays within what the ledger gives at once.
const MINUTES_AT_ONCE: i64 = 10;

const MINUTE_SECONDS: i64 = 60;

/// Minutes in an hour: alarms over more than a day are evaluated at its end.
const HOUR: i64 = 60;

/// What an alarm looks at, if tallyd measures it.
///
/// An alarm on another namespace, or on periods below a minute, is CloudWatch's alone.
#[must_use]
pub fn series_of(alarm: &Alarm, namespace: &str) -> Option<SeriesKey> {
    if alarm.namespace != namespace || alarm.period_seconds < 60 {
        return None;
    }
    let metric = minute::find(&alarm.metric)?.name;
    let mut dimensions = BTreeMap::new();
    for (name, value) in &alarm.dimensions {
        dimensions.insert(Dimension::parse(name)?, Arc::from(value.as_str()));
    }
    Some(SeriesKey { metric, dimensions })
}

/// Minutes of a period.
pub(super) fn period(alarm: &Alarm) -> i64 {
    i64::from(alarm.period_seconds) / MINUTE_SECONDS
}

/// Minutes that an evaluation looks back on.
pub(super) fn span(alarm: &Alarm) -> i64 {
    i64::from(alarm.range()) * period(alarm)
}

/// True if the alarm is evaluated when the minute has ended.
pub(super) fn is_due(alarm: &Alarm, minute: i64) -> bool {
    !alarm.is_hourly() || (minute + 1) % HOUR == 0
}

/// The sealed minutes of some series of a metric, half-open.
pub(super) async fn minutes(
    ledger: &Ledger,
    metric: &'static str,
    from: i64,
    to: i64,
    keys: &BTreeSet<&SeriesKey>,
) -> Result<Vec<Minute>, QueryError> {
    let query = |from, to, dimensions| MinuteQuery {
        from,
        to,
        metrics: vec![metric],
        dimensions,
    };
    if keys.iter().all(|key| key.dimensions.is_empty()) {
        return ledger.minutes(query(from, to, Dimensions::Totals)).await;
    }
    let mut found = Vec::new();
    let mut start = from;
    while start < to {
        let end = to.min(start + MINUTES_AT_ONCE);
        let some = ledger.minutes(query(start, end, Dimensions::All)).await?;
        found.extend(
            some.into_iter()
                .filter(|minute| keys.contains(&*minute.series)),
        );
        start = end;
    }
    Ok(found)
}

/// The datapoints of one series by minute.
pub(super) type ByMinute<'a> = BTreeMap<i64, &'a Datapoint>;

/// Sorts minutes by series; those of other series than the wanted are left out.
pub(super) fn by_series<'a>(
    minutes: &'a [Minute],
    wanted: &BTreeSet<&SeriesKey>,
) -> BTreeMap<&'a SeriesKey, ByMinute<'a>> {
    let mut sorted: BTreeMap<&SeriesKey, ByMinute<'_>> = BTreeMap::new();
    for minute in minutes {
        let key = &*minute.series;
        if wanted.contains(key) {
            let series = sorted.entry(key).or_default();
            series.insert(minute.minute, &minute.datapoint);
        }
    }
    sorted
}

/// The reading of the period whose last minute this is.
pub(super) fn reading(alarm: &Alarm, series: &ByMinute<'_>, last: i64) -> Option<Reading> {
    let first = last + 1 - period(alarm);
    let datapoints = series.range(first..=last).map(|(_, datapoint)| *datapoint);
    alarm.statistic.read_all(datapoints)
}

/// The readings of the evaluation range that ends with this minute, oldest first.
pub(super) fn window(alarm: &Alarm, series: &ByMinute<'_>, last: i64) -> Vec<Option<Reading>> {
    let periods = (0..i64::from(alarm.range())).rev();
    periods
        .map(|age| reading(alarm, series, last - age * period(alarm)))
        .collect()
}
