//! Who an item is from: the attributes and headers that tell it.

use axum::http::HeaderMap;

use super::key::Key;
use super::value::{Attributes, Value, refuse};
use crate::model::identity::{Identity, Origin};
use crate::model::usage::Refusal;

/// Attributes that tell an identity; items that agree in these share one.
const TELLING: [Key; 11] = [
    Key::UserId,
    Key::UserEmail,
    Key::EnduserId,
    Key::IdentitySource,
    Key::UserAccountUuid,
    Key::UserAccountId,
    Key::OrganizationId,
    Key::TeamId,
    Key::Department,
    Key::CostCenter,
    Key::Project,
];

/// Bytes of a name at most.
const MAX_NAME: usize = 256;

/// The e-mail address that some set-ups send for "not known".
const NOBODY: &str = "unknown@example.com";

/// The telling values of an item, to compare the next one with.
pub(super) type Told = [Option<Box<str>>; TELLING.len()];

/// The identity headers of a request from an authenticated sender.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    pub user: Option<Box<str>>,
    pub team: Option<Box<str>>,
}

impl Headers {
    /// Reads the headers; call it for authenticated senders only, for anyone can send headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let read = |name| {
            let value = headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.into())
        };
        Self {
            user: read("x-user-email").or_else(|| read("x-user-id")),
            team: read("x-team-id"),
        }
    }
}

fn told<'v>(own: &'v Attributes<'_>, resource: &'v Attributes<'_>, key: Key) -> Option<&'v str> {
    let value = match own.get(key) {
        Value::Absent => resource.get(key),
        value => value,
    };
    match value {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

pub(super) fn same(known: &Told, own: &Attributes<'_>, resource: &Attributes<'_>) -> bool {
    TELLING
        .iter()
        .zip(known)
        .all(|(key, known)| known.as_deref() == told(own, resource, *key))
}

pub(super) fn remember(own: &Attributes<'_>, resource: &Attributes<'_>) -> Told {
    TELLING.map(|key| told(own, resource, key).map(Into::into))
}

/// The identity of an item, from its own attributes, its resource's and the request's headers.
pub(super) fn identify(
    own: &Attributes<'_>,
    resource: &Attributes<'_>,
    headers: &Headers,
) -> Result<Identity, Refusal> {
    let read = |key: Key| {
        let text = told(own, resource, key);
        if text.is_some_and(|text| text.len() > MAX_NAME) {
            return Err(refuse("too_long", key.name(), "is longer than 256 bytes"));
        }
        Ok(text.map(Box::<str>::from))
    };
    let id = read(Key::UserId)?;
    let email = read(Key::UserEmail)?.filter(|email| &**email != NOBODY);
    let end_user = read(Key::EnduserId)?;
    let by_provider = read(Key::IdentitySource)?.as_deref() == Some("gateway-oidc");
    let (user, origin) = if let Some(user) = &headers.user {
        (Some(user.clone()), Origin::Header)
    } else if by_provider && id.is_some() {
        (email.or_else(|| id.clone()), Origin::Oidc)
    } else if email.is_some() {
        (email, Origin::Email)
    } else if end_user.is_some() {
        (end_user, Origin::EndUser)
    } else if id.is_some() {
        (None, Origin::Device)
    } else {
        (None, Origin::Unknown)
    };
    Ok(Identity {
        user: user.map(|user| user.to_lowercase().into()),
        origin,
        device: id.filter(|_| !by_provider),
        account: match read(Key::UserAccountUuid)? {
            None => read(Key::UserAccountId)?,
            account => account,
        },
        organization: read(Key::OrganizationId)?,
        team: match &headers.team {
            None => read(Key::TeamId)?,
            team => team.clone(),
        },
        project: read(Key::Project)?,
        department: read(Key::Department)?,
        cost_center: read(Key::CostCenter)?,
    })
}
