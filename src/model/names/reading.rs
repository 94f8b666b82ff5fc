//! Takes a folded model name apart: prefixes, suffixes, the order of its words.

use std::borrow::Cow;

pub(super) const ANTHROPIC: &str = "anthropic";
pub(super) const BEDROCK: &str = "bedrock";
pub(super) const BEDROCK_MANTLE: &str = "bedrock_mantle";
pub(super) const CLAUDE_PLATFORM_AWS: &str = "claude_platform_aws";
pub(super) const VERTEX: &str = "vertex";

/// Path prefixes and the provider that each tells; the first that fits is taken.
const PATHS: [(&str, &str); 7] = [
    ("bedrock/claude_platform/", CLAUDE_PLATFORM_AWS),
    ("bedrock_mantle/", BEDROCK_MANTLE),
    ("bedrock/", BEDROCK),
    ("converse/", BEDROCK),
    ("invoke/", BEDROCK),
    ("vertex_ai/", VERTEX),
    ("anthropic/", ANTHROPIC),
];

/// Bedrock's inference-profile prefixes.
const GEOS: [&str; 9] = [
    "us", "eu", "apac", "jp", "au", "ca", "sa", "us-gov", "global",
];

/// How an application inference profile begins; what follows is opaque.
const PROFILE: &str = "application-inference-profile/";

/// How Bedrock's marketplace names end on the bill.
const BILL_ENDING: &str = "(amazon bedrock edition)";

/// The longest family word that is put in order. It keeps canonical names within the bound.
const MAX_FAMILY_BYTES: usize = 32;

/// What the parts taken off a name tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clues<'a> {
    /// A path or an ARN names the provider.
    told: Option<&'static str>,
    /// The form of the name is that of one provider.
    implied: Option<&'static str>,
    geo: Option<&'a str>,
    /// A region with prices of its own: AWS's for the US government.
    region: Option<&'a str>,
}

impl<'a> Clues<'a> {
    /// The provider: what the source said, else what the name tells. Only where the source says
    /// `bedrock` and the name tells one of the other two ways into Bedrock the name is heard.
    pub(super) fn provider<'b>(&self, said: Option<Cow<'b, str>>) -> Option<Cow<'b, str>> {
        let finer = self
            .told
            .filter(|told| [BEDROCK_MANTLE, CLAUDE_PLATFORM_AWS].contains(told));
        match (said, finer) {
            (Some(said), Some(finer)) if said == BEDROCK => Some(Cow::Borrowed(finer)),
            (Some(said), _) => Some(said),
            (None, _) => self.told.or(self.implied).map(Cow::Borrowed),
        }
    }

    pub(super) fn scope(&self) -> Option<&'a str> {
        self.geo.or(self.region)
    }
}

/// A name taken apart.
pub(super) struct Reading<'a> {
    pub(super) model: Cow<'a, str>,
    pub(super) clues: Clues<'a>,
}

impl<'a> Reading<'a> {
    /// Reads a folded name. Putting the words in order may uncover another suffix, so this goes on
    /// until nothing changes; every turn but the last shortens the name or settles its order.
    pub(super) fn of(name: &'a str) -> Self {
        let mut clues = Clues::default();
        let rest = strip(name, &mut clues);
        let mut model = match in_order(rest) {
            None => Cow::Borrowed(rest),
            Some(ordered) => Cow::Owned(ordered),
        };
        loop {
            let mut later = Clues::default();
            let rest = strip(&model, &mut later);
            let ordered = in_order(rest);
            if ordered.is_none() && rest.len() == model.len() {
                return Self { model, clues };
            }
            model = Cow::Owned(ordered.unwrap_or_else(|| rest.to_owned()));
        }
    }

    /// Adds what an earlier name told where this one is silent.
    pub(super) fn after(mut self, earlier: Clues<'a>) -> Self {
        let clues = &mut self.clues;
        clues.told = clues.told.or(earlier.told);
        clues.implied = clues.implied.or(earlier.implied);
        clues.geo = clues.geo.or(earlier.geo);
        clues.region = clues.region.or(earlier.region);
        self
    }
}

/// Takes prefixes and suffixes off until none is left. A part that would leave nothing stays.
fn strip<'a>(name: &'a str, clues: &mut Clues<'a>) -> &'a str {
    let mut rest = name;
    loop {
        let shorter = strip_suffix(strip_prefix(rest, clues), clues).trim();
        if shorter.len() == rest.len() || shorter.is_empty() {
            return rest;
        }
        rest = shorter;
    }
}

/// Takes one ARN, path or vendor prefix off.
fn strip_prefix<'a>(rest: &'a str, clues: &mut Clues<'a>) -> &'a str {
    if let Some(id) = strip_arn(rest, clues) {
        return id;
    }
    if rest.starts_with(PROFILE) {
        clues.told.get_or_insert(BEDROCK);
        return rest;
    }
    for (path, provider) in PATHS {
        if let Some(after) = rest.strip_prefix(path) {
            clues.told.get_or_insert(provider);
            return strip_region(after, clues);
        }
    }
    if let Some(id) = rest.strip_prefix("anthropic.") {
        clues.implied.get_or_insert(BEDROCK);
        return id;
    }
    let Some((geo, id)) = rest.split_once('.') else {
        return rest;
    };
    if !GEOS.contains(&geo) || !id.starts_with("anthropic.") {
        return rest;
    }
    clues.geo.get_or_insert(geo);
    id
}

/// `arn:PARTITION:bedrock:REGION:ACCOUNT:KIND/ID`: the model or system profile behind it, or the
/// resource as it stands.
fn strip_arn<'a>(rest: &'a str, clues: &mut Clues<'a>) -> Option<&'a str> {
    let mut parts = rest.strip_prefix("arn:")?.splitn(5, ':');
    let (_partition, service) = (parts.next()?, parts.next()?);
    let (region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    if service != BEDROCK {
        return None;
    }
    clues.told.get_or_insert(BEDROCK);
    note_region(region, clues);
    let id = resource
        .strip_prefix("foundation-model/")
        .or_else(|| resource.strip_prefix("inference-profile/"));
    Some(id.unwrap_or(resource))
}

/// Takes an AWS region off that stands between the path and the model.
fn strip_region<'a>(rest: &'a str, clues: &mut Clues<'a>) -> &'a str {
    match rest.split_once('/') {
        Some((region, id)) if is_region(region) => {
            note_region(region, clues);
            id
        }
        _ => rest,
    }
}

/// Commercial regions share the price scope `in_region`; the regions of the US government
/// have their own.
fn note_region<'a>(region: &'a str, clues: &mut Clues<'a>) {
    if region.starts_with("us-gov-") {
        clues.region.get_or_insert(region);
    }
}

/// `eu-central-1`, `us-gov-west-1`: two letters, words, a number.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let words = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase());
    let area = parts
        .next()
        .is_some_and(|part| part.len() == 2 && words(part));
    let number = parts.next_back().is_some_and(|part| is_number(part, 1));
    let middle = parts.next().is_some_and(words) && parts.all(words);
    area && number && middle
}

/// Takes one suffix off a Claude name; other names have none that is known.
fn strip_suffix<'a>(rest: &'a str, clues: &mut Clues<'a>) -> &'a str {
    let Some(tail) = rest.strip_prefix("claude") else {
        return rest;
    };
    if tail.starts_with(|c: char| c.is_alphabetic()) {
        return rest;
    }
    if let Some(shorter) = rest.strip_suffix(BILL_ENDING) {
        clues.implied.get_or_insert(BEDROCK);
        return shorter;
    }
    let shorter = shorter_by_one(rest, clues).unwrap_or(rest);
    // `claude-v2` is a model, not a version of `claude`.
    if shorter.len() > "claude".len() {
        shorter
    } else {
        rest
    }
}

fn shorter_by_one<'a>(rest: &'a str, clues: &mut Clues<'a>) -> Option<&'a str> {
    let plain = rest
        .strip_suffix("[1m]")
        .or_else(|| rest.strip_suffix("-latest"));
    if plain.is_some() {
        return plain;
    }
    if let Some((model, version)) = rest.rsplit_once('@')
        && (version == "default" || is_number(version, 8))
    {
        clues.implied.get_or_insert(VERTEX);
        return Some(model);
    }
    let (model, version) = rest.rsplit_once('-')?;
    if is_number(version, 8) {
        return Some(model);
    }
    let version = version.strip_prefix('v')?;
    match version.split_once(':') {
        None => is_version(version).then_some(model),
        Some((major, minor)) if is_version(major) && is_version(minor) => {
            // Only Bedrock writes `-v1:0`.
            clues.implied.get_or_insert(BEDROCK);
            Some(model)
        }
        Some(_) => None,
    }
}

fn is_number(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())
}

/// One or two digits.
fn is_version(text: &str) -> bool {
    is_number(text, 1) || is_number(text, 2)
}

/// Puts the words of a Claude name in the order of the price table: `claude-3-5-sonnet` in
/// generation 3, `claude-sonnet-4-5` in all others. `None` if the name stays as it is.
fn in_order(name: &str) -> Option<String> {
    let mut words = [""; 4];
    let count = split_words(name, &mut words)?;
    let is_family = |word: &str| {
        (3..=MAX_FAMILY_BYTES).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase())
    };
    let (family, version) = match &words[1..count] {
        [family, version @ ..] | [version @ .., family]
            if is_family(family) && version.iter().all(|word| is_version(word)) =>
        {
            (*family, version)
        }
        [first, second] if is_family(first) && is_family(second) => (*first, &words[2..3]),
        _ => return None,
    };
    let number_first = version.first() == Some(&"3");
    let mut ordered = String::with_capacity(name.len() + 3);
    ordered.push_str("claude");
    let mut push = |word: &str| {
        ordered.push('-');
        ordered.push_str(word);
    };
    if !number_first {
        push(family);
    }
    for word in version {
        push(word);
    }
    if number_first {
        push(family);
    }
    (ordered != name).then_some(ordered)
}

/// Splits `claude-sonnet-4.6` and `claude4.6sonnet` into words and numbers. `None` if the name is
/// not one of Claude's, has other characters, or has more than four words.
fn split_words<'a>(name: &'a str, words: &mut [&'a str; 4]) -> Option<usize> {
    let mut count = 0;
    let mut start = 0;
    let bytes = name.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let kind = Letter::of(*byte)?;
        if bytes.get(index + 1).copied().and_then(Letter::of) == Some(kind) {
            continue;
        }
        if kind != Letter::Separator {
            *words.get_mut(count)? = &name[start..=index];
            count += 1;
        }
        start = index + 1;
    }
    (words[0] == "claude" && count > 1).then_some(count)
}

/// The characters of a name that can be put in order.
#[derive(Clone, Copy, PartialEq)]
enum Letter {
    Word,
    Number,
    Separator,
}

impl Letter {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'a'..=b'z' => Some(Self::Word),
            b'0'..=b'9' => Some(Self::Number),
            b'-' | b'.' | b'_' | b' ' => Some(Self::Separator),
            _ => None,
        }
    }
}
