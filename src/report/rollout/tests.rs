//! Phases over a ledger with real activity.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, ToSpan as _};

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::model::bill::Basis;
use crate::model::business::BusinessEvent;
use crate::model::identity::{Identity, Origin};
use crate::model::usage::{Activity, ActivityMetric, Intake};
use crate::record::testing::Scratch;
use crate::report::{Name, ReportError};
use crate::store::{Delivery, Terms};

const NOW: &str = "2026-11-20T12:00:00Z";

struct House {
    scratch: Scratch,
    reports: Reports,
    now: Timestamp,
}

impl House {
    fn new(settings: &str) -> Self {
        let now: Timestamp = NOW.parse().expect("a time");
        let scratch = Scratch::new(Clock::manual(now));
        let config = Config::parse(settings, &Environment::default());
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let reports = Reports {
            ledger: scratch.recorder.ledger().clone(),
            config: Arc::new(ArcSwap::from_pointee(config)),
            terms: Arc::new(ArcSwap::from_pointee(Terms::default())),
            heard: Arc::default(),
        };
        Self {
            scratch,
            reports,
            now,
        }
    }

    /// A person of a team is active at the keyboard for so many minutes.
    async fn active(&self, user: &str, team: &str, day: i64, minutes: u64) {
        let at = self.now - SignedDuration::from_hours(24 * day);
        let identity = Identity {
            user: Some(user.into()),
            team: Some(team.into()),
            origin: Origin::Email,
            ..Identity::default()
        };
        let mut id = [0; 16];
        for (place, byte) in format!("{user}{day}").bytes().take(16).enumerate() {
            id[place] = byte;
        }
        let activity = Activity {
            source: "events".into(),
            id,
            at,
            identity: Arc::new(identity),
            metric: ActivityMetric::ActiveTime,
            labels: Arc::from([Box::from("user")]),
            amount: minutes * 60_000,
        };
        let intake = Intake {
            activities: vec![activity],
            ..Intake::default()
        };
        self.scratch.recorder.record(intake).await.expect("it is taken");
    }

    async fn change(&self, number: u32, day: i64) {
        let at = self.now - SignedDuration::from_hours(24 * day);
        let event = BusinessEvent {
            source: "github".into(),
            id: format!("1#{number}").into(),
            at,
            updated: at,
            kind: "change".into(),
            is_fix: false,
            claude: Some(true),
            commit: None,
            user: None,
            team: Some("platform".into()),
            amount: 1_000_000,
        };
        let delivery = Delivery {
            source: "github",
            id: number.to_string().into(),
        };
        let taken = self.reports.ledger.take_change(delivery, event, self.now);
        taken.await.expect("it is taken");
    }

    async fn told(&self, kind: &str, amount: i64) {
        let event = BusinessEvent {
            source: "audit".into(),
            id: kind.into(),
            at: self.now - SignedDuration::from_hours(1),
            updated: self.now,
            kind: kind.into(),
            is_fix: false,
            claude: None,
            commit: None,
            user: None,
            team: None,
            amount,
        };
        let taken = self.reports.ledger.take_events(vec![event], self.now);
        taken.await.expect("it is taken");
    }

    async fn run(&self, name: Name) -> Result<Report, ReportError> {
        let request = Request {
            from: self.now - SignedDuration::from_hours(24 * 30),
            to: self.now,
            zone: TimeZone::UTC,
            group_by: Vec::new(),
            basis: Basis::default(),
            decimals: 2,
            currency: "USD".into(),
        };
        self.reports.run(name, &request, self.now).await
    }

    /// Phase, criterion, value and outcome of each line, and its source.
    async fn lines(&self) -> Vec<[String; 5]> {
        let report = self.run(Name::Rollout).await.expect("a report");
        rows(&report.tables[0], ["phase", "criterion", "measured", "outcome", "source"])
    }
}

/// The cells of some columns, as text.
fn rows<const N: usize>(table: &Table, names: [&str; N]) -> Vec<[String; N]> {
    let mut cells = Vec::new();
    let places = names.map(|name| {
        let place = table.columns.iter().position(|column| column.name == name);
        place.unwrap_or_else(|| panic!("a column {name}"))
    });
    (0..table.rows.len())
        .map(|index| {
            table.rows.row(index, &mut cells);
            places.map(|place| match &cells[place] {
                Cell::Empty => String::new(),
                Cell::Text(text) => text.to_string(),
                Cell::Decimal(value) => value.to_string(),
                Cell::Money(money) => money.to_string(),
                other => format!("{other:?}"),
            })
        })
        .collect()
}

/// A pilot of eight that ended, a department's phase that runs, and one that has not begun.
const PHASES: &str = r#"
    [business]
    headcount = 200
    headcount_source = "staff list of 2026-11-01"
    hourly_rate = 60
    seats = 8
    seat_usd_per_month = 30
    minutes_saved_per_active_minute = {low = -0.2, mid = 0.1, high = 0.5}
    realisation = {low = 1, mid = 1, high = 1}
    measures = ["security_incidents", "security_compliance"]

    [[business.phases]]
    name = "Pilot Program"
    from = "2026-11-01"
    to = "2026-11-11"
    groups = ["platform"]
    headcount = 8
    criteria = ["productivity_gain > 20%", "security_incidents == 0", "adoption_rate > 80%"]

    [[business.phases]]
    name = "Department Rollout"
    from = "2026-11-11"
    to = "2026-12-01"
    groups = ["payments"]
    criteria = ["adoption_rate > 80%", "bugs_fixed > 3", "active_users >= 1"]

    [[business.phases]]
    name = "Enterprise Wide"
    from = "2026-11-11"
    to = "2027-02-15"
    criteria = ["adoption_rate > 0.8", "roi_percent > 300", "security_compliance == 1"]

    [[business.phases]]
    name = "Later"
    from = "2027-02-15"
    to = "2027-03-15"
    criteria = ["roi_percent > 300"]
"#;

#[tokio::test]
async fn each_criterion_is_met_not_met_or_not_measurable() {
    let house = House::new(PHASES);
    // November 11th is nine days ago. The pilot: eight people, 30 changes after 20 before it.
    for number in 0..7 {
        house.active(&format!("pilot{number}"), "platform", 12, 60).await;
    }
    for number in 0..20 {
        house.change(number, 24).await;
    }
    house.change(99, 40).await;
    for number in 100..130 {
        house.change(number, 14).await;
    }
    for number in 0..3 {
        house.active(&format!("pay{number}"), "payments", 2, 100).await;
    }
    house.told("security_compliance", 1_000_000).await;
    let told: Vec<[String; 4]> = house
        .lines()
        .await
        .into_iter()
        .map(|[phase, criterion, value, outcome, _]| [phase, criterion, value, outcome])
        .collect();
    let line = |phase: &str, criterion: &str, value: &str, outcome: &str| {
        [phase, criterion, value, outcome].map(str::to_owned)
    };
    let (pilot, department, company) = ("Pilot Program", "Department Rollout", "Enterprise Wide");
    let unknown = "not measurable";
    // 300 minutes, of which a tenth is saved, at a dollar a minute: 30 dollars beside ten days of
    // eight seats, at 30 dollars each in a month of 30 days: nine and a half days cost 76.
    assert_eq!(
        told,
        [
            line(pilot, "productivity_gain > 0.2", "500", "met"),
            line(pilot, "security_incidents == 0", "", unknown),
            line(pilot, "adoption_rate > 0.8", "875", "met"),
            line(department, "adoption_rate > 0.8", "", unknown),
            line(department, "bugs_fixed > 3", "", unknown),
            line(department, "active_users >= 1", "", unknown),
            line(company, "adoption_rate > 0.8", "15", "not met"),
            line(company, "roi_percent > 300", "-60526", "not met"),
            line(company, "security_compliance == 1", "1000", "met"),
            line("Later", "roi_percent > 300", "", unknown),
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_measured_says_why() {
    let house = House::new(
        "[business]\n[[business.phases]]\nname = \"a\"\nfrom = 2026-11-01\nto = 2026-11-30\n\
         criteria = [\"adoption_rate > 0\", \"roi_percent > 0\", \"productivity_gain > 0\", \
         \"merged_changes > 0\", \"acceptance_rate > 0\", \"retention_rate > 0.5\"]\n",
    );
    for number in 0..6 {
        house.active(&format!("p{number}"), "a", 2, 60).await;
    }
    let sources: Vec<String> = house.lines().await.into_iter().map(|[.., source]| source).collect();
    assert_eq!(
        sources,
        [
            "business.headcount is not stated",
            "no assumption says how much time is saved",
            "no webhook has told of merged changes",
            "no webhook and no tracker is configured",
            "there is nothing to share: edits that people decided over, from telemetry",
            "there is nothing to share: people of the first week who were active in the last one",
        ]
    );
}

#[tokio::test]
async fn without_phases_there_is_no_rollout() {
    let error = House::new("").run(Name::Rollout).await.expect_err("no phases");
    assert_eq!(error.to_string(), "business.phases: no phase is configured");
}

#[tokio::test]
async fn roi_tells_the_four_kinds_of_work_and_the_return() {
    let house = House::new(PHASES);
    for number in 0..6 {
        house.active(&format!("a{number}"), "platform", 3, 100).await;
    }
    house.active("b0", "payments", 3, 400).await;
    let report = house.run(Name::Roi).await.expect("a report");
    let names = ["category", "in_total", "time_saved_minutes_mid", "value_usd_mid", "roi_percent_low", "cost_usd"];
    let told = rows(&report.tables[0], names);
    // 1,000 minutes at the keyboard. Eight seats cost 240 dollars a month: 10.5 of October's 31
    // days and 19.5 of November's 30.
    let cost = "237.2903";
    assert_eq!(told[0], ["development", "yes", "100000", "100.00", "", ""].map(str::to_owned));
    assert_eq!(told[1][..2], ["bug_fixing", "no"].map(str::to_owned));
    assert_eq!(told[4][..4], ["total", "", "100000", "100.00"].map(str::to_owned));
    assert!(told[4][5].starts_with(cost), "{told:?}");
    assert!(told[4][4].starts_with('-'), "a loss is shown: {told:?}");
    // One person of a team is not told, and takes the only other team along.
    let teams = rows(&report.tables[1], ["team", "roi_percent_mid"]);
    assert_eq!(teams.len(), 1);
    assert_eq!(teams[0][0], "(other teams)");
    let notes = report.manifest.notes.join("\n");
    assert!(notes.contains("Assumptions: stated-") && notes.contains("METR"), "{notes}");
}

#[tokio::test]
async fn roi_is_never_told_by_person() {
    let house = House::new("");
    for names in [vec!["user"], vec!["team", "user"], vec!["model"]] {
        let request = Request {
            from: house.now.checked_sub(24.hours()).expect("a time"),
            to: house.now,
            zone: TimeZone::UTC,
            group_by: names.iter().map(|name| (*name).into()).collect(),
            basis: Basis::default(),
            decimals: 2,
            currency: "USD".into(),
        };
        let error = house.reports.run(Name::Roi, &request, house.now).await;
        let error = error.expect_err("no persons").to_string();
        assert!(error.starts_with("group_by: must be team"), "{error}");
    }
}
