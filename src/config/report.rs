//! `[report]`: reports that are written by themselves.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use reqwest::Url;
use toml::Value;

use super::reader::{Converted, Problem, Reader};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::{Row, rows};
use crate::model::bill::Basis;

/// Reports that are written by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub schedule: Vec<Schedule>,
}

/// One report, written once for each period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// In names of files and in metrics; none is there twice.
    pub name: String,
    /// The report's name.
    pub report: String,
    pub group_by: Vec<String>,
    /// Names of forms.
    pub formats: Vec<String>,
    pub basis: Basis,
    /// `None`: that of `[time]`.
    pub zone: Option<TimeZone>,
    pub decimals: u32,
    pub currency: String,
    /// The manifest of a CSV file is a file beside it.
    pub separate_manifest: bool,
    pub every: Every,
    pub to: Destination,
}

/// The period of a report, and when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Soon after midnight.
    Day,
    /// On Mondays.
    Week,
    Month(Close),
}

/// When a month is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// When no number of the report is provisional any more.
    Final,
    /// On this day of the next month, 1 to 28, whatever the state.
    Day(i8),
}

/// Where the files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Folder(PathBuf),
    S3 {
        bucket: String,
        /// Without slashes around it; may be empty.
        prefix: String,
        /// `None`: that of `[aws]`.
        region: Option<String>,
    },
    Webhook {
        url: Secret<Url>,
        /// Signs each file.
        secret: Option<Secret<String>>,
    },
}

/// Schedules at most: each is looked at in every round.
const MAX_SCHEDULES: usize = 100;

/// Characters of a name: it is part of names of files and a label of metrics.
const MAX_NAME: usize = 40;

/// A shorter key than this can be found by trying.
const SHORTEST_SECRET: usize = 16;

/// The last day that every month has.
const LAST_DAY: i8 = 28;

/// The forms in which reports are written.
const FORMATS: [&str; 5] = ["csv", "json", "focus", "xlsx", "html"];

pub(super) const SECTION: Section = Section {
    name: "report",
    help: "Reports for finance that are written by themselves, once for each period.",
    settings: &[Setting::new(
        "schedule",
        "[]",
        "Reports with a name, report, formats (csv, json, focus, xlsx, html) and the place they go \
         to: a folder, s3://BUCKET/PREFIX (with region), or the URL of a webhook (signed with the \
         key in secret_file). every is day, week or month; a month is written when nothing in it \
         is provisional any more, or on the day given by on_day. group_by, basis, timezone, \
         decimals, currency and manifest (leading or separate) are as in docs/cost.md.",
    )
    .at_once()
    .masked()
    .example(
        "[[report.schedule]]\n\
         name = \"chargeback\"\n\
         report = \"chargeback\"\n\
         formats = [\"csv\", \"xlsx\", \"html\"]\n\
         group_by = [\"cost_center\", \"team\"]\n\
         every = \"month\"\n\
         on_day = 10\n\
         to = \"/var/lib/tallyd/reports\"",
    )],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Report {
    Report {
        schedule: reader.section(&SECTION).get("schedule", schedules),
    }
}

fn schedules(value: &Value) -> Converted<Vec<Schedule>> {
    let schedules = rows(value, schedule)?;
    if schedules.len() > MAX_SCHEDULES {
        let message = format!("there are more than {MAX_SCHEDULES}");
        return Err(vec![Problem::new("", message)]);
    }
    for (index, schedule) in schedules.iter().enumerate() {
        if schedules[..index]
            .iter()
            .any(|other| other.name == schedule.name)
        {
            let message = format!("{} is there twice", schedule.name);
            return Err(vec![Problem::new(format!("[{index}].name"), message)]);
        }
    }
    Ok(schedules)
}

fn schedule(row: &mut Row<'_>) -> Option<Schedule> {
    let (name, report) = (row.required("name"), row.required("report"));
    if name.as_deref().is_some_and(|name| !is_name(name)) {
        let message = format!("has up to {MAX_NAME} lower-case letters, digits, - and _");
        row.problem("name", &message);
    }
    let formats = row.texts("formats");
    if formats.is_empty() {
        row.problem(
            "formats",
            &format!("is needed, some of {}", FORMATS.join(", ")),
        );
    }
    for (index, format) in formats.iter().enumerate() {
        if !FORMATS.contains(&format.as_str()) {
            let message = format!("must be one of {}", FORMATS.join(", "));
            row.problem(&format!("formats[{index}]"), &message);
        }
    }
    let group_by = row.texts("group_by");
    let basis = basis(row);
    let zone = row.optional("timezone").and_then(|name| {
        let zone = TimeZone::get(&name).ok();
        if zone.is_none() {
            row.problem(
                "timezone",
                "must be an IANA time zone such as UTC or Asia/Tokyo",
            );
        }
        zone
    });
    let decimals = decimals(row);
    let currency = row.optional("currency").unwrap_or_else(|| "USD".to_owned());
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        row.problem("currency", "must be an ISO 4217 code such as EUR");
    }
    let separate_manifest = match row.optional("manifest").as_deref() {
        None | Some("leading") => false,
        Some("separate") => true,
        Some(_) => {
            row.problem("manifest", "must be leading or separate");
            false
        }
    };
    let every = every(row);
    let to = destination(row);
    Some(Schedule {
        name: name?,
        report: report?,
        group_by,
        formats,
        basis,
        zone,
        decimals,
        currency,
        separate_manifest,
        every: every?,
        to: to?,
    })
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    name.len() <= MAX_NAME && name.chars().all(allowed)
}

fn basis(row: &mut Row<'_>) -> Basis {
    let Some(name) = row.optional("basis") else {
        return Basis::default();
    };
    Basis::parse(&name).unwrap_or_else(|| {
        let names = Basis::ALL.map(Basis::name).join(", ");
        row.problem("basis", &format!("must be one of {names}"));
        Basis::default()
    })
}

fn decimals(row: &mut Row<'_>) -> u32 {
    match row.optional_number("decimals") {
        None => 2,
        Some(decimals @ 2..=12) => u32::try_from(decimals).unwrap_or(2),
        Some(_) => {
            row.problem("decimals", "must be a number from 2 to 12");
            2
        }
    }
}

fn every(row: &mut Row<'_>) -> Option<Every> {
    let every = row.optional("every");
    let day = row.optional_number("on_day");
    let closes = match day.map(i8::try_from) {
        None => Close::Final,
        Some(Ok(day)) if (1..=LAST_DAY).contains(&day) => Close::Day(day),
        Some(_) => {
            row.problem("on_day", &format!("must be a day from 1 to {LAST_DAY}"));
            return None;
        }
    };
    let every = match every.as_deref() {
        None | Some("month") => return Some(Every::Month(closes)),
        Some("week") => Every::Week,
        Some("day") => Every::Day,
        Some(_) => {
            row.problem("every", "must be day, week or month");
            return None;
        }
    };
    if day.is_some() {
        row.problem("on_day", "is for months only");
    }
    Some(every)
}

fn destination(row: &mut Row<'_>) -> Option<Destination> {
    let to = row.required("to");
    let region = row.optional("region");
    let secret = secret(row);
    let to = to?;
    let destination = match to.split_once("://") {
        Some(("s3", place)) => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            if bucket.is_empty() {
                row.problem("to", "must name a bucket: s3://BUCKET/PREFIX");
            }
            Destination::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
                region: region.clone(),
            }
        }
        Some(("http" | "https", _)) => match to.parse::<Url>() {
            Ok(url) if url.has_host() => Destination::Webhook {
                url: Secret::new(url),
                secret: secret.clone(),
            },
            _ => {
                // Never the value: it may hold a secret.
                row.problem("to", "is no valid URL");
                return None;
            }
        },
        Some(_) => {
            row.problem("to", PLACES);
            return None;
        }
        None => {
            let folder = PathBuf::from(&to);
            if !folder.is_absolute() {
                row.problem("to", PLACES);
            }
            Destination::Folder(folder)
        }
    };
    if region.is_some() && !matches!(destination, Destination::S3 { .. }) {
        row.problem("region", "is for s3:// only");
    }
    if secret.is_some() && !matches!(destination, Destination::Webhook { .. }) {
        row.problem("secret_file", "is for the URL of a webhook only");
    }
    Some(destination)
}

const PLACES: &str = "must be a folder that begins with /, s3://BUCKET/PREFIX, or the URL of a \
                      webhook that begins with https:// or http://";

fn secret(row: &mut Row<'_>) -> Option<Secret<String>> {
    let file = row.optional("secret_file")?;
    match std::fs::read_to_string(&file) {
        Ok(text) if text.trim().len() >= SHORTEST_SECRET => {
            Some(Secret::new(text.trim().to_owned()))
        }
        Ok(_) => {
            let message = format!("{file} must hold at least {SHORTEST_SECRET} characters");
            row.problem("secret_file", &message);
            None
        }
        Err(error) => {
            row.problem("secret_file", &format!("cannot read {file}: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn read(text: &str) -> Result<Vec<Schedule>, Vec<String>> {
        Config::parse(text, &Environment::default())
            .map(|config| config.report.schedule)
            .map_err(|faults| faults.0)
    }

    #[test]
    fn a_schedule_needs_little() {
        let schedules = read(
            r#"
            [[report.schedule]]
            name = "books"
            report = "chargeback"
            formats = ["csv"]
            to = "s3://finance/claude/2026/"
            region = "eu-central-1"
            "#,
        );
        let expected = Schedule {
            name: "books".to_owned(),
            report: "chargeback".to_owned(),
            group_by: Vec::new(),
            formats: vec!["csv".to_owned()],
            basis: Basis::Unblended,
            zone: None,
            decimals: 2,
            currency: "USD".to_owned(),
            separate_manifest: false,
            every: Every::Month(Close::Final),
            to: Destination::S3 {
                bucket: "finance".to_owned(),
                prefix: "claude/2026".to_owned(),
                region: Some("eu-central-1".to_owned()),
            },
        };
        assert_eq!(schedules, Ok(vec![expected]));
    }

    #[test]
    fn faults_name_the_key_and_the_mend() {
        let faults = read(
            r#"
            [[report.schedule]]
            name = "The Books"
            report = "chargeback"
            formats = ["csv", "pdf"]
            every = "week"
            on_day = 3
            to = "reports"
            basis = "net cost"
            timezone = "Berlin"
            decimals = 13
            currency = "euro"
            colour = "red"
            [[report.schedule]]
            report = "trend"
            on_day = 31
            to = "ftp://host/"
            secret_file = "/no/such/file"
            "#,
        )
        .unwrap_err();
        let of =
            |index, key: &str, message: &str| format!("report.schedule[{index}].{key}: {message}");
        assert_eq!(
            faults,
            [
                of(
                    0,
                    "name",
                    "has up to 40 lower-case letters, digits, - and _"
                ),
                of(
                    0,
                    "formats[1]",
                    "must be one of csv, json, focus, xlsx, html"
                ),
                of(0, "basis", "must be one of unblended, net, blended"),
                of(
                    0,
                    "timezone",
                    "must be an IANA time zone such as UTC or Asia/Tokyo"
                ),
                of(0, "decimals", "must be a number from 2 to 12"),
                of(0, "currency", "must be an ISO 4217 code such as EUR"),
                of(0, "on_day", "is for months only"),
                of(0, "to", PLACES),
                of(0, "colour", "unknown key"),
                of(1, "name", "is needed"),
                of(
                    1,
                    "formats",
                    "is needed, some of csv, json, focus, xlsx, html"
                ),
                of(1, "on_day", "must be a day from 1 to 28"),
                of(
                    1,
                    "secret_file",
                    "cannot read /no/such/file: No such file or directory (os error 2)"
                ),
                of(1, "to", PLACES),
            ]
        );
    }

    #[test]
    fn two_schedules_of_one_name_would_overwrite_each_other() {
        let one = "[[report.schedule]]\nname = \"a\"\nreport = \"trend\"\nformats = [\"csv\"]\n\
                   to = \"/r\"\n";
        let faults = read(&format!("{one}{one}")).unwrap_err();
        assert_eq!(faults, ["report.schedule[1].name: a is there twice"]);
    }
}
