//! `GET /api/v1/alarms` and `POST /api/v1/alarms/backtest`: how alarms stand, and how they would
//! have stood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use crate::alarm::backtest::{self, MAX_DAYS, Outcome};
use crate::alarm::{self, Loaded, Measured, Standing};
use crate::model::access::Scope;
use crate::model::alarm::Alarm;
use crate::model::minute::{self, MINUTE_METRICS};
use crate::store::{AlarmChange, MAX_HISTORY_ANSWER};

/// Transitions told with each alarm, of at most the last week.
const MAX_TRANSITIONS: usize = 10;
const TRANSITION_DAYS: i64 = 7;

/// Days that are looked back on where none are asked for.
const DEFAULT_DAYS: u32 = 15;

const MINUTES_A_DAY: i64 = 1_440;

/// Characters of a metric's name that an error repeats.
const MAX_SHOWN: usize = 100;

/// How alarms stand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlarmsAnswer {
    now: String,
    alarms: Vec<AlarmAnswer>,
}

/// What an alarm compares.
#[derive(Debug, Serialize, ToSchema)]
struct Definition {
    #[schema(example = "ClaudeCode-HighErrorRate")]
    name: String,
    description: String,
    #[schema(example = "critical")]
    severity: String,
    runbook: Option<String>,
    #[schema(example = "ClaudeCode/Enterprise")]
    namespace: String,
    #[schema(example = "error_rate")]
    metric: String,
    dimensions: BTreeMap<String, String>,
    #[schema(example = "Average")]
    statistic: String,
    #[schema(example = "GreaterThanThreshold")]
    comparison: &'static str,
    threshold: f64,
    period_seconds: u32,
    evaluation_periods: u32,
    datapoints_to_alarm: u32,
    #[schema(example = "notBreaching")]
    missing_data: &'static str,
}

/// An alarm and how it stands.
#[derive(Debug, Serialize, ToSchema)]
struct AlarmAnswer {
    #[serde(flatten)]
    definition: Definition,
    /// False: only CloudWatch can evaluate it.
    evaluated_here: bool,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`; `null` if it is not evaluated here.
    #[schema(example = "OK")]
    state: Option<&'static str>,
    since: Option<String>,
    /// The end of the last minute that was evaluated.
    evaluated: Option<String>,
    reason: Option<String>,
    /// The newest value that was looked at.
    value: Option<f64>,
    /// The newest first.
    transitions: Vec<TransitionAnswer>,
}

/// A change of state.
#[derive(Debug, Serialize, ToSchema)]
struct TransitionAnswer {
    at: String,
    from: &'static str,
    to: &'static str,
    reason: String,
    value: Option<f64>,
}

/// List alarms
///
/// Each alarm with what it compares, its state and why, and its transitions of the last seven
/// days, ten at most.
#[utoipa::path(
    get, path = "/api/v1/alarms", tag = "alarms",
    operation_id = "listAlarms",
    security((), ("bearer" = ["read"])),
    responses(
        (status = 200, description = "The alarms, in the order of their templates.",
            body = AlarmsAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<AlarmsAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let now = api.clock.now();
    let since = now
        .checked_sub(SignedDuration::from_hours(24 * TRANSITION_DAYS))
        .unwrap_or(Timestamp::MIN);
    let history = api
        .ledger
        .alarm_history(since, None, MAX_HISTORY_ANSWER)
        .await?;
    let mut by_alarm: BTreeMap<String, Vec<AlarmChange>> = BTreeMap::new();
    for change in history {
        by_alarm
            .entry(change.alarm.clone())
            .or_default()
            .push(change);
    }
    let (loaded, standing) = (api.alarms.loaded(), api.alarms.standing());
    let alarms = loaded.set.alarms.iter().map(|alarm| {
        let changes = by_alarm.remove(&alarm.name).unwrap_or_default();
        AlarmAnswer::of(alarm, &loaded, standing.get(&alarm.name), changes)
    });
    Ok(Json(AlarmsAnswer {
        now: now.to_string(),
        alarms: alarms.collect(),
    }))
}

impl Definition {
    fn of(alarm: &Alarm) -> Self {
        Self {
            name: alarm.name.clone(),
            description: alarm.description.clone(),
            severity: alarm.severity.clone(),
            runbook: alarm.runbook.clone(),
            namespace: alarm.namespace.clone(),
            metric: alarm.metric.clone(),
            dimensions: alarm.dimensions.clone(),
            statistic: alarm.statistic.name(),
            comparison: alarm.comparison.name(),
            threshold: alarm.threshold,
            period_seconds: alarm.period_seconds,
            evaluation_periods: alarm.evaluation_periods,
            datapoints_to_alarm: alarm.datapoints_to_alarm,
            missing_data: alarm.missing_data.name(),
        }
    }
}

impl AlarmAnswer {
    fn of(
        alarm: &Alarm,
        loaded: &Loaded,
        standing: Option<&Standing>,
        changes: Vec<AlarmChange>,
    ) -> Self {
        let status = standing.map(|standing| &standing.status);
        let evaluated = standing.and_then(|standing| standing.evaluated);
        let transitions = changes.into_iter().take(MAX_TRANSITIONS);
        Self {
            definition: Definition::of(alarm),
            evaluated_here: alarm::series_of(alarm, &loaded.namespace).is_some(),
            state: status.map(|status| status.state.name()),
            since: status.map(|status| status.since.to_string()),
            evaluated: evaluated.map(|at| at.to_string()),
            reason: status.map(|status| status.reason.clone()),
            value: status.and_then(|status| status.value),
            transitions: transitions
                .map(|change| TransitionAnswer {
                    at: change.at.to_string(),
                    from: change.from.name(),
                    to: change.to.name(),
                    reason: change.reason,
                    value: change.value,
                })
                .collect(),
        }
    }
}

/// What to look back on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BacktestRequest {
    /// At most 100; 15 without.
    #[schema(example = 15)]
    days: Option<u32>,
    /// Only alarms on these metrics; empty: all.
    metrics: Vec<String>,
    /// A CloudFormation template in YAML or JSON; without: the alarms that are in use.
    template: Option<String>,
    /// Values of the template's parameters.
    parameters: BTreeMap<String, String>,
}

/// What the alarms would have done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BacktestAnswer {
    from: String,
    /// The end of the last sealed minute.
    to: String,
    alarms: Vec<BacktestAlarm>,
}

/// What an alarm would have done.
#[derive(Debug, Serialize, ToSchema)]
struct BacktestAlarm {
    #[serde(flatten)]
    definition: Definition,
    /// Minutes from the first datapoint in the range to its end; 0 without any.
    minutes: u64,
    minutes_without_data: u64,
    /// How often it would have fired.
    fired: usize,
    /// The first thousand times.
    episodes: Vec<EpisodeAnswer>,
    /// The state at the end; `null` without any datapoint.
    state: Option<&'static str>,
}

/// A time in ALARM.
#[derive(Debug, Serialize, ToSchema)]
struct EpisodeAnswer {
    from: String,
    /// `null` if it has not ended.
    to: Option<String>,
    duration_seconds: i64,
    /// The value that breached the most.
    worst: Option<f64>,
    reason: String,
}

/// Look back with alarms
///
/// Evaluates the alarms in use, or those of a template, on the stored minutes and says when each
/// would have fired. Nothing is changed and nobody is told.
#[utoipa::path(
    post, path = "/api/v1/alarms/backtest", tag = "alarms",
    operation_id = "backtestAlarms",
    security((), ("bearer" = ["read"])),
    request_body = BacktestRequest,
    responses(
        (status = 200, description = "What would have happened.", body = BacktestAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, description = "The template is faulty (`invalid_template`), or the answer \
            would be too much (`too_large`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn backtest(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BacktestAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let request: BacktestRequest = serde_json::from_slice(&body).map_err(|_| {
        let detail = "the body must be an object with days, metrics, template and parameters, \
                      each of which may be left out";
        Problem::body(detail)
    })?;
    let days = request.days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Problem::body(format!("days: must be 1 to {MAX_DAYS}")));
    }
    if let Some(name) = request
        .metrics
        .iter()
        .find(|name| minute::find(name).is_none())
    {
        let known = MINUTE_METRICS.iter().map(|metric| metric.name);
        let known: Vec<_> = known.collect();
        let hint = alarm::hint(name, known.iter().copied());
        let name = name.chars().take(MAX_SHOWN);
        return Err(Problem::body(format!(
            "metrics: there is no metric {}{hint}; there are {}",
            name.filter(|c| !c.is_control()).collect::<String>(),
            known.join(", ")
        )));
    }
    let loaded = read_template(&request, &api.alarms.loaded())?;
    let Some(last) = api.ledger.last_sealed_minute().await? else {
        let now = api.clock.now().to_string();
        return Ok(Json(BacktestAnswer {
            from: now.clone(),
            to: now,
            alarms: Vec::new(),
        }));
    };
    let (from, to) = (last + 1 - i64::from(days) * MINUTES_A_DAY, last + 1);
    let outcomes = backtest::backtest(&api.ledger, &loaded, &request.metrics, from, to).await?;
    let end = instant(to);
    Ok(Json(BacktestAnswer {
        from: instant(from).to_string(),
        to: end.to_string(),
        alarms: outcomes
            .into_iter()
            .map(|outcome| BacktestAlarm::of(outcome, end))
            .collect(),
    }))
}

fn instant(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::MAX)
}

/// The set to look back with: that of the request, else the one in use.
fn read_template(request: &BacktestRequest, used: &Arc<Loaded>) -> Result<Arc<Loaded>, Problem> {
    let Some(template) = &request.template else {
        return Ok(Arc::clone(used));
    };
    let files = [(PathBuf::from("template"), template.clone())];
    let measured = Measured {
        namespace: used.namespace.clone(),
        dimensions: None,
    };
    let set = alarm::read_measured(&files, &request.parameters, &measured).map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "invalid_template", lines.join("\n"))
    })?;
    Ok(Arc::new(Loaded {
        set,
        namespace: used.namespace.clone(),
        evaluate: used.evaluate,
    }))
}

impl BacktestAlarm {
    fn of(outcome: Outcome, end: Timestamp) -> Self {
        let episodes = outcome.episodes.into_iter().map(|episode| {
            let until = episode.to.unwrap_or(end);
            EpisodeAnswer {
                from: episode.from.to_string(),
                to: episode.to.map(|to| to.to_string()),
                duration_seconds: until.duration_since(episode.from).as_secs(),
                worst: episode.worst,
                reason: episode.reason,
            }
        });
        Self {
            definition: Definition::of(&outcome.alarm),
            minutes: outcome.minutes,
            minutes_without_data: outcome.minutes_without_data,
            fired: outcome.fired,
            episodes: episodes.collect(),
            state: outcome.state.map(crate::model::alarm::State::name),
        }
    }
}
