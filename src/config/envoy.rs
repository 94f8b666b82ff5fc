//! `[envoy]`: what the descriptors of Envoy's rate limit service mean.

use std::collections::BTreeMap;

use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{choice, text};
use crate::model::usage::source;

/// What descriptors mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envoy {
    /// The source of the usage records that reports become.
    pub source: String,
    /// What a hit counts where neither descriptor nor domain says it.
    pub unit: Hit,
    /// The model of descriptors that name none.
    pub model: Option<String>,
    /// What a hit counts, by domain. If not empty, other domains are refused.
    pub domains: BTreeMap<String, Hit>,
    /// Further names of entry keys.
    pub keys: BTreeMap<String, Key>,
}

/// What an entry of a descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    User,
    Team,
    Project,
    Organization,
    CostCenter,
    Role,
    Group,
    Model,
    Provider,
    Session,
    RequestId,
    ClientRequestId,
    /// The id of the HTTP request, the same in all calls about it.
    EventId,
    /// The value names what a hit counts.
    Unit,
    /// The key itself says what a hit counts; the value says nothing.
    Hits(Hit),
}

/// What a hit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hit {
    Request,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    /// Tokens of kinds that the gateway does not tell apart.
    Token,
}

impl Hit {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "requests" => Self::Request,
            "input_tokens" => Self::Input,
            "output_tokens" => Self::Output,
            "cache_read_tokens" | "cache_read_input_tokens" | "cached_input_tokens" => {
                Self::CacheRead
            }
            "cache_write_tokens" | "cache_creation_tokens" | "cache_creation_input_tokens" => {
                Self::CacheWrite
            }
            "tokens" | "total_tokens" => Self::Token,
            _ => return None,
        })
    }
}

const HITS: &str =
    "requests, tokens, input_tokens, output_tokens, cache_read_tokens or cache_write_tokens";

impl Key {
    /// What a key means that the configuration does not name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "user" => Self::User,
            "team" => Self::Team,
            "project" => Self::Project,
            "organization" => Self::Organization,
            "cost_center" => Self::CostCenter,
            "role" => Self::Role,
            "group" => Self::Group,
            "model" => Self::Model,
            "provider" => Self::Provider,
            "session" => Self::Session,
            "request_id" => Self::RequestId,
            "client_request_id" => Self::ClientRequestId,
            "quota.event_id" => Self::EventId,
            "quota.unit" => Self::Unit,
            name => Self::Hits(Hit::parse(name)?),
        })
    }
}

pub(super) const SECTION: Section = Section {
    name: "envoy",
    help: "Envoy's rate limit service on the gRPC listener: what its descriptors mean. \
           See docs/envoy.md.",
    settings: &[
        Setting::new(
            "source",
            r#""gateway""#,
            "Source of the usage records that reports of tokens become.",
        ),
        Setting::new(
            "unit",
            r#""requests""#,
            "What a hit counts where nothing else says it: requests, tokens, input_tokens, \
             output_tokens, cache_read_tokens or cache_write_tokens.",
        ),
        Setting::new(
            "model",
            r#""""#,
            "Model of calls that name none. Empty: unknown, which roles with allowed_models refuse.",
        ),
        Setting::new(
            "domains",
            "{}",
            "What a hit counts, by domain. With any, other domains are refused.",
        )
        .example("domains = {api = \"requests\", llm = \"tokens\"}"),
        Setting::new(
            "keys",
            "{}",
            "Further names of entry keys, beside user, team, project, model, quota.event_id, ...",
        )
        .example("keys = {x-user-id = \"user\", llm_total_token = \"tokens\"}"),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Envoy {
    let mut section = reader.section(&SECTION);
    Envoy {
        source: section.get("source", source),
        unit: section.get("unit", |value| choice(value, HITS, Hit::parse)),
        model: section.get("model", |value| {
            Ok(Some(text(value)?).filter(|model| !model.is_empty()))
        }),
        domains: section.get("domains", |value| named(value, HITS, Hit::parse)),
        keys: section.get("keys", |value| {
            named(value, "a key that tallyd knows, such as user", Key::parse)
        }),
    }
}

/// As the usage API has it.
const MAX_SOURCE_CHARS: usize = 64;

/// Sources of what clients report.
const TELEMETRY: [&str; 5] = [
    source::EVENTS,
    source::RETRIES,
    source::METRICS,
    source::GENAI,
    source::GENAI_ERRORS,
];

fn source(value: &Value) -> Converted<String> {
    let source = text(value)?;
    let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    if !(1..=MAX_SOURCE_CHARS).contains(&source.len()) || !source.chars().all(is_fit) {
        return must_be("1 to 64 characters of a-z0-9_.-", value);
    }
    if TELEMETRY.contains(&&*source) {
        return must_be("a source that telemetry does not use", value);
    }
    Ok(source)
}

/// A table of names and choices.
fn named<T>(
    value: &Value,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Converted<BTreeMap<String, T>> {
    let Value::Table(table) = value else {
        return must_be("a table of names and texts", value);
    };
    let mut named = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in table {
        match value.as_str().and_then(|text| parse(text.trim())) {
            Some(parsed) => {
                named.insert(name.clone(), parsed);
            }
            None => problems.push(Problem::new(
                format!(".{name}"),
                format!("must be {expected}"),
            )),
        }
    }
    if problems.is_empty() {
        Ok(named)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_name_that_telemetry_does_not_use() {
        let fits = |name: &str| source(&Value::String(name.to_owned())).is_ok();
        let seen = ["gateway", "envoy-eu.1", "", "Envoy", "events"].map(fits);
        assert_eq!(seen, [true, true, false, false, false]);
    }
}
