//! Who works at the simulated company.

use jiff::tz::TimeZone;

use super::random::Random;

/// Marks everything that the demo sends, as resource attribute and as organization.
pub(super) const MARK: &str = "simulated";

/// Who serves a person's models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Anthropic,
    Bedrock,
    Vertex,
}

impl Provider {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
        }
    }
}

/// A model as the provider names it, with the client's list prices in micro-USD per 1,000 tokens:
/// input, output, cache read, cache write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) prices: [u64; 4],
}

const fn model(name: &'static str, prices: [u64; 4]) -> Model {
    Model { name, prices }
}

const OPUS: [u64; 4] = [5_000, 25_000, 500, 6_250];
const SONNET: [u64; 4] = [3_000, 15_000, 300, 3_750];
const HAIKU: [u64; 4] = [1_000, 5_000, 100, 1_250];

/// The models of a provider: the strong one, the usual one, the small one.
const fn models(provider: Provider) -> [Model; 3] {
    match provider {
        Provider::Anthropic => [
            model("claude-opus-4-8", OPUS),
            model("claude-sonnet-4-6", SONNET),
            model("claude-haiku-4-5-20251001", HAIKU),
        ],
        Provider::Bedrock => [
            model("us.anthropic.claude-opus-4-6-v1", OPUS),
            model("us.anthropic.claude-sonnet-4-6", SONNET),
            model("us.anthropic.claude-haiku-4-5-20251001-v1:0", HAIKU),
        ],
        Provider::Vertex => [
            model("claude-opus-4-7@default", OPUS),
            model("claude-sonnet-4-6@default", SONNET),
            model("claude-haiku-4-5@20251001", HAIKU),
        ],
    }
}

/// How a person's usage is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The client's own telemetry.
    Client,
    /// The client's telemetry and a gateway's events: each request is told twice.
    Both,
    /// A gateway's events alone: a client without telemetry.
    Gateway,
}

/// What kind of user it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    /// A pipeline: at all hours, short sessions.
    Service,
    /// An agent that does not stop.
    Runaway,
}

struct Team {
    name: &'static str,
    department: &'static str,
    cost_center: &'static str,
    projects: [&'static str; 2],
    zone: &'static str,
    provider: Provider,
    way: Way,
}

const fn team(
    names: [&'static str; 3],
    projects: [&'static str; 2],
    zone: &'static str,
    provider: Provider,
    way: Way,
) -> Team {
    Team {
        name: names[0],
        department: names[1],
        cost_center: names[2],
        projects,
        zone,
        provider,
        way,
    }
}

const TEAMS: [Team; 8] = [
    team(
        ["payments", "commerce", "cc-101"],
        ["checkout", "ledger-core"],
        "Europe/Berlin",
        Provider::Anthropic,
        Way::Client,
    ),
    team(
        ["storefront", "commerce", "cc-102"],
        ["web-shop", "search"],
        "America/New_York",
        Provider::Anthropic,
        Way::Both,
    ),
    team(
        ["platform", "infrastructure", "cc-201"],
        ["kubernetes", "build"],
        "America/Los_Angeles",
        Provider::Bedrock,
        Way::Client,
    ),
    team(
        ["data", "infrastructure", "cc-202"],
        ["warehouse", "pipelines"],
        "Asia/Tokyo",
        Provider::Vertex,
        Way::Client,
    ),
    team(
        ["mobile", "product", "cc-301"],
        ["ios-app", "android-app"],
        "Asia/Kolkata",
        Provider::Anthropic,
        Way::Client,
    ),
    team(
        ["security", "infrastructure", "cc-203"],
        ["identity", "audit"],
        "Europe/London",
        Provider::Bedrock,
        Way::Both,
    ),
    team(
        ["research", "product", "cc-302"],
        ["ranking", "experiments"],
        "Europe/Paris",
        Provider::Anthropic,
        Way::Client,
    ),
    team(
        ["support-tools", "operations", "cc-401"],
        ["help-desk", "billing-ui"],
        "America/Sao_Paulo",
        Provider::Anthropic,
        Way::Gateway,
    ),
];

const FIRST: [&str; 32] = [
    "ada", "alan", "amara", "anders", "aiko", "bela", "carlos", "chen", "daria", "diego", "emeka",
    "eva", "farid", "grace", "hana", "ines", "ivan", "jonas", "kofi", "lena", "lucia", "mateo",
    "mei", "nadia", "noor", "olga", "priya", "rafael", "sven", "tomas", "yuki", "zoe",
];
const LAST: [&str; 24] = [
    "almeida", "bauer", "chandra", "dubois", "eriksson", "fischer", "garcia", "haddad", "ito",
    "jansen", "kim", "lopez", "meyer", "novak", "okafor", "patel", "quinn", "rossi", "sato",
    "tanaka", "umar", "vega", "weber", "yilmaz",
];

/// One user of the company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Place in the company: part of the seed of all that this user does.
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// The installation's random id.
    pub(super) device: String,
    pub(super) account: String,
    /// The client tells no name: only the device is known.
    pub(super) nameless: bool,
    pub(super) team: &'static str,
    pub(super) department: &'static str,
    pub(super) cost_center: &'static str,
    pub(super) project: &'static str,
    pub(super) zone: TimeZone,
    pub(super) provider: Provider,
    pub(super) models: [Model; 3],
    pub(super) way: Way,
    pub(super) version: &'static str,
    /// Most sessions of a working day.
    pub(super) keenness: u64,
}

/// The whole company: `users` persons, a pipeline for every second team, and one agent that
/// runs away.
pub(super) fn company(users: u64, seed: u64) -> Vec<Person> {
    let mut people: Vec<Person> = (0..users)
        .map(|number| person(number, seed, Kind::Person))
        .collect();
    let services = (TEAMS.len() as u64 / 2).min(1 + users / 20);
    for number in users..users + services {
        people.push(person(number, seed, Kind::Service));
    }
    people.push(person(users + services, seed, Kind::Runaway));
    people
}

fn person(number: u64, seed: u64, kind: Kind) -> Person {
    let mut random = Random::of(seed, &[1, number]);
    let teams = TEAMS.len() as u64;
    let index = match kind {
        Kind::Person => number % teams,
        // The agent that runs away is one of the first teams' own.
        Kind::Service => number.wrapping_mul(3) % teams,
        Kind::Runaway => 2,
    };
    let team = &TEAMS[usize::try_from(index).unwrap_or_default()];
    let way = match kind {
        Kind::Person => team.way,
        Kind::Service | Kind::Runaway => Way::Client,
    };
    let name = match kind {
        Kind::Person => {
            let (first, last) = (random.pick(&FIRST), random.pick(&LAST));
            format!("{first}.{last}.{number}@example.com")
        }
        Kind::Service => format!("ci-{}-{number}", team.name),
        Kind::Runaway => format!("agent-{}-migration", team.projects[0]),
    };
    Person {
        number,
        kind,
        name,
        device: random.hex(64),
        account: random.uuid(),
        nameless: kind == Kind::Person && way == Way::Client && random.percent(3),
        team: team.name,
        department: team.department,
        cost_center: team.cost_center,
        project: random.pick(&team.projects),
        zone: TimeZone::get(team.zone).unwrap_or(TimeZone::UTC),
        provider: team.provider,
        models: models(team.provider),
        way,
        version: random.pick(&["2.1.231", "2.1.236", "2.1.240"]),
        keenness: match kind {
            Kind::Person => random.between(2, 6),
            Kind::Service => 6,
            Kind::Runaway => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everyone_has_an_own_name_and_device() {
        let people = company(200, 7);
        let names: BTreeSet<_> = people.iter().map(|person| &person.name).collect();
        let devices: BTreeSet<_> = people.iter().map(|person| &person.device).collect();
        assert_eq!((people.len(), names.len(), devices.len()), (205, 205, 205));
        assert_eq!(people, company(200, 7));
        assert_ne!(people, company(200, 8));
    }

    #[test]
    fn time_zones_are_known() {
        for team in TEAMS {
            assert!(TimeZone::get(team.zone).is_ok(), "{}", team.zone);
        }
    }
}
