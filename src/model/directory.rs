//! The directory: who a raw identity stands for, and where that person belongs, by date.
//!
//! Records keep the identity as it was reported; the directory is asked when figures are read, so
//! that a late correction works backwards.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::identity::Identity;
use super::label;

mod read;

/// What an identity stands for. Services are not active users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Person,
    /// A pipeline or another program.
    Service,
    /// An installation of which no person is known.
    Device,
    /// Neither a user nor a device was reported.
    Unknown,
}

impl Kind {
    /// The kinds that a directory can state.
    pub const STATED: [Self; 3] = [Self::Person, Self::Service, Self::Device];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
            Self::Device => "device",
            Self::Unknown => "unknown",
        }
    }

    /// The kind that a directory states by this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::STATED.into_iter().find(|kind| kind.name() == name)
    }
}

/// One thing that is wrong with a directory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1, the header included.
    pub line: u64,
    /// Empty if the whole line is meant.
    pub column: String,
    pub message: String,
}

/// An identity with all that the directory and the report know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed<'a> {
    /// The name shown: the person, else as [`Identity::shown_user`].
    pub user: Cow<'a, str>,
    pub kind: Kind,
    pub team: Option<&'a str>,
    pub project: Option<&'a str>,
    pub cost_center: Option<&'a str>,
    pub role: Option<&'a str>,
}

/// The rows of a directory by case-folded identity, each list in order of time.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    rows: HashMap<Box<str>, Vec<Row>>,
}

/// What one line says, valid in `[from, to)`.
#[derive(Clone, Debug)]
struct Row {
    line: u64,
    from: Timestamp,
    to: Timestamp,
    person: Option<Box<str>>,
    kind: Option<Kind>,
    team: Option<Box<str>>,
    project: Option<Box<str>>,
    cost_center: Option<Box<str>>,
    role: Option<Box<str>>,
}

impl Directory {
    /// Reads a CSV file with the columns `identity, person, kind, team, project, cost_center, role,
    /// from, to` in any order; all but `identity` may be left out. `from` and `to` are dates in
    /// `zone` or RFC 3339 times, half-open, empty for open. Reports all faults together.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        read::parse(text, zone).map(|rows| Self { rows })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Says whom an identity stood for at a time.
    ///
    /// The user is looked up first, then the account, then, if no user was reported, the device.
    /// What the directory says wins over what was reported. What the row found leaves open is
    /// taken from the row of its person, so that a device need only be mapped to a person.
    #[must_use]
    pub fn attribute<'a>(&'a self, identity: &'a Identity, at: Timestamp) -> Attributed<'a> {
        let row = keys(identity).find_map(|key| self.row(&key, at));
        let person = row.and_then(|row| row.person.as_deref());
        let home = person.and_then(|person| self.row(person, at));
        let pick = |field: fn(&Row) -> Option<&str>, reported: &'a Option<Box<str>>| {
            row.and_then(field)
                .or_else(|| home.and_then(field))
                .or(reported.as_deref())
        };
        let user = match person.or(identity.user.as_deref()) {
            Some(user) => Cow::Borrowed(user),
            None if identity.device.is_some() => Cow::Owned(identity.shown_user()),
            None => Cow::Borrowed(Identity::UNKNOWN),
        };
        let stated = row
            .and_then(|row| row.kind)
            .filter(|kind| *kind != Kind::Device || person.is_none())
            .or_else(|| home.and_then(|home| home.kind));
        Attributed {
            user,
            kind: stated.unwrap_or_else(|| presumed(identity, person)),
            team: pick(|row| row.team.as_deref(), &identity.team),
            project: pick(|row| row.project.as_deref(), &identity.project),
            cost_center: pick(|row| row.cost_center.as_deref(), &identity.cost_center),
            role: pick(|row| row.role.as_deref(), &identity.role),
        }
    }

    /// True if the directory has a row for an identity at a time.
    #[must_use]
    pub fn knows(&self, identity: &Identity, at: Timestamp) -> bool {
        keys(identity).any(|key| self.row(&key, at).is_some())
    }

    /// The times at which any attribution changes, ascending. Between two of them all are
    /// constant.
    #[must_use]
    pub fn edges(&self) -> Vec<Timestamp> {
        let rows = self.rows.values().flatten();
        let mut edges: Vec<_> = rows
            .flat_map(|row| [row.from, row.to])
            .filter(|edge| *edge != Timestamp::MIN && *edge != Timestamp::MAX)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// True if the attribution of an identity changes within `[from, to)`.
    #[must_use]
    pub fn has_boundary_within(&self, identity: &Identity, from: Timestamp, to: Timestamp) -> bool {
        let changes = |edge: Timestamp| {
            from < edge
                && edge < to
                && self.attribute(identity, edge) != self.attribute(identity, from)
        };
        keys(identity).any(|key| {
            self.rows_of(&key).iter().any(|row| {
                let home = row
                    .person
                    .as_deref()
                    .map_or(&[][..], |person| self.rows_of(person));
                let mut edges = home.iter().flat_map(|home| [home.from, home.to]);
                changes(row.from) || changes(row.to) || edges.any(changes)
            })
        })
    }

    fn rows_of(&self, key: &str) -> &[Row] {
        self.rows.get(key).map_or(&[], Vec::as_slice)
    }

    fn row(&self, key: &str, at: Timestamp) -> Option<&Row> {
        self.rows_of(key)
            .iter()
            .find(|row| row.from <= at && at < row.to)
    }
}

/// The names under which an identity can stand in the directory, the best known first.
fn keys(identity: &Identity) -> impl Iterator<Item = Cow<'_, str>> {
    let device = match identity.user {
        Some(_) => None,
        None => identity.device.as_deref(),
    };
    [
        identity.user.as_deref(),
        identity.account.as_deref(),
        device,
    ]
    .into_iter()
    .flatten()
    .filter_map(label::fold)
}

/// The kind of an identity of which the directory states none.
fn presumed(identity: &Identity, person: Option<&str>) -> Kind {
    if person.is_some() || identity.user.is_some() {
        Kind::Person
    } else if identity.device.is_some() {
        Kind::Device
    } else {
        Kind::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: &str = "\
identity,person,kind,team,project,cost_center,role,from,to
Alice@Example.com,,person,payments,checkout,cc-1,lead,,2026-06-01
alice@example.com,,person,search,,cc-2,,2026-06-01,
0A1B2C3D4E5F6A7B,Alice@example.com,device,,,,,2026-03-01,2026-09-01
ci-bot,,service,platform,,,,,
acc-1,bob@example.com,,,,,,,
";

    fn directory(text: &str) -> Directory {
        Directory::parse(text, &TimeZone::UTC).expect("no faults")
    }

    fn at(day: &str) -> Timestamp {
        format!("{day}T00:00:00Z").parse().expect("a day")
    }

    fn user(name: &str) -> Identity {
        Identity {
            user: Some(name.into()),
            ..Identity::default()
        }
    }

    fn device(id: &str) -> Identity {
        Identity {
            device: Some(id.into()),
            ..Identity::default()
        }
    }

    fn shown(user: &'static str, kind: Kind, fields: [&'static str; 4]) -> Attributed<'static> {
        let [team, project, cost_center, role] = fields.map(|f| (!f.is_empty()).then_some(f));
        Attributed {
            user: user.into(),
            kind,
            team,
            project,
            cost_center,
            role,
        }
    }

    #[test]
    fn a_person_belongs_where_the_row_of_the_day_says() {
        let directory = directory(PEOPLE);
        let alice = user("alice@example.com");
        assert_eq!(
            ["2026-05-31", "2026-06-01"].map(|day| directory.attribute(&alice, at(day))),
            [
                shown(
                    "alice@example.com",
                    Kind::Person,
                    ["payments", "checkout", "cc-1", "lead"]
                ),
                shown(
                    "alice@example.com",
                    Kind::Person,
                    ["search", "", "cc-2", ""]
                ),
            ]
        );
    }

    #[test]
    fn a_device_stands_for_its_person_while_the_row_is_valid() {
        let directory = directory(PEOPLE);
        let laptop = device("0a1b2c3d4e5f6a7b");
        assert_eq!(
            ["2026-02-28", "2026-03-01", "2026-08-31", "2026-09-01"]
                .map(|day| directory.attribute(&laptop, at(day))),
            [
                shown("device:0a1b2c3d4e5f", Kind::Device, [""; 4]),
                shown(
                    "alice@example.com",
                    Kind::Person,
                    ["payments", "checkout", "cc-1", "lead"]
                ),
                shown(
                    "alice@example.com",
                    Kind::Person,
                    ["search", "", "cc-2", ""]
                ),
                shown("device:0a1b2c3d4e5f", Kind::Device, [""; 4]),
            ]
        );
    }

    #[test]
    fn the_directory_wins_over_what_was_reported_and_fills_nothing_with_nothing() {
        let directory = directory(PEOPLE);
        let reported = Identity {
            team: Some("self-named".into()),
            project: Some("side".into()),
            ..user("alice@example.com")
        };
        assert_eq!(
            directory.attribute(&reported, at("2026-07-01")),
            shown(
                "alice@example.com",
                Kind::Person,
                ["search", "side", "cc-2", ""]
            )
        );
    }

    #[test]
    fn services_accounts_and_strangers_are_told_apart() {
        let directory = directory(PEOPLE);
        let account = Identity {
            account: Some("ACC-1".into()),
            ..Identity::default()
        };
        let identities = [user("ci-bot"), account, user("carol"), Identity::default()];
        assert_eq!(
            identities
                .each_ref()
                .map(|identity| directory.attribute(identity, at("2026-07-01"))),
            [
                shown("ci-bot", Kind::Service, ["platform", "", "", ""]),
                shown("bob@example.com", Kind::Person, [""; 4]),
                shown("carol", Kind::Person, [""; 4]),
                shown("unknown", Kind::Unknown, [""; 4]),
            ]
        );
    }

    #[test]
    fn a_reported_user_is_not_replaced_by_the_owner_of_the_device() {
        let directory = directory(PEOPLE);
        let guest = Identity {
            device: Some("0a1b2c3d4e5f6a7b".into()),
            ..user("guest@example.com")
        };
        assert_eq!(
            directory.attribute(&guest, at("2026-07-01")),
            shown("guest@example.com", Kind::Person, [""; 4])
        );
    }

    #[test]
    fn a_range_has_a_boundary_only_where_the_attribution_changes() {
        let text = format!("{PEOPLE}dora,,,core,,,,,2026-06-01\ndora,,,core,,,,2026-06-01,\n");
        let directory = directory(&text);
        let within = |identity: &Identity, from: &str, to: &str| {
            directory.has_boundary_within(identity, at(from), at(to))
        };
        let laptop = device("0a1b2c3d4e5f6a7b");
        assert_eq!(
            [
                within(&user("alice@example.com"), "2026-05-01", "2026-06-01"),
                within(&user("alice@example.com"), "2026-05-01", "2026-06-02"),
                within(&user("alice@example.com"), "2026-06-01", "2026-12-01"),
                within(&laptop, "2026-05-01", "2026-07-01"),
                within(&laptop, "2026-06-01", "2026-08-31"),
                within(&laptop, "2026-08-01", "2026-10-01"),
                within(&user("dora"), "2026-01-01", "2026-12-01"),
                within(&user("stranger"), "2026-01-01", "2026-12-01"),
            ],
            [false, true, false, true, false, true, false, false]
        );
    }
}
