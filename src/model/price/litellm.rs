//! Reads the price map of LiteLLM (`model_prices_and_context_window.json`) into a price file.
//!
//! Prices are taken from the text of the numbers. What is not understood, or is said in two ways,
//! is left out and told: a price that is guessed would be worse than one that is missing.
#![deny(clippy::float_arithmetic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::PriceFault;
use super::lint::{self, PriceNote, millionths};
use super::read::PRICE_FIELDS;
use crate::model::money::{PICO_DIGITS, parse_decimal};
use crate::model::names::{ModelName, ModelNames};

/// What became of a price map.
#[derive(Debug)]
pub struct Import {
    /// A price file.
    pub toml: String,
    pub rows: usize,
    /// Keys of Claude that were left out, and why.
    pub skipped: Vec<(String, String)>,
    /// Keys of other models.
    pub others: usize,
    pub notes: Vec<PriceNote>,
}

/// Why a price map could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the file is not a JSON object by model")]
    Json(#[source] serde_json::Error),
    #[error("no key of the file has a price of a Claude model")]
    Empty,
    /// The rows do not make a table.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<PriceFault>),
}

/// LiteLLM's providers whose prices are those of the provider itself, with the provider's name.
const PROVIDERS: [(&str, &str); 5] = [
    ("anthropic", "anthropic"),
    ("bedrock", "bedrock"),
    ("bedrock_converse", "bedrock"),
    ("bedrock_mantle", "bedrock_mantle"),
    ("vertex_ai-anthropic_models", "vertex"),
];

/// Prices by LiteLLM's names, in the order of the standard kinds in [`PRICE_FIELDS`].
const KINDS: [&str; 5] = [
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
];

/// The thresholds of long contexts, by the ending of LiteLLM's names.
const THRESHOLDS: [(&str, u64); 2] = [
    ("_above_100k_tokens", 100_000),
    ("_above_200k_tokens", 200_000),
];

const BATCHES: &str = "_batches";

type Entry<'j> = BTreeMap<String, &'j RawValue>;

/// The fields of a row as they are written, by name.
type Fields = BTreeMap<String, String>;

/// Reads a price map. `source` and `sha256` are what the file's head says of it.
pub fn import(json: &str, source: &str, sha256: &str) -> Result<Import, ImportError> {
    let map: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(ImportError::Json)?;
    let names = ModelNames::default();
    let mut skipped = Vec::new();
    let mut others = 0;
    let mut rows: BTreeMap<[Box<str>; 3], Vec<(String, Fields)>> = BTreeMap::new();
    for (key, raw) in map {
        if !key.to_ascii_lowercase().contains("claude") {
            others += 1;
            continue;
        }
        match row_of(&key, raw, &names) {
            Ok((name, fields)) => {
                let row = [name.provider, name.scope, name.model];
                rows.entry(row).or_default().push((key, fields));
            }
            Err(why) => skipped.push((key, why)),
        }
    }
    let mut written = String::new();
    let mut count = 0;
    for (row, entries) in rows {
        match united(&entries) {
            Ok(fields) => {
                count += 1;
                write_row(&mut written, &row, &fields, &entries);
            }
            Err(why) => skipped.extend(entries.into_iter().map(|(key, _)| (key, why.clone()))),
        }
    }
    if count == 0 {
        return Err(ImportError::Empty);
    }
    let toml = format!(
        "# Imported; check it before you use it.\n\nschema_version = 1\nversion = {}\n\
         source = {}\nsource_sha256 = \"{sha256}\"\ncurrency = \"USD\"\n\
         unit = \"1000000 tokens\"\n\nprice = [\n{written}]\n",
        quoted(source),
        quoted(source),
    );
    skipped.sort();
    Ok(Import {
        notes: lint::file(&toml).map_err(ImportError::Faults)?,
        toml,
        rows: count,
        skipped,
        others,
    })
}

/// Reads one key, or says why not.
fn row_of(key: &str, raw: &RawValue, names: &ModelNames) -> Result<(ModelName, Fields), String> {
    let entry: Entry<'_> =
        serde_json::from_str(raw.get()).map_err(|_| "it is not an object".to_owned())?;
    let said = text(&entry, "litellm_provider").unwrap_or_default();
    let known = PROVIDERS.iter().find(|(name, _)| *name == said);
    let Some((_, provider)) = known else {
        return Err(format!("the provider {said:?} is not one of Claude's own"));
    };
    if key.contains("-commitment/") || entry.contains_key("input_cost_per_second") {
        return Err("provisioned throughput is not priced by token".to_owned());
    }
    let name = names.resolve(key, Some(provider));
    let told = ["base", "in_region", "global"].contains(&&*name.scope) || !name.scope.contains('/');
    if !name.model.starts_with("claude-") || name.model.contains('/') || !told {
        return Err("the name is not understood".to_owned());
    }
    let fields = fields_of(&entry)?;
    Ok((name, fields))
}

fn text(entry: &Entry<'_>, field: &str) -> Option<String> {
    serde_json::from_str(entry.get(field)?.get()).ok()
}

fn fields_of(entry: &Entry<'_>) -> Result<Fields, String> {
    let mut fields = Fields::new();
    let mut thresholds = Vec::new();
    for (field, raw) in entry {
        let Some((ours, threshold)) = ours(field) else {
            if field.contains("_token_cost") || field.contains("_cost_per_token") {
                return Err(format!("{field} is not understood"));
            }
            continue;
        };
        if raw.get() == "null" {
            continue;
        }
        let pico = parse_decimal(raw.get(), PICO_DIGITS)
            .map_err(|error| format!("{field} = {}: {error}", raw.get()))?;
        let pico = u64::try_from(pico).map_err(|_| format!("{field} is negative or too large"))?;
        if pico == 0 {
            return Err(format!("{field} is 0: nothing is free"));
        }
        let name = match threshold {
            None => ours.to_owned(),
            Some(_) => format!("long_context.{ours}"),
        };
        thresholds.extend(threshold);
        fields.insert(name, quoted(&millionths(pico)));
    }
    if !fields.contains_key("input") || !fields.contains_key("output") {
        return Err("it has no price of input or output".to_owned());
    }
    thresholds.dedup();
    match thresholds.as_slice() {
        [] => {}
        [one] => {
            fields.insert("long_context.threshold_tokens".to_owned(), one.to_string());
        }
        _ => return Err("it has more than one threshold of long contexts".to_owned()),
    }
    multipliers(entry, &mut fields)?;
    let retires = text(entry, "deprecation_date").filter(|date| date.len() == 10);
    fields.extend(retires.map(|date| ("retires".to_owned(), quoted(&date))));
    Ok(fields)
}

/// The field of a price file for one of LiteLLM's, and its threshold.
fn ours(field: &str) -> Option<(&'static str, Option<u64>)> {
    let (field, batch) = match field.strip_suffix(BATCHES) {
        Some(field) => (field, true),
        None => (field, false),
    };
    let mut threshold = None;
    let mut field = field;
    for (ending, tokens) in THRESHOLDS {
        if let Some(base) = field.strip_suffix(ending) {
            (field, threshold) = (base, Some(tokens));
        }
    }
    let kind = KINDS.iter().position(|kind| *kind == field)?;
    let place = if batch { kind + KINDS.len() } else { kind };
    Some((PRICE_FIELDS[place], threshold))
}

fn multipliers(entry: &Entry<'_>, fields: &mut Fields) -> Result<(), String> {
    let mut multiplier = |field: &str, raw: &str| {
        let read = parse_decimal(raw, 6).ok();
        let number = read.and_then(|number| u64::try_from(number).ok());
        let number = number.ok_or_else(|| format!("{field} = {raw} is not understood"))?;
        fields.insert(field.to_owned(), quoted(&millionths(number)));
        Ok::<(), String>(())
    };
    if let Some(raw) = entry.get("regional_endpoint_uplift_multiplier") {
        multiplier("regional_multiplier", raw.get())?;
    }
    let Some(specific) = entry.get("provider_specific_entry") else {
        return Ok(());
    };
    let specific: Entry<'_> = serde_json::from_str(specific.get())
        .map_err(|_| "provider_specific_entry is not an object".to_owned())?;
    for (name, field) in [("us", "us_geo_multiplier"), ("fast", "fast_multiplier")] {
        if let Some(raw) = specific.get(name) {
            multiplier(field, raw.get())?;
        }
    }
    Ok(())
}

/// The fields of all keys that stand for one row; they must not contradict each other.
fn united(entries: &[(String, Fields)]) -> Result<Fields, String> {
    let mut united = Fields::new();
    for (_, fields) in entries {
        for (field, value) in fields {
            let known = united.entry(field.clone()).or_insert_with(|| value.clone());
            if known != value && field != "retires" {
                let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
                let keys = keys.join(" and ");
                return Err(format!("{keys} are the same model with different {field}"));
            }
        }
    }
    Ok(united)
}

fn write_row(
    written: &mut String,
    [provider, scope, model]: &[Box<str>; 3],
    fields: &Fields,
    entries: &[(String, Fields)],
) {
    let mut parts = vec![
        format!("model = {}", quoted(model)),
        format!("provider = {}", quoted(provider)),
        format!("scope = {}", quoted(scope)),
    ];
    let mut long = Vec::new();
    for (field, value) in fields {
        match field.strip_prefix("long_context.") {
            Some(field) => long.push(format!("{field} = {value}")),
            None => parts.push(format!("{field} = {value}")),
        }
    }
    if !long.is_empty() {
        parts.push(format!("long_context = {{ {} }}", long.join(", ")));
    }
    let keys: Vec<String> = entries.iter().map(|(key, _)| quoted(key)).collect();
    parts.push(format!("keys = [{}]", keys.join(", ")));
    // Writing to a string never fails.
    let _ = writeln!(written, "  {{ {} }},", parts.join(", "));
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{PriceTable, PriceText};
    use super::*;

    fn imported(json: &str) -> Import {
        import(json, "map.json", "ab").expect("some rows")
    }

    #[test]
    fn prices_are_read_exactly_and_keys_become_rows() {
        let read = imported(
            r#"{"us.anthropic.claude-sonnet-4-6": {"litellm_provider": "bedrock_converse",
                "input_cost_per_token": 3.3e-06, "output_cost_per_token": 1.65e-05,
                "cache_read_input_token_cost": 3.3e-07,
                "cache_creation_input_token_cost": 0.000004125,
                "cache_creation_input_token_cost_above_1hr": 6.6e-6,
                "input_cost_per_token_above_200k_tokens": 6.6e-06,
                "output_cost_per_token_above_200k_tokens": 2.475e-05,
                "input_cost_per_token_above_200k_tokens_batches": 3.3e-06,
                "regional_endpoint_uplift_multiplier": 1.1,
                "provider_specific_entry": {"us": 1.1, "fast": 2.0},
                "deprecation_date": "2027-01-08", "max_tokens": 64000},
               "gpt-5": {"litellm_provider": "openai"}}"#,
        );
        let row = read.toml.lines().find(|line| line.starts_with("  {"));
        assert_eq!(
            row,
            Some(
                "  { model = \"claude-sonnet-4-6\", provider = \"bedrock\", scope = \"us\", \
                 cache_read = \"0.33\", cache_write_1h = \"6.6\", cache_write_5m = \"4.125\", \
                 fast_multiplier = \"2\", input = \"3.3\", output = \"16.5\", \
                 regional_multiplier = \"1.1\", retires = \"2027-01-08\", \
                 us_geo_multiplier = \"1.1\", long_context = { batch_input = \"3.3\", \
                 input = \"6.6\", output = \"24.75\", threshold_tokens = 200000 }, \
                 keys = [\"us.anthropic.claude-sonnet-4-6\"] },"
            )
        );
        assert_eq!((read.rows, read.others, read.skipped), (1, 1, vec![]));
        let own = PriceText {
            name: "own",
            text: &read.toml,
        };
        assert!(PriceTable::load(&[own], None).is_ok());
    }

    #[test]
    fn what_is_left_out_is_told_with_its_reason() {
        let entry = |provider: &str, rest: &str| {
            format!(
                "{{\"litellm_provider\": \"{provider}\", \"output_cost_per_token\": 1e-6, {rest}}}"
            )
        };
        let good = "\"input_cost_per_token\": 1e-6";
        let entries = [
            ("claude-a", entry("anthropic", good)),
            (
                "claude-a-20260101",
                entry("anthropic", "\"input_cost_per_token\": 2e-6"),
            ),
            ("claude-b", entry("anthropic", good)),
            (
                "claude-c",
                entry("anthropic", "\"input_cost_per_token\": 0.0"),
            ),
            (
                "claude-d",
                entry("anthropic", "\"input_cost_per_token\": 1.0000000001e-6"),
            ),
            (
                "claude-e",
                entry("anthropic", "\"cache_read_input_token_cost\": 1e-6"),
            ),
            (
                "claude-f",
                entry(
                    "anthropic",
                    "\"input_cost_per_token_above_1m_tokens\": 1e-6",
                ),
            ),
            ("azure_ai/claude-b", entry("azure_ai", good)),
            (
                "bedrock/us-east-1/1-month-commitment/anthropic.claude-b",
                entry("bedrock", good),
            ),
            ("claude-g", "7".to_owned()),
        ];
        let entries = entries.map(|(key, entry)| format!("\"{key}\": {entry}"));
        let read = imported(&format!("{{{}}}", entries.join(", ")));
        let twice = "claude-a and claude-a-20260101 are the same model with different input";
        let skipped = [
            (
                "azure_ai/claude-b",
                "the provider \"azure_ai\" is not one of Claude's own",
            ),
            (
                "bedrock/us-east-1/1-month-commitment/anthropic.claude-b",
                "provisioned throughput is not priced by token",
            ),
            ("claude-a", twice),
            ("claude-a-20260101", twice),
            ("claude-c", "input_cost_per_token is 0: nothing is free"),
            (
                "claude-d",
                "input_cost_per_token = 1.0000000001e-6: more than 12 decimal places",
            ),
            ("claude-e", "it has no price of input or output"),
            (
                "claude-f",
                "input_cost_per_token_above_1m_tokens is not understood",
            ),
            ("claude-g", "it is not an object"),
        ];
        let skipped = skipped.map(|(key, why)| (key.to_owned(), why.to_owned()));
        assert_eq!(read.skipped, skipped);
        assert_eq!(
            read.notes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            [
                "anthropic base claude-b: no price for cache_read, cache_write_5m, \
                 cache_write_1h: such tokens are unpriced"
            ]
        );
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let told = |json| {
            import(json, "f", "")
                .map_err(|error| error.to_string())
                .err()
        };
        assert_eq!(
            [told("[]"), told("{}"), told("model,price")],
            [
                Some("the file is not a JSON object by model".to_owned()),
                Some("no key of the file has a price of a Claude model".to_owned()),
                Some("the file is not a JSON object by model".to_owned()),
            ]
        );
    }
}
