//! Puts a price table together from its texts.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::contract::{self, Multiplier};
use super::read::{self, File, FileRow};
use super::{EMBEDDED_NAME, PriceFault, PriceTable, Rate, Row, Time};

/// A text with prices, and how faults and versions name it.
#[derive(Clone, Copy, Debug)]
pub struct PriceText<'t> {
    pub name: &'t str,
    pub text: &'t str,
}

pub(super) fn single(text: &str) -> Result<PriceTable, Vec<PriceFault>> {
    let file = read::parse(text, false)?;
    let version = version_of(&file, EMBEDDED_NAME);
    table(&file.rows, &[], &[], version, sha256(text))
}

pub(super) fn load(
    list: &[PriceText<'_>],
    contract: Option<PriceText<'_>>,
) -> Result<PriceTable, Vec<PriceFault>> {
    let mut faults = Vec::new();
    let mut versions = Vec::new();
    let mut hashes = Vec::new();
    let mut rows: Vec<FileRow> = Vec::new();
    let mut read = |named: PriceText<'_>, is_contract: bool| {
        hashes.push(sha256(named.text));
        match read::parse(named.text, is_contract) {
            Ok(file) => {
                versions.push(version_of(&file, named.name));
                file
            }
            Err(found) => {
                faults.extend(under(named.name, found));
                File::default()
            }
        }
    };
    for named in list {
        let file = read(*named, false);
        rows = overlaid(rows, file.rows);
    }
    let terms = contract.map(|named| read(named, true)).unwrap_or_default();
    let name = contract.map_or("", |named| named.name);
    let unclear = contradictions(&terms.multipliers);
    faults.extend(under(name, unclear));
    if !faults.is_empty() {
        return Err(faults);
    }
    let version = versions.join(" + ");
    let (own, factors) = (&terms.rows, &terms.multipliers);
    table(&rows, own, factors, version, hash_of(&hashes)).map_err(|faults| under(name, faults))
}

fn under(name: &str, faults: Vec<PriceFault>) -> Vec<PriceFault> {
    let with = |fault: PriceFault| PriceFault {
        place: format!("{name}: {}", fault.place),
        ..fault
    };
    faults.into_iter().map(with).collect()
}

fn version_of(file: &File, name: &str) -> String {
    let said = file.version.as_deref().or(file.source.as_deref());
    said.unwrap_or(name).to_owned()
}

fn sha256(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string never fails.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// One text has its own hash; of several it is that of their hashes, a line each.
fn hash_of(hashes: &[String]) -> String {
    match hashes {
        [one] => one.clone(),
        several => sha256(&(several.join("\n") + "\n")),
    }
}

/// Lays rows over others: what is below stays where none above holds.
fn overlaid(below: Vec<FileRow>, above: Vec<FileRow>) -> Vec<FileRow> {
    let mut rows = Vec::with_capacity(below.len() + above.len());
    for row in below {
        let times = uncovered(&row, &above);
        rows.extend(times.into_iter().map(|time| FileRow {
            time,
            ..row.clone()
        }));
    }
    rows.extend(above);
    rows
}

/// The times of a row in which no other of its key holds.
fn uncovered(row: &FileRow, covers: &[FileRow]) -> Vec<Time> {
    let mut left = vec![row.time];
    for cover in covers.iter().filter(|cover| cover.same_key(row)) {
        let parts = left.into_iter().flat_map(|time| without(time, cover.time));
        left = parts.collect();
    }
    left
}

fn without(time: Time, cover: Time) -> impl Iterator<Item = Time> {
    let before = Time {
        from: time.from,
        to: time.to.min(cover.from),
    };
    let after = Time {
        from: time.from.max(cover.to),
        to: time.to,
    };
    let parts = [before, after].into_iter();
    parts.filter(|part| part.from < part.to)
}

fn contradictions(multipliers: &[Multiplier]) -> Vec<PriceFault> {
    let mut faults = Vec::new();
    for (place, multiplier) in multipliers.iter().enumerate() {
        let later = multipliers.iter().enumerate().skip(place + 1);
        for (other, _) in later.filter(|(_, other)| multiplier.contradicts(other)) {
            faults.push(PriceFault {
                place: format!("multiplier {}", place + 1),
                message: format!("it and multiplier {} are of the same time", other + 1),
            });
        }
    }
    faults
}

/// Applies the contract and sorts rows by model.
fn table(
    list: &[FileRow],
    rates: &[FileRow],
    multipliers: &[Multiplier],
    version: String,
    sha256: String,
) -> Result<PriceTable, Vec<PriceFault>> {
    let mut faults = Vec::new();
    let mut models: HashMap<Box<str>, Vec<Row>> = HashMap::new();
    for row in list {
        for time in contract::pieces(row, rates, multipliers) {
            let terms = contract::terms(row, time.from, rates, multipliers);
            let contract = (!terms.is_silent()).then(|| terms.apply(&row.rate));
            if contract == Some(None) {
                faults.push(PriceFault {
                    place: row.place(),
                    message: "the contract leaves a fraction of a pico-USD per token".to_owned(),
                });
            }
            let mut built = built(row, time, Some(&row.rate), contract.flatten().as_ref());
            built.source = terms.source().unwrap_or(built.source);
            models.entry(row.model.clone()).or_default().push(built);
        }
    }
    // Rates of a contract also hold where there is no list price.
    for row in rates {
        for time in uncovered(row, list) {
            let built = built(row, time, None, Some(&row.rate));
            models.entry(row.model.clone()).or_default().push(built);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(PriceTable {
        models,
        version: version.into(),
        sha256: sha256.into(),
    })
}

fn built(row: &FileRow, time: Time, list: Option<&Rate>, contract: Option<&Rate>) -> Row {
    Row {
        provider: row.provider.clone(),
        scope: row.scope.clone(),
        time,
        list: list.map(|rate| Box::new(*rate)),
        contract: contract.map(|rate| Box::new(*rate)),
        source: row.source.clone(),
    }
}
