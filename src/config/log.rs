//! `[log]`: tallyd's own log.

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::reader::{Converted, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{choice, text};

/// How tallyd logs, on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: Format,
    /// A level, or directives such as `info,tallyd::store=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

pub(super) const SECTION: Section = Section {
    name: "log",
    help: "tallyd's own log, on standard error.",
    settings: &[
        Setting::new("format", r#""text""#, "text or json."),
        Setting::new(
            "level",
            r#""info""#,
            "error, warn, info, debug or trace; also per module: info,tallyd::store=debug.",
        )
        .at_once(),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Log {
    let mut section = reader.section(&SECTION);
    Log {
        format: section.get("format", |value| {
            choice(value, "text, json", |name| match name {
                "text" => Some(Format::Text),
                "json" => Some(Format::Json),
                _ => None,
            })
        }),
        level: section.get("level", level),
    }
}

fn level(value: &Value) -> Converted<String> {
    let level = text(value)?;
    // A bare word that is no level would be taken for a module's name and switch all logs off.
    let known = ["error", "warn", "info", "debug", "trace", "off"].contains(&level.as_str());
    let directives = level.contains('=') && EnvFilter::try_new(&level).is_ok();
    if known || directives {
        Ok(level)
    } else {
        must_be("error, warn, info, debug, trace or directives", value)
    }
}
