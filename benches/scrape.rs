//! A scrape of 100,000 series against a plain copy of ready-made lines.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tallyd::export::prometheus::{Format, gzip, render};
use tallyd::model::catalogue::TOKENS;
use tallyd::registry::Registry;

const SERIES: usize = 100_000;
const KINDS: [&str; 4] = ["input", "output", "cacheRead", "cacheCreation"];

fn filled() -> Registry {
    // Room for those that come while it is measured.
    let registry = Registry::new(2 * SERIES);
    for index in 0..SERIES / KINDS.len() {
        // A stride that is prime to the number: users arrive in no order.
        let user = format!("user{:05}@example.com", (index * 7_919) % (SERIES / 4));
        let team = format!("team{}", index % 40);
        for (kind, amount) in KINDS.into_iter().zip([2_403, 84, 11_200, 680]) {
            let labels = [&user, &team, "bedrock", "claude-sonnet-4-6", kind];
            let amount = amount * (index as u128 * index as u128 + 1);
            registry.add(TOKENS, &labels, amount);
        }
    }
    registry
}

fn copy(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.iter().map(Vec::len).sum());
    for line in lines {
        out.extend_from_slice(line);
    }
    out
}

fn scrape(criterion: &mut Criterion) {
    let registry = filled();
    let body = render(&registry, Format::Text);
    let lines: Vec<_> = body
        .split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();

    println!("{} bytes, {} packed", body.len(), gzip(&body).len());

    let mut group = criterion.benchmark_group("scrape 100,000 series");
    group.bench_function("floor: copy ready-made lines", |b| {
        b.iter(|| copy(black_box(&lines)));
    });
    group.bench_function("text", |b| {
        b.iter(|| render(black_box(&registry), Format::Text));
    });
    group.bench_function("openmetrics", |b| {
        b.iter(|| render(black_box(&registry), Format::OpenMetrics));
    });
    let mut fresh = 0_u64;
    group.bench_function("text after one new series", |b| {
        b.iter(|| {
            fresh += 1;
            let user = format!("new{fresh}");
            registry.add(TOKENS, &[&user, "t", "p", "m", "input"], 1);
            render(black_box(&registry), Format::Text)
        });
    });
    let labels = [
        "user00000@example.com",
        "team0",
        "bedrock",
        "claude-sonnet-4-6",
        "input",
    ];
    let id = registry
        .series(TOKENS, &labels)
        .expect("a counter of the catalogue");
    group.bench_function("add by labels", |b| {
        b.iter(|| registry.add(TOKENS, black_box(&labels), 1));
    });
    group.bench_function("add by id", |b| {
        b.iter(|| registry.add_to(black_box(id), 1));
    });
    group.sample_size(20);
    group.bench_function("gzip at the fastest level", |b| {
        b.iter(|| gzip(black_box(&body)));
    });
    group.finish();
}

criterion_group!(benches, scrape);
criterion_main!(benches);
