//! The tables of AWS' user guide, row by row, and what others got wrong.

use super::*;

/// N, M, the evaluation range with the newest period at the right, and the state by treatment:
/// missing, ignore, breaching, notBreaching. KEEP is the state before.
///
/// The rows marked 2018 are from a retired edition and still consistent with the current rules.
type Row = (u32, u32, &'static str, [&'static str; 4], &'static str);

const ROWS: [Row; 13] = [
    (3, 3, "0 - X - X", ["OK", "OK", "OK", "OK"], "1.1"),
    (3, 3, "0 - - - -", ["OK", "OK", "OK", "OK"], "1.2"),
    (
        3,
        3,
        "- - - - -",
        ["INSUFFICIENT_DATA", "KEEP", "ALARM", "OK"],
        "1.3",
    ),
    (
        3,
        3,
        "0 X X - X",
        ["ALARM", "ALARM", "ALARM", "ALARM"],
        "1.4",
    ),
    (3, 3, "- - X - -", ["ALARM", "KEEP", "ALARM", "OK"], "1.5"),
    (
        3,
        2,
        "0 - X - X",
        ["ALARM", "ALARM", "ALARM", "ALARM"],
        "2.1",
    ),
    (
        3,
        2,
        "0 0 X 0 X",
        ["ALARM", "ALARM", "ALARM", "ALARM"],
        "2.2",
    ),
    (3, 2, "0 - X - -", ["OK", "OK", "ALARM", "OK"], "2.3"),
    (3, 2, "- - - - 0", ["OK", "OK", "ALARM", "OK"], "2.4"),
    (3, 2, "- - - X -", ["ALARM", "KEEP", "ALARM", "OK"], "2.5"),
    (
        3,
        3,
        "- - - - X",
        ["INSUFFICIENT_DATA", "KEEP", "ALARM", "OK"],
        "2018 1.5",
    ),
    (
        3,
        3,
        "X - - - -",
        ["ALARM", "KEEP", "ALARM", "OK"],
        "2018 1.6",
    ),
    (
        3,
        2,
        "- - - - X",
        ["INSUFFICIENT_DATA", "KEEP", "ALARM", "OK"],
        "2018 2.5",
    ),
];

#[test]
fn every_published_row_holds_for_every_treatment_and_previous_state() {
    for (n, m, row, expected, source) in ROWS {
        for (missing, expected) in MissingData::ALL.into_iter().zip(expected) {
            for previous in State::ALL {
                let expected = State::parse(expected).unwrap_or(previous);
                let found = state(&alarm(n, m, missing), row, previous);
                assert_eq!(found, expected, "{source} {} {previous:?}", missing.name());
            }
        }
    }
}

#[test]
fn the_range_of_the_tables_is_the_range_that_is_fetched() {
    assert_eq!(alarm(3, 3, MissingData::Missing).range(), 5);
    assert_eq!(alarm(1, 1, MissingData::Missing).range(), 3);
    assert_eq!(alarm(12, 1, MissingData::Missing).range(), 16);
}

#[test]
fn what_the_guide_calls_no_alarm_is_none() {
    for row in ["- - - - X", "- - - X -", "- - - X 0", "- - X - 0"] {
        for previous in [State::Ok, State::InsufficientData] {
            let found = state(&alarm(3, 3, MissingData::Missing), row, previous);
            assert_ne!(found, State::Alarm, "{row}");
        }
    }
}

/// `LocalStack` has M = 1 in its check for premature alarms.
#[test]
fn one_young_breaching_period_is_no_alarm_of_three() {
    let alarm = alarm(3, 3, MissingData::Missing);
    let found = state(&alarm, "- - - X -", State::Ok);
    assert_eq!(found, State::InsufficientData);
}

/// `LocalStack` takes the value 0.0 for a missing one.
#[test]
fn zero_is_a_value() {
    let alarm = alarm(3, 3, MissingData::Breaching);
    assert_eq!(state(&alarm, "- - 0 0 0", State::Alarm), State::Ok);
    let below = Alarm {
        comparison: Comparison::LessThan,
        missing_data: MissingData::NotBreaching,
        ..alarm
    };
    assert_eq!(state(&below, "0 0 0 0 0", State::Ok), State::Alarm);
}

/// `LocalStack` gives OK.
#[test]
fn an_old_breaching_period_is_an_alarm_when_nothing_came_after_it() {
    let alarm = alarm(3, 3, MissingData::Missing);
    assert_eq!(state(&alarm, "X - - - -", State::Ok), State::Alarm);
}

/// `LocalStack` evaluates once in N periods; here each period's end is an evaluation.
#[test]
fn the_window_slides() {
    use State::{Alarm, Ok};
    let alarm = alarm(3, 2, MissingData::Missing);
    let mut seen = Vec::new();
    let mut before = Ok;
    for row in [
        "0 0 0 0 X",
        "0 0 0 X 0",
        "0 0 X 0 X",
        "0 X 0 X 0",
        "X 0 X 0 0",
    ] {
        before = state(&alarm, row, before);
        seen.push(before);
    }
    assert_eq!(seen, [Ok, Ok, Alarm, Ok, Ok]);
}

/// moto starts alarms as OK.
#[test]
fn an_alarm_begins_without_knowledge() {
    assert_eq!(State::default(), State::InsufficientData);
}

#[test]
fn few_samples_leave_a_percentile_as_it_is() {
    let ignoring = Alarm {
        statistic: Statistic::Percentile(90.0),
        evaluates_low_samples: false,
        ..alarm(1, 1, MissingData::Breaching)
    };
    let judged = |alarm: &Alarm, samples| {
        let reading = Reading {
            value: 9.0,
            samples,
        };
        let periods = [None, None, Some(reading)];
        evaluate(alarm, &periods, State::Ok, Timestamp::UNIX_EPOCH).state
    };
    assert_eq!(judged(&ignoring, 99), State::Ok);
    assert_eq!(judged(&ignoring, 100), State::Alarm);
    let low = Alarm {
        statistic: Statistic::Percentile(10.0),
        ..ignoring.clone()
    };
    assert_eq!(judged(&low, 99), State::Ok);
    assert_eq!(judged(&low, 100), State::Alarm);
    let evaluating = Alarm {
        evaluates_low_samples: true,
        ..ignoring.clone()
    };
    assert_eq!(judged(&evaluating, 1), State::Alarm);
    // Nothing at all is missing data, not too few samples.
    assert_eq!(state(&ignoring, "- - -", State::Ok), State::Alarm);
}
