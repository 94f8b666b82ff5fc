//! The audit log: a JSON line a decision, in files that are rotated by size and age.
//!
//! A line is handed to the operating system before the gateway is answered, so a killed process
//! loses none. Lines are numbered without gaps, over restarts too: a gap is a line that could not
//! be written. Prompts and answers never come here, tallyd does not know them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::watch::{Call, Told};
use super::{Answer, Refused};
use crate::model::policy::{AuditLevel, Field};

/// Longer than any line: names have at most some hundred characters, and limits are bounded.
const TAIL_BYTES: u64 = 1 << 20;

/// Where lines go and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    pub path: PathBuf,
    /// A file that would grow beyond it is set aside.
    pub max_bytes: u64,
    /// So is one whose first line is that old.
    pub max_age: Duration,
    /// Files set aside that are kept: `PATH.1` is the youngest.
    pub keep: usize,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path}")]
pub struct AuditError {
    path: String,
    source: io::Error,
}

/// An open log.
#[derive(Debug)]
pub struct AuditLog {
    settings: AuditSettings,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// When the first line of the file was written.
    since: Option<Timestamp>,
    next: u64,
}

impl AuditLog {
    /// Opens the file and goes on after its last whole line.
    pub fn open(settings: AuditSettings) -> Result<Self, AuditError> {
        let open = begin(&settings).map_err(|source| AuditError {
            path: settings.path.display().to_string(),
            source,
        })?;
        Ok(Self {
            settings,
            open: Mutex::new(open),
        })
    }

    /// Appends an object with its number. A number whose line cannot be written is missing.
    pub(super) fn append(&self, mut object: Map<String, Value>, now: Timestamp) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        object.insert("seq".to_owned(), open.next.into());
        open.next += 1;
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        let size = line.len() as u64;
        if self.is_due(&open, size, now) {
            rotate(&self.settings)?;
            open.file = append_to(&self.settings.path)?;
            (open.bytes, open.since) = (0, None);
        }
        // One write: a line of a killed process is there or is not.
        open.file.write_all(line.as_bytes())?;
        open.bytes += size;
        open.since.get_or_insert(now);
        Ok(())
    }

    fn is_due(&self, open: &Open, more: u64, now: Timestamp) -> bool {
        let old = open.since.is_some_and(|since| {
            now.duration_since(since).unsigned_abs() >= self.settings.max_age && now > since
        });
        open.bytes > 0 && (old || open.bytes + more > self.settings.max_bytes)
    }
}

fn begin(settings: &AuditSettings) -> io::Result<Open> {
    let path = &settings.path;
    let file = append_to(path)?;
    let text = tail(path)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let size = file.metadata()?.len();
    // What comes next must not be glued to the rest of a line.
    let bytes = size - (text.len() - whole) as u64;
    file.set_len(bytes)?;
    let last = match sequence(&text[..whole]) {
        Some(last) => Some(last),
        None => sequence(&tail(&aside(path, 1)).unwrap_or_default()),
    };
    Ok(Open {
        file,
        bytes,
        since: first_time(path)?,
        next: last.map_or(1, |last| last + 1),
    })
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // It names people.
    let mut options = File::options();
    options.create(true).append(true).mode(0o640).open(path)
}

/// The end of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Lines are ASCII but for names; the length has to stay.
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes
            .into_iter()
            .map(|b| if b.is_ascii() { b as char } else { '?' })
            .collect()
    }))
}

/// The number of the last line.
fn sequence(text: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(text.lines().next_back()?).ok()?;
    line["seq"].as_u64()
}

fn first_time(path: &Path) -> io::Result<Option<Timestamp>> {
    let mut line = String::new();
    let mut file = io::BufReader::new(File::open(path)?);
    io::BufRead::read_line(&mut file, &mut line)?;
    let line: Value = serde_json::from_str(&line).unwrap_or_default();
    Ok(line["at"].as_str().and_then(|at| at.parse().ok()))
}

fn aside(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Moves each file one number up; the oldest goes.
fn rotate(settings: &AuditSettings) -> io::Result<()> {
    let path = &settings.path;
    for number in (1..settings.keep).rev() {
        let from = aside(path, number);
        if from.exists() {
            std::fs::rename(from, aside(path, number + 1))?;
        }
    }
    std::fs::rename(path, aside(path, 1))
}

/// What is written of a decision; `None` if its role's level says nothing about it.
pub(super) fn entry(
    call: &Call<'_>,
    answer: &Result<Answer, Refused>,
    told: &Told,
    now: Timestamp,
) -> Option<Map<String, Value>> {
    let level = level(answer);
    let admitted = matches!(told.decision, "allow" | "would_allow");
    if admitted && level == AuditLevel::Minimal {
        return None;
    }
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value != "" {
            object.insert(key.to_owned(), value);
        }
    };
    put("at", json!(now.to_string()));
    put("decision", json!(told.decision));
    put("reason", json!(told.reason));
    put("id", json!(call.id));
    put("user", json!(who(call, answer, Field::User)));
    put("role", json!(role(answer)));
    if let Ok(answer) = answer {
        put("policy_version", json!(answer.version));
    }
    if admitted && level != AuditLevel::Full {
        return Some(object);
    }
    put("limit", json!(told.limit));
    put("model", json!(call.ask.model));
    put("project", json!(who(call, answer, Field::Project)));
    if level == AuditLevel::Full {
        for field in [Field::Team, Field::CostCenter, Field::Organization] {
            put(field.name(), json!(who(call, answer, field)));
        }
        put("sender", json!(call.sender));
        put("input_tokens", json!(call.ask.input_tokens));
        put("cached_input_tokens", json!(call.ask.cached_input_tokens));
        put("max_output_tokens", json!(call.ask.max_output_tokens));
        if let Ok(answer) = answer {
            put("limits", json!(answer.limits(now)));
        }
    }
    Some(object)
}

/// What the role of whoever asked wants to be written. Who has none is written as by default.
fn level(answer: &Result<Answer, Refused>) -> AuditLevel {
    let Ok(answer) = answer else {
        return AuditLevel::default();
    };
    let role = answer.resolved.subject().get(Field::Role);
    let role = answer.policy.roles.get(role);
    role.map_or_else(AuditLevel::default, |role| role.audit_level)
}

fn role(answer: &Result<Answer, Refused>) -> &str {
    match answer {
        Ok(answer) => answer.resolved.subject().get(Field::Role),
        Err(Refused::Model { role, .. } | Refused::ProjectType { role, .. }) => role,
        Err(_) => "",
    }
}

/// As resolved; else as claimed.
fn who<'a>(call: &Call<'a>, answer: &'a Result<Answer, Refused>, field: Field) -> &'a str {
    let claims = &call.ask.claims;
    match (answer, field) {
        (Ok(answer), field) => answer.resolved.subject().get(field),
        (Err(_), Field::User) => claims.user.as_deref().unwrap_or_default(),
        (Err(_), Field::Project) => claims.project.as_deref().unwrap_or_default(),
        (Err(_), _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> AuditSettings {
        AuditSettings {
            path: folder.join("audit.jsonl"),
            max_bytes: 60,
            max_age: Duration::from_hours(24),
            keep: 2,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn line(log: &AuditLog, now: Timestamp) {
        let at = json!(now.to_string());
        log.append(Map::from_iter([("at".to_owned(), at)]), now)
            .unwrap();
    }

    /// The numbers in a file.
    fn numbers(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| sequence(line).unwrap()).collect()
    }

    #[test]
    fn numbers_go_on_over_a_restart_and_a_cut_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let now = at("2026-11-22T12:00:00Z");
        line(&AuditLog::open(settings.clone()).unwrap(), now);
        let mut file = append_to(&settings.path).unwrap();
        file.write_all(br#"{"at":"20"#).unwrap();
        line(&AuditLog::open(settings.clone()).unwrap(), now);
        // Two lines are more than a file may have.
        assert_eq!(numbers(&aside(&settings.path, 1)), [1]);
        assert_eq!(numbers(&settings.path), [2]);
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let log = AuditLog::open(settings.clone()).unwrap();
        for _ in 0..4 {
            line(&log, at("2026-11-22T12:00:00Z"));
        }
        assert_eq!(numbers(&settings.path), [4]);
        assert_eq!(numbers(&aside(&settings.path, 1)), [3]);
        assert_eq!(numbers(&aside(&settings.path, 2)), [2]);
        assert!(!aside(&settings.path, 3).exists());
    }

    #[test]
    fn an_old_file_is_set_aside_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AuditSettings {
            max_bytes: 1_000,
            ..settings(folder.path())
        };
        let log = AuditLog::open(settings.clone()).unwrap();
        line(&log, at("2026-11-22T12:00:00Z"));
        line(&log, at("2026-11-23T11:59:59Z"));
        let log = AuditLog::open(settings.clone()).unwrap();
        line(&log, at("2026-11-23T12:00:00Z"));
        assert_eq!(numbers(&aside(&settings.path, 1)), [1, 2]);
        assert_eq!(numbers(&settings.path), [3]);
    }
}
