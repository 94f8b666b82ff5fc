//! `[identity]`: how users and their teams become known.

use std::path::{Path, PathBuf};

use toml::Value;

use super::reader::{Converted, Reader, must_be};
use super::secret::Secret;
use super::setting::{Section, Setting};
use super::value::{choices, path, readable_file, texts};
use crate::model::identity::Origin;

/// Which attributes tell who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The first origin that gives a user wins.
    pub order: Vec<Origin>,
    /// The attribute behind [`Origin::Custom`].
    pub custom_attribute: Option<String>,
    /// The first attribute that is present wins, here and below.
    pub team_attributes: Vec<String>,
    pub project_attributes: Vec<String>,
    pub cost_center_attributes: Vec<String>,
    pub department_attributes: Vec<String>,
    /// A CSV file of persons, devices and teams.
    pub directory: Option<PathBuf>,
    /// Keys the hash behind pseudonyms.
    pub pseudonym_key: Option<Secret<Vec<u8>>>,
}

/// A pseudonym shall not be found by trying all keys.
const SHORTEST_KEY_BYTES: usize = 16;

/// Names of the origins that may stand in `order`.
const ORDER_NAMES: &str = "gateway, header, email, oidc, enduser, custom";

pub(super) const SECTION: Section = Section {
    name: "identity",
    help: "How users, teams and projects become known.",
    settings: &[
        Setting::new(
            "order",
            r#"["gateway", "header", "email", "oidc", "enduser", "custom"]"#,
            "Where the user is looked for, the first found wins.",
        )
        .at_once(),
        Setting::new(
            "custom_attribute",
            r#""""#,
            "Attribute that holds the user where order says custom.",
        )
        .at_once(),
        Setting::new(
            "team_attributes",
            r#"["team", "team.id"]"#,
            "Attributes that hold the team, the first present wins.",
        )
        .at_once(),
        Setting::new(
            "project_attributes",
            r#"["project", "project.id"]"#,
            "Attributes that hold the project.",
        )
        .at_once(),
        Setting::new(
            "cost_center_attributes",
            r#"["cost_center", "cost_center.id"]"#,
            "Attributes that hold the cost center.",
        )
        .at_once(),
        Setting::new(
            "department_attributes",
            r#"["department"]"#,
            "Attributes that hold the department.",
        )
        .at_once(),
        Setting::new(
            "directory",
            r#""""#,
            "CSV file with the columns identity, person, kind, team, project, cost_center, role, \
             from, to. Read again when it changes.",
        )
        .at_once(),
        Setting::new(
            "pseudonym_key_file",
            r#""""#,
            "File with the secret, at least 16 bytes, that keys pseudonyms.",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Identity {
    let mut section = reader.section(&SECTION);
    let key_file = section.get("pseudonym_key_file", path);
    let pseudonym_key = match key_file.as_deref().map(read_key).transpose() {
        Ok(key) => key,
        Err(message) => {
            section.fault("pseudonym_key_file", &message);
            None
        }
    };
    let identity = Identity {
        order: section.get("order", order),
        custom_attribute: section.optional_text("custom_attribute"),
        team_attributes: section.get("team_attributes", texts),
        project_attributes: section.get("project_attributes", texts),
        cost_center_attributes: section.get("cost_center_attributes", texts),
        department_attributes: section.get("department_attributes", texts),
        directory: section.get("directory", readable_file),
        pseudonym_key,
    };
    if identity.custom_attribute.is_some() && !identity.order.contains(&Origin::Custom) {
        section.fault(
            "custom_attribute",
            "has no effect while identity.order lacks custom",
        );
    }
    identity
}

fn order(value: &Value) -> Converted<Vec<Origin>> {
    let order = choices(value, ORDER_NAMES, |name| {
        Origin::parse(name).filter(|origin| {
            !matches!(origin, Origin::Principal | Origin::Device | Origin::Unknown)
        })
    })?;
    if order.is_empty() {
        return must_be(&format!("a list of {ORDER_NAMES}"), value);
    }
    Ok(order)
}

fn read_key(path: &Path) -> Result<Secret<Vec<u8>>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let key = bytes.trim_ascii();
    if key.len() < SHORTEST_KEY_BYTES {
        return Err(format!(
            "{} must hold at least {SHORTEST_KEY_BYTES} bytes",
            path.display()
        ));
    }
    Ok(Secret::new(key.to_vec()))
}
