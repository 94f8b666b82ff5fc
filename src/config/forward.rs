//! `[forward]`: another OTLP endpoint that gets what was accepted.

use std::path::Path;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::{choices, count, path, text};

/// The endpoint to pass telemetry on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The base URL, without `/v1/...`.
    pub endpoint: Url,
    /// Sent with each request, for example for authentication.
    pub headers: Secret<HeaderMap>,
    pub signals: Vec<Signal>,
    /// Requests that may wait; further ones are lost and counted.
    pub queue: usize,
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Metrics, Self::Logs, Self::Traces]
            .into_iter()
            .find(|signal| signal.name() == name)
    }
}

pub(super) const SECTION: Section = Section {
    name: "forward",
    help: "Another OTLP endpoint that gets what was accepted, over HTTP.",
    settings: &[
        Setting::new(
            "endpoint",
            r#""""#,
            "Base URL such as http://collector:4318; /v1/metrics and so on are added. Empty: off.",
        ),
        Setting::new("headers", "{}", "Headers to send along.")
            .masked()
            .example("headers = {authorization = \"Bearer ...\"}"),
        Setting::new(
            "headers_file",
            r#""""#,
            "File with further headers, a line each: name: value.",
        ),
        Setting::new(
            "signals",
            r#"["metrics", "logs", "traces"]"#,
            "What to pass on.",
        ),
        Setting::new(
            "queue",
            "1000",
            "Requests that may wait; further ones are dropped and counted.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Forward> {
    let mut section = reader.section(&SECTION);
    let endpoint = section.get("endpoint", endpoint);
    let mut headers = section.get("headers", headers);
    if let Some(file) = section.get("headers_file", path) {
        match read_headers(&file) {
            Ok(more) => headers.extend(more),
            Err(message) => section.fault("headers_file", &message),
        }
    }
    let signals = section.get("signals", |value| {
        choices(value, "metrics, logs, traces", Signal::parse)
    });
    let queue = section.get("queue", |value| count(value, 1, 100_000));
    Some(Forward {
        endpoint: endpoint?,
        headers: Secret::new(headers),
        signals,
        queue,
    })
}

fn endpoint(value: &Value) -> Converted<Option<Url>> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => url,
        _ => return must_be("a URL such as http://collector:4318", value),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = "must not hold credentials; put them into forward.headers_file";
        return Err(vec![Problem::new("", message)]);
    }
    Ok(Some(url))
}

fn headers(value: &Value) -> Converted<HeaderMap> {
    let Value::Table(table) = value else {
        return must_be("a table of names and values", value);
    };
    let mut headers = HeaderMap::new();
    let mut problems = Vec::new();
    for (name, value) in table {
        let Value::String(value) = value else {
            problems.push(Problem::new(format!(".{name}"), "must be a text in quotes"));
            continue;
        };
        if let Err(message) = add_header(&mut headers, name, value) {
            problems.push(Problem::new(format!(".{name}"), message));
        }
    }
    if problems.is_empty() {
        Ok(headers)
    } else {
        Err(problems)
    }
}

/// Reads lines `name: value`. Messages never repeat a line: it may be a secret.
fn read_headers(file: &Path) -> Result<HeaderMap, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut headers = HeaderMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{} line {}", file.display(), index + 1);
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("{place}: must be name: value"));
        };
        add_header(&mut headers, name.trim(), value.trim())
            .map_err(|message| format!("{place}: {message}"))?;
    }
    Ok(headers)
}

/// Headers that the sender sets by itself.
const OWN_HEADERS: [&str; 4] = ["content-type", "content-encoding", "content-length", "host"];

fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), &'static str> {
    let Ok(name) = name.parse::<HeaderName>() else {
        return Err("the name is not one of an HTTP header");
    };
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err("is set by tallyd itself");
    }
    let Ok(mut value) = value.parse::<HeaderValue>() else {
        return Err("the value has characters that a header cannot have");
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_file_holds_a_header_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(
            &file,
            "# for the collector\n\nAuthorization: Bearer s3cret\nx-org: 7\n",
        )
        .unwrap();
        let headers = read_headers(&file).unwrap();
        assert_eq!(headers["authorization"], "Bearer s3cret");
        assert_eq!(headers["x-org"], "7");
        std::fs::write(&file, "s3cret\n").unwrap();
        let fault = read_headers(&file).unwrap_err();
        assert!(
            fault.ends_with("headers line 1: must be name: value"),
            "{fault}"
        );
    }

    #[test]
    fn credentials_in_the_url_are_refused_without_repeating_them() {
        let value = Value::String("https://me:s3cret@collector:4318".to_owned());
        let problems = endpoint(&value).unwrap_err();
        assert!(!format!("{problems:?}").contains("s3cret"));
    }
}
