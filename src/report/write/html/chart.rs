//! Charts as SVG: how each is drawn.
//!
//! Only what is drawn is a float; every number a reader can copy is in the tables. Colours are
//! classes, so that the page's style decides about light and dark.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::super::super::Report;
use super::super::super::table::{Cell, Kind, Table};
use super::super::heading;
use super::escape;

mod pick;
mod scale;

pub(super) use pick::measure;
use pick::{amount, compared, dimension, mark, position, time};
use scale::Scale;

/// Series of a stacked chart; the rest is one more.
const SERIES: usize = 6;

/// Bars of a chart of the largest; the rest is one more.
const LARGEST: usize = 12;

/// Days or months drawn at most: more would be thinner than a pixel each.
const MAX_STEPS: usize = 400;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;

/// Draws what suits the first table of a report: as HTML figures, or nothing.
pub(super) fn figures(report: &Report) -> String {
    let Some(table) = report.tables.first() else {
        return String::new();
    };
    // Budgets overlap, so nothing of them sums; each has a bar of its own.
    let spent = || position(table, "spent", |kind| kind == Kind::Money);
    let is_budget = report.name == "budget";
    let measure = measure(table).or_else(|| is_budget.then(spent).flatten());
    let Some(measure) = measure else {
        return String::new();
    };
    let mut text = String::new();
    let asked: Vec<&str> = report
        .manifest
        .request
        .group_by
        .iter()
        .map(|name| &**name)
        .collect();
    let dimension = dimension(table, &asked);
    let currency = &report.manifest.request.currency;
    if let Some(time) = time(table).filter(|_| !is_budget) {
        let compared = compared(report.name, table, measure);
        let drawn = if compared.len() > 1 {
            lines(table, time, &compared, currency)
        } else {
            stacked(table, time, measure, dimension, currency)
        };
        text.extend(drawn);
    }
    if let Some(dimension) = dimension {
        let mark = mark(report.name, table, measure);
        text.extend(largest(table, dimension, measure, mark, currency));
    }
    text
}

/// What a row of a bill is for, where it is not the usage of somebody.
fn charge<'a>(table: &Table, cells: &'a [Cell]) -> Option<&'a str> {
    let place = position(table, "charge", |kind| kind == Kind::Text)?;
    match &cells[place] {
        Cell::Text(charge) if !charge.is_empty() && &**charge != "Usage" => Some(charge),
        _ => None,
    }
}

/// The text of a cell, or what stands for it where it has none.
fn label(cell: &Cell, otherwise: Option<&str>) -> Arc<str> {
    match (cell, otherwise) {
        (Cell::Text(text), _) if !text.is_empty() => text.clone(),
        (Cell::Date(date), _) => date.to_string().into(),
        (_, Some(charge)) => format!("({})", charge.to_lowercase()).into(),
        _ => "(none)".into(),
    }
}

fn usd(pico: i128) -> f64 {
    pico as f64 / 1e12
}

/// Sums of a measure by a column, the largest first.
fn sums(table: &Table, by: usize, measure: usize) -> Vec<(Arc<str>, i128)> {
    let mut sums: BTreeMap<Arc<str>, i128> = BTreeMap::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let sum = sums
            .entry(label(&cells[by], charge(table, &cells)))
            .or_default();
        *sum = sum.saturating_add(amount(&cells[measure]));
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.abs().cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
    sums
}

/// Bars over time, stacked by what the largest lines are.
fn stacked(
    table: &Table,
    time: usize,
    measure: usize,
    dimension: Option<usize>,
    currency: &str,
) -> Option<String> {
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut others = false;
    if let Some(dimension) = dimension {
        let sums = sums(table, dimension, measure);
        others = sums.len() > SERIES;
        names.extend(sums.into_iter().take(SERIES).map(|(name, _)| name));
    }
    let series = names.len() + usize::from(others || names.is_empty());
    let mut steps: BTreeMap<Arc<str>, Vec<i128>> = BTreeMap::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let at = dimension.map(|at| label(&cells[at], charge(table, &cells)));
        let at = at.and_then(|name| names.iter().position(|known| *known == name));
        let step = steps
            .entry(label(&cells[time], None))
            .or_insert_with(|| vec![0; series]);
        step[at.unwrap_or(series - 1)] += amount(&cells[measure]);
    }
    if steps.len() < 2 || steps.len() > MAX_STEPS {
        return None;
    }
    if others {
        names.push("all others".into());
    }
    let high = steps
        .values()
        .map(|step| part(step, |v| v > 0))
        .fold(0.0, f64::max);
    let low = steps
        .values()
        .map(|step| part(step, |v| v < 0))
        .fold(0.0, f64::min);
    let scale = Scale::new(low, high);
    let measured = heading(table.columns[measure].name);
    let by = dimension.map_or_else(String::new, |at| {
        format!(" by {}", heading(table.columns[at].name).to_lowercase())
    });
    let title = format!("{measured}{by}, {} to {}", first(&steps), last(&steps));
    let mut svg = open(&title, HEIGHT);
    scale.grid(&mut svg, currency);
    let width = (WIDTH - LEFT - RIGHT) / steps.len() as f64;
    for (column, (step, values)) in steps.iter().enumerate() {
        let x = LEFT + width * column as f64;
        let (mut up, mut down) = (0.0, 0.0);
        for (at, value) in values.iter().enumerate().filter(|(_, value)| **value != 0) {
            let value = usd(*value);
            let from = if value > 0.0 { &mut up } else { &mut down };
            let (y1, y2) = (scale.y(*from), scale.y(*from + value));
            *from += value;
            let name = names.get(at).map_or("", |name| name);
            let _ = write!(
                svg,
                r#"<rect class="f{at}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"><title>{}</title></rect>"#,
                x + width * 0.1,
                y1.min(y2),
                width * 0.8,
                (y1 - y2).abs().max(0.2),
                escape(&format!("{step} {name}: {} {currency}", shown(value))),
            );
        }
    }
    times(&mut svg, &steps);
    svg.push_str("</svg>");
    Some(figure(&title, &svg, &legend(&names, "f")))
}

/// Lines over time, one for each amount.
fn lines(table: &Table, time: usize, measures: &[usize], currency: &str) -> Option<String> {
    let mut steps: BTreeMap<Arc<str>, Vec<i128>> = BTreeMap::new();
    let mut cells = Vec::new();
    for index in 0..table.rows.len() {
        table.rows.row(index, &mut cells);
        let step = steps
            .entry(label(&cells[time], None))
            .or_insert_with(|| vec![0; measures.len()]);
        for (sum, at) in step.iter_mut().zip(measures) {
            *sum += amount(&cells[*at]);
        }
    }
    if steps.len() < 2 || steps.len() > MAX_STEPS {
        return None;
    }
    let all = || steps.values().flatten().map(|value| usd(*value));
    let scale = Scale::new(all().fold(0.0, f64::min), all().fold(0.0, f64::max));
    let names: Vec<Arc<str>> = measures
        .iter()
        .map(|at| heading(table.columns[*at].name).into())
        .collect();
    let title = format!(
        "{}, {} to {}",
        names.join(" and "),
        first(&steps),
        last(&steps)
    );
    let mut svg = open(&title, HEIGHT);
    scale.grid(&mut svg, currency);
    let width = (WIDTH - LEFT - RIGHT) / steps.len() as f64;
    for (at, name) in names.iter().enumerate() {
        let mut points = String::new();
        let mut dots = String::new();
        for (column, (step, values)) in steps.iter().enumerate() {
            let value = usd(values[at]);
            let (x, y) = (LEFT + width * (column as f64 + 0.5), scale.y(value));
            let _ = write!(points, "{x:.1},{y:.1} ");
            let tip = format!("{step} {name}: {} {currency}", shown(value));
            let tip = escape(&tip);
            let _ = write!(
                dots,
                r#"<circle class="f{at}" cx="{x:.1}" cy="{y:.1}" r="2.5"><title>{tip}</title></circle>"#
            );
        }
        let _ = write!(
            svg,
            r#"<polyline class="l{at}" points="{}"/>{dots}"#,
            points.trim_end()
        );
    }
    times(&mut svg, &steps);
    svg.push_str("</svg>");
    Some(figure(&title, &svg, &legend(&names, "f")))
}

/// The largest lines as bars, with a mark for what they are held against.
fn largest(
    table: &Table,
    dimension: usize,
    measure: usize,
    mark: Option<usize>,
    currency: &str,
) -> Option<String> {
    const ROW: f64 = 24.0;
    const NAMES: f64 = 210.0;
    const VALUES: f64 = 120.0;
    let mut bars = sums(table, dimension, measure);
    let marks: BTreeMap<Arc<str>, i128> = mark.map_or_else(BTreeMap::new, |at| {
        sums(table, dimension, at).into_iter().collect()
    });
    let marked = |name: &Arc<str>| marks.get(name).copied().unwrap_or(0);
    bars.retain(|(name, sum)| *sum != 0 || marked(name) != 0);
    if bars.len() < 2 {
        return None;
    }
    let mut rows: Vec<(Arc<str>, i128, i128)> = Vec::new();
    let rest = bars.split_off(bars.len().min(LARGEST));
    rows.extend(
        bars.into_iter()
            .map(|(name, sum)| (name.clone(), sum, marked(&name))),
    );
    if !rest.is_empty() {
        let name = format!("{} others", rest.len()).into();
        let marks = rest.iter().map(|(name, _)| marked(name)).sum();
        rows.push((name, rest.iter().map(|(_, sum)| sum).sum(), marks));
    }
    let ends = || {
        rows.iter()
            .flat_map(|(_, sum, mark)| [usd(*sum), usd(*mark)])
    };
    let (low, high) = (ends().fold(0.0, f64::min), ends().fold(0.0, f64::max));
    let span = (high - low).max(f64::MIN_POSITIVE);
    let place = |value: f64| NAMES + (WIDTH - NAMES - VALUES) * (value - low) / span;
    let measured = heading(table.columns[measure].name);
    let by = heading(table.columns[dimension].name).to_lowercase();
    let title = format!("{measured} by {by}");
    let mut svg = open(&title, ROW * rows.len() as f64 + 8.0);
    for (row, (name, sum, mark)) in rows.iter().enumerate() {
        let (y, value) = (4.0 + ROW * row as f64, usd(*sum));
        let (start, end) = (place(value.min(0.0)), place(value.max(0.0)));
        let tip = format!("{name}: {} {currency}", shown(value));
        let tip = escape(&tip);
        let _ = write!(
            svg,
            r#"<g><title>{tip}</title><text class="name" x="{:.1}" y="{:.1}">{}</text><rect class="f0" x="{start:.1}" y="{:.1}" width="{:.1}" height="{:.1}"/><text class="value" x="{:.1}" y="{:.1}">{}</text></g>"#,
            NAMES - 8.0,
            y + 16.0,
            escape(&shortened(name)),
            y + 4.0,
            (end - start).max(0.5),
            ROW - 8.0,
            WIDTH - 4.0,
            y + 16.0,
            shown(value),
        );
        if !marks.is_empty() {
            let x = place(usd(*mark));
            let _ = write!(
                svg,
                r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/>"#,
                y + 1.0,
                y + ROW - 1.0,
            );
        }
    }
    svg.push_str("</svg>");
    let legend = mark.map_or_else(String::new, |at| {
        let name = heading(table.columns[at].name);
        let (name, bar) = (escape(&name), escape(&measured));
        format!(
            r#"<ul class="legend"><li><i class="f0"></i>{bar}</li><li><i class="mark"></i>{name}</li></ul>"#
        )
    });
    Some(figure(&format!("{title}, {currency}"), &svg, &legend))
}

fn part(step: &[i128], keep: impl Fn(i128) -> bool) -> f64 {
    usd(step.iter().copied().filter(|value| keep(*value)).sum())
}

fn first(steps: &BTreeMap<Arc<str>, Vec<i128>>) -> &str {
    steps.keys().next().map_or("", |step| step)
}

fn last(steps: &BTreeMap<Arc<str>, Vec<i128>>) -> &str {
    steps.keys().next_back().map_or("", |step| step)
}

fn open(title: &str, height: f64) -> String {
    format!(
        r#"<svg role="img" aria-label="{}" viewBox="0 0 {WIDTH} {height:.0}" xmlns="http://www.w3.org/2000/svg">"#,
        escape(title)
    )
}

fn figure(title: &str, svg: &str, legend: &str) -> String {
    let title = escape(title);
    format!("<figure class=\"chart\"><figcaption>{title}</figcaption>{svg}{legend}</figure>\n")
}

fn legend(names: &[Arc<str>], class: &str) -> String {
    if names.is_empty() {
        return String::new();
    }
    let mut text = String::from(r#"<ul class="legend">"#);
    for (at, name) in names.iter().enumerate() {
        let name = escape(name);
        let _ = write!(text, r#"<li><i class="{class}{at}"></i>{name}</li>"#);
    }
    text.push_str("</ul>");
    text
}

/// Labels below the steps, as many as there is room for.
fn times(svg: &mut String, steps: &BTreeMap<Arc<str>, Vec<i128>>) {
    const LABELS: usize = 12;
    let width = (WIDTH - LEFT - RIGHT) / steps.len() as f64;
    let every = steps.len().div_ceil(LABELS);
    for (column, step) in steps.keys().enumerate().step_by(every) {
        let x = LEFT + width * (column as f64 + 0.5);
        // Days of one chart rarely need their year.
        let text = if step.len() == 10 { &step[5..] } else { step };
        let (y, text) = (HEIGHT - 10.0, escape(text));
        let _ = write!(
            svg,
            r#"<text class="step" x="{x:.1}" y="{y}">{text}</text>"#
        );
    }
}

/// An amount with two decimal places and thousands apart.
fn shown(value: f64) -> String {
    super::group(&format!("{value:.2}"))
}

fn shortened(name: &str) -> String {
    const CHARS: usize = 30;
    if name.chars().count() <= CHARS {
        return name.to_owned();
    }
    let start: String = name.chars().take(CHARS - 1).collect();
    format!("{start}…")
}
