//! What the tests share: reading bodies, and OTLP/JSON of protobuf messages.

use std::io::Read;
use std::sync::Arc;

use axum::http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Value, json};

use crate::model::access::{AccessList, Grant, Scope};
use crate::model::identify::IdentityRules;
use crate::model::names::ModelNames;
use crate::model::usage::Intake;
use crate::otlp::{Context, Decoded, Encoding, Malformed, Signal, decode};

pub(super) fn anyone() -> Arc<Grant> {
    let access = AccessList::default();
    access
        .authorize(None, Scope::Ingest)
        .expect("open to everyone")
}

pub(super) fn try_read(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
) -> Result<Decoded, Malformed> {
    let context = Context {
        names: &ModelNames::default(),
        rules: &IdentityRules::default(),
        headers: &HeaderMap::new(),
        grant: &anyone(),
    };
    decode(signal, encoding, body, context)
}

/// Facts, number of refused items and reasons.
pub(super) fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> (Intake, u64, String) {
    let mut decoded = try_read(signal, encoding, body).expect("well formed");
    let intake = std::mem::take(&mut decoded.intake);
    let (refused, reasons) = decoded.refused();
    (intake, refused, reasons)
}

pub(super) fn read_json(signal: Signal, body: &Value) -> (Intake, u64, String) {
    read(signal, Encoding::Json, body.to_string().as_bytes())
}

/// A file of a recorded session, unpacked.
pub(super) fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/otlp/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).expect("a fixture");
    if !path.contains(".pb.") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut unpacked)
        .expect("gzip");
    unpacked
}

/// One log record in JSON, with attributes as text, numbers or booleans.
pub(super) fn log(attributes: &Value) -> Value {
    json!({ "resourceLogs": [{
        "resource": { "attributes": pairs(&json!({ "service.name": "claude-code" })) },
        "scopeLogs": [{ "scope": { "name": "test" }, "logRecords": [record(attributes)] }],
    }]})
}

pub(super) fn record(attributes: &Value) -> Value {
    json!({ "timeUnixNano": "1795316806650000000", "attributes": pairs(attributes) })
}

pub(super) fn pairs(attributes: &Value) -> Value {
    let attributes = attributes.as_object().expect("an object");
    let pair = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            Value::Bool(flag) => json!({ "boolValue": flag }),
            Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
            Value::Number(number) => json!({ "intValue": number }),
            other => other.clone(),
        };
        json!({ "key": key, "value": value })
    };
    attributes.iter().map(pair).collect()
}

/// A metric in JSON: its data without points, and the points.
pub(super) fn metric(name: &str, kind: &str, mut data: Value, points: &[Value]) -> Value {
    data["dataPoints"] = json!(points);
    json!({ "resourceMetrics": [{
        "resource": { "attributes": pairs(&json!({ "service.name": "claude-code" })) },
        "scopeMetrics": [{ "metrics": [{ "name": name, kind: data }] }],
    }]})
}

pub(super) fn delta_sum() -> Value {
    json!({ "aggregationTemporality": 1, "isMonotonic": true })
}

pub(super) fn point(attributes: &Value, value: &Value) -> Value {
    json!({
        "attributes": pairs(attributes),
        "startTimeUnixNano": "1795316806000000000",
        "timeUnixNano": "1795316806650000000",
        "asDouble": value,
    })
}

/// OTLP/JSON of a logs request, as the specification's mapping says.
pub(super) fn logs_to_json(request: &ExportLogsServiceRequest) -> Value {
    let resources = request.resource_logs.iter().map(|resource| {
        let scopes = resource.scope_logs.iter().map(|scope| {
            let records = scope.log_records.iter().map(|record| {
                json!({
                    "timeUnixNano": record.time_unix_nano.to_string(),
                    "observedTimeUnixNano": record.observed_time_unix_nano,
                    "eventName": record.event_name,
                    "body": record.body.as_ref().map(any_to_json),
                    "attributes": pairs_to_json(&record.attributes),
                })
            });
            let name = scope
                .scope
                .as_ref()
                .map(|scope| json!({ "name": scope.name }));
            json!({ "scope": name, "logRecords": records.collect::<Value>() })
        });
        json!({
            "scopeLogs": scopes.collect::<Value>(),
            "resource": resource_to_json(resource.resource.as_ref()),
        })
    });
    json!({ "resourceLogs": resources.collect::<Value>() })
}

/// OTLP/JSON of a metrics request that has sums only.
pub(super) fn metrics_to_json(request: &ExportMetricsServiceRequest) -> Value {
    let resources = request.resource_metrics.iter().map(|resource| {
        let scopes = resource.scope_metrics.iter().map(|scope| {
            let metrics = scope.metrics.iter().map(metric_to_json);
            let name = scope
                .scope
                .as_ref()
                .map(|scope| json!({ "name": scope.name }));
            json!({ "metrics": metrics.collect::<Value>(), "scope": name })
        });
        json!({
            "resource": resource_to_json(resource.resource.as_ref()),
            "scopeMetrics": scopes.collect::<Value>(),
        })
    });
    json!({ "resourceMetrics": resources.collect::<Value>() })
}

fn metric_to_json(metric: &Metric) -> Value {
    let Some(metric::Data::Sum(sum)) = &metric.data else {
        return json!({ "name": metric.name });
    };
    json!({ "name": metric.name, "sum": {
        "dataPoints": sum.data_points.iter().map(point_to_json).collect::<Value>(),
        "aggregationTemporality": sum.aggregation_temporality,
        "isMonotonic": sum.is_monotonic,
    }})
}

fn point_to_json(point: &NumberDataPoint) -> Value {
    let mut json = json!({
        "startTimeUnixNano": point.start_time_unix_nano.to_string(),
        "timeUnixNano": point.time_unix_nano.to_string(),
        "attributes": pairs_to_json(&point.attributes),
        "flags": point.flags,
    });
    match point.value {
        Some(number_data_point::Value::AsInt(int)) => json["asInt"] = json!(int.to_string()),
        Some(number_data_point::Value::AsDouble(double)) => json["asDouble"] = double_json(double),
        None => {}
    }
    json
}

fn resource_to_json(resource: Option<&Resource>) -> Value {
    resource.map_or(
        Value::Null,
        |resource| json!({ "attributes": pairs_to_json(&resource.attributes) }),
    )
}

fn pairs_to_json(pairs: &[KeyValue]) -> Value {
    let pair =
        |pair: &KeyValue| json!({ "key": pair.key, "value": pair.value.as_ref().map(any_to_json) });
    pairs.iter().map(pair).collect()
}

/// JSON has no numbers for these; protobuf's mapping writes them as text.
fn double_json(double: f64) -> Value {
    if double.is_nan() {
        return json!("NaN");
    }
    if double.is_infinite() {
        return json!(if double > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
    }
    json!(double)
}

fn any_to_json(value: &AnyValue) -> Value {
    use any_value::Value as Any;
    match &value.value {
        None => json!({}),
        Some(Any::StringValue(text)) => json!({ "stringValue": text }),
        Some(Any::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(Any::IntValue(int)) => json!({ "intValue": int.to_string() }),
        Some(Any::DoubleValue(double)) => json!({ "doubleValue": double_json(*double) }),
        Some(Any::ArrayValue(list)) => {
            let values: Value = list.values.iter().map(any_to_json).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Some(Any::KvlistValue(map)) => {
            json!({ "kvlistValue": { "values": pairs_to_json(&map.values) } })
        }
        Some(Any::BytesValue(bytes)) => json!({ "bytesValue": base64(bytes) }),
        Some(Any::StringValueStrindex(_)) => Value::Null,
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..=chunk.len() {
            let six = (bits >> (18 - 6 * place)) & 63;
            text.push(char::from(LETTERS[six as usize]));
        }
    }
    text
}
