//! `[notify.NAME]`: whom alarms are told, and how.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use toml::Value;

use super::reader::{Converted, Problem, Reader, SectionReader, must_be};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::{choice, choices, count, duration, path, text, texts};
use crate::model::alarm::State;

/// A target of notifications.
#[derive(Clone, Debug, PartialEq)]
pub struct Notify {
    pub name: String,
    pub kind: NotifyKind,
    /// Patterns; an alarm that matches one is told.
    pub alarms: Vec<String>,
    /// Empty: all.
    pub severities: Vec<String>,
    /// The states that are told.
    pub states: Vec<State>,
    /// How long a transition waits for others.
    pub group_wait: Duration,
    /// More transitions than this at once become one message.
    pub group_above: usize,
    /// Messages in a minute at most.
    pub per_minute: usize,
}

/// How a target is told.
#[derive(Clone, Debug, PartialEq)]
pub enum NotifyKind {
    Sns {
        topic: TopicArn,
    },
    Slack {
        url: Secret<Url>,
    },
    Webhook {
        url: Secret<Url>,
        /// Signs each message.
        secret: Secret<String>,
    },
    Alertmanager {
        /// Without `/api/v2/alerts`.
        url: Secret<Url>,
        /// Added to each alert.
        labels: BTreeMap<String, String>,
    },
}

/// `arn:PARTITION:sns:REGION:ACCOUNT:NAME`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArn {
    pub arn: String,
    pub partition: String,
    pub region: String,
    pub account: String,
}

impl TopicArn {
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else {
            return None;
        };
        let is_word = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !text.is_empty() && text.chars().all(allowed)
        };
        let is_account = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
        let good = is_account && [partition, region, name].into_iter().all(is_word);
        good.then(|| Self {
            arn: arn.to_owned(),
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
        })
    }
}

const KINDS: &str = "sns, slack, webhook, alertmanager";

pub(super) const SECTION: Section = Section {
    name: "notify",
    help: "Whom alarms are told. Each target has a name and a table of its own; docs/notifications.md \
           says what is sent. TALLYD_NOTIFY_NAME_KEY overrides a key.",
    settings: &[
        Setting::new("kind", r#""""#, "One of sns, slack, webhook, alertmanager. Must be given.")
            .example(
                "[notify.ops]\n\
                 kind = \"slack\"\n\
                 url_file = \"/etc/tallyd/slack.url\"",
            ),
        Setting::new(
            "url",
            r#""""#,
            "Address of the webhook, or of the Alertmanager, with or without /api/v2/alerts. The one of Slack \
             is a secret: only url_file or the variable TALLYD_NOTIFY_NAME_URL may give it.",
        )
        .masked(),
        Setting::new("url_file", r#""""#, "File that holds the address instead."),
        Setting::new(
            "secret",
            r#""""#,
            "The key that signs messages of kind webhook; only from the variable \
             TALLYD_NOTIFY_NAME_SECRET.",
        )
        .masked(),
        Setting::new("secret_file", r#""""#, "File that holds the key instead."),
        Setting::new("topic_arn", r#""""#, "The topic, for kind sns."),
        Setting::new(
            "labels",
            "{}",
            "Labels that are added to each alert, for kind alertmanager.",
        ),
        Setting::new(
            "alarms",
            r#"["*"]"#,
            "Names of the alarms to tell; * is any text, ? one character.",
        ),
        Setting::new("severities", "[]", "Severities to tell. Empty: all."),
        Setting::new(
            "states",
            r#"["ALARM", "OK"]"#,
            "States to tell, of ALARM, OK and INSUFFICIENT_DATA. Kind alertmanager hears all.",
        ),
        Setting::new(
            "group_wait",
            r#""10s""#,
            "Time that a transition waits for others.",
        ),
        Setting::new(
            "group_above",
            "3",
            "More transitions than this at once become one message. Kind sns sends each by itself.",
        ),
        Setting::new(
            "per_minute",
            "10",
            "Messages in a minute at most; what is more waits and becomes one message.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Notify> {
    let names = reader.names(&SECTION, "kind");
    let targets = names.into_iter().map(|name| target(reader, name));
    targets.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn target(reader: &mut Reader<'_>, name: String) -> Option<Notify> {
    let mut section = reader.named_section(&SECTION, &name);
    let word = section.get("kind", |value| match value.as_str() {
        Some("") => Ok(None),
        _ => choice(value, KINDS, |word| Some(word.to_owned())).map(Some),
    });
    let kind = kind(&mut section, word.as_deref());
    let alarms = section.get("alarms", texts);
    let severities = section.get("severities", texts);
    let states = section.get("states", |value| {
        choices(value, "ALARM, OK, INSUFFICIENT_DATA", State::parse)
    });
    if states.is_empty() {
        section.fault("states", "at least one is needed");
    }
    let group_wait = section.get("group_wait", |value| duration(value, Duration::ZERO));
    if group_wait > LONGEST_GROUP_WAIT {
        section.fault(
            "group_wait",
            "must be at most 10m: an alarm should not wait",
        );
    }
    let group_above = section.get("group_above", |value| count(value, 1, 50));
    let per_minute = section.get("per_minute", |value| count(value, 1, 1_000));
    Some(Notify {
        name,
        kind: kind?,
        alarms,
        severities,
        states,
        group_wait,
        group_above,
        per_minute,
    })
}

/// Longer than this is no grouping but a delay.
const LONGEST_GROUP_WAIT: Duration = Duration::from_mins(10);

fn kind(section: &mut SectionReader<'_, '_>, word: Option<&str>) -> Option<NotifyKind> {
    // All are read, so that each is checked.
    let topic = section.get("topic_arn", topic);
    let labels = section.get("labels", labels);
    let url = url(section, word == Some("slack"));
    let secret = secret(section);
    let only = |section: &mut SectionReader<'_, '_>, key: &str, given: bool, of: &str| {
        if given && word.is_some_and(|word| word != of) {
            section.fault(key, &format!("is for kind {of} only"));
        }
    };
    only(section, "topic_arn", topic.is_some(), "sns");
    only(section, "labels", !labels.is_empty(), "alertmanager");
    only(section, "secret", matches!(secret, Ok(Some(_))), "webhook");
    match word {
        Some("sns") => {
            if matches!(url, Ok(Some(_))) {
                section.fault("url", "is not for kind sns");
            }
            if topic.is_none() {
                section.fault("topic_arn", "is needed");
            }
            topic.map(|topic| NotifyKind::Sns { topic })
        }
        Some("slack") => Some(NotifyKind::Slack {
            url: needed(section, "url", url)?,
        }),
        Some("webhook") => {
            let (url, secret) = (
                needed(section, "url", url),
                needed(section, "secret", secret),
            );
            Some(NotifyKind::Webhook {
                url: url?,
                secret: secret?,
            })
        }
        Some("alertmanager") => Some(NotifyKind::Alertmanager {
            url: needed(section, "url", url)?,
            labels,
        }),
        Some(_) => {
            section.fault("kind", &format!("must be one of {KINDS}"));
            None
        }
        None => {
            section.fault("kind", &format!("is needed, one of {KINDS}"));
            None
        }
    }
}

/// A value, `None` if it is not given, or `Err` after a fault.
type Given<T> = Result<Option<Secret<T>>, ()>;

fn needed<T>(section: &mut SectionReader<'_, '_>, key: &str, given: Given<T>) -> Option<Secret<T>> {
    let given = given.ok()?;
    if given.is_none() {
        let (file, variable) = (format!("{key}_file"), section.variable(key));
        section.fault(key, &format!("is needed: give {file} or {variable}"));
    }
    given
}

fn url(section: &mut SectionReader<'_, '_>, is_secret: bool) -> Given<Url> {
    let Some(text) = value_or_file(section, "url", "url_file", is_secret)? else {
        return Ok(None);
    };
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
            Ok(Some(Secret::new(url)))
        }
        _ => {
            // Never the value: it is a secret.
            section.fault("url", "must be a URL that begins with https:// or http://");
            Err(())
        }
    }
}

/// A shorter key than this can be found by trying.
const SHORTEST_SECRET: usize = 16;

fn secret(section: &mut SectionReader<'_, '_>) -> Given<String> {
    let Some(text) = value_or_file(section, "secret", "secret_file", true)? else {
        return Ok(None);
    };
    if text.len() < SHORTEST_SECRET {
        let message = format!("must have at least {SHORTEST_SECRET} characters");
        section.fault("secret", &message);
        return Err(());
    }
    Ok(Some(Secret::new(text)))
}

/// A text that the variable of `key` or the file of `file_key` gives; secrets may not stand in
/// the configuration itself. `Err` after a fault.
pub(super) fn value_or_file(
    section: &mut SectionReader<'_, '_>,
    key: &'static str,
    file_key: &'static str,
    is_secret: bool,
) -> Result<Option<String>, ()> {
    let direct = section.optional_text(key);
    let file = section.get(file_key, path);
    if is_secret && direct.is_some() && section.is_in_file(key) {
        let variable = section.variable(key);
        section.fault(
            key,
            &format!("is a secret: put it into {file_key} or the variable {variable}"),
        );
        return Err(());
    }
    match (direct, file) {
        (Some(_), Some(_)) if section.is_in_file(key) => {
            section.fault(key, &format!("and {file_key} are both given"));
            Err(())
        }
        // The environment overrides the file.
        (Some(text), _) => Ok(Some(text)),
        (None, Some(file)) => match read_line(&file) {
            Ok(text) => Ok(Some(text)),
            Err(message) => {
                section.fault(file_key, &message);
                Err(())
            }
        },
        (None, None) => Ok(None),
    }
}

/// Reads a file that holds one line. Messages never repeat it.
fn read_line(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let text = text.trim();
    if text.is_empty() || text.contains('\n') {
        return Err(format!("{} must hold one line", file.display()));
    }
    Ok(text.to_owned())
}

fn topic(value: &Value) -> Converted<Option<TopicArn>> {
    let arn = text(value)?;
    if arn.is_empty() {
        return Ok(None);
    }
    match TopicArn::parse(&arn) {
        Some(topic) => Ok(Some(topic)),
        None => must_be(
            "such as arn:aws:sns:eu-central-1:111122223333:alarms",
            value,
        ),
    }
}

/// Labels that tallyd gives each alert.
const OWN_LABELS: [&str; 2] = ["alertname", "severity"];

fn labels(value: &Value) -> Converted<BTreeMap<String, String>> {
    let Value::Table(table) = value else {
        return must_be("a table of names and values", value);
    };
    let mut labels = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in table {
        let mut chars = name.chars();
        let good = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        let message = match value {
            _ if !good => "a label has letters, digits and _ and begins with no digit",
            _ if OWN_LABELS.contains(&name.as_str()) => "is set by tallyd itself",
            Value::String(text) => {
                labels.insert(name.clone(), text.clone());
                continue;
            }
            _ => "must be a text in quotes",
        };
        problems.push(Problem::new(format!(".{name}"), message));
    }
    if problems.is_empty() {
        Ok(labels)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests;
