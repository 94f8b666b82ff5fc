//! Counters of Claude Code (OTLP metrics), and the count of metrics that are not known.

use std::sync::Arc;

use jiff::Timestamp;

use super::events::tier_of;
use super::genai;
use super::ids::{Hash, Id};
use super::item::{DataPoint, Metric, MetricKind, Nanos};
use super::key::Key;
use super::map::Mapper;
use super::value::{Attributes, Value, missing, refuse};
use crate::model::identity::Identity;
use crate::model::tokens::TokenKind;
use crate::model::usage::{
    Activity, ActivityMetric, Band, Counted, Point, Refusal, Sku, Temporality,
};

/// Bytes of an unknown metric's name at most.
const MAX_METRIC_NAME: usize = 128;

/// What a metric counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Meaning {
    Tokens,
    Cost,
    Sessions,
    Lines,
    PullRequests,
    Commits,
    EditDecisions,
    ActiveTime,
    GenAiTokens,
    GenAiDuration,
    #[default]
    Unknown,
}

impl Meaning {
    fn of(name: &str) -> Self {
        match name {
            "claude_code.token.usage" => Self::Tokens,
            "claude_code.cost.usage" => Self::Cost,
            "claude_code.session.count" => Self::Sessions,
            "claude_code.lines_of_code.count" => Self::Lines,
            "claude_code.pull_request.count" => Self::PullRequests,
            "claude_code.commit.count" => Self::Commits,
            "claude_code.code_edit_tool.decision" => Self::EditDecisions,
            "claude_code.active_time.total" => Self::ActiveTime,
            "gen_ai.client.token.usage" => Self::GenAiTokens,
            "gen_ai.client.operation.duration" => Self::GenAiDuration,
            _ => Self::Unknown,
        }
    }

    /// The only kind of data that can be added up for this meaning.
    fn expected(self) -> MetricKind {
        match self {
            Self::GenAiTokens | Self::GenAiDuration => MetricKind::Histogram,
            _ => MetricKind::Sum,
        }
    }
}

/// The metric whose points are being read.
#[derive(Debug, Default)]
pub(super) struct Current<'a> {
    metric: Metric<'a>,
    meaning: Meaning,
    unknown: Option<UnknownPoints>,
}

/// The points of an unknown metric, which become one count.
#[derive(Debug)]
struct UnknownPoints {
    hash: Hash,
    at: Timestamp,
    identity: Arc<Identity>,
    points: u32,
}

impl<'a> Current<'a> {
    pub(super) fn of(metric: Metric<'a>) -> Self {
        Self {
            meaning: Meaning::of(&metric.name),
            metric,
            unknown: None,
        }
    }

    pub(super) fn is_genai(&self) -> bool {
        matches!(self.meaning, Meaning::GenAiTokens | Meaning::GenAiDuration)
    }
}

/// What all points have, whatever they count.
pub(super) struct Frame {
    pub(super) series: Id,
    pub(super) temporality: Temporality,
    pub(super) start: Timestamp,
    pub(super) at: Timestamp,
    pub(super) identity: Arc<Identity>,
    pub(super) session: Option<Arc<str>>,
}

impl Frame {
    pub(super) fn point(self, source: &Arc<str>, value: u64, what: Counted) -> Point {
        Point {
            source: Arc::clone(source),
            series: self.series,
            temporality: self.temporality,
            start: self.start,
            at: self.at,
            value,
            identity: self.identity,
            session: self.session,
            what,
        }
    }
}

pub(super) fn map<'a>(
    mapper: &mut Mapper<'_, 'a>,
    current: &mut Current<'a>,
    point: &DataPoint<'a>,
) -> Result<(), Refusal> {
    let own = &point.attributes;
    mapper.check(own)?;
    if current.meaning == Meaning::Unknown {
        return count_unknown(mapper, current, point);
    }
    let frame = frame_of(mapper, &current.metric, current.meaning, point)?;
    if point.has_no_value() || is_screen_only(current.meaning, own) {
        mapper.take(frame.identity.origin, 1);
        return Ok(());
    }
    match current.meaning {
        Meaning::GenAiTokens => return genai::tokens(mapper, frame, point),
        Meaning::GenAiDuration => return genai::requests(mapper, frame, point),
        _ => {}
    }
    let value = value_of(current.meaning, point)?;
    let what = counted(mapper, current.meaning, own)?;
    mapper.take(frame.identity.origin, 1);
    let point = frame.point(&mapper.sources.metrics, value, what);
    mapper.add_point(point);
    Ok(())
}

/// Claude Code: `agents_view` is a screen that shows sessions, not a session.
fn is_screen_only(meaning: Meaning, own: &Attributes<'_>) -> bool {
    let start_type = own.get(Key::StartType);
    meaning == Meaning::Sessions && *start_type == Value::Text("agents_view".into())
}

fn frame_of<'a>(
    mapper: &mut Mapper<'_, 'a>,
    metric: &Metric<'a>,
    meaning: Meaning,
    point: &DataPoint<'a>,
) -> Result<Frame, Refusal> {
    if metric.kind != meaning.expected() {
        let reason = match meaning.expected() {
            MetricKind::Histogram => "is not a histogram",
            _ => "is not a monotonic sum",
        };
        return Err(refuse("wrong_kind", &metric.name, reason));
    }
    let Some(temporality) = metric.temporality else {
        let field = "aggregationTemporality";
        return Err(refuse("missing", field, "is neither delta nor cumulative"));
    };
    let temporality = match temporality {
        Temporality::Cumulative if point.start == Nanos::Absent => {
            Temporality::CumulativeFromUnknown
        }
        known => known,
    };
    let own = &point.attributes;
    let (start, at) = point.range()?;
    let session = mapper.shared_text(own, Key::SessionId)?;
    let identity = mapper.identity(own)?;
    let mut series = mapper.series_hash();
    series.text(&metric.name);
    series.attributes(own, None);
    Ok(Frame {
        series: series.finish(),
        temporality,
        start,
        at,
        identity,
        session,
    })
}

/// The point's value in the unit of what it counts: tokens, micro-USD, milliseconds or things.
fn value_of(meaning: Meaning, point: &DataPoint<'_>) -> Result<u64, Refusal> {
    let field = "value";
    let value = match meaning {
        Meaning::Cost => point.value.scaled(field, 1e6)?,
        Meaning::ActiveTime => point.value.scaled(field, 1e3)?,
        _ => point.value.count(field)?,
    };
    value.ok_or_else(|| missing(field))
}

fn counted(
    mapper: &mut Mapper<'_, '_>,
    meaning: Meaning,
    own: &Attributes<'_>,
) -> Result<Counted, Refusal> {
    let (metric, keys): (_, &[Key]) = match meaning {
        Meaning::Tokens => {
            let kind = own.text(Key::Type)?.ok_or_else(|| missing("type"))?;
            let kind = TokenKind::parse(&kind)
                .ok_or_else(|| refuse("unknown_value", "type", "is no known kind of token"))?;
            let sku = sku_of(mapper, own)?;
            return Ok(Counted::Tokens { kind, sku });
        }
        Meaning::Cost => {
            let sku = sku_of(mapper, own)?;
            return Ok(Counted::ClientCost { sku });
        }
        Meaning::Lines => return lines(mapper, own),
        Meaning::Sessions => (ActivityMetric::Sessions, &[Key::StartType]),
        Meaning::EditDecisions => (
            ActivityMetric::EditDecisions,
            &[Key::ToolName, Key::Decision, Key::Source, Key::Language],
        ),
        Meaning::ActiveTime => (ActivityMetric::ActiveTime, &[Key::Type]),
        Meaning::Commits => (ActivityMetric::Commits, &[]),
        _ => (ActivityMetric::PullRequests, &[]),
    };
    let mut texts = Vec::with_capacity(keys.len());
    for key in keys {
        texts.push(own.text(*key)?.unwrap_or_default());
    }
    let values: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let labels = mapper.labels(&values);
    Ok(Counted::Activity { metric, labels })
}

/// Lines name the model like tokens do, by its canonical name.
fn lines(mapper: &mut Mapper<'_, '_>, own: &Attributes<'_>) -> Result<Counted, Refusal> {
    let kind = own.text(Key::Type)?.unwrap_or_default();
    let metric = ActivityMetric::Lines;
    let labels = if own.get(Key::Model).is_absent() {
        mapper.labels(&[&kind, ""])
    } else {
        let sku = sku_of(mapper, own)?;
        mapper.labels(&[&kind, &sku.model])
    };
    Ok(Counted::Activity { metric, labels })
}

fn sku_of(mapper: &mut Mapper<'_, '_>, own: &Attributes<'_>) -> Result<Arc<Sku>, Refusal> {
    let model = own.text(Key::Model)?.ok_or_else(|| missing("model"))?;
    Ok(mapper.sku(&model, None, tier_of(own), Band::Mixed))
}

fn count_unknown<'a>(
    mapper: &mut Mapper<'_, 'a>,
    current: &mut Current<'a>,
    point: &DataPoint<'a>,
) -> Result<(), Refusal> {
    let (start, at) = point.range()?;
    let identity = mapper.identity(&point.attributes)?;
    let unknown = current.unknown.get_or_insert_with(|| UnknownPoints {
        hash: {
            let mut hash = mapper.series_hash();
            hash.text(&current.metric.name);
            hash
        },
        at,
        identity,
        points: 0,
    });
    unknown.hash.attributes(&point.attributes, None);
    unknown.hash.time(start);
    unknown.hash.time(at);
    unknown.at = unknown.at.max(at);
    unknown.points += 1;
    Ok(())
}

/// Ends a metric. The points of an unknown one become one activity, by its name.
pub(super) fn finish(mapper: &mut Mapper<'_, '_>, current: Current<'_>) {
    let Some(unknown) = current.unknown else {
        return;
    };
    let name = metric_name(&current.metric.name);
    let labels = mapper.labels(&[&name]);
    mapper.take(unknown.identity.origin, unknown.points);
    let activity = Activity {
        source: Arc::clone(&mapper.sources.metrics),
        id: unknown.hash.finish(),
        at: unknown.at,
        identity: unknown.identity,
        metric: ActivityMetric::UnknownMetrics,
        labels,
        amount: u64::from(unknown.points),
    };
    mapper.add_activity(activity);
}

/// A metric's name, short and without control characters.
fn metric_name(name: &str) -> String {
    let name = name.chars().filter(|c| !c.is_control());
    let mut kept = String::new();
    for c in name {
        if kept.len() + c.len_utf8() > MAX_METRIC_NAME {
            break;
        }
        kept.push(c);
    }
    if kept.is_empty() {
        kept.push_str("unnamed");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_unknown_metrics_are_bounded() {
        assert_eq!(metric_name("http.server.duration"), "http.server.duration");
        assert_eq!(metric_name("a\nb"), "ab");
        assert_eq!(metric_name(""), "unnamed");
        assert_eq!(metric_name(&"ä".repeat(5_000)).len(), MAX_METRIC_NAME);
    }
}
