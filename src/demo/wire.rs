//! Sessions as Claude Code and a gateway tell them: OTLP events and metrics, usage records.
//!
//! Attributes that real clients repeat on each item stand in the resource only, which is a
//! setting of theirs (`OTEL_METRICS_INCLUDE_RESOURCE_ATTRIBUTES=false`) and keeps bodies small.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Value, json};

use super::company::{Kind, MARK, Person, Provider};
use super::work::{Failure, Request, Session, Step, Tool, Turn};

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}

fn resource(who: &Person) -> Resource {
    let mut attributes = vec![
        text("service.name", "claude-code"),
        text("service.version", who.version),
        text("os.type", "linux"),
        text("host.arch", "amd64"),
        text("organization", MARK),
        text(MARK, "true"),
        text("team.id", who.team),
        text("project.id", who.project),
        text("department", who.department),
        text("cost_center", who.cost_center),
    ];
    if !who.nameless && !logged_in(who) {
        attributes.push(text("enduser.id", &who.name));
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

/// Logged in to Claude: the client tells the mail address by itself.
fn logged_in(who: &Person) -> bool {
    who.provider == Provider::Anthropic && who.kind == Kind::Person
}

fn scope(name: &str, who: &Person) -> InstrumentationScope {
    InstrumentationScope {
        name: name.to_owned(),
        version: who.version.to_owned(),
        ..InstrumentationScope::default()
    }
}

/// What every item of a session says.
fn standard(who: &Person, session: &Session) -> Vec<KeyValue> {
    let terminal = match who.kind {
        Kind::Person => "vscode",
        Kind::Service | Kind::Runaway => "non-interactive",
    };
    let mut attributes = vec![
        text("user.id", &who.device),
        text("session.id", &session.id),
        text("terminal.type", terminal),
    ];
    if logged_in(who) && !who.nameless {
        attributes.push(text("user.email", &who.name));
        attributes.push(text("user.account_uuid", &who.account));
    }
    attributes
}

/// Writes the events of a session.
struct Events<'s> {
    standard: &'s [KeyValue],
    sequence: u64,
    records: Vec<LogRecord>,
}

impl Events<'_> {
    fn push(&mut self, name: &str, at: Timestamp, own: Vec<KeyValue>) {
        let mut attributes = self.standard.to_vec();
        attributes.push(text("event.name", name));
        attributes.push(text("event.timestamp", &format!("{at:.3}")));
        attributes.push(int("event.sequence", self.sequence));
        attributes.extend(own);
        self.sequence += 1;
        self.records.push(LogRecord {
            time_unix_nano: nanos(at),
            observed_time_unix_nano: nanos(at),
            body: Some(AnyValue {
                value: Some(any_value::Value::StringValue(format!("claude_code.{name}"))),
            }),
            attributes,
            ..LogRecord::default()
        });
    }

    fn turn(&mut self, who: &Person, turn: &Turn) {
        let length = text("prompt_length", &turn.prompt_length.to_string());
        let prompt = text("prompt", "<REDACTED>");
        self.push("user_prompt", turn.start, vec![length, prompt]);
        for step in &turn.steps {
            match step {
                Step::Request(request) => self.request(who, request),
                Step::Failure(failure) => self.failure(failure),
                Step::Tool(tool) => self.tool(tool),
            }
        }
    }

    fn request(&mut self, who: &Person, request: &Request) {
        let [input, output, cache_read, cache_write] = request.tokens;
        let mut own = vec![
            text("model", request.model.name),
            int("input_tokens", input),
            int("output_tokens", output),
            int("cache_read_tokens", cache_read),
            int("cache_creation_tokens", cache_write),
            int("cost_usd_micros", request.client_cost()),
            int("duration_ms", request.duration_ms),
            text("query_source", request.query_source),
            text("speed", "normal"),
        ];
        // Bedrock gives the client no id.
        if who.provider != Provider::Bedrock {
            own.push(text("request_id", &request.id));
        }
        self.push("api_request", request.at, own);
    }

    fn failure(&mut self, failure: &Failure) {
        let retried = failure.status != 400;
        let mut own = vec![
            text("model", failure.model.name),
            int("status_code", failure.status),
            int("duration_ms", failure.duration_ms),
            int("attempt", if retried { failure.attempts } else { 1 }),
            text("speed", "normal"),
        ];
        self.push("api_error", failure.at, own.clone());
        if retried {
            own.truncate(2);
            own.push(int("total_attempts", failure.attempts));
            own.push(int("total_retry_duration_ms", failure.duration_ms));
            self.push("api_retries_exhausted", failure.at, own);
        }
    }

    fn tool(&mut self, tool: &Tool) {
        let decision = vec![
            text("tool_name", tool.name),
            text("decision", "accept"),
            text("source", "config"),
        ];
        self.push("tool_decision", tool.at, decision);
        let own = vec![
            text("tool_name", tool.name),
            text("success", if tool.success { "true" } else { "false" }),
            text("duration_ms", &tool.duration_ms.to_string()),
            text("decision_type", "accept"),
            text("decision_source", "config"),
        ];
        self.push("tool_result", tool.at, own);
    }
}

/// How many events tell of a turn.
fn event_count(turn: &Turn) -> u64 {
    let of_step = |step: &Step| match step {
        Step::Failure(failure) if failure.status != 400 => 2,
        Step::Tool(_) => 2,
        Step::Request(_) | Step::Failure(_) => 1,
    };
    1 + turn.steps.iter().map(of_step).sum::<u64>()
}

/// The events of some turns.
pub(super) fn events(who: &Person, session: &Session, turns: Range<usize>) -> ResourceLogs {
    let standard = standard(who, session);
    let before = session.turns[..turns.start].iter();
    let mut events = Events {
        standard: &standard,
        sequence: before.map(event_count).sum(),
        records: Vec::new(),
    };
    for turn in &session.turns[turns] {
        events.turn(who, turn);
    }
    ResourceLogs {
        resource: Some(resource(who)),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope("com.anthropic.claude_code.events", who)),
            log_records: events.records,
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

/// A metric's name and unit, and the attributes of one of its series.
type Series = (
    &'static str,
    &'static str,
    Vec<(&'static str, &'static str)>,
);

/// The counters of some turns, as one export of deltas.
pub(super) fn metrics(who: &Person, session: &Session, turns: Range<usize>) -> ResourceMetrics {
    let first = turns.start == 0;
    let some = &session.turns[turns];
    let start = if first {
        session.start
    } else {
        some.first().map_or(session.start, |turn| turn.start)
    };
    let end = some.last().map_or(session.start, |turn| turn.end);
    let mut sums: BTreeMap<Series, f64> = BTreeMap::new();
    let mut add = |name, unit, labels: &[(&'static str, &'static str)], amount: f64| {
        if amount > 0.0 {
            *sums.entry((name, unit, labels.to_vec())).or_default() += amount;
        }
    };
    if first {
        let labels = [("start_type", "fresh")];
        add("claude_code.session.count", "", &labels, 1.0);
    }
    for turn in some {
        count_turn(turn, &mut add);
    }
    let standard = standard(who, session);
    let mut metrics: Vec<Metric> = Vec::new();
    for ((name, unit, labels), amount) in sums {
        let mut attributes = standard.clone();
        attributes.extend(labels.iter().map(|(key, value)| text(key, value)));
        let point = NumberDataPoint {
            attributes,
            start_time_unix_nano: nanos(start),
            time_unix_nano: nanos(end),
            value: Some(number_data_point::Value::AsDouble(amount)),
            ..NumberDataPoint::default()
        };
        match metrics.last_mut() {
            Some(Metric {
                name: last,
                data: Some(metric::Data::Sum(sum)),
                ..
            }) if last == name => sum.data_points.push(point),
            _ => metrics.push(delta(name, unit, point)),
        }
    }
    ResourceMetrics {
        resource: Some(resource(who)),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope("com.anthropic.claude_code", who)),
            metrics,
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    }
}

fn delta(name: &str, unit: &str, point: NumberDataPoint) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(metric::Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Delta.into(),
            is_monotonic: true,
        })),
        ..Metric::default()
    }
}

fn count_turn(
    turn: &Turn,
    add: &mut impl FnMut(&'static str, &'static str, &[(&'static str, &'static str)], f64),
) {
    let mut busy_ms = 0;
    for step in &turn.steps {
        match step {
            Step::Request(request) => {
                busy_ms += request.duration_ms;
                let source = match request.query_source {
                    "auxiliary" => "auxiliary",
                    _ => "main",
                };
                let series = [("model", request.model.name), ("query_source", source)];
                let kinds = ["input", "output", "cacheRead", "cacheCreation"];
                for (kind, tokens) in kinds.into_iter().zip(request.tokens) {
                    let labels = [series[0], series[1], ("type", kind)];
                    add("claude_code.token.usage", "tokens", &labels, tokens as f64);
                }
                let cost = request.client_cost() as f64 / 1e6;
                add("claude_code.cost.usage", "USD", &series, cost);
            }
            Step::Failure(failure) => busy_ms += failure.duration_ms,
            Step::Tool(tool) => {
                busy_ms += tool.duration_ms;
                if tool.success && matches!(tool.name, "Edit" | "Write") {
                    let labels = [
                        ("decision", "accept"),
                        ("source", "config"),
                        ("tool_name", tool.name),
                    ];
                    add("claude_code.code_edit_tool.decision", "", &labels, 1.0);
                }
            }
        }
    }
    let lines = "claude_code.lines_of_code.count";
    add(lines, "", &[("type", "added")], turn.lines_added as f64);
    add(lines, "", &[("type", "removed")], turn.lines_removed as f64);
    add("claude_code.commit.count", "", &[], turn.commits as f64);
    let requests = turn.pull_requests as f64;
    add("claude_code.pull_request.count", "", &[], requests);
    let time = "claude_code.active_time.total";
    add(time, "s", &[("type", "cli")], busy_ms as f64 / 1e3);
    // People type about five characters a second.
    let typing = turn.prompt_length as f64 / 5.0;
    add(time, "s", &[("type", "user")], typing);
}

/// The records of a gateway for some turns. Where the client reports too, failures are left to
/// it: it alone knows when it gave up.
pub(super) fn records(who: &Person, session: &Session, turns: Range<usize>) -> Vec<Value> {
    let alone = who.way == super::company::Way::Gateway;
    let mut records = Vec::new();
    for (number, turn) in session.turns.iter().enumerate().take(turns.end) {
        for (step_number, step) in turn.steps.iter().enumerate() {
            let id = format!("{}-{number}-{step_number}", session.id);
            let record = match step {
                Step::Request(request) => ok_record(request),
                Step::Failure(failure) if alone => json!({
                    "at": failure.at, "model": failure.model.name, "outcome": "error", "tokens": {},
                    "status_code": failure.status, "duration_ms": failure.duration_ms,
                }),
                _ => continue,
            };
            if number >= turns.start {
                records.push(signed(record, who, session, &id));
            }
        }
    }
    records
}

fn ok_record(request: &Request) -> Value {
    let [input, output, cache_read, cache_write] = request.tokens;
    json!({
        "at": request.at, "request_id": request.id, "model": request.model.name,
        "tokens": {"input": input, "output": output, "cache_read": cache_read,
            "cache_write_5m": cache_write, "cache_write_1h": 0},
        "outcome": "ok", "status_code": 200, "duration_ms": request.duration_ms,
        "ttft_ms": 300 + request.duration_ms / 20,
    })
}

/// Adds who it was.
fn signed(mut record: Value, who: &Person, session: &Session, id: &str) -> Value {
    let own = [
        ("id", id),
        ("source", "gateway"),
        ("session", &session.id),
        ("user", &who.name),
        ("team", who.team),
        ("project", who.project),
        ("department", who.department),
        ("cost_center", who.cost_center),
        ("organization", MARK),
        ("provider", who.provider.name()),
    ];
    if let Some(record) = record.as_object_mut() {
        for (key, value) in own {
            record.insert(key.to_owned(), json!(value));
        }
        // Bedrock's ids are its own: the client never sees them.
        if who.provider == Provider::Bedrock {
            record.insert("request_id".to_owned(), json!(format!("aws-{id}")));
        }
    }
    record
}
