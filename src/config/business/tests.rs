use super::*;
use crate::config::{Config, Environment};
use crate::model::business::{Range, ValueFrom};
use crate::model::money::PicoUsd;

fn read(text: &str) -> Business {
    let config = Config::parse(text, &Environment::default());
    config.unwrap_or_else(|faults| panic!("{faults}")).business
}

fn faults(text: &str) -> Vec<String> {
    Config::parse(text, &Environment::default()).unwrap_err().0
}

#[test]
fn nothing_is_assumed_unless_it_is_stated() {
    let business = read("");
    let assumed = &business.assumptions;
    assert!(!assumed.tell_time());
    assert_eq!((assumed.hourly_rate, &assumed.headcount), (None, &None));
    assert!(!business.tells_bugs());
    assert!(business.phases.is_empty());
}

#[test]
fn numbers_are_read_exactly_however_they_are_written() {
    let business = read(
        "[business]\nminutes_saved_per_active_minute = {low = -0.16, mid = \"0.1\", high = 1}\n\
         hourly_rate = 84.10\n",
    );
    let assumed = business.assumptions;
    assert_eq!(
        assumed.active_minute,
        Some(Range {
            low: -160_000,
            mid: Some(100_000),
            high: 1_000_000
        })
    );
    assert_eq!(assumed.hourly_rate, PicoUsd::parse("84.1").ok());
    assert_eq!(assumed.value_from, ValueFrom::ActiveTime);
}

#[test]
fn a_set_of_assumptions_has_one_id_and_another_set_another() {
    let with = |text: &str| read(&format!("[business]\n{text}")).assumptions.id();
    assert_eq!(with("hourly_rate = 84"), with("hourly_rate = \"84.00\""));
    assert_ne!(with("hourly_rate = 84"), with("hourly_rate = 85"));
    assert!(with("assumptions = \"survey\"").starts_with("survey-"));
}

#[test]
fn active_time_and_units_are_never_both_counted() {
    let both = "[business]\n\
        minutes_saved_per_active_minute = {low = 0, high = 1}\n\
        minutes_saved_per_bug_fixed = {low = 0, high = 60}\n";
    let told = faults(both);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("business.value_from: is needed"),
        "{told:?}"
    );
    let stated = read(&format!("{both}value_from = \"units\"\n"));
    assert_eq!(stated.assumptions.value_from, ValueFrom::Units);
    let units = read("[business]\nminutes_saved_per_operation = {low = 1, high = 2}\n");
    assert_eq!(units.assumptions.value_from, ValueFrom::Units);
}

#[test]
fn faults_say_what_would_be_right() {
    let text = r#"
        [business]
        minutes_saved_per_active_minute = {low = 0.5, mid = 0.1, high = 1}
        minutes_saved_per_bug_fixed = {low = "much", hihg = 1}
        minutes_saved_per_operation = 5
        accepted_unit = "story"
        hourly_rate = -3
        realisation = {low = 0.25, mid = 0.5, high = 1.5}
        headcount = 50
        measures = ["adoption_rate", "No Spaces"]
        github_secret = "0123456789abcdef"
    "#;
    assert_eq!(
        faults(text),
        [
            "business.measures[0]: is a name of tallyd's own",
            "business.measures[1]: must have up to 64 lower-case letters, digits and _",
            "business.github_secret: is a secret: put it into github_secret_file or the variable \
             TALLYD_BUSINESS_GITHUB_SECRET",
            "business.minutes_saved_per_active_minute: must have low <= mid <= high",
            "business.accepted_unit: must be one of pull_request, commit, edit, line, got story",
            "business.minutes_saved_per_bug_fixed.hihg: unknown key",
            "business.minutes_saved_per_bug_fixed.low: must be a number from -525600 to 525600 \
             with up to six decimal places, got much",
            "business.minutes_saved_per_bug_fixed.high: is needed",
            "business.minutes_saved_per_operation: must be a table such as {low = -0.16, mid = 0, \
             high = 0.4}; mid may be left out, got 5",
            "business.hourly_rate: must be an amount in USD such as 85 or 19.50, not negative, got -3",
            "business.realisation: must have low, mid and high between 0 and 1",
            "business.headcount_source: is needed with headcount: who says so and when",
        ]
    );
}

/// The three phases of the guide that tallyd was made for.
pub(crate) const PHASES: &str = r#"
    [business]
    headcount = 200
    headcount_source = "staff list of 2026-11-01"
    measures = ["security_incidents", "code_quality_gain", "security_compliance"]

    [[business.phases]]
    name = "Pilot Program"
    from = "2026-10-01"
    to = "2026-10-15"
    groups = ["senior-developers", "devops"]
    headcount = 8
    criteria = ["productivity_gain > 20%", "security_incidents == 0"]

    [[business.phases]]
    name = "Department Rollout"
    from = 2026-10-15
    to = 2026-11-15
    groups = ["payments", "search"]
    headcount = 50
    criteria = ["adoption_rate > 80%", "code_quality_gain > 0"]

    [[business.phases]]
    name = "Enterprise Wide"
    from = "2026-11-15"
    to = "2027-02-15"
    criteria = ["roi_percent > 300", "security_compliance == 1"]
"#;

#[test]
fn the_phases_of_the_guide_are_read() {
    let phases = read(PHASES).phases;
    let told: Vec<(&str, usize, Vec<String>)> = phases
        .iter()
        .map(|phase| {
            let criteria = phase.criteria.iter().map(ToString::to_string).collect();
            (&*phase.name, phase.participants.teams.len(), criteria)
        })
        .collect();
    let texts = |list: [&str; 2]| list.map(str::to_owned).to_vec();
    assert_eq!(
        told,
        [
            (
                "Pilot Program",
                2,
                texts(["productivity_gain > 0.2", "security_incidents == 0"])
            ),
            (
                "Department Rollout",
                2,
                texts(["adoption_rate > 0.8", "code_quality_gain > 0"])
            ),
            (
                "Enterprise Wide",
                0,
                texts(["roi_percent > 300", "security_compliance == 1"])
            ),
        ]
    );
}

#[test]
fn a_faulty_phase_is_named_with_what_is_known() {
    let told = faults(
        "[[business.phases]]\nname = \"a\"\nfrom = \"2026-11-02\"\nto = \"2026-11-02\"\n\
         criteria = [\"adoption > 0.8\"]\n\
         [[business.phases]]\nname = \"a\"\nfrom = \"soon\"\nheadcount = 0\n",
    );
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[0].starts_with(
        "business.phases[0].criteria[0]: `adoption > 0.8` measures adoption, which is not known; \
         known are adoption_rate, active_users"
    ));
    assert_eq!(
        told[1..],
        [
            "business.phases[0].to: must be after from: it is the day after the last",
            "business.phases[1].from: must be a date such as 2026-11-02",
            "business.phases[1].to: is needed",
            "business.phases[1].headcount: must be more than 0",
        ]
    );
}
