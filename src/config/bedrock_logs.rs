//! `[bedrock_logs]`: Bedrock's model invocation logs, read as usage.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::reader::{Converted, Problem, Reader};
use super::setting::{Section, Setting};
use super::value::{count, duration, flag, texts};

/// Which logs are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BedrockLogs {
    pub enabled: bool,
    pub sources: Vec<LogSource>,
    /// Time between two rounds.
    pub every: Duration,
    /// How far each round looks back for objects and events that came late.
    pub lookback: Duration,
    /// The same for log groups, which are read again as far as that.
    pub overlap: Duration,
    /// Objects of one source read in a round.
    pub max_objects: usize,
    /// AWS accounts whose logs count; those of all others are a control total.
    pub counted_accounts: Vec<String>,
    /// Models of other vendors, too.
    pub all_models: bool,
    /// Roles whose sessions are no persons, such as a gateway's.
    pub shared_roles: Vec<String>,
    /// What is taken off the begin of a session's name.
    pub session_prefixes: Vec<String>,
    /// Keys of `requestMetadata`; empty: none.
    pub metadata_user: String,
    pub metadata_team: String,
    pub metadata_project: String,
    pub metadata_session: String,
}

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// As it is written, without what follows `?`.
    pub name: String,
    pub kind: LogKind,
    /// An account of `[[aws.accounts]]`; `None` is tallyd's own.
    pub account: Option<String>,
    /// `None`: the account's first region, or that of `[aws]`.
    pub region: Option<String>,
}

/// What kind of place a log is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogKind {
    S3 {
        bucket: String,
        prefix: String,
    },
    Folder(PathBuf),
    /// A log group of CloudWatch Logs.
    Group(String),
}

const SHORTEST_EVERY: Duration = Duration::from_secs(10);
/// A round re-lists each hour since then: a month is 744 lists for each account and region.
const LONGEST_LOOKBACK: Duration = Duration::from_hours(31 * 24);
const LONGEST_OVERLAP: Duration = Duration::from_hours(24);

pub(super) const SECTION: Section = Section {
    name: "bedrock_logs",
    help: "Model invocation logs of Amazon Bedrock, read as usage. Prompts and answers are never \
           kept (see docs/bedrock-logs.md).",
    settings: &[
        Setting::new("enabled", "false", "Read them."),
        Setting::new(
            "sources",
            "[]",
            "Where they are: s3://BUCKET/PREFIX, file:///FOLDER or logs:LOG-GROUP; ?region= and \
             &account= (one of [[aws.accounts]]) may follow.",
        )
        .example(
            "sources = [\"s3://claude-code-bedrock-logs/bedrock-logs?region=us-east-1\", \
             \"logs:/aws/bedrock/claude-code?region=eu-central-1&account=111122223333\"]",
        ),
        Setting::new("every", r#""5m""#, "Time between two rounds, at least 10s."),
        Setting::new(
            "lookback",
            r#""24h""#,
            "How far each round looks back for objects that came late, up to 31d. The first round \
             reads as far back, too.",
        ),
        Setting::new(
            "overlap",
            r#""15m""#,
            "How far each round reads a log group again for events that came late, up to 24h.",
        ),
        Setting::new(
            "max_objects",
            "1000",
            "Objects of one source read in a round at most; the rest waits for the next.",
        ),
        Setting::new(
            "counted_accounts",
            "[]",
            "AWS accounts of which nothing better tells: their logs count as usage. The logs of \
             all others are a control total.",
        )
        .at_once(),
        Setting::new(
            "all_models",
            "false",
            "Read models of other vendors than Anthropic, too.",
        ),
        Setting::new(
            "shared_roles",
            "[]",
            "Names of roles whose sessions are no persons, such as that of a gateway.",
        ),
        Setting::new(
            "session_prefixes",
            "[]",
            "What is taken off the begin of a session's name to get the user, such as ccwb-.",
        ),
        Setting::new(
            "metadata_user",
            r#""""#,
            "Key of requestMetadata that tells the user, where a gateway sets it.",
        ),
        Setting::new(
            "metadata_team",
            r#""""#,
            "Key of requestMetadata that tells the team.",
        ),
        Setting::new(
            "metadata_project",
            r#""""#,
            "Key of requestMetadata that tells the project.",
        ),
        Setting::new(
            "metadata_session",
            r#""""#,
            "Key of requestMetadata that tells the session of Claude Code.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> BedrockLogs {
    let mut section = reader.section(&SECTION);
    let mut key = |name| section.optional_text(name).unwrap_or_default();
    let [
        metadata_user,
        metadata_team,
        metadata_project,
        metadata_session,
    ] = [
        "metadata_user",
        "metadata_team",
        "metadata_project",
        "metadata_session",
    ]
    .map(&mut key);
    let logs = BedrockLogs {
        enabled: section.get("enabled", flag),
        sources: section.get("sources", sources),
        every: section.get("every", |value| duration(value, SHORTEST_EVERY)),
        lookback: section.get("lookback", |value| duration(value, Duration::ZERO)),
        overlap: section.get("overlap", |value| duration(value, Duration::ZERO)),
        max_objects: section.get("max_objects", |value| count(value, 1, 100_000)),
        counted_accounts: section.get("counted_accounts", account_ids),
        all_models: section.get("all_models", flag),
        shared_roles: section.get("shared_roles", texts),
        session_prefixes: section.get("session_prefixes", texts),
        metadata_user,
        metadata_team,
        metadata_project,
        metadata_session,
    };
    if logs.enabled && logs.sources.is_empty() {
        section.fault(
            "sources",
            "is needed where bedrock_logs.enabled is true, such as [\"s3://BUCKET/PREFIX\"]",
        );
    }
    if logs.lookback > LONGEST_LOOKBACK {
        section.fault("lookback", "must be at most 31d");
    }
    if logs.overlap > LONGEST_OVERLAP {
        section.fault("overlap", "must be at most 24h");
    }
    logs
}

fn account_ids(value: &Value) -> Converted<Vec<String>> {
    each(&texts(value)?, |id| {
        if is_account(id) {
            Ok(id.to_owned())
        } else {
            Err("must be the twelve digits of an AWS account")
        }
    })
}

fn is_account(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit())
}

fn sources(value: &Value) -> Converted<Vec<LogSource>> {
    each(&texts(value)?, LogSource::parse)
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, &'static str>) -> Converted<Vec<T>> {
    let mut parsed = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => parsed.push(value),
            Err(message) => problems.push(Problem {
                at: format!("[{index}]"),
                message: message.to_owned(),
                got: Some(text.clone()),
            }),
        }
    }
    if problems.is_empty() {
        Ok(parsed)
    } else {
        Err(problems)
    }
}

impl LogSource {
    /// Reads `s3://BUCKET/PREFIX`, `file:///FOLDER` or `logs:LOG-GROUP`, each with `?region=` and
    /// `&account=` after it. The error is a sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMS: &str = "must be s3://BUCKET/PREFIX, file:///FOLDER or logs:LOG-GROUP";
        let (name, parameters) = text.split_once('?').unwrap_or((text, ""));
        let kind = if let Some(place) = name.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if bucket.is_empty() || !bucket.chars().all(plain) {
                return Err(FORMS);
            }
            let prefix = prefix.trim_matches('/').to_owned();
            let bucket = bucket.to_owned();
            LogKind::S3 { bucket, prefix }
        } else if let Some(path) = name.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err("must name an absolute path: file:///FOLDER");
            }
            LogKind::Folder(PathBuf::from(path))
        } else if let Some(group) = name.strip_prefix("logs:") {
            if group.is_empty() {
                return Err(FORMS);
            }
            LogKind::Group(group.to_owned())
        } else {
            return Err(FORMS);
        };
        let mut source = Self {
            name: name.to_owned(),
            kind,
            account: None,
            region: None,
        };
        for parameter in parameters.split('&').filter(|part| !part.is_empty()) {
            match parameter.split_once('=') {
                Some(("account", id)) if is_account(id) => source.account = Some(id.to_owned()),
                Some(("region", region)) if super::aws::is_region(region) => {
                    source.region = Some(region.to_owned());
                }
                _ => return Err("may have ?region=REGION and &account=TWELVE-DIGITS after it"),
            }
        }
        Ok(source)
    }

    /// Whether AWS is needed to read it.
    #[must_use]
    pub const fn is_in_aws(&self) -> bool {
        !matches!(self.kind, LogKind::Folder(_))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::*;

    #[test]
    fn a_log_is_in_s3_in_a_folder_or_in_a_group() {
        let own = |name: &str, kind| LogSource {
            name: name.to_owned(),
            kind,
            account: None,
            region: None,
        };
        let s3 = |bucket: &str, prefix: &str| LogKind::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        let parse = |text: &str| LogSource::parse(text).unwrap();
        assert_eq!(parse("s3://logs"), own("s3://logs", s3("logs", "")));
        let name = "s3://logs/a/b/";
        assert_eq!(parse(name), own(name, s3("logs", "a/b")));
        let folder = LogKind::Folder(PathBuf::from("/var/logs"));
        assert_eq!(parse("file:///var/logs"), own("file:///var/logs", folder));
        let name = "logs:/aws/bedrock/claude-code";
        let group = LogKind::Group("/aws/bedrock/claude-code".to_owned());
        let elsewhere = LogSource {
            account: Some("111122223333".to_owned()),
            region: Some("eu-west-1".to_owned()),
            ..own(name, group)
        };
        let text = format!("{name}?region=eu-west-1&account=111122223333");
        assert_eq!(parse(&text), elsewhere);
    }

    #[test]
    fn faults_name_the_setting_and_the_mend() {
        let text = r#"
            [bedrock_logs]
            enabled = true
            sources = ["/var/logs", "file://logs", "s3://a b/", "logs:g?zone=x"]
            every = "1s"
            lookback = "60d"
            max_objects = 0
            counted_accounts = ["12"]
        "#;
        let faults = Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "bedrock_logs.sources[0]: must be s3://BUCKET/PREFIX, file:///FOLDER or \
                 logs:LOG-GROUP, got /var/logs",
                "bedrock_logs.sources[1]: must name an absolute path: file:///FOLDER, got \
                 file://logs",
                "bedrock_logs.sources[2]: must be s3://BUCKET/PREFIX, file:///FOLDER or \
                 logs:LOG-GROUP, got s3://a b/",
                "bedrock_logs.sources[3]: may have ?region=REGION and &account=TWELVE-DIGITS after \
                 it, got logs:g?zone=x",
                "bedrock_logs.every: must be at least 10s, got 1s",
                "bedrock_logs.max_objects: must be a number from 1 to 100000, got 0",
                "bedrock_logs.counted_accounts[0]: must be the twelve digits of an AWS account, \
                 got 12",
                "bedrock_logs.sources: is needed where bedrock_logs.enabled is true, such as \
                 [\"s3://BUCKET/PREFIX\"]",
                "bedrock_logs.lookback: must be at most 31d",
            ]
        );
    }

    #[test]
    fn an_account_must_be_known_and_a_source_named() {
        let faults = |text: &str| Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults("[bedrock_logs]\nenabled = true"),
            [
                "bedrock_logs.sources: is needed where bedrock_logs.enabled is true, such as \
              [\"s3://BUCKET/PREFIX\"]"
            ]
        );
        assert_eq!(
            faults("[bedrock_logs]\nsources = [\"s3://a?account=111122223333\"]"),
            [
                "bedrock_logs.sources: s3://a is in account 111122223333, which [[aws.accounts]] \
              does not name"
            ]
        );
    }
}
