//! Reading and mapping of OTLP logs, 500 `api_request` events a body, beside the named floors:
//! prost's own decoding of the same protobuf, and a JSON reader that looks at nothing.

use std::hint::black_box;
use std::io::Read;

use axum::http::HeaderMap;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde::de::IgnoredAny;
use serde_json::Value;
use tallyd::model::access::{AccessList, Scope};
use tallyd::model::identify::IdentityRules;
use tallyd::model::names::ModelNames;
use tallyd::otlp::{Context, Encoding, Signal, decode};

/// Claude Code's batches are smaller, a collector's larger.
const EVENTS: usize = 500;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/otlp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a fixture of this repository")
}

/// The recorded requests over and over.
fn protobuf() -> Vec<u8> {
    let packed = fixture("delta-protobuf-gzip/00-logs.pb.gz");
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut body)
        .expect("gzip");
    let mut request = ExportLogsServiceRequest::decode(&body[..]).expect("protobuf");
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    records.retain(|record| {
        let mut attributes = record.attributes.iter();
        attributes.any(|attribute| attribute.key == "input_tokens")
    });
    *records = records.iter().cycle().take(EVENTS).cloned().collect();
    request.encode_to_vec()
}

fn json() -> Vec<u8> {
    let body = fixture("delta-json/00-logs.json");
    let mut request: Value = serde_json::from_slice(&body).expect("JSON");
    let records = &mut request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    let recorded = records.as_array().expect("a list").clone();
    let requests = recorded
        .iter()
        .filter(|record| record.to_string().contains("input_tokens"));
    *records = requests.cycle().take(EVENTS).cloned().collect();
    request.to_string().into_bytes()
}

fn logs(criterion: &mut Criterion) {
    let grant = AccessList::default()
        .authorize(None, Scope::Ingest)
        .expect("an empty list lets everyone in");
    let context = Context {
        names: &ModelNames::default(),
        rules: &IdentityRules::default(),
        headers: &HeaderMap::new(),
        grant: &grant,
    };
    let (protobuf, json) = (protobuf(), json());
    let mut group = criterion.benchmark_group("otlp logs");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("protobuf", |bench| {
        bench.iter(|| {
            decode(
                Signal::Logs,
                Encoding::Protobuf,
                black_box(&protobuf),
                context,
            )
        });
    });
    group.bench_function("protobuf, floor: prost alone", |bench| {
        bench.iter(|| ExportLogsServiceRequest::decode(black_box(&protobuf[..])));
    });
    group.bench_function("json", |bench| {
        bench.iter(|| decode(Signal::Logs, Encoding::Json, black_box(&json), context));
    });
    group.bench_function("json, floor: read and forget", |bench| {
        bench.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(&json)));
    });
    group.finish();
}

criterion_group!(benches, logs);
criterion_main!(benches);
