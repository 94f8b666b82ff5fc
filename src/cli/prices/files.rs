//! What works on price files alone: list, check, import.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use super::{Check, Import, List};
use crate::app;
use crate::cli::out;
use crate::cli::table::{Align, table};
use crate::config::Faults;
use crate::model::price::{EMBEDDED, EMBEDDED_NAME, ListedPrice, lint, litellm};
use crate::model::usage::Tier;

/// Kinds in the order of their columns.
const KINDS: [&str; 5] = ["input", "output", "read", "write 5m", "write 1h"];

pub(super) fn list(wanted: List) -> anyhow::Result<()> {
    let at = match wanted.at.as_str() {
        "" => None,
        text => Some(text.parse::<Date>().map_err(|_| {
            anyhow::Error::new(Faults(vec![
                "--at: must be a day such as 2026-11-01".to_owned(),
            ]))
        })?),
    };
    let config = wanted.config.source().load()?;
    let prices = app::price_table(&config.cost)?;
    let listed = prices.listed();
    let shown: Vec<&ListedPrice> = listed
        .iter()
        .filter(|price| wanted.model.is_empty() || *price.model == *wanted.model)
        .filter(|price| wanted.provider.is_empty() || *price.provider == *wanted.provider)
        .filter(|price| at.is_none_or(|at| holds(price, at)))
        .collect();
    out::print(listed_text(&shown))?;
    out::println(format_args!(
        "\nUSD per million tokens; version {}, SHA-256 {}",
        prices.version(),
        prices.sha256()
    ))?;
    Ok(())
}

fn holds(price: &ListedPrice, at: Date) -> bool {
    price.from.is_none_or(|from| from <= at) && price.to.is_none_or(|to| at < to)
}

fn listed_text(prices: &[&ListedPrice]) -> String {
    let has_contract = prices.iter().any(|price| price.contract.is_some());
    let names = ["model", "provider", "scope", "tier", "from", "to"];
    let mut columns: Vec<(&str, Align)> = names.map(|name| (name, Align::Left)).to_vec();
    if has_contract {
        columns.push(("paid", Align::Left));
    }
    columns.extend(KINDS.map(|kind| (kind, Align::Right)));
    let mut rows = Vec::new();
    for price in prices {
        let day = |day: Option<Date>| day.map_or_else(|| "-".to_owned(), |day| day.to_string());
        let names = [
            price.model.to_string(),
            price.provider.to_string(),
            price.scope.to_string(),
            tier(price),
            day(price.from),
            day(price.to),
        ];
        let mut row = |paid: &str, prices: [Option<u64>; 5]| {
            let mut row = names.to_vec();
            if has_contract {
                row.push(paid.to_owned());
            }
            let text = |price: Option<u64>| price.map_or_else(|| "-".to_owned(), lint::millionths);
            row.extend(prices.map(text));
            rows.push(row);
        };
        row("list", price.list.kinds());
        if let Some(contract) = price.contract {
            row("contract", contract.kinds());
        }
    }
    table(&columns, &rows, 0)
}

fn tier(price: &ListedPrice) -> String {
    let tier = price.tier.name();
    match price.above {
        Some(above) if price.tier == Tier::Standard => format!("over {}k", above / 1000),
        Some(above) => format!("{tier} over {}k", above / 1000),
        None => tier.to_owned(),
    }
}

pub(super) fn check(wanted: Check) -> anyhow::Result<()> {
    let Some(file) = &wanted.file else {
        let config = wanted.config.source().load()?;
        let prices = app::price_table(&config.cost)?;
        let mut warnings = notes(EMBEDDED_NAME, EMBEDDED)?;
        if let Some(file) = &config.cost.prices {
            warnings.extend(notes(&file.display().to_string(), &read(file)?)?);
        }
        print_warnings(&warnings)?;
        out::println(format_args!(
            "the price table can be used; version {}, SHA-256 {}, {} warnings",
            prices.version(),
            prices.sha256(),
            warnings.len()
        ))?;
        return Ok(());
    };
    let name = file.display().to_string();
    let warnings = notes(&name, &read(file)?)?;
    print_warnings(&warnings)?;
    out::println(format_args!(
        "{name} can be used; {} warnings",
        warnings.len()
    ))?;
    Ok(())
}

fn print_warnings(warnings: &[String]) -> anyhow::Result<()> {
    for warning in warnings {
        out::println(format_args!("warning: {warning}"))?;
    }
    Ok(())
}

fn notes(name: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let notes = lint::file(text).map_err(|faults| {
        let lines = faults.iter().map(|fault| format!("{name}: {fault}"));
        Faults(lines.collect())
    })?;
    Ok(notes.iter().map(|note| format!("{name}: {note}")).collect())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What to say of keys that were left out, each with its reason: of all, or one line a reason.
fn left_out(skipped: &[(String, String)], all: bool) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, why) in skipped {
        by_reason.entry(why).or_default().push(key);
    }
    let mut lines = Vec::new();
    for (why, keys) in by_reason {
        match keys.as_slice() {
            [first, _, ..] if !all => {
                lines.push(format!("{} keys, such as {first}: {why}", keys.len()));
            }
            keys => lines.extend(keys.iter().map(|key| format!("{key}: {why}"))),
        }
    }
    lines
}

pub(super) fn import(wanted: &Import) -> anyhow::Result<()> {
    let json = read(&wanted.litellm)?;
    let digest = Sha256::digest(json.as_bytes());
    let mut sha256 = String::with_capacity(64);
    for byte in digest {
        // A string's `write!` cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    let name = wanted.litellm.file_name().unwrap_or_default();
    let source = format!("litellm {}", name.to_string_lossy());
    let read = litellm::import(&json, &source, &sha256)
        .with_context(|| format!("cannot import {}", wanted.litellm.display()))?;
    match &wanted.output {
        None => out::print(read.toml)?,
        Some(file) if file.exists() => {
            bail!("{} exists already, choose another name", file.display())
        }
        Some(file) => std::fs::write(file, &read.toml)
            .with_context(|| format!("cannot write {}", file.display()))?,
    }
    // The file itself may go to standard output, so all else goes to the other.
    for line in left_out(&read.skipped, wanted.all) {
        out::note(format_args!("left out: {line}"));
    }
    for note in &read.notes {
        out::note(format_args!("warning: {note}"));
    }
    out::note(format_args!(
        "{} rows; {} keys of Claude were left out{}; {} keys are of other models; {} warnings",
        read.rows,
        read.skipped.len(),
        if wanted.all {
            ""
        } else {
            " (--all tells each)"
        },
        read.others,
        read.notes.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_left_out_are_told_by_reason_or_each() {
        let skipped = [
            ("x/a", "a reseller"),
            ("b", "no price"),
            ("x/c", "a reseller"),
        ];
        let skipped = skipped.map(|(key, why)| (key.to_owned(), why.to_owned()));
        assert_eq!(
            left_out(&skipped, false),
            ["2 keys, such as x/a: a reseller", "b: no price"]
        );
        assert_eq!(
            left_out(&skipped, true),
            ["x/a: a reseller", "x/c: a reseller", "b: no price"]
        );
    }
}
