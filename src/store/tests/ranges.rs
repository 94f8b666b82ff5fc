//! What a question covers: quarter hours where they are kept, whole days before.

use std::ops::Range;

use super::*;

const OLD: &str = "2025-01-15T10:07:00Z";
const NEW: &str = "2026-11-20T10:07:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn open(folder: &Path, zone: &str) -> (Ledger, WriterThread) {
    let settings = Settings {
        folder: folder.to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::get(zone).unwrap(),
    };
    let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
    let opened = Ledger::open(&settings, terms, clock()).unwrap();
    opened.start(Box::new(|_, _| {})).unwrap()
}

fn told(id: &str, when: &str) -> Intake {
    let tokens = Tokens {
        input: 10,
        ..Tokens::default()
    };
    let record = UsageRecord::new(
        source::GATEWAY,
        id,
        at(when),
        Arc::default(),
        Arc::new(Sku::default()),
        tokens,
    );
    Intake {
        records: vec![record],
        ..Intake::default()
    }
}

async fn ask(
    ledger: &Ledger,
    range: Range<&str>,
    by: &[Dimension],
    zone: &str,
) -> Result<(Range<Timestamp>, Vec<String>, u64), String> {
    let query = UsageQuery {
        from: at(range.start),
        to: at(range.end),
        group_by: by.to_vec(),
        zone: TimeZone::get(zone).unwrap(),
        user: None,
    };
    let told = ledger
        .usage(query)
        .await
        .map_err(|error| error.to_string())?;
    let keys = told.rows.iter().flat_map(|row| row.keys.clone());
    let tokens = told.rows.iter().map(|row| row.tokens.total()).sum();
    Ok((told.range, keys.collect(), tokens))
}

#[tokio::test]
async fn an_answer_says_of_which_range_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, thread) = open(folder.path(), "Asia/Tokyo");
    ledger.append(told("old", OLD)).await.unwrap();
    ledger.append(told("new", NEW)).await.unwrap();
    let quarter = at("2026-11-20T10:00:00Z")..at("2026-11-20T10:15:00Z");
    let part = "2026-11-20T10:01:00Z".."2026-11-20T10:05:00Z";
    let seen = ask(&ledger, part, &[], "UTC").await;
    assert_eq!(seen, Ok((quarter, vec![], 10)));
    let utc_day = at("2025-01-15T00:00:00Z")..at("2025-01-16T00:00:00Z");
    let part = "2025-01-15T11:00:00Z".."2025-01-15T12:00:00Z";
    let seen = ask(&ledger, part.clone(), &[], "UTC").await;
    assert_eq!(seen, Ok((utc_day.clone(), vec![], 10)));
    let seen = ask(&ledger, part.clone(), &[Dimension::Day], "UTC").await;
    assert_eq!(seen, Ok((utc_day, vec!["2025-01-15".to_owned()], 10)));
    let tokyo = "2025-01-14T15:00:00Z".."2025-01-15T15:00:00Z";
    let seen = ask(&ledger, tokyo.clone(), &[Dimension::Day], "Asia/Tokyo").await;
    let range = at(tokyo.start)..at(tokyo.end);
    assert_eq!(seen, Ok((range, vec!["2025-01-15".to_owned()], 10)));
    let refused = "before 2026-07-31T15:00:00Z only whole days in UTC and Asia/Tokyo are kept: ";
    for (by, zone, mend) in [
        (Dimension::Hour, "UTC", "group by day, or begin later"),
        (
            Dimension::Day,
            "Asia/Kathmandu",
            "use such a zone, or begin later",
        ),
    ] {
        let seen = ask(&ledger, part.clone(), &[by], zone).await;
        assert_eq!(seen, Err(format!("{refused}{mend}")));
    }
    ledger.close();
    thread.join();
}

#[tokio::test]
async fn a_new_zone_tells_of_old_days_in_utc_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    for (zone, id) in [
        ("Asia/Tokyo", "a"),
        ("Europe/Berlin", "b"),
        ("Asia/Tokyo", "c"),
    ] {
        let (ledger, thread) = open(folder.path(), zone);
        ledger.append(told(id, OLD)).await.unwrap();
        ledger.close();
        thread.join();
    }
    let (ledger, thread) = open(folder.path(), "Asia/Tokyo");
    // A month of Tokyo, of which there are no rows since the zone came back.
    let month = "2024-12-31T15:00:00Z".."2025-01-31T15:00:00Z";
    let (range, _, tokens) = ask(&ledger, month, &[], "Asia/Tokyo").await.unwrap();
    assert_eq!(tokens, 30);
    assert_eq!(
        range,
        at("2024-12-31T00:00:00Z")..at("2025-02-01T00:00:00Z")
    );
    ledger.close();
    thread.join();
}
