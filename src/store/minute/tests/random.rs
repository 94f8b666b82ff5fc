//! Whatever arrives in whatever order, each token that counts is in one minute.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::open::{Open, at, point, request};
use crate::model::usage::{Intake, Point, UsageRecord, source};
use crate::store::minute::{LeftOut, last_due};

/// Something that arrives, or happens to tallyd.
#[derive(Clone, Debug)]
enum Step {
    Request {
        source: &'static str,
        id: u8,
        session: u8,
        ago: i64,
        input: u64,
    },
    Counter {
        session: u8,
        ago: i64,
        value: u64,
    },
    Restart,
    Pass {
        seconds: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let ago = || prop_oneof![3 => 0_i64..40, 1 => 0_i64..4_000, 1 => -60_i64..0];
    let sources = vec!["gateway", "litellm", source::EVENTS];
    prop_oneof![
        6 => (prop::sample::select(sources), 0..6_u8, 0..2_u8, ago(), 10..14_u64).prop_map(
            |(source, id, session, ago, input)| Step::Request { source, id, session, ago, input }
        ),
        2 => (0..2_u8, ago(), 1..40_u64)
            .prop_map(|(session, ago, value)| Step::Counter { session, ago, value }),
        1 => Just(Step::Restart),
        3 => (1_i64..100).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-200_i64..0).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

async fn seal_due(open: &Open, seconds: i64) {
    let last = last_due(at(seconds));
    for minute in open.ledger.unsealed_minutes(0, last).await.unwrap() {
        assert!(open.seal(minute).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_token_that_counts_is_in_one_minute_or_left_out(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut now = 5_000;
            let mut open = Open::at(folder.path(), at(now));
            let mut left_out = [0_u64; 3];
            let reasons = [LeftOut::TooOld, LeftOut::ClockBack, LeftOut::NegativeCorrection];
            let gather = |open: &Open, left_out: &mut [u64; 3]| {
                for (sum, reason) in left_out.iter_mut().zip(reasons) {
                    *sum += open.left_out(reason).1;
                }
            };
            for (number, step) in steps.into_iter().enumerate() {
                let mut intake = Intake::default();
                match step {
                    Step::Request { source, id, session, ago, input } => {
                        intake.records.push(UsageRecord {
                            source: source.into(),
                            request_id: Some(format!("req_{}", id / 2).into()),
                            session: Some(session.to_string().into()),
                            ..request(&id.to_string(), now - ago, input)
                        });
                    }
                    Step::Counter { session, ago, value } => {
                        let mut series = [session; 16];
                        series[0] = u8::try_from(number).unwrap();
                        let point = point(&session.to_string(), now - ago, value);
                        intake.points.push(Point { series, ..point });
                    }
                    Step::Restart => {
                        gather(&open, &mut left_out);
                        open.close();
                        open = Open::at(folder.path(), at(now));
                    }
                    Step::Pass { seconds } => {
                        now += seconds;
                        open.set(now);
                        seal_due(&open, now).await;
                    }
                }
                if !intake.is_empty() {
                    open.ledger.append(intake).await.unwrap();
                }
            }
            seal_due(&open, now + 1_000).await;
            gather(&open, &mut left_out);
            let in_minutes: f64 = open.sums("tokens_processed").await.iter().map(|m| m.1).sum();
            let usage = open.ledger.usage(crate::model::query::UsageQuery {
                from: at(-86_400),
                to: at(86_400),
                group_by: Vec::new(),
                zone: TimeZone::UTC,
                user: None,
            }).await.unwrap();
            let counted: u64 = usage.rows.iter().map(|row| row.tokens.total()).sum();
            let [too_old, clock_back, negative] = left_out;
            let told = in_minutes + (too_old + clock_back) as f64 - negative as f64;
            assert_eq!(Some(told), Some(counted as f64));
            open.close();
        });
    }
}
