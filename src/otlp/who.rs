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
        let same = |told: &Told| {
            let mut pairs = self.telling.iter().zip(told);
            pairs.all(|((name, key), told)| told.as_deref() == tell(own, resource, name, *key))
        };
        if let Some((_, identity)) = self.known.find(|(told, _)| same(told)) {
            return Ok(Arc::clone(identity));
        }
        let told = self.told(own, resource)?;
        let attribute = |name: &str| tell(own, resource, name, Key::of(name));
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
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
            let text = tell(own, resource, name, *key);
            if text.is_some_and(|text| text.len() > MAX_TEXT) {
                return Err(refuse("too_long", name, "is longer than 256 bytes"));
            }
            told.push(text.map(Box::from));
        }
        Ok(told.into())
    }
}

/// The text of an attribute: the item's own, else the resource's.
fn tell<'v>(
    own: &'v Attributes<'_>,
    resource: &'v Attributes<'_>,
    name: &str,
    key: Option<Key>,
) -> Option<&'v str> {
    let read = |attributes: &'v Attributes<'_>| match key {
        Some(key) => attributes.get(key),
        None => attributes.named(name),
    };
    let value = match read(own) {
        Value::Absent => read(resource),
        value => value,
    };
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
