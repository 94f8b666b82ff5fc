//! The text that Prometheus scrapes.
//!
//! [`render`] is a pure function of the registry: sorted, and the same bytes for the same
//! numbers. It copies texts that the registry has ready and formats integers between them, so
//! that a hundred thousand series cost a few milliseconds (`benches/scrape.rs`).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

pub use super::negotiate::{Format, accepts_gzip};
use crate::model::catalogue::{Desc, Kind};
use crate::registry::{Histogram, Registry, Snapshot, Value};

/// Room for a value and its line break; longer ones only make the buffer grow.
const VALUE_BYTES: usize = 24;

/// Room for the lines that a family begins with, without its name.
const HEADER_BYTES: usize = 512;

/// Everything that `/metrics` shows: the registry with fresh figures of the process.
#[must_use]
pub fn scrape(registry: &Registry, format: Format) -> Vec<u8> {
    read_process(registry);
    render(registry, format)
}

/// The registry as text, families and series sorted.
#[must_use]
pub fn render(registry: &Registry, format: Format) -> Vec<u8> {
    let families = registry.snapshot();
    let mut out = Vec::with_capacity(families.iter().map(room_for).sum());
    for family in &families {
        write_header(&mut out, family.desc, format);
        write_series(&mut out, family);
    }
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
    out
}

/// Compresses an answer at the fastest level.
#[must_use]
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("writing into memory cannot fail")
}

/// Puts the figures of the process (CPU time, memory, file descriptors, threads) into the
/// registry. They exist on Linux only.
pub fn read_process(registry: &Registry) {
    #[cfg(target_os = "linux")]
    process::read(registry);
    #[cfg(not(target_os = "linux"))]
    let _ = registry;
}

fn room_for(family: &Snapshot) -> usize {
    let series = match family.desc.kind {
        Kind::Counter | Kind::Gauge => family.text_bytes() + family.series() * VALUE_BYTES,
        Kind::Histogram(bounds) => {
            let fixed = family.desc.name.len() + 2 * VALUE_BYTES;
            (bounds.len() + 3) * (family.text_bytes() + family.series() * fixed)
        }
    };
    HEADER_BYTES + series
}

fn write_header(out: &mut Vec<u8>, desc: &Desc, format: Format) {
    let name = match format {
        Format::Text => desc.name,
        Format::OpenMetrics => desc.name.strip_suffix("_total").unwrap_or(desc.name),
    };
    let named_unit = name
        .strip_suffix(desc.unit)
        .is_some_and(|stem| !desc.unit.is_empty() && stem.ends_with('_'));
    let mut line = |words: [&str; 3]| {
        out.extend_from_slice(words[0].as_bytes());
        out.extend_from_slice(words[1].as_bytes());
        out.push(b' ');
        out.extend_from_slice(words[2].as_bytes());
        out.push(b'\n');
    };
    line(["# HELP ", name, &escape_help(desc.help, format)]);
    line(["# TYPE ", name, desc.kind.name()]);
    if named_unit && format == Format::OpenMetrics {
        line(["# UNIT ", name, desc.unit]);
    }
}

fn escape_help(help: &str, format: Format) -> String {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    match format {
        Format::Text => help,
        Format::OpenMetrics => help.replace('"', "\\\""),
    }
}

fn write_series(out: &mut Vec<u8>, family: &Snapshot) {
    let desc = family.desc;
    for (text, value) in family.iter() {
        match value {
            Value::Counter(value) => {
                out.extend_from_slice(text.as_bytes());
                write_decimal(out, value, desc.scale);
                out.push(b'\n');
            }
            Value::Gauge(value) => {
                out.extend_from_slice(text.as_bytes());
                write_float(out, value);
                out.push(b'\n');
            }
            Value::Histogram(histogram) => write_histogram(out, desc, text, histogram),
        }
    }
}

fn write_histogram(out: &mut Vec<u8>, desc: &Desc, labels: &str, histogram: &Histogram) {
    let Kind::Histogram(bounds) = desc.kind else {
        return;
    };
    let name = desc.name.as_bytes();
    let comma = if labels.is_empty() { "" } else { "," };
    let mut count = 0_u64;
    for (index, observed) in histogram.counts.iter().enumerate() {
        count = count.saturating_add(*observed);
        out.extend_from_slice(name);
        out.extend_from_slice(b"_bucket{");
        out.extend_from_slice(labels.as_bytes());
        out.extend_from_slice(comma.as_bytes());
        out.extend_from_slice(b"le=\"");
        write_bound(out, bounds.get(index).copied());
        out.extend_from_slice(b"\"} ");
        write_decimal(out, count.into(), 0);
        out.push(b'\n');
    }
    for (suffix, value, scale) in [
        ("_sum", histogram.sum, desc.scale),
        ("_count", count.into(), 0),
    ] {
        out.extend_from_slice(name);
        out.extend_from_slice(suffix.as_bytes());
        if !labels.is_empty() {
            out.push(b'{');
            out.extend_from_slice(labels.as_bytes());
            out.push(b'}');
        }
        out.push(b' ');
        write_decimal(out, value, scale);
        out.push(b'\n');
    }
}

/// Writes a bucket's bound in OpenMetrics' canonical form (`1.0`), in both formats: a scraper
/// that changes the format then finds the same series.
fn write_bound(out: &mut Vec<u8>, bound: Option<f64>) {
    match bound {
        Some(bound) => write!(out, "{bound:?}").expect("writing into memory cannot fail"),
        None => out.extend_from_slice(b"+Inf"),
    }
}

/// Writes an integer of ten to the minus `scale` units, exactly and without trailing zeros.
fn write_decimal(out: &mut Vec<u8>, value: u128, scale: u8) {
    let unit = 10_u128.pow(scale.into());
    let (whole, mut fraction) = match scale {
        0 => (value, 0),
        _ => (value / unit, value % unit),
    };
    let mut digits = itoa::Buffer::new();
    // Nearly all numbers fit 64 bits, and those are written several times faster.
    match u64::try_from(whole) {
        Ok(whole) => out.extend_from_slice(digits.format(whole).as_bytes()),
        Err(_) => out.extend_from_slice(digits.format(whole).as_bytes()),
    }
    if fraction == 0 {
        return;
    }
    let mut width = usize::from(scale);
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        width -= 1;
    }
    out.push(b'.');
    let digits = digits.format(fraction).as_bytes();
    out.resize(out.len() + width - digits.len(), b'0');
    out.extend_from_slice(digits);
}

fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        write!(out, "{value}").expect("writing into memory cannot fail");
    }
}

#[cfg(target_os = "linux")]
mod process {
    use prometheus::core::Collector as _;
    use prometheus::proto::MetricType;

    use crate::model::catalogue;
    use crate::registry::Registry;

    /// Reads what the `prometheus` crate knows of this process. What it knows beyond the
    /// catalogue is left out.
    pub(super) fn read(registry: &Registry) {
        let collector = prometheus::process_collector::ProcessCollector::for_self();
        for family in collector.collect() {
            let (Some(desc), Some(metric)) =
                (catalogue::find(family.name()), family.get_metric().first())
            else {
                continue;
            };
            if family.get_field_type() == MetricType::COUNTER {
                registry.raise(desc, &[], whole(metric.get_counter().get_value()));
            } else {
                registry.set(desc, &[], metric.get_gauge().get_value());
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the crate counts whole seconds; the cast saturates"
    )]
    fn whole(value: f64) -> u128 {
        value as u128
    }
}

#[cfg(test)]
mod tests;
