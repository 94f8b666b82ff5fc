//! Finds out who used it, from the attributes and headers of a report.
//!
//! Which origins are believed, in which order, and under which names teams and the like come, is
//! the operator's choice; the defaults fit Claude Code and the usual gateways.

use super::identity::{Identity, Origin};
use super::label;

/// Values that senders write when they know no user.
const UNKNOWN_USERS: [&str; 2] = ["unknown@example.com", Identity::UNKNOWN];

/// The `identity.source` under which `user.id` is a person of the identity provider.
const OIDC_SOURCE: &str = "gateway-oidc";

const ACCOUNT_ATTRIBUTES: [&str; 2] = ["user.account_uuid", "user.account_id"];
const ORGANIZATION_ATTRIBUTES: [&str; 2] = ["organization.id", "organization"];

/// Request headers by meaning, lower-case; of several the first that is set counts. They are
/// believed on authenticated connections only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderNames {
    /// The user as a gateway in front knows it.
    pub gateway: Vec<String>,
    pub user: Vec<String>,
    pub organization: Vec<String>,
    pub team: Vec<String>,
    pub project: Vec<String>,
    pub department: Vec<String>,
    pub cost_center: Vec<String>,
}

impl HeaderNames {
    /// The names of all headers that are believed.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self {
            gateway,
            user,
            organization,
            team,
            project,
            department,
            cost_center,
        } = self;
        [
            gateway,
            user,
            organization,
            team,
            project,
            department,
            cost_center,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }
}

/// How identities are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// The origins of a user that are believed, the best first. A device counts last, always.
    pub order: Vec<Origin>,
    /// The attribute that [`Origin::Custom`] reads.
    pub custom_attribute: Option<String>,
    pub headers: HeaderNames,
    /// Attributes that tell the team; of several the first that is set counts.
    pub team_attributes: Vec<String>,
    pub project_attributes: Vec<String>,
    pub department_attributes: Vec<String>,
    pub cost_center_attributes: Vec<String>,
}

impl Default for HeaderNames {
    fn default() -> Self {
        Self {
            gateway: owned(&[
                "x-claude-gateway-user-email",
                "x-claude-gateway-user-id",
                "x-litellm-end-user-id",
            ]),
            user: owned(&["x-user-email", "x-user-id", "x-user-name"]),
            organization: owned(&["x-organization"]),
            team: owned(&["x-team-id", "x-tag-team"]),
            project: owned(&["x-tag-project"]),
            department: owned(&["x-department", "x-tag-department"]),
            cost_center: owned(&["x-cost-center", "x-tag-costcenter"]),
        }
    }
}

impl Default for IdentityRules {
    fn default() -> Self {
        Self {
            order: vec![
                Origin::Gateway,
                Origin::Header,
                Origin::Email,
                Origin::Oidc,
                Origin::EndUser,
                Origin::Custom,
            ],
            custom_attribute: None,
            headers: HeaderNames::default(),
            team_attributes: owned(&["team.id", "team", "x-team-id"]),
            project_attributes: owned(&["project.id", "project", "x-tag-project"]),
            department_attributes: owned(&["department", "x-department"]),
            cost_center_attributes: owned(&["cost_center", "cost_center.id", "x-cost-center"]),
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The attributes and headers of one report.
struct Report<'r, 'a, 'h> {
    attribute: &'r dyn Fn(&str) -> Option<&'a str>,
    header: &'r dyn Fn(&str) -> Option<&'h str>,
    authenticated: bool,
}

impl IdentityRules {
    /// Finds the identity of a report. `attribute` and `header` look a value up by its name;
    /// header names are asked for in lower case. Without `authenticated` no header is believed.
    #[must_use]
    pub fn identify<'a, 'h>(
        &self,
        attribute: &dyn Fn(&str) -> Option<&'a str>,
        header: &dyn Fn(&str) -> Option<&'h str>,
        authenticated: bool,
    ) -> Identity {
        let report = Report {
            attribute,
            header,
            authenticated,
        };
        let by_provider = attribute("identity.source") == Some(OIDC_SOURCE);
        let device = attribute("user.id").filter(|_| !by_provider).and_then(name);
        let found = self
            .order
            .iter()
            .find_map(|origin| Some((self.user(*origin, &report, by_provider)?, *origin)));
        let (user, origin) = match found {
            Some((user, origin)) => (Some(user), origin),
            None if device.is_some() => (None, Origin::Device),
            None => (None, Origin::Unknown),
        };
        let headers = &self.headers;
        Identity {
            user,
            origin,
            device,
            account: report.attribute_of(&ACCOUNT_ATTRIBUTES, name),
            organization: report.either(&headers.organization, &ORGANIZATION_ATTRIBUTES),
            team: report.either(&headers.team, &self.team_attributes),
            project: report.either(&headers.project, &self.project_attributes),
            department: report.either(&headers.department, &self.department_attributes),
            cost_center: report.either(&headers.cost_center, &self.cost_center_attributes),
            // A client may not raise itself.
            role: None,
        }
    }

    fn user(&self, origin: Origin, report: &Report, by_provider: bool) -> Option<Box<str>> {
        match origin {
            Origin::Gateway => report.header_of(&self.headers.gateway, user_name),
            Origin::Header => report.header_of(&self.headers.user, user_name),
            Origin::Email => report.attribute_of(&["user.email"], user_name),
            Origin::Oidc if by_provider => report.attribute_of(&["user.id"], user_name),
            Origin::EndUser => report.attribute_of(&["enduser.id"], user_name),
            Origin::Custom => report.attribute_of(self.custom_attribute.as_slice(), user_name),
            Origin::Oidc | Origin::Principal | Origin::Device | Origin::Unknown => None,
        }
    }
}

impl Report<'_, '_, '_> {
    fn attribute_of(
        &self,
        names: &[impl AsRef<str>],
        read: fn(&str) -> Option<Box<str>>,
    ) -> Option<Box<str>> {
        names
            .iter()
            .find_map(|name| read((self.attribute)(name.as_ref())?))
    }

    fn header_of(&self, names: &[String], read: fn(&str) -> Option<Box<str>>) -> Option<Box<str>> {
        if !self.authenticated {
            return None;
        }
        names.iter().find_map(|name| read((self.header)(name)?))
    }

    /// A header of an authenticated connection, else an attribute, which anybody can set.
    fn either(&self, headers: &[String], attributes: &[impl AsRef<str>]) -> Option<Box<str>> {
        self.header_of(headers, name)
            .or_else(|| self.attribute_of(attributes, name))
    }
}

/// Makes a user's name of reported text: case-folded, trimmed, bounded. `None` if it is empty or
/// says that the user is not known.
#[must_use]
pub fn user_name(raw: &str) -> Option<Box<str>> {
    label::fold(raw)
        .filter(|user| !UNKNOWN_USERS.contains(&&**user))
        .map(Box::from)
}

/// Makes a team's, a device's or another name of reported text: trimmed and bounded.
#[must_use]
pub fn name(raw: &str) -> Option<Box<str>> {
    label::clean(raw).map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn identify(rules: &IdentityRules, attributes: Pairs, headers: Pairs, auth: bool) -> Identity {
        let attribute = |name: &str| lookup(attributes, name);
        let header = |name: &str| lookup(headers, name);
        rules.identify(&attribute, &header, auth)
    }

    fn lookup<'a>(pairs: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
        let pair = pairs.iter().find(|(key, _)| *key == name);
        pair.map(|(_, value)| *value)
    }

    fn known(user: &str, origin: Origin) -> Identity {
        Identity {
            user: Some(user.into()),
            origin,
            ..Identity::default()
        }
    }

    const EVERYTHING: Pairs = &[
        ("user.email", "Alice@Example.com"),
        ("enduser.id", "alice-env"),
        ("employee", "E123"),
        ("user.id", "0a1b2c"),
    ];

    #[test]
    fn the_first_origin_that_knows_a_user_counts() {
        let rules = IdentityRules {
            custom_attribute: Some("employee".to_owned()),
            ..IdentityRules::default()
        };
        let headers: Pairs = &[
            ("x-user-email", "h@example.com"),
            ("x-claude-gateway-user-id", "g"),
        ];
        let with_device = |identity| Identity {
            device: Some("0a1b2c".into()),
            ..identity
        };
        let found = [
            identify(&rules, EVERYTHING, headers, true),
            identify(&rules, EVERYTHING, &headers[..1], true),
            identify(&rules, EVERYTHING, headers, false),
            identify(&rules, &EVERYTHING[1..], &[], true),
            identify(&rules, &EVERYTHING[2..], &[], true),
        ];
        let expected = [
            known("g", Origin::Gateway),
            known("h@example.com", Origin::Header),
            known("alice@example.com", Origin::Email),
            known("alice-env", Origin::EndUser),
            known("e123", Origin::Custom),
        ];
        assert_eq!(found, expected.map(with_device));
    }

    #[test]
    fn the_order_is_the_operators() {
        let rules = IdentityRules {
            order: vec![Origin::EndUser],
            ..IdentityRules::default()
        };
        assert_eq!(
            [
                identify(&rules, &EVERYTHING[..2], &[], true),
                identify(&rules, &EVERYTHING[..1], &[], true),
            ],
            [known("alice-env", Origin::EndUser), Identity::default()]
        );
    }

    #[test]
    fn a_user_id_is_a_device_unless_an_identity_provider_gave_it() {
        let rules = IdentityRules::default();
        assert_eq!(
            [
                identify(&rules, &[("user.id", "0A1b")], &[], false),
                identify(
                    &rules,
                    &[("user.id", "Sub-7"), ("identity.source", "gateway-oidc")],
                    &[],
                    false
                ),
            ],
            [
                Identity {
                    device: Some("0A1b".into()),
                    origin: Origin::Device,
                    ..Identity::default()
                },
                known("sub-7", Origin::Oidc),
            ]
        );
    }

    #[test]
    fn a_placeholder_is_nobody() {
        let rules = IdentityRules::default();
        let attributes: Pairs = &[("user.email", "Unknown@example.com"), ("enduser.id", " ")];
        assert_eq!(identify(&rules, attributes, &[], true), Identity::default());
    }

    #[test]
    fn groups_come_from_trusted_headers_then_from_attributes() {
        let rules = IdentityRules::default();
        let attributes: Pairs = &[
            ("user.account_id", "user_01"),
            ("organization.id", "org-1"),
            ("team", "Payments"),
            ("project", "checkout"),
            ("department", "Retail"),
            ("cost_center", "cc-1"),
        ];
        let headers: Pairs = &[("x-team-id", "Core"), ("x-tag-costcenter", "cc-9")];
        let reported = Identity {
            account: Some("user_01".into()),
            organization: Some("org-1".into()),
            team: Some("Payments".into()),
            project: Some("checkout".into()),
            department: Some("Retail".into()),
            cost_center: Some("cc-1".into()),
            ..Identity::default()
        };
        assert_eq!(
            [
                identify(&rules, attributes, headers, false),
                identify(&rules, attributes, headers, true),
            ],
            [
                reported.clone(),
                Identity {
                    team: Some("Core".into()),
                    cost_center: Some("cc-9".into()),
                    ..reported
                },
            ]
        );
    }

    #[test]
    fn names_are_bounded_and_free_of_control_characters() {
        let long = "u".repeat(10_000);
        let team = "pay\nments\u{0}";
        let found = identify(
            &IdentityRules::default(),
            &[("enduser.id", &long), ("team.id", team)],
            &[],
            false,
        );
        let user = format!("{}~9b699b6d", "u".repeat(247));
        assert_eq!(
            (found.user.as_deref(), found.team.as_deref()),
            (Some(user.as_str()), Some("pay_ments_"))
        );
    }
}
