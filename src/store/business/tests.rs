//! Minutes and activities of business figures.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::model::identity::Origin;
use crate::model::usage::{Activity, Intake};
use crate::store::{
    Dimensions, MinuteQuery, Outbox, Seal, Settings, WriterThread, last_due, minute_at,
};

const NOW: &str = "2026-11-22T12:00:30Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn open(folder: &Path, settings: &str) -> (Ledger, WriterThread) {
    let config = Config::parse(settings, &Environment::default());
    let business = config.unwrap_or_else(|faults| panic!("{faults}")).business;
    let terms = Terms {
        business: BusinessTerms {
            tells_bugs: business.tells_bugs(),
            assumptions: Some(Arc::new(business.assumptions)),
        },
        ..Terms::default()
    };
    let terms = Arc::new(ArcSwap::from_pointee(terms));
    let how = Settings {
        folder: folder.to_owned(),
        retain_raw: Duration::from_hours(90 * 24),
        zone: TimeZone::UTC,
    };
    let opened = Ledger::open(&how, terms, Clock::manual(now())).expect("a fresh ledger");
    opened.start(Box::new(|_, _| {})).expect("a writer")
}

/// Seals the minute of now, through which tallyd ran, and tells the business metrics in it.
async fn sealed(ledger: &Ledger) -> Vec<(&'static str, f64)> {
    let later = now() + SignedDuration::from_mins(2);
    let minute = minute_at(now());
    assert!(minute <= last_due(later));
    let seal = Seal {
        minute,
        is_whole: true,
        gauges: Vec::new(),
        objective: 0.99,
        outbox: Outbox::Leave,
        keep_from: 0,
    };
    ledger.seal(seal).await.expect("it is sealed");
    let query = MinuteQuery {
        from: minute,
        to: minute + 1,
        metrics: vec!["bugs_fixed", "time_saved_minutes", "cost_savings_usd"],
        dimensions: Dimensions::All,
    };
    let minutes = ledger.minutes(query).await.expect("minutes");
    let told = minutes.iter();
    let mut told: Vec<_> = told
        .map(|one| (one.series.metric, one.datapoint.sum))
        .collect();
    told.sort_by_key(|(metric, _)| *metric);
    told
}

fn activity(id: u8, metric: ActivityMetric, labels: &[&str], amount: u64) -> Activity {
    Activity {
        source: "events".into(),
        id: [id; 16],
        at: now(),
        identity: Arc::new(Identity {
            user: Some("ada".into()),
            team: Some("payments".into()),
            origin: Origin::Email,
            ..Identity::default()
        }),
        metric,
        labels: labels.iter().map(|label| Box::from(*label)).collect(),
        amount,
    }
}

fn fix(id: &str, claude: bool) -> BusinessEvent {
    BusinessEvent {
        source: "jira".into(),
        id: id.into(),
        at: now(),
        updated: now(),
        kind: "bug_fixed".into(),
        is_fix: true,
        claude: Some(claude),
        commit: None,
        user: None,
        team: None,
        amount: 1_000_000,
    }
}

async fn record(ledger: &Ledger, activities: Vec<Activity>) {
    let intake = Intake {
        activities,
        ..Intake::default()
    };
    ledger.append(intake).await.expect("it is taken");
}

#[tokio::test]
async fn minutes_are_missing_without_a_source_and_zero_with_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, _thread) = open(folder.path(), "");
    record(
        &ledger,
        vec![activity(1, ActivityMetric::ActiveTime, &["user"], 60_000)],
    )
    .await;
    assert_eq!(sealed(&ledger).await, []);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "[business]\nevents = true\nhourly_rate = 60\n\
        minutes_saved_per_active_minute = {low = 0, mid = 0.5, high = 1}\n";
    let (ledger, _thread) = open(folder.path(), settings);
    assert_eq!(
        sealed(&ledger).await,
        [
            ("bugs_fixed", 0.0),
            ("cost_savings_usd", 0.0),
            ("time_saved_minutes", 0.0)
        ]
    );
}

#[tokio::test]
async fn time_at_the_keyboard_adds_to_its_minute_also_what_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "[business]\nhourly_rate = 60\n\
        minutes_saved_per_active_minute = {low = -0.5, mid = -0.25, high = 0}\n\
        realisation = {low = 1, mid = 1, high = 1}\n";
    let (ledger, _thread) = open(folder.path(), settings);
    let activities = vec![
        activity(1, ActivityMetric::ActiveTime, &["user"], 240_000),
        activity(2, ActivityMetric::ActiveTime, &["cli"], 600_000),
        activity(3, ActivityMetric::Commits, &[], 5),
    ];
    record(&ledger, activities.clone()).await;
    // Told again: it is known.
    record(&ledger, activities).await;
    assert_eq!(
        sealed(&ledger).await,
        [("cost_savings_usd", -1.0), ("time_saved_minutes", -1.0)]
    );
}

#[tokio::test]
async fn units_add_to_their_minute_each_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "[business]\nevents = true\naccepted_unit = \"edit\"\n\
        minutes_saved_per_accepted_unit = {low = 1, mid = 3, high = 4}\n\
        review_minutes_per_accepted_unit = 1\n\
        minutes_saved_per_code_review = {low = 1, mid = 10, high = 11}\n";
    let (ledger, _thread) = open(folder.path(), settings);
    let edit = |id, decision, source| {
        let labels = ["Edit", decision, source, "rust"];
        activity(id, ActivityMetric::EditDecisions, &labels, 1)
    };
    let edits = vec![
        edit(1, "accept", "user_temporary"),
        edit(2, "accept", "config"),
        edit(3, "reject", "user_reject"),
    ];
    record(&ledger, edits).await;
    let review = BusinessEvent {
        kind: "code_review".into(),
        is_fix: false,
        ..fix("r", true)
    };
    let events = vec![fix("1", true), fix("2", false), fix("1", true), review];
    let effects = ledger
        .take_events(events, now())
        .await
        .expect("they are taken");
    let taken: Vec<Taken> = effects.iter().map(|effect| effect.taken).collect();
    assert_eq!(
        taken,
        [Taken::New, Taken::New, Taken::Unchanged, Taken::New]
    );
    // One edit that a person accepted, less its review, and one review.
    assert_eq!(
        sealed(&ledger).await,
        [("bugs_fixed", 2.0), ("time_saved_minutes", 12.0)]
    );
}

#[tokio::test]
async fn what_happened_long_ago_is_in_no_minute_and_that_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, _thread) = open(folder.path(), "[business]\nevents = true\n");
    let old = BusinessEvent {
        at: now() - SignedDuration::from_hours(48),
        ..fix("1", true)
    };
    let effects = ledger
        .take_events(vec![old], now())
        .await
        .expect("it is taken");
    assert_eq!(effects[0].left_out, Some(LeftOut::TooOld));
    assert_eq!(effects[0].bugs, [("yes".into(), 1)]);
    assert_eq!(sealed(&ledger).await, [("bugs_fixed", 0.0)]);
}

#[tokio::test]
async fn activities_are_told_by_person_team_and_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, _thread) = open(folder.path(), "");
    record(
        &ledger,
        vec![
            activity(1, ActivityMetric::Lines, &["added", "claude-sonnet-4-6"], 7),
            activity(2, ActivityMetric::Lines, &["added", "claude-sonnet-4-6"], 5),
            activity(3, ActivityMetric::Events, &["user_prompt"], 1),
        ],
    )
    .await;
    let hour = SignedDuration::from_hours(1);
    let told = ledger
        .activities(now() - hour, now() + hour)
        .await
        .expect("they are told");
    assert_eq!(
        told,
        [ActivitySum {
            user: "ada".to_owned(),
            is_person: true,
            team: "payments".to_owned(),
            metric: ActivityMetric::Lines,
            labels: vec!["added".into(), "claude-sonnet-4-6".into()],
            amount: 12,
        }]
    );
    assert_eq!(
        ledger
            .activities(now() + hour, now() + hour + hour)
            .await
            .expect("none"),
        []
    );
}
