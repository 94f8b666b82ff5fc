//! Sheets of days always equal the rows that they stand for.

use rusqlite::Connection;

use super::*;

/// What changes rows of days, or makes sheets of them.
#[derive(Clone, Debug)]
enum Step {
    Use { user: u8, days_ago: i64 },
    Upkeep { days_ahead: i64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    // Some are later than all quarter hours that are kept, and go to the days directly.
    let days_ago = prop_oneof![0_i64..4, 100_i64..300, 600_i64..790];
    prop_oneof![
        3 => (0_u8..3, days_ago).prop_map(|(user, days_ago)| Step::Use { user, days_ago }),
        1 => (0_i64..150).prop_map(|days_ahead| Step::Upkeep { days_ahead }),
    ]
}

fn days_from_noon(days: i64) -> Timestamp {
    let noon: Timestamp = NOON.parse().unwrap();
    let days = jiff::SignedDuration::from_hours(24 * days);
    noon.checked_add(days).unwrap()
}

async fn take(open: &Open, number: usize, step: &Step) {
    match step {
        Step::Use { user, days_ago } => {
            let user = format!("user{user}");
            let record = UsageRecord {
                identity: identity(Some(&user), None),
                sku: sku(Band::ALL[number % 2]),
                tokens: Tokens {
                    input: 10 + number as u64,
                    ..Tokens::default()
                },
                ..UsageRecord::plain("gateway", &number.to_string(), days_from_noon(-days_ago))
            };
            let intake = Intake {
                records: vec![record],
                ..Intake::default()
            };
            open.ledger.append(intake).await.unwrap();
        }
        Step::Upkeep { days_ahead } => upkeep(open, *days_ahead).await,
    }
}

async fn upkeep(open: &Open, days_ahead: i64) {
    while open
        .ledger
        .upkeep(days_from_noon(days_ahead))
        .await
        .unwrap()
    {}
}

fn file(folder: &Path) -> Connection {
    Connection::open(folder.join(open::FILE)).unwrap()
}

fn numbers(connection: &Connection, sql: &str) -> Vec<i64> {
    let mut select = connection.prepare(sql).unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// How many sheets there are, each of which equals its rows.
fn check(folder: &Path) -> usize {
    let connection = file(folder);
    let sheets = numbers(&connection, "SELECT start FROM day_sheet");
    for start in &sheets {
        let sheet = day_sheet::read(&connection, *start).unwrap();
        assert_eq!(sheet, day_sheet::parts_of(&connection, *start).unwrap());
    }
    sheets.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sheets_equal_their_rows_whatever_is_written(
        steps in prop::collection::vec(any_step(), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let open = Open::at(folder.path());
            for (number, step) in steps.iter().enumerate() {
                take(&open, number, step).await;
                check(folder.path());
            }
            upkeep(&open, 0).await;
            let days = "SELECT DISTINCT start FROM usage_span WHERE span = 0";
            assert_eq!(check(folder.path()), numbers(&file(folder.path()), days).len());
            open.close();
        });
    }
}

#[tokio::test]
async fn a_damaged_or_unknown_sheet_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = Open::at(folder.path());
    for (number, days_ago) in [2, 2, 3, 4].into_iter().enumerate() {
        take(&open, number, &Step::Use { user: 1, days_ago }).await;
    }
    upkeep(&open, 0).await;
    let expected = open.totals(&[Dimension::Day]).await;
    assert_eq!(expected.len(), 3);
    let sheets = check(folder.path());
    for damage in [
        "UPDATE day_sheet SET columns = zeroblob(length(columns))",
        "UPDATE day_sheet SET columns = substr(columns, 1, 20)",
        "UPDATE day_sheet SET version = 99",
    ] {
        file(folder.path()).execute(damage, []).unwrap();
        assert_eq!(open.totals(&[Dimension::Day]).await, expected, "{damage}");
    }
    // Those of another version are made anew.
    upkeep(&open, 0).await;
    assert_eq!(check(folder.path()), sheets);
    assert_eq!(open.totals(&[Dimension::Day]).await, expected);
    open.close();
}
