//! `tallyd statusline`: one line for the status line of Claude Code.
//!
//! Claude Code runs it after each answer and shows what it prints. It never waits long and never
//! fails: without an answer in time the line is empty.

use std::io::Read as _;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::BALANCES;
use super::balance::{Amount, Balances, Standing};
use crate::cli::Remote;
use crate::cli::out;
use crate::clock::Clock;

/// Time for the daemon's answer: with the start of the process it stays below 50 ms.
const ANSWER_TIME: Duration = Duration::from_millis(35);

/// Time for Claude Code to hand over its JSON, which is there at once.
const INPUT_TIME: Duration = Duration::from_millis(5);

/// The JSON has some kilobytes.
const MAX_INPUT: u64 = 1 << 20;

const HOUR: i64 = 3_600;

/// What the status line needs.
#[derive(Args, Debug)]
pub struct StatusLine {
    /// Whose limits; nothing is shown without.
    #[arg(
        long,
        env = "TALLYD_USER",
        default_value = "",
        hide_default_value = true
    )]
    pub user: String,
    #[command(flatten)]
    pub remote: Remote,
}

/// Prints the line, or nothing.
pub(in crate::cli) fn print(wanted: &StatusLine) {
    if wanted.user.is_empty() {
        return;
    }
    let model = model(&input());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    let parameters = [("user", wanted.user.as_str()), ("model", &model)];
    let answer = runtime.block_on(async {
        let asked = wanted.remote.get_quickly::<Balances>(BALANCES, &parameters);
        tokio::time::timeout(ANSWER_TIME, asked).await
    });
    // Names may still be looked up; nobody waits for that.
    runtime.shutdown_background();
    if let Ok(Ok(balances)) = answer
        && let Some(line) = line(&balances, &TimeZone::system(), Clock::System.now())
    {
        // It never fails, read or not.
        let _ = out::println(&line);
    }
}

/// What is on standard input, if it comes soon.
fn input() -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::stdin().take(MAX_INPUT).read_to_string(&mut text);
        // Nobody may wait for it any more.
        let _ = sender.send(text);
    });
    receiver.recv_timeout(INPUT_TIME).unwrap_or_default()
}

/// The model in use, for limits that match on it; empty if it is not told.
fn model(input: &str) -> String {
    let input: Value = serde_json::from_str(input).unwrap_or_default();
    let model = input.pointer("/model/id").and_then(Value::as_str);
    // Claude Code marks its long contexts: claude-opus-4-6[1m].
    let name = model.and_then(|model| model.split('[').next());
    name.unwrap_or_default().to_owned()
}

/// The enforced limit that is fullest: `62% of today's 50k, resets 00:00`.
fn line(balances: &Balances, zone: &TimeZone, now: Timestamp) -> Option<String> {
    let enforced = balances.limits.iter().filter(|one| one.mode == "enforce");
    let shares = enforced.filter_map(|one| Some((one.percent()?, one)));
    let (percent, fullest) = shares.max_by_key(|(percent, _)| *percent)?;
    let bound = short(fullest.limit.as_ref()?);
    let resets = resets(fullest, zone, now);
    Some(format!(
        "{percent}% of {} {bound}{resets}",
        whose(fullest, now)
    ))
}

fn whose(standing: &Standing, now: Timestamp) -> String {
    let hours = standing
        .window
        .end
        .duration_since(standing.window.start)
        .as_secs()
        / HOUR;
    match hours {
        _ if standing.is_rolling(now) => format!("{}'s", standing.name),
        23..=25 => "today's".to_owned(),
        167..=169 => "this week's".to_owned(),
        671..=745 => "this month's".to_owned(),
        _ => format!("{}'s", standing.name),
    }
}

fn resets(standing: &Standing, zone: &TimeZone, now: Timestamp) -> String {
    if standing.is_rolling(now) {
        return String::new();
    }
    let end = standing.window.end;
    let length = end.duration_since(standing.window.start).as_secs();
    let format = if length <= 25 * HOUR {
        "%H:%M"
    } else {
        "%b %d"
    };
    let local = end.to_zoned(zone.clone());
    format!(", resets {}", local.strftime(format))
}

/// `50k`, `1.5M`, `$500`.
fn short(amount: &Amount) -> String {
    let number = amount.number();
    let (scaled, suffix) = match number {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let rounded = (scaled * 10.0).round() / 10.0;
    match amount {
        Amount::Count(_) => format!("{rounded}{suffix}"),
        Amount::Usd(_) => format!("${rounded}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::balance::{NOON, sample};
    use super::*;

    #[test]
    fn the_fullest_enforced_limit_is_the_line() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let told = line(&sample(), &zone, NOON).unwrap();
        assert_eq!(told, "62% of today's 50k, resets 00:00");
        let nothing = Balances { limits: Vec::new() };
        assert_eq!(line(&nothing, &zone, NOON), None);
    }

    #[test]
    fn the_model_comes_from_what_claude_code_tells() {
        let told = r#"{"model": {"id": "claude-opus-4-6[1m]", "display_name": "Opus"}}"#;
        assert_eq!(model(told), "claude-opus-4-6");
        assert_eq!(model("not json"), "");
    }

    #[test]
    fn large_numbers_are_short() {
        let text = |count| short(&Amount::Count(count));
        assert_eq!(
            [text(999), text(50_000), text(1_500_000)],
            ["999", "50k", "1.5M"]
        );
        assert_eq!(short(&Amount::Usd("500.00".into())), "$500");
    }
}
