//! Who asks for what: from a caller's claims to a subject under the policy.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Quota, Refused};
use crate::model::identity::{Identity, Origin};
use crate::model::output::max_output;
use crate::model::policy::{Field, Policy, ProjectType, Subject, Usage};
use crate::model::quota::Asked;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Sku, Tier};
use crate::store::Terms;

/// Who wants to use what, as the caller said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub user: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub organization: Option<Box<str>>,
    pub cost_center: Option<Box<str>>,
    /// Believed only from senders that the policy names in `claims_from`.
    pub roles: Vec<Box<str>>,
    pub groups: Vec<Box<str>>,
}

/// A question about one model call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub claims: Claims,
    /// As the gateway names it.
    pub model: Box<str>,
    pub provider: Option<Box<str>>,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    /// Above the model's maximum, that is what counts.
    pub max_output_tokens: u64,
}

/// Who asks, resolved under the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub subject: Subject,
    pub asked: Arc<Asked>,
    pub estimate: Usage,
}

impl Quota {
    /// Who asks for what under the policy; refuses models and project types that the role does
    /// not allow.
    pub fn resolve(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Resolved, Refused> {
        let in_force = self.inner.in_force.load_full().ok_or(Refused::NoPolicy)?;
        let policy = &in_force.policy;
        let terms = self.inner.terms.load();
        let name = self
            .inner
            .names
            .load()
            .resolve(&ask.model, ask.provider.as_deref());
        let identity = identity(policy, &ask.claims, sender);
        let sku = Sku {
            provider: name.provider,
            model: name.model,
            raw_model: ask.model.clone(),
            scope: name.scope,
            region: None,
            tier: Tier::default(),
            band: Band::default(),
        };
        let subject = subject(policy, &terms, &identity, &sku, now);
        admit(policy, &subject)?;
        let tokens = Tokens {
            input: ask.input_tokens.min(Tokens::MAX),
            cache_read: ask.cached_input_tokens.min(Tokens::MAX),
            output: ask.max_output_tokens.min(max_output(&sku.model)),
            ..Tokens::default()
        };
        let sku = Sku {
            band: Band::of(&tokens),
            ..sku
        };
        let estimate = Usage::of(&tokens, terms.cost(&tokens, &sku, now));
        let asked = Asked {
            identity,
            sku,
            output: estimate.output,
        };
        Ok(Resolved {
            subject,
            asked: Arc::new(asked),
            estimate,
        })
    }
}

/// The identity of a caller's claims. A role is taken from senders that may state one only.
pub(super) fn identity(policy: &Policy, claims: &Claims, sender: &str) -> Identity {
    let trusted = policy.claims_from.iter().any(|name| **name == *sender);
    let mut role = None;
    let mut team = claims.team.clone();
    let mut cost_center = claims.cost_center.clone();
    if trusted {
        let mut roles = claims.roles.iter();
        role = roles
            .find(|role| policy.roles.contains_key(&***role))
            .cloned();
        for group in claims.groups.iter().filter_map(|g| policy.groups.get(g)) {
            role = role.or_else(|| group.role.clone());
            team = team.or_else(|| group.team.clone());
            cost_center = cost_center.or_else(|| group.cost_center.clone());
        }
    }
    Identity {
        origin: match claims.user {
            Some(_) => Origin::Gateway,
            None => Origin::Unknown,
        },
        user: claims.user.clone(),
        team,
        project: claims.project.clone(),
        organization: claims.organization.clone(),
        cost_center,
        role,
        ..Identity::default()
    }
}

/// Who somebody is under a policy: as the directory has it, else as the policy's groups say, else
/// as reported.
pub(super) fn subject(
    policy: &Policy,
    terms: &Terms,
    identity: &Identity,
    sku: &Sku,
    at: Timestamp,
) -> Subject {
    let who = terms.directory.attribute(identity, at);
    let group = policy.group_of(&who.user);
    let team = who.team.or(group.and_then(|group| group.team.as_deref()));
    let center = group.and_then(|group| group.cost_center.as_deref());
    let role = policy.role(who.role, &who.user);
    let cost_center = who.cost_center.or(center);
    let organization = identity.organization.as_deref();
    Subject::new([
        &who.user,
        role.unwrap_or_default(),
        team.unwrap_or_default(),
        who.project.unwrap_or_default(),
        cost_center.unwrap_or_default(),
        organization.unwrap_or_default(),
        &sku.provider,
        &sku.model,
    ])
}

/// What a role allows at all. A project that the policy does not list is internal.
pub(super) fn admit(policy: &Policy, subject: &Subject) -> Result<(), Refused> {
    if policy.roles.is_empty() {
        return Ok(());
    }
    let name = subject.get(Field::Role);
    let role = policy.roles.get(name).ok_or(Refused::NoPolicy)?;
    let model = subject.get(Field::Model);
    if let Some(allowed) = &role.allowed_models
        && !allowed.iter().any(|pattern| pattern.matches(model))
    {
        return Err(Refused::Model {
            role: name.into(),
            allowed: allowed.iter().map(|glob| glob.as_str().into()).collect(),
        });
    }
    let kind = policy
        .projects
        .get(subject.get(Field::Project))
        .copied()
        .unwrap_or(ProjectType::Internal);
    if let Some(allowed) = &role.allowed_project_types
        && !allowed.contains(&kind)
    {
        return Err(Refused::ProjectType {
            role: name.into(),
            kind: kind.name(),
        });
    }
    Ok(())
}
