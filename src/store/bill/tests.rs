//! Days, revisions and what counts.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use super::*;
use crate::clock::Clock;
use crate::model::bill::BillForecast;
use crate::store::{Settings, Terms, WriterThread};

fn open(folder: &std::path::Path) -> (Ledger, WriterThread) {
    let settings = Settings {
        folder: folder.to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
    let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
    let opened = Ledger::open(&settings, terms, clock).unwrap();
    opened.start(Box::new(|_, _| ())).unwrap()
}

fn a_line(usage_type: &str, unblended: i128) -> BillLine {
    BillLine {
        provider: "bedrock".into(),
        account: "111122223333".into(),
        day: "2026-10-31".parse().unwrap(),
        charge: Charge::Tokens,
        sku: BilledSku {
            model: Some("claude-sonnet-4-6".into()),
            kind: Some(PricedKind::CacheWrite1h),
            scope: Some("global".into()),
            region: Some("us-east-1".into()),
            tier: Tier::Batch,
            long_context: true,
        },
        service: "Claude Sonnet 4.6 (Amazon Bedrock Edition)".into(),
        usage_type: usage_type.into(),
        user: Some("arn:aws:sts::111122223333:assumed-role/dev/kim".into()),
        quantity: "1.5".into(),
        unit: "Units".into(),
        tokens: Some(1_500_000),
        currency: "USD".into(),
        amounts: Amounts {
            unblended: Some(PicoUsd(unblended)),
            net: None,
            blended: Some(PicoUsd(i128::MIN)),
        },
    }
}

fn a_day(pulled_at: &str, lines: Vec<BillLine>) -> BillDay {
    BillDay {
        source: "cost_explorer".into(),
        provider: "bedrock".into(),
        account: "111122223333".into(),
        day: "2026-10-31".parse().unwrap(),
        estimated: false,
        revision: 0,
        pulled_at: pulled_at.parse().unwrap(),
        lines,
    }
}

async fn read(ledger: &Ledger) -> Vec<BillDay> {
    let from = "2026-10-01".parse().unwrap();
    let to = "2026-11-01".parse().unwrap();
    ledger.bill(from, to).await.unwrap()
}

#[tokio::test]
async fn a_day_is_read_back_as_it_was_and_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, thread) = open(folder.path());
    let [a, b, c] = [a_line("a", -1), a_line("b", i128::MAX), a_line("c", 3)];
    let first = a_day("2026-11-02T06:00:00Z", vec![b.clone(), a.clone()]);
    assert_eq!(ledger.replace_bill_day(first).await.unwrap(), Some(1));
    let sorted = |pulled_at, revision, lines| BillDay {
        revision,
        ..a_day(pulled_at, lines)
    };
    let known = sorted("2026-11-02T06:00:00Z", 1, vec![a.clone(), b.clone()]);
    assert_eq!(read(&ledger).await, [known]);

    // The same lines in another order are the same day, read once more.
    let again = a_day("2026-11-09T06:00:00Z", vec![a.clone(), b.clone()]);
    assert_eq!(ledger.replace_bill_day(again).await.unwrap(), None);
    let known = sorted("2026-11-09T06:00:00Z", 1, vec![a.clone(), b]);
    assert_eq!(read(&ledger).await, [known]);

    // What the new reading does not have is gone.
    let later = a_day("2026-11-10T06:00:00Z", vec![c.clone(), a.clone()]);
    let replaced = ledger.replace_bill_days(vec![later]).await.unwrap();
    let revised = |revision, after_final| {
        [Some(Replaced {
            revision,
            after_final,
        })]
    };
    assert_eq!(replaced, revised(2, false));
    let known = sorted("2026-11-10T06:00:00Z", 2, vec![a, c]);
    assert_eq!(read(&ledger).await, [known]);

    // That reading was final; a change of it is told. An empty day is a day, too.
    let empty = a_day("2026-11-11T06:00:00Z", Vec::new());
    let replaced = ledger.replace_bill_days(vec![empty]).await.unwrap();
    assert_eq!(replaced, revised(3, true));
    let known = sorted("2026-11-11T06:00:00Z", 3, Vec::new());
    assert_eq!(read(&ledger).await, [known]);
    ledger.close();
    thread.join();
}

#[tokio::test]
async fn only_the_newest_revisions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, thread) = open(folder.path());
    for amount in 0..30 {
        let day = a_day("2026-11-02T06:00:00Z", vec![a_line("a", amount)]);
        ledger.replace_bill_day(day).await.unwrap();
    }
    let kept: (i64, i64, i64) = ledger
        .read(|reader| {
            let row = reader.connection.query_row(
                "SELECT count(*), min(revision), (SELECT count(*) FROM bill_revision) \
                 FROM bill_line",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            );
            Ok(row.map_err(StoreError::sql("count"))?)
        })
        .await
        .unwrap();
    assert_eq!(kept, (20, 11, 20));
    assert_eq!(read(&ledger).await[0].revision, 30);
    ledger.close();
    thread.join();
}

#[test]
fn days_are_numbered_both_ways() {
    for day in ["1970-01-01", "2026-11-22", "2028-02-29", "1969-12-31"] {
        let day: Date = day.parse().unwrap();
        assert_eq!(date(number(day)), day);
    }
}

#[tokio::test]
async fn calls_are_counted_by_month_up_to_the_ceiling() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, thread) = open(folder.path());
    let november: Timestamp = "2026-11-30T23:59:59Z".parse().unwrap();
    let december: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let mut booked = Vec::new();
    for now in [november, november, november, december] {
        booked.push(ledger.book_bill_call(now, 2).await.unwrap());
    }
    booked.push(
        ledger
            .book_bill_call("2027-01-01T00:00:00Z".parse().unwrap(), 0)
            .await
            .unwrap(),
    );
    assert_eq!(booked, [true, true, false, true, false]);
    let counted = [
        ledger.bill_calls(november).await.unwrap(),
        ledger.bill_calls(december).await.unwrap(),
    ];
    assert_eq!(counted, [2, 1]);
    ledger.close();
    thread.join();
}

#[tokio::test]
async fn the_newest_forecast_of_an_account_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, thread) = open(folder.path());
    let forecast = |made_at: &str, mid: i128| BillForecast {
        account: "111122223333".into(),
        from: "2026-11-22".parse().unwrap(),
        to: "2026-12-01".parse().unwrap(),
        currency: "USD".into(),
        low: PicoUsd(mid - 1),
        mid: PicoUsd(mid),
        high: PicoUsd(i128::MAX),
        level: 80,
        made_at: made_at.parse().unwrap(),
    };
    for (made_at, mid) in [("2026-11-21T06:00:00Z", 5), ("2026-11-22T06:00:00Z", 7)] {
        ledger
            .keep_bill_forecast(forecast(made_at, mid))
            .await
            .unwrap();
    }
    let newest = forecast("2026-11-22T06:00:00Z", 7);
    assert_eq!(ledger.bill_forecasts().await.unwrap(), [newest]);
    let day = a_day("2026-11-02T06:00:00Z", Vec::new());
    ledger.replace_bill_day(day).await.unwrap();
    assert_eq!(
        ledger.bill_pulled("cost_explorer").await.unwrap(),
        [(
            "111122223333".to_owned(),
            "2026-11-02T06:00:00Z".parse().unwrap()
        )]
    );
    ledger.close();
    thread.join();
}
