use super::*;
use crate::config::{Config, Environment};

fn parse(text: &str) -> Result<Plans, Vec<String>> {
    let config = Config::parse(text, &Environment::default());
    config
        .map(|config| config.cost.plans)
        .map_err(|faults| faults.0)
}

#[test]
fn budgets_and_fixed_costs_are_read() {
    let plans = parse(
        r#"
        [[cost.budgets]]
        name = "all of it"
        amount = "50000"
        [[cost.budgets]]
        name = "platform"
        amount = "1200.50"
        scope = {team = "platform"}
        timezone = "Asia/Tokyo"
        warn_at = 0.9
        [[cost.fixed]]
        name = "seats"
        amount = "20"
        users = 150
        from = 2026-04-01
        allocate = "even_users"
        [[cost.fixed]]
        name = "training"
        amount = "900"
        period = "once"
        from = "2026-10-01"
        to = "2026-11-01"
        allocate = {cost_center = "4711"}
        "#,
    )
    .unwrap();
    let usd = |cents: i128| PicoUsd(cents * 10_000_000_000);
    let day = |text: &str| text.parse().unwrap();
    assert_eq!(
        plans.budgets,
        [
            Budget {
                name: "all of it".to_owned(),
                amount: usd(5_000_000),
                scope: Scope::All,
                zone: None,
                warn_at: 800_000,
            },
            Budget {
                name: "platform".to_owned(),
                amount: usd(120_050),
                scope: Scope::Team("platform".to_owned()),
                zone: Some(TimeZone::get("Asia/Tokyo").unwrap()),
                warn_at: 900_000,
            },
        ]
    );
    assert_eq!(
        plans.fixed,
        [
            Fixed {
                name: "seats".to_owned(),
                amount: usd(2_000),
                period: Period::Month,
                from: day("2026-04-01"),
                to: None,
                allocate: Allocate::EvenUsers,
                users: Some(150),
            },
            Fixed {
                name: "training".to_owned(),
                amount: usd(90_000),
                period: Period::Once,
                from: day("2026-10-01"),
                to: Some(day("2026-11-01")),
                allocate: Allocate::CostCenter("4711".to_owned()),
                users: None,
            },
        ]
    );
}

#[test]
fn faults_name_the_setting_and_the_mend() {
    let faults = parse(
        r#"
        [cost]
        anomaly_by = ["person"]
        anomaly_threshold = 1
        [[cost.budgets]]
        name = "a"
        amount = "1,000"
        scope = {squad = "x"}
        timezone = "Mars"
        warn_at = 0
        [[cost.budgets]]
        scope = "team"
        [[cost.fixed]]
        name = "b"
        amount = 20
        period = "week"
        allocate = "evenly"
        users = 0
        "#,
    )
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "cost.budgets[0].amount: must be an amount in USD in quotes, such as \"1200.50\", got 1,000",
            "cost.budgets[0].scope: must be \"all\" or a table such as {team = \"platform\"}, of team, cost_center or project, got { squad = \"x\" }",
            "cost.budgets[0].timezone: must be an IANA time zone such as UTC or Asia/Tokyo, got Mars",
            "cost.budgets[0].warn_at: must be a number from 0.01 to 10, with at most 6 decimals, got 0",
            "cost.budgets[1].name: is needed",
            "cost.budgets[1].amount: is needed: USD in quotes, such as \"1200.50\"",
            "cost.budgets[1].scope: must be \"all\" or a table such as {team = \"platform\"}, of team, cost_center or project, got team",
            "cost.fixed[0].amount: must be a text in quotes, got 20",
            "cost.fixed[0].period: must be one of month, year, once, got week",
            "cost.fixed[0].from: is needed: a day such as 2026-04-01",
            "cost.fixed[0].allocate: must be one of even_users, even_teams, proportional, or a table such as {team = \"platform\"}, of team or cost_center, got evenly",
            "cost.fixed[0].users: must be a number of seats from 1 to 10000000",
            "cost.anomaly_by[0]: must be one of team, model, user, got person",
            "cost.anomaly_threshold: must be a number from 2 to 100, with at most 3 decimals, got 1",
        ]
    );
    let twice = "[[cost.budgets]]\nname = \"a\"\namount = \"1\"\n";
    assert_eq!(
        parse(&twice.repeat(2)).unwrap_err(),
        ["cost.budgets[1].name: a is there twice"]
    );
}

#[test]
fn a_faulty_rate_file_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rates.csv");
    std::fs::write(&file, "date,currency,rate,source\n2026-11-30,EUR,x,ECB\n").unwrap();
    let file = file.display();
    assert_eq!(
        parse(&format!("[cost]\ncurrency_rates = \"{file}\"")).unwrap_err(),
        [format!(
            "cost.currency_rates: {file}: line 2: rate: `x` does not belong in a decimal \
             number, got `x`"
        )]
    );
}
