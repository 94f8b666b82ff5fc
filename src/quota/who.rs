//! Who asks for what: from a caller's claims to a subject under the policy.

use std::sync::Arc;

use jiff::Timestamp;

use super::known::{Basis, Kind};
use super::{Quota, Refused};
use crate::model::identity::{Identity, Origin};
use crate::model::output::max_output;
use crate::model::policy::{Field, Policy, ProjectType, Subject, Usage};
use crate::model::quota::Asked;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Sku, Tier};
use crate::store::Terms;

/// Who wants to use what, as the caller said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    pub asked: Arc<Asked>,
    pub estimate: Usage,
}

impl Resolved {
    /// Whose limits apply.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.asked.subject
    }
}

impl Quota {
    /// Who asks for what under the policy; refuses models and project types that the role does
    /// not allow.
    pub fn resolve(&self, ask: &Ask, sender: &str, now: Timestamp) -> Result<Resolved, Refused> {
        let in_force = self.inner.in_force.load();
        let in_force = in_force.as_ref().ok_or(Refused::NoPolicy)?;
        let policy = &in_force.policy;
        let (terms, names) = (self.inner.terms.load(), self.inner.names.load());
        let mut tokens = Tokens {
            input: ask.input_tokens.min(Tokens::MAX),
            cache_read: ask.cached_input_tokens.min(Tokens::MAX),
            output: ask.max_output_tokens.min(Tokens::MAX),
            ..Tokens::default()
        };
        let kind = Kind {
            claims: &ask.claims,
            model: &ask.model,
            provider: ask.provider.as_deref(),
            band: Band::of(&tokens),
            is_trusted: is_trusted(policy, sender),
        };
        let basis = Basis {
            in_force,
            terms: &terms,
            names: &names,
        };
        let asked = if let Some(known) = self.inner.known.get(&kind, basis, now) {
            known
        } else {
            let asked = asked(&kind, basis, now)?;
            self.inner.known.keep(&kind, basis, now, asked)
        };
        tokens.output = tokens.output.min(max_output(&asked.sku.model));
        let cost = terms.cost(&tokens, &asked.sku, now);
        Ok(Resolved {
            asked,
            estimate: Usage::of(&tokens, cost),
        })
    }
}

/// Looks up who it is and which model it is; refuses models and project types that the role does
/// not allow.
fn asked(kind: &Kind<'_>, basis: Basis<'_>, now: Timestamp) -> Result<Asked, Refused> {
    let policy = &basis.in_force.policy;
    let name = basis.names.resolve(kind.model, kind.provider);
    let identity = identity(policy, kind.claims, kind.is_trusted);
    let sku = Sku {
        provider: name.provider,
        model: name.model,
        raw_model: kind.model.into(),
        scope: name.scope,
        region: None,
        tier: Tier::default(),
        band: kind.band,
    };
    let subject = subject(policy, basis.terms, &identity, &sku, now);
    admit(policy, &subject)?;
    Ok(Asked {
        subject,
        identity: Arc::new(identity),
        sku: Arc::new(sku),
    })
}

/// True if the policy lets a sender say who has which role.
pub(super) fn is_trusted(policy: &Policy, sender: &str) -> bool {
    policy.claims_from.iter().any(|name| **name == *sender)
}

/// The identity of a caller's claims. A role is taken only from senders that may state one.
pub(super) fn identity(policy: &Policy, claims: &Claims, is_trusted: bool) -> Identity {
    let mut role = None;
    let mut team = claims.team.clone();
    let mut cost_center = claims.cost_center.clone();
    if is_trusted {
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
