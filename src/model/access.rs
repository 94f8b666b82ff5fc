//! Who may do what: tokens, scopes, and the identities a token may report.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::identity::Identity;
use super::usage::Refusal;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Send telemetry and usage.
    Ingest,
    /// Ask and settle quotas.
    Quota,
    /// Read figures, `/metrics` included.
    Read,
    /// Read money per person and close months.
    Finance,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 5] = [
        Self::Ingest,
        Self::Quota,
        Self::Read,
        Self::Finance,
        Self::Admin,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Quota => "quota",
            Self::Read => "read",
            Self::Finance => "finance",
            Self::Admin => "admin",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// The identities that a token may report. Empty lists allow all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    pub users: Vec<Box<str>>,
    pub teams: Vec<Box<str>>,
}

impl Binding {
    /// Refuses an identity that the token is not bound to. A device without a person passes a
    /// user binding only when the binding is empty.
    pub fn permits(&self, identity: &Identity) -> Result<(), Refusal> {
        let fits = |allowed: &[Box<str>], value: &Option<Box<str>>| {
            allowed.is_empty() || value.as_ref().is_some_and(|value| allowed.contains(value))
        };
        let field = if !fits(&self.users, &identity.user) {
            "user"
        } else if !fits(&self.teams, &identity.team) {
            "team"
        } else {
            return Ok(());
        };
        Err(Refusal {
            code: "identity_not_allowed",
            message: format!("{field}: this token may not report it"),
        })
    }
}

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token's name, or `anonymous`.
    pub name: Box<str>,
    pub scopes: Vec<Scope>,
    pub binding: Binding,
    /// False where no tokens are configured: identity headers are then not believed.
    pub authenticated: bool,
}

impl Grant {
    /// True if the grant has the scope; `admin` has all.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes
            .iter()
            .any(|held| *held == scope || *held == Scope::Admin)
    }
}

/// Why a caller was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a bearer token is needed")]
    Missing,
    #[error("the bearer token is not known")]
    Unknown,
    #[error("the token lacks the scope {}", .0.name())]
    Scope(Scope),
}

impl Denied {
    /// Stable, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Unknown => "token_unknown",
            Self::Scope(_) => "scope_missing",
        }
    }
}

/// The configured tokens, by the hash of their secret.
#[derive(Clone, Debug)]
pub struct AccessList {
    grants: HashMap<[u8; 32], Arc<Grant>>,
    /// What everyone may do where there are no tokens.
    anonymous: Arc<Grant>,
}

impl Default for AccessList {
    /// Lets everyone in.
    fn default() -> Self {
        Self::new([])
    }
}

impl AccessList {
    /// Builds the list from pairs of SHA-256 hash and grant. An empty list lets everyone in,
    /// which the configuration allows on loopback addresses only.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = ([u8; 32], Grant)>) -> Self {
        let shared = |(hash, grant)| (hash, Arc::new(grant));
        Self {
            grants: tokens.into_iter().map(shared).collect(),
            anonymous: Arc::new(Grant {
                name: "anonymous".into(),
                scopes: vec![Scope::Admin],
                binding: Binding::default(),
                authenticated: false,
            }),
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.grants.is_empty()
    }

    /// Finds what the presented token allows and checks one scope.
    pub fn authorize(&self, bearer: Option<&str>, scope: Scope) -> Result<Arc<Grant>, Denied> {
        if self.is_open() {
            return Ok(self.anonymous.clone());
        }
        let bearer = bearer.ok_or(Denied::Missing)?;
        let grant = self
            .grants
            .get(&hash_token(bearer))
            .ok_or(Denied::Unknown)?;
        if !grant.has(scope) {
            return Err(Denied::Scope(scope));
        }
        Ok(grant.clone())
    }
}

/// The form in which a token is stored.
#[must_use]
pub fn hash_token(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The hash as it stands in the configuration file.
#[must_use]
pub fn hash_text(hash: &[u8; 32]) -> String {
    let mut text = String::from("sha256:");
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
