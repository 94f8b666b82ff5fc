//! Reasons and statistics.

use super::*;
use crate::model::minute::Datapoint;

fn reason(alarm: &Alarm, row: &str, previous: State) -> String {
    let end = "2022-08-26T03:41:00Z".parse().unwrap();
    evaluate(alarm, &periods(row), previous, end).reason
}

#[test]
fn a_reason_is_told_in_the_words_of_cloudwatch() {
    let low = Alarm {
        comparison: Comparison::LessThan,
        threshold: 0.0,
        ..alarm(1, 1, MissingData::Missing)
    };
    assert_eq!(
        reason(&low, "- - 0", State::Alarm),
        "Threshold Crossed: 1 out of the last 1 datapoints [0.0 (26/08/22 03:40:00)] was not less \
         than the threshold (0.0) (minimum 1 datapoint for ALARM -> OK transition)."
    );
    assert_eq!(
        reason(&alarm(3, 2, MissingData::Missing), "0 0 X 0 X", State::Ok),
        "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (26/08/22 03:40:00), 9.0 \
         (26/08/22 03:38:00)] were greater than the threshold (5.0) (minimum 2 datapoints for \
         OK -> ALARM transition)."
    );
    assert_eq!(
        reason(&alarm(3, 3, MissingData::Breaching), "- - - - -", State::Ok),
        "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints \
         were treated as [Breaching]."
    );
    assert_eq!(
        reason(&alarm(3, 1, MissingData::Breaching), "- - - - 0", State::Ok),
        "Threshold Crossed: 1 out of the last 3 datapoints [0.0 (26/08/22 03:40:00)] was not \
         greater than the threshold (5.0) and 2 missing datapoints were treated as [Breaching] \
         (minimum 1 datapoint for OK -> ALARM transition)."
    );
    assert_eq!(
        reason(&alarm(3, 3, MissingData::Missing), "- - - - -", State::Ok),
        "Insufficient Data: 3 datapoints were unknown."
    );
}

#[test]
fn a_long_reason_fits_what_cloudwatch_takes() {
    let row = "X ".repeat(1440);
    let told = reason(&alarm(1440, 1, MissingData::Missing), &row, State::Ok);
    assert!(told.contains(", ...]") && told.len() < 1024, "{told}");
}

#[test]
fn the_newest_value_is_told_with_the_state() {
    let alarm = alarm(3, 3, MissingData::Missing);
    let verdict = evaluate(
        &alarm,
        &periods("X 0 X - -"),
        State::Ok,
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!((verdict.state, verdict.value), (State::Ok, Some(9.0)));
}

#[test]
fn statistics_are_of_all_values_of_a_period() {
    let datapoint = Datapoint {
        count: 10,
        sum: 145.0,
        min: 10.0,
        max: 50.0,
        values: vec![(10.0, 9), (50.0, 1)],
    };
    let read = |name: &str| {
        let statistic = Statistic::parse_simple(name).or(Statistic::parse_percentile(name));
        statistic.unwrap().read(&datapoint).unwrap().value
    };
    let names = [
        "SampleCount",
        "Average",
        "Sum",
        "Minimum",
        "Maximum",
        "p50",
        "p90",
        "p90.1",
        "p99.9",
    ];
    let expected = [10.0, 14.5, 145.0, 10.0, 50.0, 10.0, 10.0, 50.0, 50.0];
    assert_eq!(
        names.map(|name| read(name).to_string()),
        expected.map(|value| value.to_string())
    );
    assert_eq!(Statistic::Sum.read(&Datapoint::default()), None);
}

#[test]
fn a_percentile_is_more_than_0_and_less_than_100() {
    let read = |name| Statistic::parse_percentile(name).map(Statistic::name);
    for good in ["p50", "p99.9", "p0.5", "p99.9999999999"] {
        assert_eq!(read(good).as_deref(), Some(good));
    }
    for bad in [
        "p0",
        "p100",
        "p",
        "p9.",
        "p.9",
        "95",
        "p-5",
        "p1e1",
        "tm90",
        "p99.99999999999",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}
