//! Who used it: the raw identity as it was reported.
//!
//! Identities are stored raw. Who a device belongs to, and which team a person is in, is looked
//! up in the [directory](super::directory) when figures are read, so that a late correction
//! works backwards.

/// How the user of a record became known, best trusted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Given by a gateway through the usage API.
    Gateway,
    /// A request header on an authenticated connection.
    Header,
    /// The client's `user.email` after a login.
    Email,
    /// `user.id` stamped by the identity provider (`identity.source = gateway-oidc`).
    Oidc,
    /// `enduser.id` from the client's environment.
    EndUser,
    /// A custom attribute named in the configuration.
    Custom,
    /// The IAM principal that made the call, as AWS tells it.
    Principal,
    /// Only the random id of an installation is known.
    Device,
    #[default]
    Unknown,
}

impl Origin {
    pub const ALL: [Self; 9] = [
        Self::Gateway,
        Self::Header,
        Self::Email,
        Self::Oidc,
        Self::EndUser,
        Self::Custom,
        Self::Principal,
        Self::Device,
        Self::Unknown,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Header => "header",
            Self::Email => "email",
            Self::Oidc => "oidc",
            Self::EndUser => "enduser",
            Self::Custom => "custom",
            Self::Principal => "principal",
            Self::Device => "device",
            Self::Unknown => "unknown",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.name() == name)
    }
}

/// An identity as reported. Empty strings never occur: absent is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// A person or service, case-folded. `None` when only a device is known.
    pub user: Option<Box<str>>,
    pub origin: Origin,
    /// The installation id of a client (`user.id` without an identity provider).
    pub device: Option<Box<str>>,
    /// The Anthropic account (`user.account_uuid`), or the AWS account of a Bedrock log.
    pub account: Option<Box<str>>,
    pub organization: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub department: Option<Box<str>>,
    pub cost_center: Option<Box<str>>,
    /// As a gateway that may say so claimed it.
    pub role: Option<Box<str>>,
}

impl Identity {
    /// The name shown where nothing is known.
    pub const UNKNOWN: &'static str = "unknown";

    /// Fills what is missing here from another report of the same request.
    #[must_use]
    pub fn filled_from(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        if merged.user.is_none() && other.user.is_some() {
            merged.user.clone_from(&other.user);
            merged.origin = other.origin;
        }
        let pairs = [
            (&mut merged.device, &other.device),
            (&mut merged.account, &other.account),
            (&mut merged.organization, &other.organization),
            (&mut merged.team, &other.team),
            (&mut merged.project, &other.project),
            (&mut merged.department, &other.department),
            (&mut merged.cost_center, &other.cost_center),
            (&mut merged.role, &other.role),
        ];
        for (mine, theirs) in pairs {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
        merged
    }

    /// The label under which this identity is shown: the person, else `device:` and the first
    /// twelve characters of the installation id, else `unknown`.
    #[must_use]
    pub fn shown_user(&self) -> String {
        match (&self.user, &self.device) {
            (Some(user), _) => user.to_string(),
            (None, Some(device)) => {
                let short: String = device.chars().take(12).collect();
                format!("device:{short}")
            }
            (None, None) => Self::UNKNOWN.to_owned(),
        }
    }
}
