//! What a setting is: its key, its default and its explanation, in one constant table a section.
//!
//! The example file, the documentation and the defaults are all read from these tables, so they
//! cannot differ.

use std::fmt::Write as _;

use toml::Value;

/// A `[section]` of the configuration file.
#[derive(Debug)]
pub(super) struct Section {
    pub name: &'static str,
    pub help: &'static str,
    pub settings: &'static [Setting],
}

/// One key of a section.
#[derive(Debug)]
pub(super) struct Setting {
    pub key: &'static str,
    /// The default as TOML text. Its type is the type of the setting.
    pub default: &'static str,
    pub help: &'static str,
    pub applies: Applies,
    pub shown: Shown,
    /// Lines for the example file, where the default alone does not show the form.
    pub example: &'static str,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// On SIGHUP.
    AtOnce,
    AfterRestart,
}

/// Whether values may be repeated in faults and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Plain,
    Masked,
}

impl Setting {
    /// A setting that needs a restart and holds no secret.
    pub(super) const fn new(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self {
            key,
            default,
            help,
            applies: Applies::AfterRestart,
            shown: Shown::Plain,
            example: "",
        }
    }

    pub(super) const fn at_once(self) -> Self {
        Self {
            applies: Applies::AtOnce,
            ..self
        }
    }

    pub(super) const fn masked(self) -> Self {
        Self {
            shown: Shown::Masked,
            ..self
        }
    }

    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    pub(super) fn default_value(&self) -> Value {
        parse_value(self.default).expect("defaults are valid TOML, a test parses them all")
    }
}

impl Section {
    pub(super) fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

/// The environment variable that overrides a setting; `section` may be a path, `notify.ops`.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!(
        "TALLYD_{}_{}",
        part_of_variable(section),
        key.to_uppercase()
    )
}

/// A name as it is written in a variable.
pub(super) fn part_of_variable(name: &str) -> String {
    name.replace(['.', '-'], "_").to_uppercase()
}

/// Parses the text of one TOML value.
pub(super) fn parse_value(text: &str) -> Result<Value, toml::de::Error> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}"))?;
    Ok(table
        .remove("value")
        .expect("the key is in the text that was just parsed"))
}

/// The example file: every setting with its default, and what it does.
///
/// Of sections in `named` there can be many, and none is made.
pub(super) fn example_file(sections: &[&Section], named: &[&Section]) -> String {
    let mut text = String::from(
        "# Every setting of tallyd with its default. A setting that is left out has its default.\n\
         # TALLYD_SECTION_KEY in the environment overrides a setting: TALLYD_LOG_LEVEL=debug.\n",
    );
    for section in sections {
        text.push('\n');
        push_comment(&mut text, section.help);
        let _ = writeln!(text, "[{}]", section.name);
        for setting in section.settings {
            push_comment(&mut text, setting.help);
            // A key that is written as [tables] must not be given a second time as a value.
            let mark = if setting.example.starts_with('[') {
                "# "
            } else {
                ""
            };
            let _ = writeln!(text, "{mark}{} = {}", setting.key, setting.default);
            for line in setting.example.lines() {
                let _ = writeln!(text, "#   {line}");
            }
        }
    }
    for section in named {
        text.push('\n');
        push_comment(&mut text, section.help);
        let _ = writeln!(text, "# [{}.NAME]", section.name);
        for setting in section.settings {
            push_comment(&mut text, setting.help);
            let _ = writeln!(text, "# {} = {}", setting.key, setting.default);
            for line in setting.example.lines() {
                let _ = writeln!(text, "#   {line}");
            }
        }
    }
    text
}

/// Longest line of a comment in the example file.
const COMMENT_WIDTH: usize = 100;

fn push_comment(text: &mut String, comment: &str) {
    let mut width = 0;
    for word in comment.split(' ') {
        if width == 0 || width + 1 + word.len() > COMMENT_WIDTH {
            if width > 0 {
                text.push('\n');
            }
            text.push('#');
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
}

/// The reference page: the same as Markdown tables.
#[must_use]
pub(super) fn reference_page(sections: &[&Section], named: &[&Section]) -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         `tallyd run --config FILE` reads a TOML file; without one, every setting has its default.\n\
         `tallyd check --config FILE` reports all faults at once and exits 64. An unknown key is a\n\
         fault. A variable `TALLYD_SECTION_KEY` overrides the file: `TALLYD_LOG_LEVEL=debug`. In a\n\
         variable, lists are separated by commas (`a,b`) or written as TOML (`[\"a\", \"b\"]`), and\n\
         tables are written as TOML (`{a = \"b\"}`). An empty text means none. Durations are `30s`,\n\
         `5m`, `90d`; sizes `512KiB`, `16MiB`.\n\n\
         After SIGHUP the file is read again. Settings marked *at once* take effect; for others the\n\
         log says that a restart is needed. A faulty file changes nothing.\n",
    );
    let one = sections
        .iter()
        .map(|section| (section, section.name.to_owned()));
    let many = named
        .iter()
        .map(|section| (section, format!("{}.NAME", section.name)));
    for (section, name) in one.chain(many) {
        let _ = write!(
            text,
            "\n## `[{name}]`\n\n{}\n\n| key | default | takes effect | meaning |\n|---|---|---|---|\n",
            section.help
        );
        for setting in section.settings {
            let applies = match setting.applies {
                Applies::AtOnce => "at once",
                Applies::AfterRestart => "restart",
            };
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {applies} | {} |",
                setting.key, setting.default, setting.help
            );
        }
        for setting in section.settings.iter().filter(|s| !s.example.is_empty()) {
            let _ = write!(text, "\n```toml\n{}\n```\n", setting.example);
        }
    }
    text
}
