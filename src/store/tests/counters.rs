//! What counters count, over restarts.

use super::*;
use crate::model::usage::Outcome;
use crate::store::published::requests_of;

fn point(source: &str, at_hour: u8, value: u64, temporality: Temporality, what: Counted) -> Intake {
    Intake {
        points: vec![Point {
            source: source.into(),
            series: [u8::try_from(source.len()).unwrap(); 16],
            temporality,
            start: at(at_hour),
            at: at(at_hour),
            value,
            identity: identity(Some("alice"), None),
            session: None,
            what,
        }],
        ..Intake::default()
    }
}

#[tokio::test]
async fn a_sum_since_an_unknown_time_counts_from_its_first_point() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (hour, value) in [(1, 100), (2, 150), (3, 120), (4, 130), (4, 130)] {
        let open = Open::at(folder.path());
        let what = Counted::Tokens {
            kind: TokenKind::Input,
            sku: sku(Band::Mixed),
        };
        let temporality = Temporality::CumulativeFromUnknown;
        let intake = point(source::METRICS, hour, value, temporality, what);
        open.ledger.append(intake).await.unwrap();
        let rows = open.totals(&[]).await;
        seen.push(rows.first().map_or(0, |row| row.tokens.input));
        open.close();
    }
    assert_eq!(seen, [0, 50, 170, 180, 180]);
}

#[tokio::test]
async fn failed_requests_of_counters_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (source, value) in [(source::GENAI, 10), (source::GENAI_ERRORS, 3)] {
        let open = Open::at(folder.path());
        let what = Counted::Requests {
            sku: sku(Band::Mixed),
        };
        let intake = point(source, 1, value, Temporality::Delta, what);
        open.ledger.append(intake).await.unwrap();
        open.close();
    }
    let open = Open::at(folder.path());
    let rows = open.totals(&[]).await;
    assert_eq!((rows[0].requests, rows[0].errors), (13, 3));
    let published = open.close();
    let of = |outcome| -> i64 {
        let amounts = published.values();
        amounts.map(|amounts| amounts[requests_of(outcome)]).sum()
    };
    assert_eq!((of(Outcome::Ok), of(Outcome::Error)), (10, 3));
}
