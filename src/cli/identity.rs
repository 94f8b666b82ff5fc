//! `tallyd identity`: who is not known, who stands for whom, and who is to be forgotten.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::prices::Days;
use super::table::{Align, table};
use super::{ConfigFile, Remote, block_on};
use crate::cli::out;
use crate::config::Faults;
use crate::model::directory::Directory;
use crate::model::label::grouped;

#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Lists identities that have no user, no row in the directory or no team.
    ListUnknown(ListUnknown),
    /// Adds a row to the directory: one identity stands for another.
    Remap(Remap),
    /// Replaces a person's names by one that says nothing; sums stay.
    Forget(Forget),
}

#[derive(Args, Debug)]
pub struct ListUnknown {
    #[command(flatten)]
    pub days: Days,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Args, Debug)]
pub struct Remap {
    /// The identity as `list-unknown` shows it: a user, an account or a device.
    pub identity: String,
    /// The person that it stands for.
    pub person: String,
    /// The first day; without it: since ever.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub from: String,
    /// The first day on which it no longer holds.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub to: String,
    /// The directory, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    pub directory: Option<PathBuf>,
    /// Only print the row.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Args, Debug)]
pub struct Forget {
    /// As shown in `tallyd usage`.
    pub user: String,
    #[command(flatten)]
    pub remote: Remote,
}

pub(super) fn execute(command: IdentityCommand) -> anyhow::Result<()> {
    match command {
        IdentityCommand::ListUnknown(wanted) => list_unknown(&wanted),
        IdentityCommand::Remap(wanted) => remap(wanted),
        IdentityCommand::Forget(wanted) => forget(&wanted),
    }
}

fn list_unknown(wanted: &ListUnknown) -> anyhow::Result<()> {
    let days = wanted.days.parameters();
    let path = "/api/v1/identities/unknown";
    let answer: Value = block_on(wanted.remote.get(path, &days))??;
    out::print(unknown_text(&answer))?;
    Ok(())
}

fn unknown_text(answer: &Value) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("-").to_owned();
    let lines = answer["identities"].as_array().map_or(&[][..], |v| v);
    let days = format!("{} to {}", text(answer, "from"), text(answer, "to"));
    if lines.is_empty() {
        return format!("everybody who used something from {days} has a place\n");
    }
    let columns = [
        ("identity", Align::Left),
        ("reason", Align::Left),
        ("origin", Align::Left),
        ("requests", Align::Right),
        ("tokens", Align::Right),
        ("first", Align::Left),
        ("last", Align::Left),
    ];
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let number = |name: &str| grouped(line[name].as_u64().unwrap_or_default());
            vec![
                text(line, "identity"),
                text(line, "reason"),
                text(line, "origin"),
                number("requests"),
                number("tokens"),
                text(line, "first_seen"),
                text(line, "last_seen"),
            ]
        })
        .collect();
    table(&columns, &rows, 0)
}

fn remap(wanted: Remap) -> anyhow::Result<()> {
    let config = wanted.config.source().load()?;
    let zone = config.time.zone.clone();
    let file = wanted.directory.or(config.identity.directory);
    let fields = [
        ("identity", wanted.identity.as_str()),
        ("person", &wanted.person),
        ("from", &wanted.from),
        ("to", &wanted.to),
    ];
    let Some(file) = file else {
        out::print(format_args!("{HEADER}\n{}", row(HEADER, &fields)?))?;
        out::note(
            "no directory is configured: make one of these lines, and name it in identity.directory",
        );
        return Ok(());
    };
    let before = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let header = before.lines().next().unwrap_or(HEADER);
    let row = row(header, &fields)?;
    let after = with_row(&before, &row);
    check(&after, &file, &zone)?;
    if wanted.dry_run {
        out::print(&row)?;
        out::note(format_args!(
            "a dry run: {} was not changed",
            file.display()
        ));
        return Ok(());
    }
    replace(&file, &after)?;
    out::print(&row)?;
    out::note(format_args!(
        "added to {}; a running tallyd reads it within seconds, and figures of all times that are \
         not closed follow",
        file.display()
    ));
    Ok(())
}

/// All columns of a directory.
const HEADER: &str = "identity,person,kind,team,project,cost_center,role,from,to";

/// A line of the directory, in the order of its columns.
fn row(header: &str, fields: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(header.trim_start_matches('\u{feff}').as_bytes());
    let columns = reader.records().next().transpose()?.unwrap_or_default();
    for (name, value) in fields {
        if !value.is_empty() && !columns.iter().any(|column| column.trim() == *name) {
            bail!("the directory has no column {name}: add it to its first line");
        }
    }
    let cells = columns.iter().map(|column| {
        let field = fields.iter().find(|(name, _)| *name == column.trim());
        field.map_or("", |(_, value)| value)
    });
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    let bytes = writer.into_inner().context("cannot write CSV")?;
    String::from_utf8(bytes).context("cannot write CSV")
}

fn with_row(before: &str, row: &str) -> String {
    let end = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{before}{end}{row}")
}

/// Refuses a directory that tallyd would refuse.
fn check(text: &str, file: &Path, zone: &TimeZone) -> anyhow::Result<()> {
    Directory::parse(text, zone).map(drop).map_err(|faults| {
        let lines = faults.iter().map(|fault| {
            let (line, column, message) = (fault.line, &fault.column, &fault.message);
            format!("{}:{line}: {column}: {message}", file.display())
        });
        Faults(lines.collect()).into()
    })
}

/// Writes the new text beside the file and puts it into its place, so that nobody reads half.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let permissions = std::fs::metadata(file).map(|of| of.permissions());
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::set_permissions(&beside, permissions?))
        .and_then(|()| std::fs::rename(&beside, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn forget(wanted: &Forget) -> anyhow::Result<()> {
    let body = json!({"user": wanted.user});
    let path = "/api/v1/identities/forget";
    let answer: Value = block_on(wanted.remote.post(path, &body))??;
    out::print(forgotten_text(&answer, &wanted.user))?;
    Ok(())
}

/// What was done, and what tallyd cannot do.
fn forgotten_text(answer: &Value, user: &str) -> String {
    let stand_in = answer["stand_in"].as_str().unwrap_or_default();
    format!(
        "{} identities stand as {stand_in} from now on, in {} lines of closed months as well; sums \
         stay\n\
         Still to do by hand, because it is not in the ledger:\n\
         - the directory: put {stand_in} in place of {user} in one row, so that teams stay, and \
         take out all other rows of the person and of the person's devices\n\
         - policy files of quotas, and the audit log with the files beside it (quota.audit_log)\n\
         - tallyd's own log, and clients and gateways that still report the person\n\
         - backups of the ledger: make a new one, delete those from before\n\
         - reports that were written to files, and what Prometheus, CloudWatch, mail and chat have\n\
         docs/identity.md says how\n",
        answer["identities"], answer["closed_lines"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, &str); 4] = [
        ("identity", "0a1b"),
        ("person", "ada, of payments"),
        ("from", "2026-03-01"),
        ("to", ""),
    ];

    #[test]
    fn a_row_has_the_columns_of_the_directory() {
        assert_eq!(
            row(HEADER, &FIELDS).unwrap(),
            "0a1b,\"ada, of payments\",,,,,,2026-03-01,\n"
        );
        assert_eq!(
            row("from , identity, person", &FIELDS).unwrap(),
            "2026-03-01,0a1b,\"ada, of payments\"\n"
        );
        let error = row("identity,from", &FIELDS).unwrap_err().to_string();
        assert_eq!(
            error,
            "the directory has no column person: add it to its first line"
        );
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        assert_eq!(with_row("identity\na", "b\n"), "identity\na\nb\n");
        assert_eq!(with_row("identity\n", "b\n"), "identity\nb\n");
    }

    #[test]
    fn a_row_that_overlaps_another_is_refused() {
        let text = "identity,person\na,ada\na,bob\n";
        let error = check(text, Path::new("people.csv"), &TimeZone::UTC).unwrap_err();
        assert!(error.to_string().starts_with("people.csv:3: "), "{error}");
    }

    #[test]
    fn what_is_left_to_do_is_told() {
        let answer = json!({"stand_in": "forgotten-2", "identities": 3, "closed_lines": 14});
        let shown = forgotten_text(&answer, "ada@example.com");
        let first = "3 identities stand as forgotten-2 from now on, in 14 lines of closed months as \
                     well; sums stay\n";
        assert!(shown.starts_with(first), "{shown}");
        assert!(shown.contains("put forgotten-2 in place of ada@example.com"));
    }

    #[test]
    fn who_has_no_place_is_listed() {
        let answer = json!({"from": "2026-11-01", "to": "2026-11-23", "identities": [
            {"reason": "device_only", "identity": "0a1b", "origin": "device", "requests": 2,
             "tokens": 1_234, "first_seen": "2026-11-02", "last_seen": "2026-11-22"}]});
        let shown = unknown_text(&answer);
        let cells: Vec<&str> = shown.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "0a1b",
                "device_only",
                "device",
                "2",
                "1,234",
                "2026-11-02",
                "2026-11-22"
            ]
        );
        let none = json!({"from": "a", "to": "b", "identities": []});
        assert!(unknown_text(&none).ends_with("has a place\n"));
    }
}
