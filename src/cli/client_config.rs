//! `tallyd client-config`: the Claude Code settings that make clients report to tallyd.

use std::fmt::Write as _;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::remote::secret;
use crate::cli::out;
use crate::config::Secret;

/// The exact settings of a client.
#[derive(Args, Clone, Debug)]
pub struct ClientConfig {
    /// Lines for a shell, or JSON for Claude Code's managed settings.
    #[arg(long, value_enum, default_value = "env")]
    pub format: Format,
    /// Where clients reach tallyd; without a port, that of the protocol is added (4317 or 4318).
    #[arg(long, default_value = "http://127.0.0.1")]
    pub url: String,
    /// Bearer token with the scope ingest.
    #[arg(long, env = "TALLYD_CLIENT_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret<String>>,
    #[arg(long)]
    pub team: Option<String>,
    #[arg(long)]
    pub project: Option<String>,
    #[arg(long)]
    pub cost_center: Option<String>,
    /// The person or service, where the client has no login that tells it (API keys, Bedrock,
    /// Vertex).
    #[arg(long)]
    pub user: Option<String>,
    /// The attribute that holds --user.
    #[arg(long, value_name = "KEY", default_value = "enduser.id", value_parser = key)]
    pub user_attribute: String,
    /// A further resource attribute, KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub attribute: Vec<(String, String)>,
    #[arg(long, value_enum, default_value = "http/protobuf")]
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Env,
    ManagedSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Grpc,
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    #[value(name = "http/json")]
    HttpJson,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }

    /// The port of tallyd's listener for it.
    const fn port(self) -> u16 {
        match self {
            Self::Grpc => 4317,
            Self::HttpProtobuf | Self::HttpJson => 4318,
        }
    }
}

fn key(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("must be letters, digits, dots, dashes and underscores".to_owned());
    }
    Ok(text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key(name)?, value.to_owned()))
}

/// One variable of the client, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: &'static str,
    value: String,
    purpose: &'static str,
}

pub(super) fn execute(wanted: &ClientConfig) -> anyhow::Result<()> {
    let variables = variables(wanted)?;
    out::print(written(&variables, wanted.format))?;
    Ok(())
}

fn variables(wanted: &ClientConfig) -> anyhow::Result<Vec<Variable>> {
    let variable = |name, value: &str, purpose| Variable {
        name,
        value: value.to_owned(),
        purpose,
    };
    let mut variables = vec![
        variable(
            "CLAUDE_CODE_ENABLE_TELEMETRY",
            "1",
            "Switches telemetry on.",
        ),
        variable(
            "OTEL_METRICS_EXPORTER",
            "otlp",
            "Sends metrics: tokens, sessions, lines, commits, active time.",
        ),
        variable(
            "OTEL_LOGS_EXPORTER",
            "otlp",
            "Sends events: each model request, error and tool result. Prompts and code are not sent.",
        ),
        variable(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            wanted.protocol.name(),
            "How to talk to tallyd; the client has no default.",
        ),
        variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &endpoint(&wanted.url, wanted.protocol)?,
            "Where tallyd is.",
        ),
    ];
    if let Some(token) = &wanted.token {
        variables.push(Variable {
            name: "OTEL_EXPORTER_OTLP_HEADERS",
            value: format!("Authorization=Bearer%20{}", encoded(token.expose())),
            purpose: "Proves to tallyd that this client may report. Keep it secret.",
        });
    }
    let attributes = attributes(wanted);
    if !attributes.is_empty() {
        variables.push(Variable {
            name: "OTEL_RESOURCE_ATTRIBUTES",
            value: attributes,
            purpose: "Who it is and who pays. Values are percent-encoded.",
        });
    }
    Ok(variables)
}

fn attributes(wanted: &ClientConfig) -> String {
    let own = [
        ("team.id", &wanted.team),
        ("project.id", &wanted.project),
        ("cost_center", &wanted.cost_center),
        (wanted.user_attribute.as_str(), &wanted.user),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let more = wanted.attribute.iter();
    let more = more.map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: Vec<String> = own
        .chain(more)
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    pairs.join(",")
}

/// Percent-encodes what a header or a resource attribute may not hold (W3C Baggage: space,
/// quote, comma, semicolon, backslash and what is not ASCII), and what means something there.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b',' | b';' | b'\\' | b'%' | b'=' => {}
            _ if byte.is_ascii_graphic() => {
                text.push(char::from(byte));
                continue;
            }
            _ => {}
        }
        let _ = write!(text, "%{byte:02X}");
    }
    text
}

/// The base URL with a port.
fn endpoint(url: &str, protocol: Protocol) -> anyhow::Result<String> {
    let url = url.trim_end_matches('/');
    let parsed = reqwest::Url::parse(url).ok();
    let Some(parsed) = parsed.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        bail!("--url: must be a URL such as https://tallyd.example.com, got {url:?}");
    };
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Ok(url.to_owned());
    }
    let after_host = url.rsplit_once(']').map_or(url, |(_, rest)| rest);
    let port = after_host.rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())) {
        return Ok(url.to_owned());
    }
    Ok(format!("{url}:{}", protocol.port()))
}

fn written(variables: &[Variable], format: Format) -> String {
    match format {
        Format::Env => {
            let mut text = "# Claude Code reports to tallyd with these variables.\n".to_owned();
            for variable in variables {
                let (name, purpose) = (variable.name, variable.purpose);
                let value = quoted(&variable.value);
                let _ = write!(text, "\n# {purpose}\nexport {name}={value}\n");
            }
            let name = "OTEL_RESOURCE_ATTRIBUTES";
            if !variables.iter().any(|variable| variable.name == name) {
                text.push_str(
                    "\n# Without a login to Claude (API keys, Bedrock, Vertex) say who it is:\n\
                     # export OTEL_RESOURCE_ATTRIBUTES=team.id=TEAM,enduser.id=PERSON\n",
                );
            }
            text
        }
        Format::ManagedSettings => {
            let pairs = variables.iter();
            let env: serde_json::Map<_, _> = pairs
                .map(|variable| (variable.name.to_owned(), json!(variable.value)))
                .collect();
            format!("{:#}\n", json!({ "env": env }))
        }
    }
}

/// A value as one word of a shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/=,%@+".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::app::App;
    use crate::clock::Clock;
    use crate::config::{Config, Environment};
    use crate::model::access::{hash_text, hash_token};
    use crate::schedule::Stop;

    #[derive(Debug, Parser)]
    struct Ask {
        #[command(flatten)]
        wanted: ClientConfig,
    }

    fn wanted(arguments: &[&str]) -> ClientConfig {
        let arguments = std::iter::once("ask").chain(arguments.iter().copied());
        Ask::parse_from(arguments).wanted
    }

    #[test]
    fn managed_settings_hold_all_that_a_client_needs() {
        let wanted = wanted(&[
            "--format=managed-settings",
            "--url=https://tallyd.example.com/",
            "--token=tallyd_1",
            "--team=pay, ments",
            "--project=checkout",
            "--cost-center=cc-42",
            "--user=ada@example.com",
            "--attribute=site=Köln",
            "--protocol=grpc",
        ]);
        let text = written(&variables(&wanted).unwrap(), wanted.format);
        let settings: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"env": {
            "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://tallyd.example.com:4317",
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20tallyd_1",
            "OTEL_RESOURCE_ATTRIBUTES": "team.id=pay%2C%20ments,project.id=checkout,\
                cost_center=cc-42,enduser.id=ada@example.com,site=K%C3%B6ln",
        }});
        assert_eq!(settings, expected);
    }

    #[test]
    fn lines_for_a_shell_say_what_they_are_for() {
        let text = written(&variables(&wanted(&[])).unwrap(), Format::Env);
        assert!(text.contains("\nexport OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n"));
        assert!(text.contains("\n# export OTEL_RESOURCE_ATTRIBUTES=team.id=TEAM"));
        assert!(!text.contains("HEADERS"));
        let exports = text.matches("\nexport ").count();
        assert_eq!(text.matches("\n# ").count(), exports + 2);
    }

    #[test]
    fn a_port_that_is_named_stays() {
        let cases = [
            ("http://tallyd", Some("http://tallyd:4318")),
            ("http://tallyd:80/", Some("http://tallyd:80")),
            ("http://[::1]", Some("http://[::1]:4318")),
            ("http://[::1]:9477", Some("http://[::1]:9477")),
            (
                "https://x.example.com/otlp",
                Some("https://x.example.com/otlp"),
            ),
            ("tallyd:4318", None),
        ];
        for (url, expected) in cases {
            let endpoint = endpoint(url, Protocol::HttpJson).ok();
            assert_eq!(endpoint.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(quoted("a=b,c%20d"), "a=b,c%20d");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    fn decoded(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            if *first == b'%' {
                let digits = std::str::from_utf8(&tail[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(*first);
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Sends one event as a client with these variables does.
    async fn report(variables: &[Variable]) -> u16 {
        let value = |name: &str| {
            let found = variables.iter().find(|variable| variable.name == name);
            found.map(|variable| variable.value.clone()).unwrap()
        };
        let attributes: Vec<_> = value("OTEL_RESOURCE_ATTRIBUTES")
            .split(',')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(key, value)| json!({"key": key, "value": {"stringValue": decoded(value)}}))
            .collect();
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let record = json!({"timeUnixNano": "1795316806597000000", "attributes": [
            text("event.name", "api_request"), text("model", "claude-opus-5"),
            text("input_tokens", "7"), text("session.id", "s"),
        ]});
        let body = json!({"resourceLogs": [{
            "resource": {"attributes": attributes},
            "scopeLogs": [{"logRecords": [record]}],
        }]});
        let header = value("OTEL_EXPORTER_OTLP_HEADERS");
        let (header, secret) = header.split_once('=').unwrap();
        let url = format!("{}/v1/logs", value("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let request = reqwest::Client::new().post(url).json(&body);
        let request = request.header(header, decoded(secret));
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_client_with_these_settings_is_heard_under_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"127.0.0.1:0\"\ngrpc = \"\"\n\
             [store]\npath = {:?}\n[[auth.tokens]]\nname = \"a\"\nhash = \"{}\"\n\
             scopes = [\"ingest\", \"read\"]\n",
            folder.path(),
            hash_text(&hash_token("s3;cret"))
        );
        let config = Config::parse(&text, &Environment::default()).unwrap();
        let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
        let app = App::build(config, clock).await.unwrap();
        let addresses = app.addresses();
        let stop = Stop::new();
        let running = tokio::spawn(app.run(None, stop.clone()));
        let url = format!("--url=http://{}", addresses.otlp_http.unwrap());
        let wanted = wanted(&[&url, "--token=s3;cret", "--team=pay, ments", "--user=Ada"]);
        assert_eq!(report(&variables(&wanted).unwrap()).await, 200);

        let remote = super::super::Remote {
            url: format!("http://{}", addresses.http.unwrap()),
            token: wanted.token,
        };
        let parameters = [("group_by", "team,user")];
        let usage: serde_json::Value = remote.get("/api/v1/usage", &parameters).await.unwrap();
        let row = &usage["rows"][0];
        assert_eq!(
            (&row["team"], &row["user"]),
            (&json!("pay, ments"), &json!("ada"))
        );
        assert_eq!(row["tokens"]["input"], json!(7));
        stop.stop();
        running.await.unwrap().unwrap();
    }
}
