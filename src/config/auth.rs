//! `[auth]`: who may call.

use std::collections::HashSet;

use toml::Value;

use super::reader::{Converted, Problem, Reader};
use super::setting::{Section, Setting};
use super::value::{Row, rows};
use crate::model::access::{AccessList, Binding, Grant, Scope};

/// The configured tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub tokens: Vec<Token>,
}

/// One token, known by its hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub hash: [u8; 32],
    pub grant: Grant,
}

impl Auth {
    /// The tokens in the form that the doors ask.
    #[must_use]
    pub fn access_list(&self) -> AccessList {
        let tokens = self.tokens.iter();
        AccessList::new(tokens.map(|token| (token.hash, token.grant.clone())))
    }
}

pub(super) const SECTION: Section = Section {
    name: "auth",
    help: "Who may call. Without tokens everyone on this host may do everything.",
    settings: &[Setting::new(
        "tokens",
        "[]",
        "Bearer tokens; `tallyd token new` makes one. Scopes: ingest, quota, read, finance, admin. \
         users and teams, if given, are the only ones that the token may report.",
    )
    .at_once()
    .masked()
    .example(
        "[[auth.tokens]]\n\
         name = \"gateway\"\n\
         hash = \"sha256:...\"\n\
         scopes = [\"ingest\"]\n\
         users = []\n\
         teams = []",
    )],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Auth {
    Auth {
        tokens: reader.section(&SECTION).get("tokens", tokens),
    }
}

fn tokens(value: &Value) -> Converted<Vec<Token>> {
    let tokens = rows(value, token)?;
    let mut names = HashSet::new();
    let mut hashes = HashSet::new();
    let mut problems = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if !names.insert(&token.grant.name) {
            let message = format!("{} is there twice", token.grant.name);
            problems.push(Problem::new(format!("[{index}].name"), message));
        }
        if !hashes.insert(token.hash) {
            problems.push(Problem::new(
                format!("[{index}].hash"),
                "is there twice; each token needs its own",
            ));
        }
    }
    if problems.is_empty() {
        Ok(tokens)
    } else {
        Err(problems)
    }
}

fn token(row: &mut Row<'_>) -> Option<Token> {
    let name = row.required("name");
    let hash = row.required("hash");
    let scopes = scopes(row);
    // Users are compared as they are stored: in lower case.
    let users = row.texts("users").into_iter().map(|u| u.to_lowercase());
    let users = users.map(String::into_boxed_str).collect();
    let teams = row.texts("teams").into_iter();
    let teams = teams.map(String::into_boxed_str).collect();
    let hash = parse_hash(&hash?);
    if hash.is_none() {
        row.problem("hash", "must be sha256: and 64 hexadecimal digits");
    }
    Some(Token {
        hash: hash?,
        grant: Grant {
            name: name?.into(),
            scopes,
            binding: Binding { users, teams },
            authenticated: true,
        },
    })
}

fn scopes(row: &mut Row<'_>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    let names = row.texts("scopes");
    if names.is_empty() {
        row.problem("scopes", "at least one is needed");
    }
    for (index, name) in names.iter().enumerate() {
        match Scope::parse(name) {
            Some(scope) => scopes.push(scope),
            None => row.problem(
                &format!("scopes[{index}]"),
                "must be one of ingest, quota, read, finance, admin",
            ),
        }
    }
    scopes
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::{hash_text, hash_token};

    #[test]
    fn a_hash_reads_back_as_it_is_written() {
        let hash = hash_token("secret");
        assert_eq!(parse_hash(&hash_text(&hash)), Some(hash));
        assert_eq!(parse_hash("sha256:00"), None);
        assert_eq!(parse_hash(&hash_text(&hash).replace("sha256", "md5")), None);
        assert_eq!(parse_hash(&format!("sha256:{}", "é".repeat(32))), None);
    }
}
