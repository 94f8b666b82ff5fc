//! Who an item is from: its attributes and its resource's, read by the rules of the
//! configuration.

use std::sync::Arc;

use axum::http::HeaderMap;

use super::key::Key;
use super::recent::Recent;
use super::value::{Attributes, MAX_TEXT, Value, refuse};
use crate::model::access::Grant;
use crate::model::identify::IdentityRules;
use crate::model::identity::Identity;
use crate::model::usage::Refusal;

/// Attributes that tell an identity whatever is configured.
const ALWAYS: [&str; 8] = [
    "user.id",
    "user.email",
    "enduser.id",
    "identity.source",
    "user.account_uuid",
    "user.account_id",
    "organization.id",
    "organization",
];

/// The texts of the telling attributes of an item, in their order.
type Told = Box<[Option<Box<str>>]>;

/// Finds identities; items of a delivery that agree in all that tells one share it.
#[derive(Debug)]
pub(super) struct Who<'c> {
    rules: &'c IdentityRules,
    headers: &'c HeaderMap,
    grant: &'c Grant,
    /// What is wrong with a header that is believed; it holds for all items of the delivery.
    bad_header: Option<Refusal>,
    telling: Vec<(&'c str, Option<Key>)>,
    known: Recent<(Told, Arc<Identity>)>,
}

impl<'c> Who<'c> {
    pub(super) fn new(rules: &'c IdentityRules, headers: &'c HeaderMap, grant: &'c Grant) -> Self {
        let configured = [
            &rules.team_attributes,
            &rules.project_attributes,
            &rules.department_attributes,
            &rules.cost_center_attributes,
        ];
        let configured = configured.into_iter().flatten().map(String::as_str);
        let names = ALWAYS
            .into_iter()
            .chain(rules.custom_attribute.as_deref())
            .chain(configured);
        Self {
            rules,
            headers,
            grant,
            bad_header: bad_header(rules, headers, grant),
            telling: names.map(|name| (name, Key::of(name))).collect(),
            known: Recent::default(),
        }
    }

    /// The identity of an item, if this sender may report it.
    pub(super) fn identify(
        &mut self,
        own: &Attributes<'_>,
        resource: &Attributes<'_>,
    ) -> Result<Arc<Identity>, Refusal> {
        if let Some(refusal) = &self.bad_header {
            return Err(refusal.clone());
        }
        let same = |told: &Told| {
            let mut pairs = self.telling.iter().zip(told);
            pairs.all(
                |((name, key), told)| match find(own, resource, name, *key) {
                    Value::Text(text) => told.as_deref() == Some(text),
                    Value::Bad => false,
                    _ => told.is_none(),
                },
            )
        };
        if let Some((_, identity)) = self.known.find(|(told, _)| same(told)) {
            return Ok(Arc::clone(identity));
        }
        let told = self.told(own, resource)?;
        let attribute = |name: &str| match find(own, resource, name, Key::of(name)) {
            Value::Text(text) => Some(&**text),
            _ => None,
        };
        let header = |name: &str| str::from_utf8(self.headers.get(name)?.as_bytes()).ok();
        let authenticated = self.grant.authenticated;
        let identity = self.rules.identify(&attribute, &header, authenticated);
        self.grant.binding.permits(&identity)?;
        let identity = Arc::new(identity);
        self.known.keep((told, Arc::clone(&identity)));
        Ok(identity)
    }

    fn told(&self, own: &Attributes<'_>, resource: &Attributes<'_>) -> Result<Told, Refusal> {
        let mut told = Vec::with_capacity(self.telling.len());
        for (name, key) in &self.telling {
            let text = match find(own, resource, name, *key) {
                Value::Text(text) => Some(&**text),
                Value::Bad => return Err(refuse("malformed", name, "is not valid text")),
                _ => None,
            };
            if text.is_some_and(|text| text.len() > MAX_TEXT) {
                return Err(too_long(name));
            }
            told.push(text.map(Box::from));
        }
        Ok(told.into())
    }
}

/// Headers tell identities like attributes do, and have their bounds.
fn bad_header(rules: &IdentityRules, headers: &HeaderMap, grant: &Grant) -> Option<Refusal> {
    if !grant.authenticated {
        return None;
    }
    rules.headers.all().find_map(|name| {
        let text = str::from_utf8(headers.get(name)?.as_bytes());
        match text {
            Ok(text) if text.len() > MAX_TEXT => Some(too_long(name)),
            Ok(_) => None,
            Err(_) => Some(refuse("malformed", name, "is not valid text")),
        }
    })
}

fn too_long(name: &str) -> Refusal {
    refuse("too_long", name, "is longer than 256 bytes")
}

/// An attribute: the item's own, else the resource's.
fn find<'v, 'a>(
    own: &'v Attributes<'a>,
    resource: &'v Attributes<'a>,
    name: &str,
    key: Option<Key>,
) -> &'v Value<'a> {
    let read = |attributes: &'v Attributes<'a>| match key {
        Some(key) => attributes.get(key),
        None => attributes.named(name),
    };
    match read(own) {
        Value::Absent => read(resource),
        value => value,
    }
}
