//! What counters count, over restarts.

use super::*;

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
