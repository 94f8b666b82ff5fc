//! Reads a policy file; reports all faults together, each with its place.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use toml::{Table, Value};

use super::{
    AuditLevel, Bound, Fault, Field, Group, Limit, Mode, OnExpiry, OnStoreError, Policy,
    ProjectType, Raise, Role, Span, Unit, Weights,
};
use crate::model::glob::Glob;
use crate::model::label;
use crate::model::money::parse_decimal;
use crate::model::window::Window;
use fields::{Fields, Reader};

mod fields;

/// Seconds of the shortest and the longest rolling window.
const ROLLING: std::ops::RangeInclusive<i64> = 3_600..=31 * 86_400;

/// Limits in one file at most.
const MAX_LIMITS: usize = 10_000;

/// Shares of a bound at which to warn, unless the limit names others.
const WARN_AT: [u8; 2] = [80, 90];

pub(super) fn parse(text: &str) -> Result<Policy, Vec<Fault>> {
    let table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        vec![Fault {
            place: format!("line {line}"),
            message: error.message().to_owned(),
        }]
    })?;
    let reader = Reader::default();
    let mut top = reader.fields("", &table);
    let zone = top
        .text("timezone")
        .map_or(Ok(TimeZone::UTC), TimeZone::get);
    let zone = zone.unwrap_or_else(|_| {
        top.fault("timezone", "must be an IANA name such as Asia/Tokyo");
        TimeZone::UTC
    });
    let weights = top.table("weights").map_or_else(Weights::default, weights);
    let mut limits = Vec::new();
    let mut roles = BTreeMap::new();
    for (name, mut fields) in top.tables("roles") {
        let per_day = fields.bound("max_tokens_per_day", Unit::WeightedTokens, &weights);
        limits.extend(per_day.map(|bound| role_limit(&name, bound)));
        roles.insert(name, role(fields));
    }
    let mut projects = BTreeMap::new();
    for (name, mut fields) in top.tables("projects") {
        if let Some(kind) = fields.required_word("type", &ProjectType::ALL, ProjectType::name) {
            projects.insert(name, kind);
        }
        fields.end();
    }
    let mut groups = BTreeMap::new();
    for (name, fields) in top.tables("groups") {
        groups.insert(name, group(fields, &roles));
    }
    let mut named = Vec::new();
    for mut fields in top.list("limits") {
        if let Some(limit) = limit(&mut fields, &weights) {
            named.push(limit);
        }
        fields.end();
    }
    named.append(&mut limits);
    if named.len() > MAX_LIMITS {
        top.fault("limits", &format!("must be at most {MAX_LIMITS}"));
    }
    let raises = top
        .list("raises")
        .into_iter()
        .filter_map(|fields| raise(fields, &named, &weights))
        .collect();
    let default_role = top.name("default_role");
    if let Some(role) = &default_role
        && !roles.contains_key(role)
    {
        top.fault("default_role", "names a role that the file does not have");
    }
    let claims_from = top.names("claims_from").unwrap_or_default();
    let contact = top.text("contact").map(Box::from);
    top.end();
    once_each(&reader, &named);
    reader.finish(Policy {
        zone,
        default_role,
        roles,
        projects,
        groups,
        claims_from,
        weights,
        limits: named,
        raises,
        contact,
    })
}

/// `max_tokens_per_day` of a role is a limit like any other: each user's weighted tokens a day.
fn role_limit(role: &str, bound: Bound) -> Limit {
    Limit {
        name: format!("role-{role}-day").into(),
        matches: BTreeMap::from([(Field::Role, vec![Glob::new(role)])]),
        per: [Field::User].into(),
        unit: Unit::WeightedTokens,
        bound,
        span: Span::Calendar(Window::DAY),
        on_store_error: OnStoreError::default(),
        on_expiry: OnExpiry::default(),
        mode: Mode::default(),
        warn_at: WARN_AT.to_vec(),
    }
}

fn role(mut fields: Fields<'_>) -> Role {
    let role = Role {
        allowed_models: fields.globs("allowed_models"),
        allowed_project_types: fields.words(
            "allowed_project_types",
            &ProjectType::ALL,
            ProjectType::name,
        ),
        can_access_external_apis: fields.flag("can_access_external_apis"),
        audit_level: fields
            .word("audit_level", &AuditLevel::ALL, AuditLevel::name)
            .unwrap_or_default(),
    };
    fields.end();
    role
}

fn group(mut fields: Fields<'_>, roles: &BTreeMap<Box<str>, Role>) -> Group {
    let group = Group {
        role: fields.name("role"),
        team: fields.name("team"),
        cost_center: fields.name("cost_center"),
        members: fields.globs("members").unwrap_or_default(),
    };
    if let Some(role) = &group.role
        && !roles.contains_key(role)
    {
        fields.fault("role", "names a role that the file does not have");
    }
    fields.end();
    group
}

fn weights(mut fields: Fields<'_>) -> Weights {
    let mut shares = [(1, 1), (1, 1), (1, 10), (1, 1)];
    let names = ["input", "output", "cache_read", "cache_write"];
    for (share, name) in shares.iter_mut().zip(names) {
        if let Some(text) = fields.text(name) {
            match fraction(text) {
                Some(read) => *share = read,
                None => fields.fault(name, "must be a fraction in quotes such as \"1/10\""),
            }
        }
    }
    fields.end();
    let denominator = shares.iter().fold(1, |all, (_, below)| lcm(all, *below));
    let [input, output, cache_read, cache_write] =
        shares.map(|(above, below)| above * (denominator / below));
    Weights {
        input,
        output,
        cache_read,
        cache_write,
        denominator,
    }
}

/// `1`, `1/10`: both parts at most 1,000, which keeps every product small.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let part = |text: &str| text.trim().parse().ok().filter(|part| *part <= 1_000_u32);
    let (above, below) = (part(above)?, part(below)?);
    (below > 0).then_some((above, below))
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

fn limit(fields: &mut Fields<'_>, weights: &Weights) -> Option<Limit> {
    let name = fields.required_name("name");
    let unit = fields.required_word("unit", &Unit::ALL, Unit::name);
    let bound = unit.and_then(|unit| {
        let bound = fields.bound("limit", unit, weights);
        if bound.is_none() && !fields.has("limit") {
            fields.fault("limit", "is missing; \"unlimited\" is a value");
        }
        bound
    });
    let span = span(fields);
    let matches = fields.matches("match");
    let per = fields
        .words("per", &Field::ALL, Field::name)
        .unwrap_or_default();
    let on_store_error = fields.word(
        "on_store_error",
        &[OnStoreError::Closed, OnStoreError::Open],
        |value| match value {
            OnStoreError::Closed => "closed",
            OnStoreError::Open => "open",
        },
    );
    let on_expiry = fields.word(
        "on_expiry",
        &[
            OnExpiry::Release,
            OnExpiry::ChargeEstimate,
            OnExpiry::ChargeInput,
        ],
        |value| match value {
            OnExpiry::Release => "release",
            OnExpiry::ChargeEstimate => "charge_estimate",
            OnExpiry::ChargeInput => "charge_input",
        },
    );
    let mode = fields.word("mode", &Mode::ALL, Mode::name);
    Some(Limit {
        warn_at: warn_at(fields),
        name: name?.into(),
        matches,
        per: per.into(),
        unit: unit?,
        bound: bound?,
        span: span?,
        on_store_error: on_store_error.unwrap_or_default(),
        on_expiry: on_expiry.unwrap_or_default(),
        mode: mode.unwrap_or_default(),
    })
}

fn warn_at(fields: &mut Fields<'_>) -> Vec<u8> {
    let Some(value) = fields.value("warn_at") else {
        return WARN_AT.to_vec();
    };
    // Whole percent: 0.8 is read as text would be, so that no float is ever a bound.
    let percent = |value: &Value| {
        let text = match value {
            Value::Float(share) => share.to_string(),
            Value::Integer(whole) => whole.to_string(),
            _ => return None,
        };
        let percent = parse_decimal(&text, 2).ok()?;
        u8::try_from(percent).ok().filter(|p| (1..=100).contains(p))
    };
    let shares: Option<Vec<u8>> = value
        .as_array()
        .and_then(|list| list.iter().map(percent).collect());
    let Some(mut shares) = shares else {
        fields.fault("warn_at", "must be a list of shares such as [0.8, 0.9]");
        return Vec::new();
    };
    shares.sort_unstable();
    shares.dedup();
    shares
}

fn span(fields: &mut Fields<'_>) -> Option<Span> {
    const NAMES: [&str; 6] = ["minute", "hour", "day", "week", "month", "rolling"];
    let name = fields.required_word("window", &NAMES, |name| name)?;
    let reset = reset(fields, matches!(name, "day" | "week" | "month"))?;
    let start = week_start(fields, name == "week")?;
    let duration = fields.text("duration");
    if name != "rolling" {
        if duration.is_some() {
            fields.fault("duration", "belongs to window = \"rolling\"");
        }
        return Some(Span::Calendar(match name {
            "minute" => Window::Minute,
            "hour" => Window::Hour,
            "day" => Window::Day { reset },
            "week" => Window::Week { start, reset },
            _ => Window::Month { reset },
        }));
    }
    let seconds = duration
        .and_then(|text| humantime::parse_duration(text).ok())
        .and_then(|duration| i64::try_from(duration.as_secs()).ok())
        .filter(|seconds| ROLLING.contains(seconds) && seconds % 900 == 0);
    if seconds.is_none() {
        let message = "must be whole quarter hours from 1h to 31days, such as \"5h\"";
        fields.fault("duration", message);
    }
    Some(Span::Rolling { seconds: seconds? })
}

fn reset(fields: &mut Fields<'_>, allowed: bool) -> Option<Time> {
    let Some(text) = fields.text("reset_at") else {
        return Some(Time::midnight());
    };
    if !allowed {
        fields.fault("reset_at", "belongs to days, weeks and months");
        return None;
    }
    let time = Time::strptime("%H:%M", text).ok();
    if time.is_none() {
        fields.fault("reset_at", "must be a time such as \"04:00\"");
    }
    time
}

fn week_start(fields: &mut Fields<'_>, allowed: bool) -> Option<Weekday> {
    const DAYS: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let Some(name) = fields.word("week_start", &NAMES, |name| name) else {
        return Some(Weekday::Monday);
    };
    if !allowed {
        fields.fault("week_start", "belongs to weeks");
        return None;
    }
    let place = NAMES.iter().position(|known| *known == name)?;
    Some(DAYS[place])
}

fn raise(mut fields: Fields<'_>, limits: &[Limit], weights: &Weights) -> Option<Raise> {
    let name = fields.required_name("limit");
    let limit = name
        .as_ref()
        .and_then(|name| limits.iter().find(|limit| *limit.name == **name));
    if name.is_some() && limit.is_none() {
        fields.fault("limit", "names a limit that the file does not have");
    }
    let add = limit.and_then(|limit| fields.bound("add", limit.unit, weights));
    let add = if let Some(Bound::At(add)) = add {
        Some(add)
    } else {
        fields.fault("add", "must be an amount in the limit's unit");
        None
    };
    let until = fields
        .text("until")
        .and_then(|text| text.parse::<Timestamp>().ok());
    if until.is_none() {
        fields.fault("until", "must be a time such as \"2026-12-01T00:00:00Z\"");
    }
    let reason = fields.text("reason").map(Box::from);
    if reason.is_none() {
        fields.fault("reason", "is missing: say why, for whoever reads it later");
    }
    let matches = fields.matches("match");
    if let Some(limit) = limit
        && matches.keys().any(|field| !limit.per.contains(field))
    {
        fields.fault("match", "may name only fields of the limit's per");
    }
    fields.end();
    Some(Raise {
        limit: name?,
        matches,
        add: add?,
        until: until?,
        reason: reason?,
    })
}

fn once_each(reader: &Reader, limits: &[Limit]) {
    let mut names: Vec<_> = limits.iter().map(|limit| &*limit.name).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if pair[0] == pair[1] {
            reader.fault(format!("limits: {} is there twice", pair[0]), "");
        }
    }
}

/// A name as the ledger keeps it.
fn folded(text: &str) -> Option<Box<str>> {
    label::fold(text).map(Box::from)
}
