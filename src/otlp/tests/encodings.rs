//! Both encodings of the same request give the same facts, and no bytes make a reader panic.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use super::support::{logs_to_json, metrics_to_json, read, try_read};
use crate::otlp::{Encoding, Signal};

const KEYS: [&str; 18] = [
    "event.name",
    "event.sequence",
    "event.timestamp",
    "session.id",
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cost_usd",
    "duration_ms",
    "status_code",
    "user.email",
    "user.id",
    "type",
    "tool_name",
    "speed",
    "request_id",
    "other",
];

const TEXTS: [&str; 12] = [
    "api_request",
    "api_error",
    "tool_result",
    "claude-opus-4-8",
    "input",
    "cacheRead",
    "12",
    "-3",
    "1.5",
    "2026-11-22T03:06:46.650Z",
    "Alice@example.com",
    "",
];

fn leaf() -> impl Strategy<Value = AnyValue> {
    prop_oneof![
        4 => select(&TEXTS[..]).prop_map(|text| Any::StringValue(text.to_owned())),
        1 => any::<String>().prop_map(Any::StringValue),
        1 => any::<bool>().prop_map(Any::BoolValue),
        3 => (0_i64..100_000).prop_map(Any::IntValue),
        1 => any::<i64>().prop_map(Any::IntValue),
        2 => double().prop_map(Any::DoubleValue),
        1 => vec(any::<u8>(), 0..5).prop_map(Any::BytesValue),
    ]
    .prop_map(|value| AnyValue { value: Some(value) })
}

/// Doubles that JSON readers get back to the last bit, and those that are refused.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-100_000_i32..100_000).prop_map(|thousandths| f64::from(thousandths) / 1000.0),
        1 => select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300][..]),
    ]
}

fn value() -> impl Strategy<Value = Option<AnyValue>> {
    let nested = leaf().prop_recursive(3, 12, 4, |inner| {
        let list = vec(inner.clone(), 0..4).prop_map(|values| ArrayValue { values });
        let pairs = vec((any::<String>(), option::of(inner)), 0..4);
        let map = pairs.prop_map(|pairs| KeyValueList {
            values: pairs.into_iter().map(pair).collect(),
        });
        prop_oneof![
            list.prop_map(|list| AnyValue {
                value: Some(Any::ArrayValue(list))
            }),
            map.prop_map(|map| AnyValue {
                value: Some(Any::KvlistValue(map))
            }),
        ]
    });
    option::weighted(0.95, nested)
}

fn pair((key, value): (String, Option<AnyValue>)) -> KeyValue {
    KeyValue {
        key,
        value,
        ..KeyValue::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        9 => select(&KEYS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    vec((key, value()).prop_map(pair), 0..12)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of(attributes().prop_map(|attributes| Resource {
        attributes,
        ..Resource::default()
    }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of(select(&TEXTS[..]).prop_map(|name| InstrumentationScope {
        name: name.to_owned(),
        ..InstrumentationScope::default()
    }))
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1_795_316_806_650_000_000), any::<u64>()]
}

fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (time(), time(), value(), attributes(), select(&TEXTS[..])).prop_map(
        |(time_unix_nano, observed_time_unix_nano, body, attributes, event_name)| LogRecord {
            time_unix_nano,
            observed_time_unix_nano,
            body,
            attributes,
            event_name: event_name.to_owned(),
            ..LogRecord::default()
        },
    );
    let scope = (scope(), vec(record, 0..4)).prop_map(|(scope, log_records)| ScopeLogs {
        scope,
        log_records,
        ..ScopeLogs::default()
    });
    let resource = (resource(), vec(scope, 0..3)).prop_map(|(resource, scope_logs)| ResourceLogs {
        resource,
        scope_logs,
        ..ResourceLogs::default()
    });
    vec(resource, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let number = prop_oneof![
        (0_i64..100_000).prop_map(Number::AsInt),
        any::<i64>().prop_map(Number::AsInt),
        (0_u32..1000).prop_map(|double| Number::AsDouble(f64::from(double))),
        double().prop_map(Number::AsDouble),
    ];
    let point = (time(), time(), attributes(), option::of(number), 0_u32..2).prop_map(
        |(start_time_unix_nano, time_unix_nano, attributes, value, flags)| NumberDataPoint {
            start_time_unix_nano,
            time_unix_nano,
            attributes,
            value,
            flags,
            ..NumberDataPoint::default()
        },
    );
    let sum = (vec(point, 0..4), 0..4, any::<bool>()).prop_map(
        |(data_points, aggregation_temporality, is_monotonic)| Sum {
            data_points,
            aggregation_temporality,
            is_monotonic,
        },
    );
    let names = [
        "claude_code.token.usage",
        "claude_code.cost.usage",
        "claude_code.session.count",
        "claude_code.active_time.total",
        "gen_ai.client.token.usage",
        "other.metric",
    ];
    let metric = (select(names.to_vec()), sum).prop_map(|(name, sum)| Metric {
        name: name.to_owned(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    });
    let scope = (scope(), vec(metric, 0..4)).prop_map(|(scope, metrics)| ScopeMetrics {
        scope,
        metrics,
        ..ScopeMetrics::default()
    });
    let resource =
        (resource(), vec(scope, 0..3)).prop_map(|(resource, scope_metrics)| ResourceMetrics {
            resource,
            scope_metrics,
            ..ResourceMetrics::default()
        });
    vec(resource, 0..3)
        .prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

proptest! {
    #[test]
    fn logs_mean_the_same_in_both_encodings(request in logs()) {
        let json = logs_to_json(&request).to_string();
        let protobuf = request.encode_to_vec();
        prop_assert_eq!(
            read(Signal::Logs, Encoding::Json, json.as_bytes()),
            read(Signal::Logs, Encoding::Protobuf, &protobuf)
        );
    }

    #[test]
    fn metrics_mean_the_same_in_both_encodings(request in metrics()) {
        let json = metrics_to_json(&request).to_string();
        let protobuf = request.encode_to_vec();
        prop_assert_eq!(
            read(Signal::Metrics, Encoding::Json, json.as_bytes()),
            read(Signal::Metrics, Encoding::Protobuf, &protobuf)
        );
    }

    #[test]
    fn no_bytes_make_a_reader_panic(body in vec(any::<u8>(), 0..400)) {
        for signal in Signal::ALL {
            let _ = try_read(signal, Encoding::Protobuf, &body);
            let _ = try_read(signal, Encoding::Json, &body);
        }
    }

    #[test]
    fn a_damaged_request_does_not_make_a_reader_panic(
        request in logs(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let bodies = [
            (Encoding::Json, logs_to_json(&request).to_string().into_bytes()),
            (Encoding::Protobuf, request.encode_to_vec()),
        ];
        for (encoding, mut body) in bodies {
            for (index, byte) in &damage {
                if !body.is_empty() {
                    let at = index.index(body.len());
                    body[at] = *byte;
                }
            }
            let _ = try_read(Signal::Logs, encoding, &body);
            let _ = try_read(Signal::Metrics, encoding, &body);
        }
    }
}
