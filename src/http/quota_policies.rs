//! `GET /api/v1/quota/policies`: what is allowed at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::figures::zone_name;
use super::quota::Failed;
use crate::model::access::Scope;
use crate::model::glob::Glob;
use crate::model::policy::{Bound, Field, Limit, Policy, Raise, Role, Span};
use crate::quota::Refused;
use crate::quota::answer::{Amount, grains};

/// The policy in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyAnswer {
    /// Counts up with each policy that was put in force since tallyd started.
    version: u64,
    timezone: String,
    contact: Option<Box<str>>,
    default_role: Option<Box<str>>,
    roles: BTreeMap<Box<str>, RoleRules>,
    /// `internal`, `customer_facing` or `confidential` by project; others are internal.
    projects: BTreeMap<Box<str>, &'static str>,
    /// Groups with the number of their members.
    groups: BTreeMap<Box<str>, usize>,
    limits: Vec<LimitRules>,
    raises: Vec<RaiseRules>,
}

/// What one role may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoleRules {
    /// Patterns; `null` allows all.
    allowed_models: Option<Vec<String>>,
    /// `null` allows all.
    allowed_project_types: Option<Vec<&'static str>>,
    can_access_external_apis: bool,
    audit_level: &'static str,
}

/// One limit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitRules {
    name: Box<str>,
    /// Patterns by field.
    #[serde(rename = "match")]
    matches: BTreeMap<&'static str, Vec<String>>,
    per: Vec<&'static str>,
    unit: &'static str,
    /// `null` where it is unlimited.
    limit: Option<Amount>,
    /// `minute`, `hour`, `day`, `week`, `month` or `rolling`.
    window: &'static str,
    mode: &'static str,
}

/// More for somebody, for a time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RaiseRules {
    limit: Box<str>,
    #[serde(rename = "match")]
    matches: BTreeMap<&'static str, Vec<String>>,
    add: Amount,
    until: String,
    reason: Box<str>,
}

/// Ask for the policy in force
///
/// Its version and what it says; members of groups are counted only.
#[utoipa::path(
    get, path = "/api/v1/quota/policies", tag = "quota",
    operation_id = "getPolicy",
    security((), ("bearer" = ["read"]), ("bearer" = ["quota"])),
    responses(
        (status = 200, description = "The policy.", body = PolicyAnswer),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::QuotaForbidden),
    ),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<PolicyAnswer>, Failed> {
    auth::grant_any(&api, &headers, &[Scope::Read, Scope::Quota])?;
    let (policy, version) = api
        .quota
        .policy()
        .ok_or_else(|| Failed::refused(&Refused::NoPolicy, &api.quota))?;
    let policy = &*policy;
    let roles = policy.roles.iter();
    let projects = policy.projects.iter();
    let groups = policy.groups.iter();
    Ok(Json(PolicyAnswer {
        version,
        timezone: zone_name(&policy.zone),
        contact: policy.contact.clone(),
        default_role: policy.default_role.clone(),
        roles: roles
            .map(|(name, role)| (name.clone(), role_rules(role)))
            .collect(),
        projects: projects
            .map(|(name, kind)| (name.clone(), kind.name()))
            .collect(),
        groups: groups
            .map(|(name, group)| (name.clone(), group.members.len()))
            .collect(),
        limits: policy
            .limits
            .iter()
            .map(|limit| limit_rules(policy, limit))
            .collect(),
        raises: policy
            .raises
            .iter()
            .filter_map(|raise| raise_rules(policy, raise))
            .collect(),
    }))
}

fn patterns(globs: &[Glob]) -> Vec<String> {
    globs.iter().map(|glob| glob.as_str().to_owned()).collect()
}

fn matches_of(matches: &BTreeMap<Field, Vec<Glob>>) -> BTreeMap<&'static str, Vec<String>> {
    let matches = matches.iter();
    matches
        .map(|(field, globs)| (field.name(), patterns(globs)))
        .collect()
}

fn role_rules(role: &Role) -> RoleRules {
    let kinds = role.allowed_project_types.as_ref();
    RoleRules {
        allowed_models: role.allowed_models.as_deref().map(patterns),
        allowed_project_types: kinds.map(|kinds| kinds.iter().map(|kind| kind.name()).collect()),
        can_access_external_apis: role.can_access_external_apis,
        audit_level: role.audit_level.name(),
    }
}

fn limit_rules(policy: &Policy, limit: &Limit) -> LimitRules {
    LimitRules {
        name: (&*limit.name).into(),
        matches: matches_of(&limit.matches),
        per: limit.per.iter().map(|field| field.name()).collect(),
        unit: limit.unit.name(),
        limit: match limit.bound {
            Bound::Unlimited => None,
            Bound::At(bound) => Some(grains(bound, limit.unit, &policy.weights)),
        },
        window: match limit.span {
            Span::Calendar(window) => window.name(),
            Span::Rolling { .. } => "rolling",
        },
        mode: limit.mode.name(),
    }
}

fn raise_rules(policy: &Policy, raise: &Raise) -> Option<RaiseRules> {
    let limit = policy
        .limits
        .iter()
        .find(|limit| *limit.name == *raise.limit)?;
    Some(RaiseRules {
        limit: raise.limit.clone(),
        matches: matches_of(&raise.matches),
        add: grains(raise.add, limit.unit, &policy.weights),
        until: raise.until.to_string(),
        reason: raise.reason.clone(),
    })
}
