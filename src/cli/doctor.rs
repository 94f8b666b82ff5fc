//! `tallyd doctor`: who is heard, and what to do about what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use super::table::{Align, table};
use super::{Remote, block_on};
use crate::cli::out;
use crate::clock::Clock;
use crate::model::label::grouped;

/// Asks a running daemon.
#[derive(Args, Debug)]
pub struct Doctor {
    #[command(flatten)]
    pub remote: Remote,
}

/// Below this version clients count some streams several times.
const FIXED_VERSION: [u64; 3] = [2, 1, 214];

/// The daemon's clock and this host's may differ by this much.
const SKEW_SECONDS: i64 = 60;

/// Claude Code sends every minute while it is used; after this long it is worth a look.
const SILENT_SECONDS: i64 = 24 * 3_600;

/// Deliveries that were last refused longer ago than this are history.
const OLD_REFUSAL_SECONDS: i64 = 3_600;

#[derive(Debug, Default, Deserialize)]
struct Heard {
    now: Timestamp,
    sources: Vec<Sender>,
    /// Older daemons do not tell it.
    #[serde(default)]
    refused_deliveries: Vec<Refused>,
}

/// Deliveries that were refused whole for one reason.
#[derive(Clone, Debug, Default, Deserialize)]
struct Refused {
    signal: String,
    code: String,
    reason: String,
    deliveries: u64,
    last_seen: Timestamp,
}

/// One sender and signal, as `GET /api/v1/sources` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
struct Sender {
    client: String,
    version: String,
    signal: String,
    source: String,
    counted: String,
    last_seen: Timestamp,
    accepted: u64,
    duplicates: u64,
    refused: BTreeMap<String, u64>,
    identity: BTreeMap<String, u64>,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// Figures are missing or false until someone acts.
    Wrong(String),
    /// Good to know.
    Note(String),
}

pub(super) fn execute(wanted: &Doctor) -> anyhow::Result<()> {
    let heard: Heard = block_on(wanted.remote.get("/api/v1/sources", &[]))??;
    let findings = findings(&heard, Clock::System.now());
    if !heard.sources.is_empty() {
        out::println(senders(&heard))?;
    }
    for finding in &findings {
        match finding {
            Finding::Wrong(text) => out::println(format_args!("WRONG  {text}"))?,
            Finding::Note(text) => out::println(format_args!("note   {text}"))?,
        }
    }
    let is_wrong = |finding: &&Finding| matches!(finding, Finding::Wrong(_));
    match findings.iter().filter(is_wrong).count() {
        0 => {
            out::println("All is well.")?;
            Ok(())
        }
        1 => bail!("one thing is wrong"),
        wrong => bail!("{wrong} things are wrong"),
    }
}

fn senders(heard: &Heard) -> String {
    let columns = [
        ("client", Align::Left),
        ("version", Align::Left),
        ("signal", Align::Left),
        ("source", Align::Left),
        ("counted", Align::Left),
        ("last seen", Align::Left),
        ("accepted", Align::Right),
        ("duplicates", Align::Right),
        ("refused", Align::Left),
        ("users known by", Align::Left),
    ];
    let list = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter();
        let texts: Vec<String> = counts
            .map(|(name, count)| format!("{name} {}", grouped(*count)))
            .collect();
        texts.join(", ")
    };
    let row = |sender: &Sender| {
        vec![
            sender.client.clone(),
            sender.version.clone(),
            sender.signal.clone(),
            sender.source.clone(),
            sender.counted.clone(),
            ago(seconds(sender.last_seen, heard.now)),
            grouped(sender.accepted),
            grouped(sender.duplicates),
            list(&sender.refused),
            list(&sender.identity),
        ]
    };
    let rows: Vec<_> = heard.sources.iter().map(row).collect();
    table(&columns, &rows, 0)
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..=119 => format!("{} s ago", seconds.max(0)),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// What is wrong or worth knowing. `now` is this host's time.
fn findings(heard: &Heard, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let skew = seconds(heard.now, now);
    if skew.abs() > SKEW_SECONDS {
        findings.push(Finding::Wrong(format!(
            "clocks: the daemon's clock and this host's differ by {} s; usage is booked by the \
             senders' clocks, so check NTP on both",
            skew.abs()
        )));
    }
    deliveries(heard, &mut findings);
    if heard.sources.is_empty() && !heard.refused_deliveries.is_empty() {
        findings.push(Finding::Wrong(
            "nothing was taken since tallyd started: all that came was refused".to_owned(),
        ));
    } else if heard.sources.is_empty() {
        findings.push(Finding::Wrong(
            "nobody was heard since tallyd started: check that clients have the settings of \
             `tallyd client-config`, that they reach this address and port (firewall, proxy), that \
             CLAUDE_CODE_ENABLE_TELEMETRY is 1, and that a token with the scope ingest is sent \
             where tokens are configured"
                .to_owned(),
        ));
    }
    let clients: BTreeSet<&str> = heard.sources.iter().map(|s| s.client.as_str()).collect();
    for client in clients {
        let of_client = |sender: &&Sender| sender.client == client;
        let senders: Vec<&Sender> = heard.sources.iter().filter(of_client).collect();
        signals(client, &senders, &mut findings);
        identities(client, &senders, &mut findings);
        refusals(client, &senders, &mut findings);
        versions(client, &senders, &mut findings);
        silence(client, &senders, heard.now, &mut findings);
    }
    findings
}

fn signals(client: &str, senders: &[&Sender], findings: &mut Vec<Finding>) {
    let has = |signal: &str| {
        let mut senders = senders.iter();
        senders.any(|sender| sender.signal == signal && sender.accepted + sender.duplicates > 0)
    };
    if !client.starts_with("claude-code") {
        return;
    }
    if has("metrics") && !has("logs") {
        findings.push(Finding::Wrong(format!(
            "{client}: metrics come, but no events; requests, errors and durations are missing: \
             set OTEL_LOGS_EXPORTER=otlp"
        )));
    }
    if has("logs") && !has("metrics") {
        findings.push(Finding::Wrong(format!(
            "{client}: events come, but no metrics; sessions, lines, commits and active time are \
             missing: set OTEL_METRICS_EXPORTER=otlp"
        )));
    }
    if has("traces") {
        findings.push(Finding::Note(format!(
            "{client}: traces are accepted and dropped, they repeat the same tokens"
        )));
    }
}

fn identities(client: &str, senders: &[&Sender], findings: &mut Vec<Finding>) {
    let mut known = 0;
    let mut unknown = 0;
    for (origin, count) in senders.iter().flat_map(|sender| &sender.identity) {
        match origin.as_str() {
            "device" | "unknown" => unknown += count,
            _ => known += count,
        }
    }
    if unknown == 0 {
        return;
    }
    let remedy = "set enduser.id in OTEL_RESOURCE_ATTRIBUTES (`tallyd client-config --user`), or \
                  name the devices' owners in the directory";
    if known == 0 {
        findings.push(Finding::Wrong(format!(
            "{client}: only devices are known, no persons; {remedy}"
        )));
        return;
    }
    let share = unknown.saturating_mul(100) / (known + unknown);
    findings.push(Finding::Note(format!(
        "{client}: {} items ({share} %) name a device but no person; {remedy}",
        grouped(unknown)
    )));
}

fn refusals(client: &str, senders: &[&Sender], findings: &mut Vec<Finding>) {
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, count) in senders.iter().flat_map(|sender| &sender.refused) {
        *refused.entry(code).or_default() += count;
    }
    for (code, count) in refused {
        let why = match code {
            "time_out_of_range" => {
                "their times are too old or ahead: the sender's clock is wrong, check NTP there"
            }
            "id_conflict" => "the same id came again with other counts: ids must be unique",
            "identity_not_allowed" => "the token is bound to other users or teams",
            "missing_field" | "missing" => "a required field is missing",
            "invalid_json" | "malformed" => "they cannot be read",
            _ => "the answer to the sender names the field",
        };
        let count = grouped(count);
        findings.push(Finding::Wrong(format!(
            "{client}: {count} items were refused as {code}: {why}"
        )));
    }
}

/// Deliveries that were refused whole: what is in them is lost unless the sender comes again.
fn deliveries(heard: &Heard, findings: &mut Vec<Finding>) {
    for refused in &heard.refused_deliveries {
        let remedy = match refused.code.as_str() {
            "token_missing" | "token_unknown" => {
                "send a token of this daemon (`tallyd token new --scope ingest`), and look for \
                 senders that were forgotten when tokens changed"
            }
            "scope_missing" => "the sender's token needs the scope ingest",
            "content_type" | "unsupported_media_type" => {
                "set OTEL_EXPORTER_OTLP_PROTOCOL to what the sender speaks"
            }
            "body_too_large" | "too_many_records" | "transport" => {
                "send smaller batches, or raise limits.body"
            }
            "overloaded" | "too_many_requests" | "timeout" => {
                "more came than tallyd could take at once, or too slowly; senders come again; see \
                 tallyd_turned_away_total and tallyd_ledger_commit_seconds"
            }
            "unavailable" | "store_unavailable" => {
                "the ledger could not be written; the log says why, senders come again"
            }
            _ => "the sender writes something else than its protocol says",
        };
        let silent = seconds(refused.last_seen, heard.now);
        let how_many = match refused.deliveries {
            1 => "1 delivery was".to_owned(),
            many => format!("{} deliveries were", grouped(many)),
        };
        let text = format!(
            "{}: {how_many} refused whole as {}, the last {} ({}): {remedy}",
            refused.signal,
            refused.code,
            ago(silent),
            refused.reason
        );
        findings.push(if silent > OLD_REFUSAL_SECONDS {
            Finding::Note(text)
        } else {
            Finding::Wrong(text)
        });
    }
}

fn versions(client: &str, senders: &[&Sender], findings: &mut Vec<Finding>) {
    if !client.starts_with("claude-code") {
        return;
    }
    let old: BTreeSet<&str> = senders
        .iter()
        .map(|sender| sender.version.as_str())
        .filter(|version| parts(version).is_some_and(|parts| parts < FIXED_VERSION))
        .collect();
    if !old.is_empty() {
        let old: Vec<&str> = old.into_iter().collect();
        findings.push(Finding::Wrong(format!(
            "{client}: versions below 2.1.214 count some streamed requests several times; update \
             {}",
            old.join(", ")
        )));
    }
}

fn parts(version: &str) -> Option<[u64; 3]> {
    let version = version.split(['-', '+']).next()?;
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn silence(client: &str, senders: &[&Sender], now: Timestamp, findings: &mut Vec<Finding>) {
    let last = senders.iter().map(|sender| sender.last_seen).max();
    let silent = last.map_or(0, |last| seconds(last, now));
    if silent > SILENT_SECONDS {
        findings.push(Finding::Note(format!(
            "{client}: was last heard {}",
            ago(silent)
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn sender(signal: &str) -> Sender {
        Sender {
            client: "claude-code".to_owned(),
            version: "2.1.230".to_owned(),
            signal: signal.to_owned(),
            last_seen: now(),
            accepted: 10,
            identity: BTreeMap::from([("email".to_owned(), 10)]),
            ..Sender::default()
        }
    }

    fn found(sources: Vec<Sender>) -> Vec<Finding> {
        findings(
            &Heard {
                now: now(),
                sources,
                ..Heard::default()
            },
            now(),
        )
    }

    fn wrong(sources: Vec<Sender>) -> String {
        match &found(sources)[..] {
            [Finding::Wrong(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_with_both_signals_and_persons_is_well() {
        assert_eq!(found(vec![sender("metrics"), sender("logs")]), []);
    }

    #[test]
    fn silence_and_missing_signals_are_told_with_the_remedy() {
        assert!(wrong(Vec::new()).contains("`tallyd client-config`"));
        assert!(wrong(vec![sender("metrics")]).contains("OTEL_LOGS_EXPORTER=otlp"));
        assert!(wrong(vec![sender("logs")]).contains("OTEL_METRICS_EXPORTER=otlp"));
        let gateway = Sender {
            client: "litellm".to_owned(),
            version: String::new(),
            last_seen: "2026-11-20T11:00:00Z".parse().unwrap(),
            ..sender("usage")
        };
        let text = "litellm: was last heard 2 days ago".to_owned();
        assert_eq!(found(vec![gateway]), [Finding::Note(text)]);
    }

    #[test]
    fn devices_without_persons_are_wrong_and_some_are_noted() {
        let device = |count| BTreeMap::from([("device".to_owned(), count)]);
        let of = |signal, identity| Sender {
            identity,
            ..sender(signal)
        };
        let both = vec![of("metrics", device(3)), of("logs", device(3))];
        assert!(wrong(both).contains("only devices are known"));
        let some = found(vec![sender("metrics"), of("logs", device(10))]);
        assert!(
            matches!(&some[..], [Finding::Note(text)] if text.contains("10 items (50 %)")),
            "{some:?}"
        );
    }

    #[test]
    fn refusals_and_old_versions_are_told_once_per_client() {
        let refused = |code: &str| Sender {
            refused: BTreeMap::from([(code.to_owned(), 1_200)]),
            ..sender("logs")
        };
        let late = wrong(vec![sender("metrics"), refused("time_out_of_range")]);
        assert!(late.contains("1,200 items were refused as time_out_of_range"));
        let old = |signal| Sender {
            version: "2.1.197".to_owned(),
            ..sender(signal)
        };
        assert!(wrong(vec![old("metrics"), old("logs")]).ends_with("update 2.1.197"));
    }

    #[test]
    fn deliveries_that_were_refused_whole_are_told() {
        let refused = |last_seen: &str| Refused {
            signal: "logs".to_owned(),
            code: "token_missing".to_owned(),
            reason: "a bearer token is needed".to_owned(),
            deliveries: 5,
            last_seen: last_seen.parse().unwrap(),
        };
        let mut heard = Heard {
            now: now(),
            refused_deliveries: vec![refused("2026-11-22T11:59:30Z")],
            ..Heard::default()
        };
        let [Finding::Wrong(why), Finding::Wrong(nothing)] = &findings(&heard, now())[..] else {
            panic!("two things are wrong");
        };
        let told = "logs: 5 deliveries were refused whole as token_missing, the last 30 s ago (a \
                    bearer token is needed): send a token";
        assert!(why.starts_with(told), "{why}");
        assert!(nothing.contains("all that came was refused"), "{nothing}");
        heard.refused_deliveries = vec![refused("2026-11-22T10:00:00Z")];
        heard.sources = vec![sender("metrics"), sender("logs")];
        assert!(matches!(&findings(&heard, now())[..], [Finding::Note(_)]));
    }

    #[test]
    fn a_wrong_clock_is_told() {
        let heard = Heard {
            now: now(),
            sources: vec![sender("metrics"), sender("logs")],
            ..Heard::default()
        };
        let here = "2026-11-22T12:05:00Z".parse().unwrap();
        let findings = findings(&heard, here);
        assert!(
            matches!(&findings[..], [Finding::Wrong(text)] if text.contains("differ by 300 s")),
            "{findings:?}"
        );
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parts("2.1.99") < Some(FIXED_VERSION));
        assert!(parts("2.1.1000-beta") > Some(FIXED_VERSION));
        assert_eq!(parts(""), None);
    }
}
