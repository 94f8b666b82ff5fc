//! Reports as clients and gateways write them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Input, output, cache reads, cache writes.
pub(crate) type Counts = [u64; 4];

/// One model request, told by whoever saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Timestamp,
    pub(crate) session: Option<&'static str>,
    /// Its request id.
    pub(crate) known_as: Option<&'static str>,
    pub(crate) user: &'static str,
    pub(crate) model: &'static str,
    pub(crate) counts: Counts,
}

impl Request {
    /// A request of Alice, in a session, with a request id.
    pub(crate) fn new(at: Timestamp) -> Self {
        Self {
            at,
            session: Some("5e55"),
            known_as: Some("req_1"),
            user: "alice@example.com",
            model: "claude-sonnet-4-6",
            counts: [1200, 40, 5600, 300],
        }
    }

    /// As the gateway tells it.
    pub(crate) fn by_gateway(&self, id: &str) -> Value {
        let [input, output, cache_read, cache_write] = self.counts;
        json!({
            "id": id, "at": self.at.to_string(), "user": self.user, "team": "payments",
            "session": self.session, "request_id": self.known_as, "model": self.model,
            "tokens": {"input": input, "output": output, "cache_read": cache_read,
                       "cache_write": cache_write},
        })
    }

    /// As the client's event tells it, in an OTLP export of its own.
    pub(crate) fn by_client(&self) -> Value {
        let [input, output, cache_read, cache_write] = self.counts;
        let mut attributes = self.identity();
        attributes.extend([
            text("event.name", "api_request"),
            text("event.timestamp", &self.at.to_string()),
            text("model", self.model),
            number("input_tokens", input),
            number("output_tokens", output),
            number("cache_read_tokens", cache_read),
            number("cache_creation_tokens", cache_write),
        ]);
        attributes.extend(self.known_as.map(|id| text("request_id", id)));
        json!({"resourceLogs": [{
            "resource": resource(),
            "scopeLogs": [{
                "scope": {"name": "com.anthropic.claude_code.events"},
                "logRecords": [{
                    "timeUnixNano": self.at.as_nanosecond().to_string(),
                    "body": {"stringValue": "claude_code.api_request"},
                    "attributes": attributes,
                }],
            }],
        }]})
    }

    /// The client's token counters, as a delta of these counts that ends at the request's time.
    pub(crate) fn by_metrics(&self, counts: Counts) -> Value {
        let start = self.at - SignedDuration::from_secs(10);
        let kinds = ["input", "output", "cacheRead", "cacheCreation"];
        let points: Vec<_> = kinds
            .into_iter()
            .zip(counts)
            .map(|(kind, count)| {
                let mut attributes = self.identity();
                attributes.extend([text("model", self.model), text("type", kind)]);
                json!({
                    "attributes": attributes,
                    "startTimeUnixNano": start.as_nanosecond().to_string(),
                    "timeUnixNano": self.at.as_nanosecond().to_string(),
                    "asDouble": count,
                })
            })
            .collect();
        json!({"resourceMetrics": [{
            "resource": resource(),
            "scopeMetrics": [{
                "scope": {"name": "com.anthropic.claude_code"},
                "metrics": [{
                    "name": "claude_code.token.usage", "unit": "tokens",
                    "sum": {"aggregationTemporality": 1, "isMonotonic": true,
                            "dataPoints": points},
                }],
            }],
        }]})
    }

    fn identity(&self) -> Vec<Value> {
        let mut attributes = vec![text("team", "payments"), text("user.id", DEVICE)];
        if !self.user.is_empty() {
            attributes.push(text("user.email", self.user));
        }
        attributes.extend(self.session.map(|session| text("session.id", session)));
        attributes
    }
}

/// The installation id of the client.
pub(crate) const DEVICE: &str = "0a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0a1b";

fn resource() -> Value {
    json!({"attributes": [text("service.name", "claude-code"), text("service.version", "2.1.197")]})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}
