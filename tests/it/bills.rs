//! Exported bills, through the front door and from the command line.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Daemon, Place, answer};

const BILL: &str = "day,provider,account,model,kind,user,quantity,unit,tokens,currency,unblended\n\
    2026-10-05,bedrock,1111,claude-sonnet-4-6,input,ada,2,MTok,2000000,USD,6.0000000000001\n\
    2026-10-05,bedrock,1111,claude-sonnet-4-6,output,,1,MTok,1000000,USD,15\n\
    2026-10-06,bedrock,1111,,,,,,,EUR,-1.5\n";

async fn import(daemon: &Daemon, provider: &str, body: Vec<u8>) -> (u16, Value) {
    let request = daemon.request(&format!("/api/v1/bills?provider={provider}"));
    let request = request.header("content-type", "text/csv").body(body);
    answer(request.send().await.unwrap()).await
}

async fn billed(daemon: &Daemon) -> Vec<Value> {
    let bills = daemon
        .json("/api/v1/bills?from=2026-10-01&to=2026-11-01")
        .await;
    let days = bills["days"].as_array().unwrap().iter();
    days.map(|day| json!([day["day"], day["revision"], day["standing"], day["totals"]]))
        .collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_bill_is_imported_once_and_all_or_nothing() {
    let daemon = Place::new().start().await;
    let (status, first) = import(&daemon, "csv", BILL.into()).await;
    assert_eq!(
        (status, first),
        (
            200,
            json!({
                "rows": 3, "left_out": 0, "rounded": 1, "days": 2, "changed": 2,
                "first": "2026-10-05", "last": "2026-10-06",
                "totals": {"USD": "21.00", "EUR": "-1.50"},
                "unclassified": {"EUR": "-1.50"}, "changed_after_final": [],
            })
        )
    );
    let known = billed(&daemon).await;
    let usd = json!({"USD": {"unblended": "21.00", "net": "21.00", "blended": "21.00"}});
    assert_eq!(known[0], json!(["2026-10-05", 1, "final", usd]));
    let (status, again) = import(&daemon, "csv", packed(BILL)).await;
    assert_eq!((status, &again["changed"]), (200, &json!(0)));
    assert_eq!(billed(&daemon).await, known);

    let wrong = BILL.replace("15\n", "\"1,500\"\n");
    let (status, problem) = import(&daemon, "csv", wrong.into()).await;
    let comma = "write numbers without thousands separators, with a point for decimals";
    assert_eq!(
        (status, &problem["code"], &problem["detail"]),
        (
            422,
            &json!("invalid_bill"),
            &json!(format!("line 3, unblended: `1,500` has a comma; {comma}"))
        )
    );
    let (status, problem) = import(&daemon, "azure", BILL.into()).await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("invalid_parameter"))
    );
    assert_eq!(billed(&daemon).await, known);

    // A final day that changes is revised and told.
    let (_, revised) = import(&daemon, "csv", BILL.replace("15\n", "16\n").into()).await;
    assert_eq!(
        (&revised["changed"], &revised["changed_after_final"]),
        (&json!(1), &json!(["2026-10-05"]))
    );
    let scrape = daemon.scrape().await;
    let labels = [("source", "import:csv"), ("standing", "final")];
    assert_eq!(scrape.sum("tallyd_bill_revisions_total", &labels), 1.0);
    let daemon = daemon.crash().await;
    assert_eq!(billed(&daemon).await[0][1], 2);
}

#[tokio::test]
async fn the_command_line_imports_several_files_and_lists_days() {
    let daemon = Place::new().start().await;
    let (header, rows) = BILL.split_once('\n').unwrap();
    let (first, rest) = rows.split_once('\n').unwrap();
    let marked = format!("\u{feff}{header}\n{first}");
    let one = daemon.place.write("one.csv", &marked);
    let two = daemon.place.path("two.csv.gz");
    std::fs::write(&two, packed(&format!("{header}\n{rest}"))).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = daemon.place.command(arguments);
        command
            .args(["--url", &daemon.http])
            .stdout(std::process::Stdio::piped());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let files = [one.to_str().unwrap(), two.to_str().unwrap()];
    let imported = run(&["import", "bill", "--provider", "csv", files[0], files[1]]);
    let said = "3 rows, 0 of them not for Claude; 2 billed days, 2 of them new or changed\n\
                from 2026-10-05 to 2026-10-06, total -1.50 EUR, 21.00 USD\n\
                not understood: -1.50 EUR\n\
                1 amounts had more than 12 decimal places\n";
    assert_eq!(imported, (Some(0), said.to_owned()));
    let (status, listed) = run(&["bills", "--from", "2026-10-01", "--to", "2026-11-01"]);
    assert_eq!(status, Some(0));
    assert!(
        listed.contains("2026-10-05  bedrock   1111     import:csv  final"),
        "{listed}"
    );
    assert!(run(&["import", "bill", "--provider", "aws", files[0]]).0 != Some(0));
}
