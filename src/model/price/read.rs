//! Reads a price table; reports all faults together, each with its row.
#![deny(clippy::float_arithmetic)]

use std::collections::HashMap;

use super::{LongContext, MAX_PRICE, ONE, PriceFault, Rates, Row, UnitPrices, scaled};
use crate::model::money::parse_decimal;
use crate::model::usage::Band;

/// Rows by model.
pub(super) type Models = HashMap<Box<str>, Vec<Row>>;

/// USD per million tokens have six places more than pico-USD per token.
const PRICE_DECIMALS: u32 = 6;

const TOP_FIELDS: [(&str, &str); 2] = [("currency", "USD"), ("unit", "1000000 tokens")];

const PRICE_FIELDS: [&str; 10] = [
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "batch_input",
    "batch_output",
    "batch_cache_read",
    "batch_cache_write_5m",
    "batch_cache_write_1h",
];

const ROW_FIELDS: [&str; 10] = [
    "model",
    "provider",
    "scope",
    "keys",
    "retires",
    "suspect",
    "long_context",
    "fast_multiplier",
    "us_geo_multiplier",
    "regional_multiplier",
];

pub(super) fn parse(text: &str) -> Result<Models, Vec<PriceFault>> {
    let mut faults = Faults::default();
    let top: toml::Table = match text.parse() {
        Ok(top) => top,
        Err(error) => return Err(faults.with("price table", error.to_string())),
    };
    if top.get("schema_version").and_then(toml::Value::as_integer) != Some(1) {
        faults.add("price table", "schema_version: must be 1");
    }
    for (field, value) in TOP_FIELDS {
        if top.get(field).and_then(toml::Value::as_str) != Some(value) {
            faults.add("price table", format!("{field}: must be \"{value}\""));
        }
    }
    let Some(rows) = top.get("price").and_then(toml::Value::as_array) else {
        return Err(faults.with("price table", "price: must be a list of rows"));
    };
    let mut models = Models::new();
    for (index, row) in rows.iter().enumerate() {
        match row.as_table() {
            Some(row) => add(&mut models, row, index, &mut faults),
            None => faults.add(&format!("row {}", index + 1), "must be a table"),
        }
    }
    if faults.0.is_empty() {
        Ok(models)
    } else {
        Err(faults.0)
    }
}

fn add(models: &mut Models, row: &toml::Table, index: usize, faults: &mut Faults) {
    let text = |field| {
        row.get(field)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
    };
    let (provider, scope, model) = (text("provider"), text("scope"), text("model"));
    if [provider, scope, model].contains(&"") {
        let place = format!("row {}", index + 1);
        faults.add(&place, "provider, scope and model must be given as strings");
        return;
    }
    let mut reader = RowReader {
        place: format!("{provider} {scope} {model}"),
        faults,
    };
    let read = reader.row(row, provider, scope);
    let rows = models.entry(model.into()).or_default();
    if rows.iter().any(|row| row.is(provider, scope)) {
        reader.fault("the row occurs twice");
    }
    rows.push(read);
}

#[derive(Default)]
struct Faults(Vec<PriceFault>);

impl Faults {
    fn add(&mut self, place: &str, message: impl Into<String>) {
        self.0.push(PriceFault {
            place: place.to_owned(),
            message: message.into(),
        });
    }

    fn with(mut self, place: &str, message: impl Into<String>) -> Vec<PriceFault> {
        self.add(place, message);
        self.0
    }
}

/// Reads one row and notes its faults.
struct RowReader<'a> {
    place: String,
    faults: &'a mut Faults,
}

impl RowReader<'_> {
    fn fault(&mut self, message: impl Into<String>) {
        self.faults.add(&self.place, message);
    }

    fn row(&mut self, row: &toml::Table, provider: &str, scope: &str) -> Row {
        self.only_known(row, &ROW_FIELDS, "");
        let suspect = self.suspect(row);
        let read = Row {
            provider: provider.into(),
            scope: scope.into(),
            base: self.rates(row, &suspect, ""),
            long_context: self.long_context(row, &suspect),
            fast: self.number(row, "fast_multiplier", ""),
            us_geo: self.number(row, "us_geo_multiplier", ""),
            regional: self.number(row, "regional_multiplier", ""),
        };
        self.whole_after_multipliers(&read);
        read
    }

    /// A misspelt field would otherwise be a price that is silently missing.
    fn only_known(&mut self, table: &toml::Table, fields: &[&str], under: &str) {
        for field in table.keys() {
            if !fields.contains(&field.as_str()) && !PRICE_FIELDS.contains(&field.as_str()) {
                self.fault(format!("{under}{field}: unknown field"));
            }
        }
    }

    /// The price fields that are believed wrong.
    fn suspect(&mut self, row: &toml::Table) -> Vec<String> {
        let mut fields = Vec::new();
        let named = row.get("suspect").and_then(toml::Value::as_array);
        for name in named.into_iter().flatten() {
            match name.as_str() {
                Some("geo_premium") => {}
                Some("all") => fields.extend(PRICE_FIELDS.map(str::to_owned)),
                Some(field) if PRICE_FIELDS.contains(&field) => fields.push(field.to_owned()),
                _ => self.fault(format!("suspect: {name} is not a price of the row")),
            }
        }
        fields
    }

    fn rates(&mut self, table: &toml::Table, suspect: &[String], under: &str) -> Rates {
        let mut prices = [None; PRICE_FIELDS.len()];
        for (price, field) in prices.iter_mut().zip(PRICE_FIELDS) {
            let read = self.number(table, field, under);
            *price = read.filter(|_| !suspect.iter().any(|suspect| suspect == field));
        }
        let tier = |first: usize| UnitPrices {
            input: prices[first],
            output: prices[first + 1],
            cache_read: prices[first + 2],
            cache_write_5m: prices[first + 3],
            cache_write_1h: prices[first + 4],
        };
        Rates {
            standard: tier(0),
            batch: tier(PRICE_FIELDS.len() / 2),
        }
    }

    fn long_context(&mut self, row: &toml::Table, suspect: &[String]) -> Option<LongContext> {
        let value = row.get("long_context")?;
        let Some(table) = value.as_table() else {
            self.fault("long_context: must be a table");
            return None;
        };
        let under = "long_context.";
        self.only_known(table, &["threshold_tokens"], under);
        let threshold = table
            .get("threshold_tokens")
            .and_then(toml::Value::as_integer);
        let above = match threshold {
            Some(100_000) => Band::UpTo100k,
            Some(200_000) => Band::UpTo200k,
            _ => {
                self.fault("long_context.threshold_tokens: must be 100000 or 200000");
                return None;
            }
        };
        let rates = self.rates(table, suspect, under);
        Some(LongContext { above, rates })
    }

    /// Reads a price in pico-USD per token, or a multiplier in millionths: both are decimal text
    /// with six places.
    fn number(&mut self, table: &toml::Table, field: &str, under: &str) -> Option<u64> {
        let value = table.get(field)?;
        let Some(text) = value.as_str() else {
            self.fault(format!(
                "{under}{field}: must be a decimal number in quotes"
            ));
            return None;
        };
        let number = match parse_decimal(text, PRICE_DECIMALS) {
            Ok(number) => u64::try_from(number)
                .ok()
                .filter(|number| *number <= MAX_PRICE),
            Err(error) => {
                self.fault(format!("{under}{field} = \"{text}\": {error}"));
                return None;
            }
        };
        if number.is_none() {
            self.fault(format!(
                "{under}{field} = \"{text}\": negative or too large"
            ));
        }
        number
    }

    fn whole_after_multipliers(&mut self, row: &Row) {
        let fast = row.fast.unwrap_or(ONE);
        let regions = [ONE, row.us_geo.unwrap_or(ONE), row.regional.unwrap_or(ONE)];
        let long = row.long_context.map(|long| long.rates);
        for rates in [Some(row.base), long].into_iter().flatten() {
            let standard = rates.standard.kinds().map(|price| (price, fast));
            let all = [rates.standard, rates.batch].map(UnitPrices::kinds);
            let plain = all.as_flattened().iter().map(|price| (*price, ONE));
            let whole = standard.into_iter().chain(plain).all(|(price, tier)| {
                regions
                    .iter()
                    .all(|region| price.is_none_or(|price| scaled(price, tier, *region).is_some()))
            });
            if !whole {
                self.fault("a multiplier leaves a fraction of a pico-USD per token");
                return;
            }
        }
    }
}

/// How every table begins, up to its rows.
#[cfg(test)]
pub(super) const HEAD: &str =
    "schema_version = 1\ncurrency = \"USD\"\nunit = \"1000000 tokens\"\nprice = [";

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_name_their_row_and_come_together() {
        let row = |model: &str, rest: &str| {
            format!("{{ model = \"{model}\", provider = \"p\", scope = \"s\", {rest} }},\n")
        };
        let text = [
            HEAD.to_owned(),
            row("a", "input = \"1,5\", output = \"-1\""),
            row("b", "input = \"0.0000001\", imput = \"1\""),
            row("b", "input = 1.5"),
            row(
                "c",
                "input = \"1\", long_context = { threshold_tokens = 5 }",
            ),
            row("d", "input = \"0.000001\", regional_multiplier = \"1.1\""),
            row("e", "input = \"1\", suspect = [\"al\"]"),
            "{ model = \"f\", provider = \"p\" }]".to_owned(),
        ];
        assert_eq!(
            faults(&text.concat()),
            [
                "p s a: input = \"1,5\": `,` does not belong in a decimal number",
                "p s a: output = \"-1\": negative or too large",
                "p s b: imput: unknown field",
                "p s b: input = \"0.0000001\": more than 6 decimal places",
                "p s b: input: must be a decimal number in quotes",
                "p s b: the row occurs twice",
                "p s c: long_context.threshold_tokens: must be 100000 or 200000",
                "p s d: a multiplier leaves a fraction of a pico-USD per token",
                "p s e: suspect: \"al\" is not a price of the row",
                "row 7: provider, scope and model must be given as strings",
            ]
        );
    }

    #[test]
    fn a_table_in_another_currency_or_form_is_refused() {
        assert_eq!(
            faults("schema_version = 2\ncurrency = \"EUR\"\n"),
            [
                "price table: schema_version: must be 1",
                "price table: currency: must be \"USD\"",
                "price table: unit: must be \"1000000 tokens\"",
                "price table: price: must be a list of rows",
            ]
        );
        assert_eq!(faults("price = [").len(), 1);
    }
}
