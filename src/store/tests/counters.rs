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

/// A GenAI series of a user, as gateways send them.
fn tokens(user: &str, kind: TokenKind, value: u64, temporality: Temporality) -> Intake {
    let sku = sku(Band::Mixed);
    let what = match kind {
        TokenKind::Input => Counted::Tokens { kind, sku },
        _ => Counted::IncludedTokens { kind, sku },
    };
    let mut intake = point(source::GENAI, 1, value, temporality, what);
    intake.points[0].series[..2].copy_from_slice(&[kind as u8, user.as_bytes()[0]]);
    intake.points[0].identity = identity(Some(user), None);
    intake
}

async fn kinds(open: &Open) -> [u64; 3] {
    let rows = open.totals(&[]).await;
    let tokens = rows.first().map_or_else(Tokens::default, |row| row.tokens);
    [tokens.input, tokens.cache_read, tokens.cache_write_unknown]
}

#[tokio::test]
async fn an_inclusive_input_is_made_disjoint_whatever_comes_first_and_together() {
    use TokenKind::{CacheCreation, CacheRead, Input};
    let series = [(Input, 1000), (CacheRead, 600), (CacheCreation, 100)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for per_commit in [1, 3] {
            for temporality in [Temporality::Delta, Temporality::Cumulative] {
                let folder = tempfile::tempdir().unwrap();
                for chunk in order.chunks(per_commit) {
                    let open = Open::at(folder.path());
                    let mut whole = Intake::default();
                    for index in chunk {
                        let (kind, value) = series[*index];
                        let one = tokens("alice", kind, value, temporality);
                        whole.points.extend(one.points.clone());
                        whole.points.extend(one.points);
                    }
                    open.ledger.append(whole).await.unwrap();
                    open.close();
                }
                let open = Open::at(folder.path());
                assert_eq!(kinds(&open).await, [300, 600, 100], "{order:?}");
                open.close();
            }
        }
    }
}

#[tokio::test]
async fn an_input_smaller_than_its_cache_is_zero_and_takes_nothing_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    for (user, kind, value) in [
        ("alice", TokenKind::Input, 1000),
        ("bob", TokenKind::CacheRead, 700),
    ] {
        let intake = tokens(user, kind, value, Temporality::Delta);
        open.ledger.append(intake).await.unwrap();
    }
    assert_eq!(kinds(&open).await, [1000, 700, 0]);
    open.close();
}
