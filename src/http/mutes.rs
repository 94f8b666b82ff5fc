//! `/api/v1/mutes`: maintenance windows, in which alarms are not told.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::Problem;
use crate::model::access::Scope;
use crate::model::notice::Mute;

/// Longest window: what is meant to be silent for longer is better switched off.
const LONGEST: Duration = Duration::from_hours(31 * 24);

/// Characters of a pattern and of a reason.
const MAX_TEXT: usize = 255;

/// A window to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMute {
    /// RFC 3339; now if left out.
    #[serde(default)]
    #[schema(example = "2026-12-05T22:00:00+01:00")]
    from: Option<String>,
    /// RFC 3339; either this or `for`.
    #[serde(default)]
    #[schema(example = "2026-12-06T02:00:00+01:00")]
    to: Option<String>,
    /// A duration from the beginning.
    #[serde(default, rename = "for")]
    #[schema(example = "4h")]
    length: Option<String>,
    /// Which alarms: `*` is any text, `?` one character. All if left out.
    #[serde(default)]
    #[schema(example = "ClaudeCode-*")]
    alarms: Option<String>,
    #[schema(example = "upgrade of the gateway")]
    reason: String,
}

/// A window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MuteItem {
    /// Missing for windows of the configuration, which is where they end.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    from: String,
    to: String,
    alarms: String,
    reason: String,
    /// The name of the token, or `configuration`.
    created_by: String,
    /// True if alarms are muted by it now.
    active: bool,
}

impl MuteItem {
    fn of(mute: Mute, now: Timestamp) -> Self {
        Self {
            active: mute.from <= now && now < mute.to,
            id: mute.id,
            from: mute.from.to_string(),
            to: mute.to.to_string(),
            alarms: mute.alarms,
            reason: mute.reason,
            created_by: mute.created_by,
        }
    }
}

/// All windows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MutesAnswer {
    mutes: Vec<MuteItem>,
}

/// List maintenance windows
///
/// Those of the configuration and those that were set, the ones that have ended included for 90
/// days.
#[utoipa::path(
    get, path = "/api/v1/mutes", tag = "operation",
    operation_id = "listMutes",
    security((), ("bearer" = ["read"])),
    responses(
        (status = 200, description = "The windows.", body = MutesAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<MutesAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Read)?;
    let now = api.clock.now();
    let mutes = api.notify.mutes().await?.into_iter();
    Ok(Json(MutesAnswer {
        mutes: mutes.map(|mute| MuteItem::of(mute, now)).collect(),
    }))
}

/// Set a maintenance window
///
/// Alarms that match are not told from `from` to `to`; what is still wrong then is told then.
#[utoipa::path(
    post, path = "/api/v1/mutes", tag = "operation",
    operation_id = "addMute",
    security((), ("bearer" = ["admin"])),
    request_body = NewMute,
    responses(
        (status = 201, description = "The window is set.", body = MuteItem),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, description = "There are too many windows (`too_large`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<MuteItem>), Problem> {
    let grant = auth::grant(&api, &headers, Scope::Admin)?;
    body::media_type(&headers, &["application/json"])?;
    let body = body::read(&headers, body, api.body_limits).await?;
    let new: NewMute = serde_json::from_slice(&body).map_err(|_| {
        Problem::body(
            "the body must be an object with reason, with to or for, and if wanted from and alarms",
        )
    })?;
    let now = api.clock.now();
    let mut mute = window(new, now).map_err(Problem::body)?;
    mute.created_by = grant.name.to_string();
    mute.id = Some(api.ledger.add_mute(mute.clone()).await?);
    Ok((StatusCode::CREATED, Json(MuteItem::of(mute, now))))
}

fn window(new: NewMute, now: Timestamp) -> Result<Mute, String> {
    let time = |name: &str, text: &str| {
        let wrong = format!("{name}: must be a time such as 2026-12-05T22:00:00+01:00");
        text.parse::<Timestamp>().map_err(|_| wrong)
    };
    let from = match &new.from {
        Some(text) => time("from", text)?,
        None => now,
    };
    let to = match (&new.to, &new.length) {
        (Some(text), None) => time("to", text)?,
        (None, Some(text)) => humantime::parse_duration(text.trim())
            .ok()
            .and_then(|length| from.checked_add(length).ok())
            .ok_or("for: must be a duration such as 90m or 4h")?,
        _ => return Err("to: give either to or for".to_owned()),
    };
    if to <= from || to <= now {
        return Err("to: must be after from and after now".to_owned());
    }
    if to.duration_since(from).unsigned_abs() > LONGEST {
        return Err("to: a window may be 31 days long at most".to_owned());
    }
    let alarms = new.alarms.unwrap_or_else(|| "*".to_owned());
    for (name, text) in [("alarms", &alarms), ("reason", &new.reason)] {
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
            return Err(format!("{name}: must have 1 to {MAX_TEXT} characters"));
        }
    }
    Ok(Mute {
        id: None,
        from,
        to,
        alarms,
        reason: new.reason,
        created_by: String::new(),
    })
}

/// The window that was ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedMute {
    id: i64,
}

/// End a maintenance window
///
/// What is still wrong is told with the next round.
#[utoipa::path(
    delete, path = "/api/v1/mutes/{id}", tag = "operation",
    operation_id = "endMute",
    security((), ("bearer" = ["admin"])),
    params(("id" = i64, Path, description = "The number of the window.")),
    responses(
        (status = 200, description = "It has ended.", body = EndedMute),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, description = "There is no such window that is still to end \
            (`mute_unknown`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<EndedMute>, Problem> {
    auth::grant(&api, &headers, Scope::Admin)?;
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "mute_unknown",
            "id: there is no such window that is still to end; those of the configuration end there",
        )
    };
    let id: i64 = id.parse().map_err(|_| unknown())?;
    if !api.ledger.end_mute(id, api.clock.now()).await? {
        return Err(unknown());
    }
    Ok(Json(EndedMute { id }))
}
