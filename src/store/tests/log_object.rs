//! What was read of logs is remembered.

use std::collections::HashSet;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_source_goes_on_where_it_was_and_never_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let (name, before) = ("s3://a/b".to_owned(), time("2026-11-22T11:00:00Z"));
    let begun = ledger.log_progress(name.clone(), time(NOON), before).await;
    let begun = begun.unwrap();
    assert_eq!((begun.since, begun.read_to), (time(NOON), before));
    let later = time("2026-11-22T13:00:00Z");
    ledger.log_read_to(begun.id, later).await.unwrap();
    ledger.log_read_to(begun.id, time(NOON)).await.unwrap();
    let again = ledger.log_progress(name, later, later).await;
    let expected = LogProgress {
        read_to: later,
        ..begun
    };
    assert_eq!(again.unwrap(), expected);
    open.close();
}

#[tokio::test]
async fn an_object_is_known_by_key_and_version_until_its_hour_is_long_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    let ledger = &open.ledger;
    let [old, new, flat] = ["1", "2", "3"].map(|version| LogObject::new("key", version));
    let hour = time(NOON).as_second() / 3_600;
    ledger.log_read(1, old, hour).await.unwrap();
    ledger.log_read(1, flat, NO_HOUR).await.unwrap();
    let all = vec![old, new, flat];
    let known = ledger.logs_read(1, all.clone()).await.unwrap();
    assert_eq!(known, HashSet::from([old, flat]));
    assert!(ledger.logs_read(2, all.clone()).await.unwrap().is_empty());
    let long_after = time("2027-03-22T12:00:00Z");
    ledger.log_read_to(1, long_after).await.unwrap();
    let known = ledger.logs_read(1, all).await.unwrap();
    assert_eq!(known, HashSet::from([flat]));
    open.close();
}
