//! `GET /api/v1/quota/reservations`: what is held now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::quota::{Failed, Held};
use crate::model::access::Scope;
use crate::model::policy::Field;
use crate::model::quota::Reservation;

/// Reservations in one answer at most.
const MAX_SHOWN: usize = 1_000;

/// Live reservations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReservationsAnswer {
    /// The oldest first.
    reservations: Vec<LiveAnswer>,
    /// How many there are, those that are not shown included.
    total: usize,
}

/// What one call holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveReservation)]
pub(super) struct LiveAnswer {
    #[schema(value_type = String)]
    id: Arc<str>,
    user: String,
    team: String,
    project: String,
    model: String,
    reserved_at: String,
    /// The end of the lease.
    expires_at: String,
    held: Held,
}

/// List live reservations
///
/// Calls that were admitted and are neither settled nor released: the 1,000 oldest.
#[utoipa::path(
    get, path = "/api/v1/quota/reservations", tag = "quota",
    operation_id = "listReservations",
    security((), ("bearer" = ["admin"])),
    responses(
        (status = 200, description = "What is held.", body = ReservationsAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<ReservationsAnswer>, Failed> {
    auth::grant(&api, &headers, Scope::Admin)?;
    let live = api.quota.live();
    let total = live.len();
    let shown = live.into_iter().take(MAX_SHOWN).map(answer);
    Ok(Json(ReservationsAnswer {
        reservations: shown.collect(),
        total,
    }))
}

fn answer((id, known): (Arc<str>, Reservation)) -> LiveAnswer {
    let field = |field| known.subject().get(field).to_owned();
    LiveAnswer {
        id,
        user: field(Field::User),
        team: field(Field::Team),
        project: field(Field::Project),
        model: field(Field::Model),
        reserved_at: known.reserved_at.to_string(),
        expires_at: known.expires_at.to_string(),
        held: Held::of(&known.estimate),
    }
}
