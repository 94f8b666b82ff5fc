//! Reads the rows of one price file; reports all faults together, each with its row.
#![deny(clippy::float_arithmetic)]

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::contract::Multiplier;
use super::{LongContext, MAX_PRICE, ONE, PriceFault, Rate, Rates, Time, UnitPrices};
use crate::model::money::parse_decimal;
use crate::model::usage::Band;

/// USD per million tokens have six places more than pico-USD per token.
const PRICE_DECIMALS: u32 = 6;

const TOP_FIELDS: [(&str, &str); 2] = [("currency", "USD"), ("unit", "1000000 tokens")];

/// What a file may say besides.
const OTHER_FIELDS: [&str; 9] = [
    "schema_version",
    "version",
    "source",
    "source_sha256",
    "source_license",
    "web_search_per_request",
    "cache_min_tokens",
    "price",
    "multiplier",
];

pub(super) const PRICE_FIELDS: [&str; 10] = [
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

const ROW_FIELDS: [&str; 13] = [
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
    "effective_from",
    "effective_to",
    "source",
];

const MULTIPLIER_FIELDS: [&str; 7] = [
    "provider",
    "model",
    "scope",
    "multiplier",
    "effective_from",
    "effective_to",
    "source",
];

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) version: Option<Box<str>>,
    pub(super) source: Option<Box<str>>,
    pub(super) rows: Vec<FileRow>,
    pub(super) multipliers: Vec<Multiplier>,
}

/// One row of a file.
#[derive(Clone, Debug)]
pub(super) struct FileRow {
    pub(super) provider: Box<str>,
    pub(super) scope: Box<str>,
    pub(super) model: Box<str>,
    pub(super) time: Time,
    pub(super) rate: Rate,
    pub(super) source: Arc<str>,
    /// The price of the scope may lack a premium.
    pub(super) geo_premium: bool,
}

impl FileRow {
    /// The row as faults name it.
    pub(super) fn place(&self) -> String {
        let (provider, scope, model) = (&self.provider, &self.scope, &self.model);
        format!("{provider} {scope} {model}")
    }

    pub(super) fn same_key(&self, other: &Self) -> bool {
        self.model == other.model && self.provider == other.provider && self.scope == other.scope
    }
}

/// Reads a price table, or a contract, which may also have multipliers.
pub(super) fn parse(text: &str, allow_multipliers: bool) -> Result<File, Vec<PriceFault>> {
    let mut faults = Faults::default();
    let top: toml::Table = match text.parse() {
        Ok(top) => top,
        Err(error) => return Err(faults.with("price table", error.to_string())),
    };
    read_head(&top, &mut faults);
    let string = |field| top.get(field).and_then(toml::Value::as_str).map(Into::into);
    let mut file = File {
        version: string("version"),
        source: string("source"),
        ..File::default()
    };
    let source: Arc<str> = file.source.as_deref().unwrap_or("price file").into();
    let multipliers = top.get("multiplier");
    if multipliers.is_some() && !allow_multipliers {
        faults.add(
            "price table",
            "multiplier: belongs into the file of cost.contract",
        );
    }
    let needs_rows = multipliers.is_none();
    for (index, row) in tables(&top, "price", needs_rows, &mut faults) {
        file.rows.extend(read_row(row, index, &source, &mut faults));
    }
    for (index, row) in tables(&top, "multiplier", false, &mut faults) {
        let read = read_multiplier(row, index, &mut faults);
        file.multipliers.push(read);
    }
    faults.0.extend(dates(&file.rows));
    if faults.0.is_empty() {
        Ok(file)
    } else {
        Err(faults.0)
    }
}

fn read_head(top: &toml::Table, faults: &mut Faults) {
    if top.get("schema_version").and_then(toml::Value::as_integer) != Some(1) {
        faults.add("price table", "schema_version: must be 1");
    }
    for (field, value) in TOP_FIELDS {
        if top.get(field).and_then(toml::Value::as_str) != Some(value) {
            faults.add("price table", format!("{field}: must be \"{value}\""));
        }
    }
    for field in top.keys() {
        let known = TOP_FIELDS.iter().any(|(name, _)| name == field);
        if !known && !OTHER_FIELDS.contains(&field.as_str()) {
            faults.add("price table", format!("{field}: unknown field"));
        }
    }
}

/// The rows of a list, with their places.
fn tables<'t>(
    top: &'t toml::Table,
    name: &str,
    needed: bool,
    faults: &mut Faults,
) -> Vec<(usize, &'t toml::Table)> {
    let rows = match top.get(name) {
        Some(toml::Value::Array(rows)) => rows,
        None if !needed => return Vec::new(),
        _ => {
            faults.add("price table", format!("{name}: must be a list of rows"));
            return Vec::new();
        }
    };
    let mut tables = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        match row.as_table() {
            Some(row) => tables.push((index, row)),
            None => faults.add(&format!("{name} row {}", index + 1), "must be a table"),
        }
    }
    tables
}

fn string<'t>(row: &'t toml::Table, field: &str) -> &'t str {
    let value = row.get(field).and_then(toml::Value::as_str);
    value.unwrap_or_default()
}

fn read_row(
    row: &toml::Table,
    index: usize,
    source: &Arc<str>,
    faults: &mut Faults,
) -> Option<FileRow> {
    let [provider, scope, model] = ["provider", "scope", "model"].map(|field| string(row, field));
    if [provider, scope, model].contains(&"") {
        let place = format!("row {}", index + 1);
        faults.add(&place, "provider, scope and model must be given as strings");
        return None;
    }
    let mut reader = RowReader {
        place: format!("{provider} {scope} {model}"),
        faults,
    };
    reader.only_known(row, &ROW_FIELDS, "");
    let suspect = reader.suspect(row);
    let rate = Rate {
        base: reader.rates(row, &suspect, ""),
        long_context: reader.long_context(row, &suspect),
        fast: reader.number(row, "fast_multiplier", ""),
        us_geo: reader.number(row, "us_geo_multiplier", ""),
        regional: reader.number(row, "regional_multiplier", ""),
    };
    if !rate.is_whole() {
        reader.fault("a multiplier leaves a fraction of a pico-USD per token");
    }
    let named = row.get("suspect").and_then(toml::Value::as_array);
    let premium = |name: &toml::Value| name.as_str() == Some("geo_premium");
    Some(FileRow {
        provider: provider.into(),
        scope: scope.into(),
        model: model.into(),
        time: reader.time(row),
        rate,
        source: match string(row, "source") {
            "" => source.clone(),
            own => own.into(),
        },
        geo_premium: named.is_some_and(|names| names.iter().any(premium)),
    })
}

fn read_multiplier(row: &toml::Table, index: usize, faults: &mut Faults) -> Multiplier {
    let mut reader = RowReader {
        place: format!("multiplier {}", index + 1),
        faults,
    };
    for field in row.keys() {
        if !MULTIPLIER_FIELDS.contains(&field.as_str()) {
            reader.fault(format!("{field}: unknown field"));
        }
    }
    let provider = string(row, "provider");
    if provider.is_empty() {
        reader.fault("provider must be given as a string");
    }
    let time = reader.time(row);
    let factor = reader.number(row, "multiplier", "");
    if !row.contains_key("multiplier") {
        reader.fault("multiplier must be given as a decimal number in quotes");
    }
    let some = |field| Some(string(row, field)).filter(|text| !text.is_empty());
    Multiplier {
        provider: provider.into(),
        model: some("model").map(Into::into),
        scope: some("scope").map(Into::into),
        factor: factor.unwrap_or(ONE),
        time,
        source: some("source").unwrap_or("contract").into(),
    }
}

/// Rows of one key neither overlap nor leave a gap between them.
fn dates(rows: &[FileRow]) -> Vec<PriceFault> {
    let mut faults = Vec::new();
    let mut sorted: Vec<&FileRow> = rows.iter().collect();
    sorted.sort_by(|a, b| {
        let key = |row: &FileRow| (row.model.clone(), row.provider.clone(), row.scope.clone());
        key(a).cmp(&key(b)).then_with(|| a.time.cmp(&b.time))
    });
    for pair in sorted.windows(2) {
        let [first, second] = pair else { continue };
        if !first.same_key(second) {
            continue;
        }
        let message = if first.time == second.time {
            "the row occurs twice".to_owned()
        } else if second.time.from < first.time.to {
            format!("{} and {} overlap", first.time, second.time)
        } else if first.time.to < second.time.from {
            let (first, second) = (first.time, second.time);
            format!("{first} and {second} leave a gap between them")
        } else {
            continue;
        };
        faults.push(PriceFault {
            place: first.place(),
            message,
        });
    }
    faults
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

    fn time(&mut self, row: &toml::Table) -> Time {
        let time = Time {
            from: self.day(row, "effective_from").unwrap_or(Time::EVER.from),
            to: self.day(row, "effective_to").unwrap_or(Time::EVER.to),
        };
        if time.from >= time.to {
            self.fault("effective_to: must be after effective_from");
            return Time::EVER;
        }
        time
    }

    /// The midnight, in UTC, with which a day begins.
    fn day(&mut self, row: &toml::Table, field: &str) -> Option<Timestamp> {
        let text = match row.get(field)? {
            toml::Value::String(text) => text.clone(),
            toml::Value::Datetime(date) => date.to_string(),
            _ => String::new(),
        };
        let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
        let at = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        if at.is_none() {
            self.fault(format!("{field}: must be a UTC day such as 2026-03-13"));
        }
        at.map(|at| at.timestamp())
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
}

/// How every table begins, up to its rows.
#[cfg(test)]
pub(super) const HEAD: &str =
    "schema_version = 1\ncurrency = \"USD\"\nunit = \"1000000 tokens\"\nprice = [";

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text, false).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    fn row(model: &str, rest: &str) -> String {
        format!("{{ model = \"{model}\", provider = \"p\", scope = \"s\", {rest} }},\n")
    }

    #[test]
    fn faults_name_their_row_and_come_together() {
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
                "p s c: long_context.threshold_tokens: must be 100000 or 200000",
                "p s d: a multiplier leaves a fraction of a pico-USD per token",
                "p s e: suspect: \"al\" is not a price of the row",
                "row 7: provider, scope and model must be given as strings",
                "p s b: the row occurs twice",
            ]
        );
    }

    #[test]
    fn a_gap_or_an_overlap_names_both_rows() {
        let text = [
            HEAD.to_owned(),
            row("a", "input = \"1\", effective_to = \"2026-03-01\""),
            row("a", "input = \"1\", effective_from = \"2026-04-01\""),
            row("b", "input = \"1\""),
            row("b", "input = \"1\", effective_from = 2026-04-01"),
            row("c", "input = \"1\", effective_to = \"2026-03-01\""),
            row("c", "input = \"1\", effective_from = \"2026-03-01\""),
            row(
                "d",
                "effective_from = \"2026-03-02\", effective_to = \"2026-03-02\"",
            ),
            row("e", "effective_from = \"2026-03-02T10:00:00Z\""),
            row("f", "effective_to = 2026"),
            "]".to_owned(),
        ];
        assert_eq!(
            faults(&text.concat()),
            [
                "p s d: effective_to: must be after effective_from",
                "p s e: effective_from: must be a UTC day such as 2026-03-13",
                "p s f: effective_to: must be a UTC day such as 2026-03-13",
                "p s a: the row up to 2026-03-01 and the row from 2026-04-01 on leave a gap \
                 between them",
                "p s b: the row without dates and the row from 2026-04-01 on overlap",
            ]
        );
    }

    #[test]
    fn a_table_in_another_currency_or_form_is_refused() {
        assert_eq!(
            faults("schema_version = 2\ncurrency = \"EUR\"\nprices = []\nmultiplier = []"),
            [
                "price table: schema_version: must be 1",
                "price table: currency: must be \"USD\"",
                "price table: unit: must be \"1000000 tokens\"",
                "price table: prices: unknown field",
                "price table: multiplier: belongs into the file of cost.contract",
            ]
        );
        assert_eq!(
            faults("schema_version = 1\ncurrency = \"USD\"\nunit = \"1000000 tokens\""),
            ["price table: price: must be a list of rows"]
        );
        assert_eq!(faults("price = [").len(), 1);
    }
}
