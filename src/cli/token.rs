//! `tallyd token`: tokens are made here, and only their hashes are kept.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rustls::crypto::aws_lc_rs;
use toml::Value;

use crate::model::access::{Scope, hash_text, hash_token};

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Prints a new token once, and the lines for the configuration file.
    New(NewToken),
}

/// What a new token is good for.
#[derive(Args, Debug)]
pub struct NewToken {
    /// Name shown in logs and in `tallyd doctor`.
    #[arg(long)]
    pub name: String,
    /// ingest, quota, read, finance or admin; may be repeated.
    #[arg(long, required = true, value_parser = scope)]
    pub scope: Vec<Scope>,
    /// A user that the token may report; may be repeated. Without it: all.
    #[arg(long)]
    pub user: Vec<String>,
    /// A team that the token may report; may be repeated. Without it: all.
    #[arg(long)]
    pub team: Vec<String>,
}

fn scope(name: &str) -> Result<Scope, String> {
    let names = Scope::ALL.map(Scope::name).join(", ");
    Scope::parse(name).ok_or_else(|| format!("must be one of {names}"))
}

/// Random bytes of a token: beyond guessing.
const TOKEN_BYTES: usize = 32;

/// Begins every token, so that scanners for leaked secrets can know it.
const TOKEN_PREFIX: &str = "tallyd_";

/// Makes a token and tells what to do with it.
pub(super) fn new_token(wanted: &NewToken) -> anyhow::Result<String> {
    let mut random = [0; TOKEN_BYTES];
    let source = aws_lc_rs::default_provider().secure_random;
    let filled = source.fill(&mut random);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let digits = hash_text(&random);
    let digits = digits.trim_start_matches("sha256:");
    let token = format!("{TOKEN_PREFIX}{digits}");
    Ok(format!(
        "{token}\n\nThis is the only time that the token is shown. For the configuration file:\n\n{}",
        token_lines(wanted, &token)
    ))
}

/// The lines for the configuration file: the hash, never the token.
fn token_lines(wanted: &NewToken, token: &str) -> String {
    let list = |texts: Vec<&str>| Value::from(texts).to_string();
    let scopes = wanted.scope.iter().map(|scope| scope.name()).collect();
    let mut lines = format!(
        "[[auth.tokens]]\nname = {}\nhash = \"{}\"\nscopes = {}\n",
        Value::from(wanted.name.as_str()),
        hash_text(&hash_token(token)),
        list(scopes),
    );
    for (key, names) in [("users", &wanted.user), ("teams", &wanted.team)] {
        if !names.is_empty() {
            let names = list(names.iter().map(String::as_str).collect());
            let _ = writeln!(lines, "{key} = {names}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn the_lines_for_the_configuration_admit_the_token() {
        let wanted = NewToken {
            name: "the \"gateway\"".to_owned(),
            scope: vec![Scope::Ingest, Scope::Read],
            user: vec!["Ada@example.com".to_owned()],
            team: Vec::new(),
        };
        let text = new_token(&wanted).unwrap();
        let (token, rest) = text.split_once('\n').unwrap();
        let lines = &rest[rest.find("[[").unwrap()..];
        assert!(!lines.contains(token));
        let config = Config::parse(lines, &Environment::default()).unwrap();
        let access = config.auth.access_list();
        let grant = access.authorize(Some(token), Scope::Read).unwrap();
        assert_eq!(&*grant.name, "the \"gateway\"");
        assert_eq!(grant.scopes, [Scope::Ingest, Scope::Read]);
        assert_eq!(grant.binding.users, [Box::<str>::from("ada@example.com")]);
        assert_ne!(new_token(&wanted).unwrap(), text);
    }
}
