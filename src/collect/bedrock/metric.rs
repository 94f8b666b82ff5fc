//! The metrics of `AWS/Bedrock` that are read, and which of them an account has.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::names::ModelNames;

/// A metric of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Metric {
    // First those of the control total: what a bound leaves out comes last.
    Invocations,
    InputTokens,
    OutputTokens,
    CacheReadTokens,
    CacheWriteTokens,
    Throttles,
    ClientErrors,
    ServerErrors,
    Latency,
    TimeToFirstToken,
}

impl Metric {
    pub(super) const ALL: [Self; 10] = [
        Self::Invocations,
        Self::InputTokens,
        Self::OutputTokens,
        Self::CacheReadTokens,
        Self::CacheWriteTokens,
        Self::Throttles,
        Self::ClientErrors,
        Self::ServerErrors,
        Self::Latency,
        Self::TimeToFirstToken,
    ];

    /// The name in CloudWatch (Amazon Bedrock user guide: runtime metrics).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Invocations => "Invocations",
            Self::InputTokens => "InputTokenCount",
            Self::OutputTokens => "OutputTokenCount",
            Self::CacheReadTokens => "CacheReadInputTokenCount",
            Self::CacheWriteTokens => "CacheWriteInputTokenCount",
            Self::Throttles => "InvocationThrottles",
            Self::ClientErrors => "InvocationClientErrors",
            Self::ServerErrors => "InvocationServerErrors",
            Self::Latency => "InvocationLatency",
            Self::TimeToFirstToken => "TimeToFirstToken",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The measure of the control total that this metric is.
    pub(super) fn measure(self) -> Option<Measure> {
        Measure::ALL
            .into_iter()
            .find(|measure| measure.metric() == self)
    }

    /// True for times, false for counts.
    pub(super) const fn is_time(self) -> bool {
        matches!(self, Self::Latency | Self::TimeToFirstToken)
    }
}

/// What a control total compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Measure {
    Requests,
    Input,
    Output,
    CacheRead,
    CacheCreation,
}

impl Measure {
    pub(super) const ALL: [Self; 5] = [
        Self::Requests,
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheCreation,
    ];

    /// The value of the label `measure`; tokens have the names of Claude Code's own metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cacheRead",
            Self::CacheCreation => "cacheCreation",
        }
    }

    const fn metric(self) -> Metric {
        match self {
            Self::Requests => Metric::Invocations,
            Self::Input => Metric::InputTokens,
            Self::Output => Metric::OutputTokens,
            Self::CacheRead => Metric::CacheReadTokens,
            Self::CacheCreation => Metric::CacheWriteTokens,
        }
    }
}

/// One metric, model and statistic: what `GetMetricData` bills as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Query {
    pub(super) metric: Metric,
    /// As Bedrock names it.
    pub(super) model_id: Arc<str>,
    pub(super) statistic: Arc<str>,
}

/// Which metrics are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) latency_statistics: Vec<Arc<str>>,
    pub(super) all_models: bool,
    pub(super) max_metrics: usize,
}

/// The queries for the metrics that exist, and how many more there would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Discovery {
    pub(super) queries: BTreeSet<Query>,
    pub(super) left_out: usize,
    /// True if some of them belong to the control total.
    pub(super) control_left_out: bool,
}

/// Makes queries of metric names and model ids, the most important first.
pub(super) fn discover(found: &BTreeSet<(Metric, Arc<str>)>, wanted: &Wanted) -> Discovery {
    let mut all = Vec::new();
    for (metric, model_id) in found {
        if !wanted.all_models && is_of_other_vendor(model_id) {
            continue;
        }
        let query = |statistic: Arc<str>| Query {
            metric: *metric,
            model_id: model_id.clone(),
            statistic,
        };
        if metric.is_time() {
            all.extend(wanted.latency_statistics.iter().cloned().map(query));
        } else {
            all.push(query("Sum".into()));
        }
    }
    let beyond = all.split_off(wanted.max_metrics.min(all.len()));
    Discovery {
        queries: all.into_iter().collect(),
        left_out: beyond.len(),
        control_left_out: beyond.iter().any(|query| query.metric.measure().is_some()),
    }
}

/// True for `amazon.nova-pro-v1:0` and the like. A name without a vendor, such as the id of an
/// inference profile, may be Claude behind it.
pub(in crate::collect) fn is_of_other_vendor(model_id: &str) -> bool {
    let id = model_id.rsplit('/').next().unwrap_or(model_id);
    id.contains('.') && !id.split('.').any(|part| part == "anthropic")
}

/// The canonical name of a model that Bedrock names so.
pub(super) fn canonical(names: &ModelNames, model_id: &str) -> Box<str> {
    let name = if is_profile_id(model_id) {
        // As Claude Code's telemetry names it, where the ARN stands in place of a model.
        names.resolve(
            &format!("application-inference-profile/{model_id}"),
            Some("bedrock"),
        )
    } else {
        names.resolve(model_id, Some("bedrock"))
    };
    name.model
}

/// The id of an application inference profile: twelve letters and digits.
fn is_profile_id(model_id: &str) -> bool {
    model_id.len() == 12 && model_id.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::Alias;

    const SONNET: &str = "us.anthropic.claude-sonnet-4-6-v1:0";

    fn wanted() -> Wanted {
        Wanted {
            latency_statistics: vec!["Average".into(), "p90".into()],
            all_models: false,
            max_metrics: 500,
        }
    }

    fn query(metric: Metric, model_id: &str, statistic: &str) -> Query {
        Query {
            metric,
            model_id: model_id.into(),
            statistic: statistic.into(),
        }
    }

    #[test]
    fn counts_are_summed_and_times_have_the_configured_statistics() {
        let found = BTreeSet::from([
            (Metric::Invocations, SONNET.into()),
            (Metric::Latency, SONNET.into()),
        ]);
        let discovery = discover(&found, &wanted());
        let queries: Vec<_> = discovery.queries.into_iter().collect();
        assert_eq!(
            queries,
            [
                query(Metric::Invocations, SONNET, "Sum"),
                query(Metric::Latency, SONNET, "Average"),
                query(Metric::Latency, SONNET, "p90"),
            ]
        );
    }

    #[test]
    fn a_bound_leaves_out_times_before_control_totals() {
        let found = BTreeSet::from([
            (Metric::Latency, "anthropic.a".into()),
            (Metric::Invocations, "anthropic.b".into()),
            (Metric::InputTokens, "anthropic.b".into()),
        ]);
        let bounded = Wanted {
            max_metrics: 2,
            ..wanted()
        };
        assert_eq!(
            discover(&found, &bounded),
            Discovery {
                queries: BTreeSet::from([
                    query(Metric::Invocations, "anthropic.b", "Sum"),
                    query(Metric::InputTokens, "anthropic.b", "Sum"),
                ]),
                left_out: 2,
                control_left_out: false,
            }
        );
        let tighter = Wanted {
            max_metrics: 1,
            ..wanted()
        };
        assert!(discover(&found, &tighter).control_left_out);
    }

    #[test]
    fn other_vendors_are_read_only_when_asked_for() {
        let ids = [
            "amazon.nova-pro-v1:0",
            "us.meta.llama4-scout-17b-instruct-v1:0",
            "arn:aws:bedrock:us-east-1::foundation-model/cohere.command-r-v1:0",
            SONNET,
            "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-opus-5",
            "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc123def456",
            "abc123def456",
        ];
        let other: Vec<_> = ids.iter().filter(|id| is_of_other_vendor(id)).collect();
        assert_eq!(other, ids[..3].iter().collect::<Vec<_>>());
        let found: BTreeSet<_> = ids
            .iter()
            .map(|id| (Metric::Invocations, Arc::from(*id)))
            .collect();
        let all = Wanted {
            all_models: true,
            ..wanted()
        };
        assert_eq!(discover(&found, &wanted()).queries.len(), 4);
        assert_eq!(discover(&found, &all).queries.len(), 7);
    }

    #[test]
    fn every_form_of_a_model_id_gives_the_canonical_name() {
        let alias = Alias {
            model: "claude-opus-5".to_owned(),
            provider: None,
        };
        let names = ModelNames::new(
            "anthropic",
            [(
                "application-inference-profile/abc123def456".to_owned(),
                alias,
            )],
        );
        let cases = [
            (SONNET, "claude-sonnet-4-6"),
            ("anthropic.claude-sonnet-4-6-v1:0", "claude-sonnet-4-6"),
            ("global.anthropic.claude-sonnet-4-6", "claude-sonnet-4-6"),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6-v1:0",
                "claude-sonnet-4-6",
            ),
            ("abc123def456", "claude-opus-5"),
            (
                "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc123def456",
                "claude-opus-5",
            ),
            ("fff123def456", "application-inference-profile/fff123def456"),
        ];
        for (model_id, model) in cases {
            assert_eq!(&*canonical(&names, model_id), model, "{model_id}");
        }
    }
}
