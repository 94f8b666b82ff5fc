//! What a rate limit request says: who asks about which request, and what is to be counted.
//!
//! All descriptors of a call tell of one request, since Envoy makes one call for all actions of a
//! route. What one descriptor names holds for those that do not say otherwise, and for each kind
//! of hits the largest number counts. Only descriptors that contradict each other are two requests.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{Descriptor, RateLimitRequest};
use crate::config::{Envoy, Hit, Key};
use crate::model::label;
use crate::model::tokens::Tokens;
use crate::quota::{Ask, Claims};

/// Descriptors of a call at most.
const MAX_DESCRIPTORS: usize = 64;

/// Requests that one call may count. Each is a record of its own.
const MAX_REQUESTS: u64 = 100;

/// A request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) groups: Vec<Group>,
    /// The group of each descriptor and what its hits count, in order.
    pub(super) places: Vec<(usize, Hit)>,
    /// Keys that mean nothing here.
    pub(super) ignored: BTreeSet<String>,
}

/// What entries say, by what they mean.
type Said = BTreeMap<Key, Box<str>>;

/// One request that a call tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) said: Said,
    pub(super) hits: Hits,
    pub(super) refund: Hits,
}

/// Numbers of hits, by what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits(BTreeMap<Hit, u64>);

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("domain: must not be empty")]
    NoDomain,
    #[error("domain: {0} is not one of envoy.domains")]
    Domain(String),
    #[error("descriptors: at most {MAX_DESCRIPTORS} in a call")]
    Descriptors,
    #[error("quota.unit: {0} is not a unit; see envoy.unit in the configuration")]
    Unit(String),
    #[error("hits_addend: at most {MAX_REQUESTS} requests, or 2^53 tokens, in a call")]
    Hits,
}

impl Call {
    pub(super) fn read(request: &RateLimitRequest, settings: &Envoy) -> Result<Self, Unreadable> {
        if request.domain.is_empty() {
            return Err(Unreadable::NoDomain);
        }
        if request.descriptors.len() > MAX_DESCRIPTORS {
            return Err(Unreadable::Descriptors);
        }
        let unit = match settings.domains.get(&request.domain) {
            Some(unit) => *unit,
            None if settings.domains.is_empty() => settings.unit,
            None => return Err(Unreadable::Domain(request.domain.clone())),
        };
        let mut ignored = BTreeSet::new();
        let mut read = Vec::with_capacity(request.descriptors.len());
        let mut common = BTreeMap::new();
        for descriptor in &request.descriptors {
            let (said, hit) = entries(descriptor, settings, &mut ignored)?;
            for (key, value) in &said {
                common.entry(*key).or_insert_with(|| value.clone());
            }
            read.push((said, hit.unwrap_or(unit)));
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut places = Vec::with_capacity(read.len());
        for (descriptor, (mut said, hit)) in request.descriptors.iter().zip(read) {
            for (key, value) in &common {
                said.entry(*key).or_insert_with(|| value.clone());
            }
            let known = groups.iter().position(|group| group.said == said);
            let place = known.unwrap_or(groups.len());
            if known.is_none() {
                let hits = Hits::default();
                groups.push(Group {
                    said,
                    refund: hits.clone(),
                    hits,
                });
            }
            let count = match descriptor.hits_addend {
                Some(hits) => hits.value,
                None => request.hits_addend.max(1).into(),
            };
            let group = &mut groups[place];
            let hits = if descriptor.is_negative_hits {
                &mut group.refund
            } else {
                &mut group.hits
            };
            hits.raise(hit, count)?;
            places.push((place, hit));
        }
        Ok(Self {
            groups,
            places,
            ignored,
        })
    }
}

/// What the entries of a descriptor say, and what its hits count if they say it.
fn entries(
    descriptor: &Descriptor,
    settings: &Envoy,
    ignored: &mut BTreeSet<String>,
) -> Result<(Said, Option<Hit>), Unreadable> {
    let mut said = BTreeMap::new();
    let mut unit = None;
    for entry in &descriptor.entries {
        let known = settings.keys.get(&entry.key).copied();
        let value = entry.value.trim();
        match known.or_else(|| Key::parse(&entry.key)) {
            None => {
                ignored.insert(entry.key.clone());
            }
            Some(Key::Hits(hit)) => unit = Some(hit),
            Some(Key::Unit) => {
                let hit = Hit::parse(value).ok_or_else(|| Unreadable::Unit(value.to_owned()))?;
                unit = Some(hit);
            }
            Some(Key::User) => {
                if let Some(user) = label::fold(value) {
                    said.insert(Key::User, user.into());
                }
            }
            Some(key) if !value.is_empty() => {
                said.insert(key, value.into());
            }
            Some(_) => {}
        }
    }
    Ok((said, unit))
}

impl Group {
    pub(super) fn get(&self, key: Key) -> Option<&str> {
        self.said.get(&key).map(|value| &**value)
    }

    pub(super) fn claims(&self) -> Claims {
        let get = |key| self.said.get(&key).cloned();
        Claims {
            user: get(Key::User),
            team: get(Key::Team),
            project: get(Key::Project),
            organization: get(Key::Organization),
            cost_center: get(Key::CostCenter),
            roles: get(Key::Role).into_iter().collect(),
            groups: get(Key::Group).into_iter().collect(),
        }
    }

    /// The model as named, or as the configuration says.
    pub(super) fn model<'a>(&'a self, settings: &'a Envoy) -> &'a str {
        let model = self.get(Key::Model).or(settings.model.as_deref());
        model.unwrap_or_default()
    }

    /// The question whether one more request of this kind would pass.
    pub(super) fn ask(&self, settings: &Envoy, input_tokens: u64) -> Ask {
        Ask {
            claims: self.claims(),
            model: self.model(settings).into(),
            provider: self.said.get(&Key::Provider).cloned(),
            input_tokens,
            cached_input_tokens: 0,
            max_output_tokens: 0,
        }
    }
}

impl Hits {
    fn raise(&mut self, hit: Hit, count: u64) -> Result<(), Unreadable> {
        let most = match hit {
            Hit::Request => MAX_REQUESTS,
            _ => Tokens::MAX,
        };
        if count > most {
            return Err(Unreadable::Hits);
        }
        let known = self.0.entry(hit).or_default();
        *known = count.max(*known);
        Ok(())
    }

    pub(super) fn requests(&self) -> u64 {
        self.of(Hit::Request)
    }

    fn of(&self, hit: Hit) -> u64 {
        self.0.get(&hit).copied().unwrap_or(0)
    }

    /// The tokens by kind. What a total has beyond its kinds is taken as input: the ledger has no
    /// kind for tokens that nobody tells apart.
    pub(super) fn tokens(&self) -> Tokens {
        let mut tokens = Tokens {
            input: self.of(Hit::Input),
            output: self.of(Hit::Output),
            cache_read: self.of(Hit::CacheRead),
            cache_write_unknown: self.of(Hit::CacheWrite),
            ..Tokens::default()
        };
        let beyond = self.of(Hit::Token).saturating_sub(tokens.total());
        tokens.input = (tokens.input + beyond).min(Tokens::MAX);
        tokens
    }

    /// True if there is none but those that only ask.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|count| *count == 0)
    }

    /// True if tokens are counted, not only asked for.
    pub(super) fn has_tokens(&self) -> bool {
        self.tokens().total() > 0
    }
}
