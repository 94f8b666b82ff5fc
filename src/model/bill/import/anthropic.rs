//! Anthropic's cost reports as JSON: of the API (amounts in cents, as text), and of the analytics
//! of enterprises (the same, by person, and not final for about 30 days).
//!
//! A file holds one or more pages, one after the other or in a list.

use std::io::Read;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use super::sums::{Sum, Sums};
use super::table::{cut, day};
use super::{Format, ImportError, Imported, Terms};
use crate::model::bill::classify;
use crate::model::bill::{Amounts, BillLine, BilledSku, Charge, PricedKind};
use crate::model::money::{PicoUsd, parse_decimal};
use crate::model::usage::Tier;

const PROVIDER: &str = "anthropic";

/// Anthropic: amounts of analytics may change for about this many days.
const UNSETTLED_DAYS: i64 = 30;

/// Decimal places of a cent that are a millionth of a millionth of a dollar.
const CENT_DIGITS: u32 = 10;

pub(super) fn read(mut reader: impl Read, terms: &Terms<'_>) -> Result<Imported, ImportError> {
    let mut text = String::new();
    reader
        .read_to_string(&mut text)
        .map_err(|error| ImportError::new(0, "", format!("the file cannot be read: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut pages = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let document = document.map_err(|error| {
            let line = u64::try_from(error.line()).unwrap_or_default();
            ImportError::new(line, "", format!("is no JSON: {error}"))
        })?;
        match document {
            Value::Array(list) => pages.extend(list),
            page => pages.push(page),
        }
    }
    if pages.is_empty() {
        return Err(ImportError::new(0, "", "the file is empty"));
    }
    let mut report = Report {
        sums: Sums::new(Format::Anthropic, terms.now),
        rows: 0,
        rounded: 0,
        terms,
    };
    let last = pages.len() - 1;
    for (number, page) in pages.iter().enumerate() {
        let place = if last == 0 {
            String::new()
        } else {
            format!("pages[{number}].")
        };
        report.page(page, &place)?;
        if number == last && page["has_more"] == true {
            let message = "is true: the report has further pages; ask for them with next_page and \
                           put them into the file, too";
            return Err(ImportError::new(0, &format!("{place}has_more"), message));
        }
    }
    Ok(report.sums.finish(report.rows, report.rounded, |_| None))
}

struct Report<'a> {
    sums: Sums,
    rows: u64,
    rounded: u64,
    terms: &'a Terms<'a>,
}

impl Report<'_> {
    fn page(&mut self, page: &Value, place: &str) -> Result<(), ImportError> {
        let buckets = page["data"].as_array().ok_or_else(|| {
            let message = "is missing; this must be the answer of Anthropic's cost report";
            ImportError::new(0, &format!("{place}data"), message)
        })?;
        // Only analytics tell how fresh they are.
        let refreshed = page["data_refreshed_at"].as_str();
        let refreshed: Option<Timestamp> = refreshed.and_then(|at| at.parse().ok());
        for (number, bucket) in buckets.iter().enumerate() {
            let place = format!("{place}data[{number}]");
            let start = ["starting_at", "date", "start"];
            let start = start
                .iter()
                .find_map(|key| bucket[*key].as_str())
                .unwrap_or_default();
            let day = day(start).ok_or_else(|| {
                let message = format!("`{}` is no time such as 2026-11-22T00:00:00Z", cut(start));
                ImportError::new(0, &format!("{place}.starting_at"), message)
            })?;
            let is_estimate = refreshed.is_some_and(|at| is_unsettled(day, at));
            self.sums.note(day, PROVIDER, "", is_estimate);
            // A bucket is a list of results, or one result itself.
            let own = [bucket.clone()];
            let results = match bucket["results"].as_array() {
                Some(results) => &results[..],
                None => &own,
            };
            for (number, result) in results.iter().enumerate() {
                self.rows += 1;
                self.result(day, result, &format!("{place}.results[{number}]"))?;
            }
        }
        Ok(())
    }

    fn result(&mut self, day: Date, result: &Value, place: &str) -> Result<(), ImportError> {
        let text = |key: &str| result[key].as_str().unwrap_or_default();
        let currency = match text("currency") {
            "" => "USD".to_owned(),
            code => code.to_uppercase(),
        };
        let amount = self.cents(&result["amount"], &format!("{place}.amount"))?;
        let description = text("description");
        let (charge, sku) = self.class(result);
        let user = ["user_email", "email", "email_address", "user_id"];
        let actor = ["actor", "user"].map(|key| &result[key]);
        let user = [result]
            .into_iter()
            .chain(actor)
            .find_map(|of| user.iter().find_map(|key| of[*key].as_str()));
        let workspace = text("workspace_id");
        let of = BillLine {
            provider: PROVIDER.into(),
            // Anthropic: the default workspace has no id.
            account: if workspace.is_empty() {
                "default"
            } else {
                workspace
            }
            .into(),
            day,
            charge,
            sku,
            service: "Claude API".into(),
            usage_type: if description.is_empty() {
                text("cost_type")
            } else {
                description
            }
            .into(),
            user: user.map(Into::into),
            quantity: "".into(),
            unit: "".into(),
            tokens: None,
            currency: currency.into(),
            amounts: Amounts::default(),
        };
        let row = Sum {
            amounts: Amounts {
                unblended: Some(amount),
                ..Amounts::default()
            },
            ..Sum::default()
        };
        self.sums.add(PROVIDER, "", of, &row)
    }

    /// What a result is for, by its fields, else by its description.
    fn class(&self, result: &Value) -> (Charge, BilledSku) {
        let text = |key: &str| result[key].as_str().unwrap_or_default();
        let told = classify::described(PROVIDER, text("description"), self.terms.names);
        let mut sku = told
            .as_ref()
            .map(|class| class.sku.clone())
            .unwrap_or_default();
        let model = Some(text("model")).filter(|model| !model.is_empty());
        if let Some(model) = model {
            sku.model = Some(self.terms.names.resolve(model, Some(PROVIDER)).model);
        }
        sku.kind = kind(text("token_type")).or(sku.kind);
        if let Some(tier) = Tier::parse(text("service_tier")) {
            sku.tier = tier;
        }
        if text("context_window").starts_with("200k") {
            sku.long_context = true;
        }
        let geo = Some(text("inference_geo")).filter(|geo| *geo == "us");
        sku.region = geo.map(Into::into);
        let charge = match (text("cost_type"), &sku.model, sku.kind) {
            ("tokens" | "", Some(_), Some(_)) => Charge::Tokens,
            ("web_search" | "code_execution" | "session_usage", ..) => Charge::OtherUsage,
            _ => told.map_or(Charge::Unclassified, |class| match class.charge {
                Charge::Tokens => Charge::Unclassified,
                other => other,
            }),
        };
        (charge, sku)
    }

    /// An amount in cents, as text; fractions of a cent may be long.
    fn cents(&mut self, amount: &Value, place: &str) -> Result<PicoUsd, ImportError> {
        let wrong = |message: String| ImportError::new(0, place, message);
        let text = match amount {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => {
                let message = "is missing; it must be an amount in cents as text, such as \"12.5\"";
                return Err(wrong(message.to_owned()));
            }
        };
        if let Ok(pico) = parse_decimal(&text, CENT_DIGITS) {
            return Ok(PicoUsd(pico));
        }
        let cents = PicoUsd::parse_rounded(&text)
            .map_err(|error| wrong(format!("`{}` is no amount: {error}", cut(&text))))?;
        self.rounded += 1;
        Ok(hundredth(cents))
    }
}

/// A hundredth, rounded half-even.
fn hundredth(amount: PicoUsd) -> PicoUsd {
    let floor = amount.0.div_euclid(100);
    let rest = amount.0.rem_euclid(100);
    let up = rest > 50 || (rest == 50 && floor % 2 != 0);
    PicoUsd(floor + i128::from(up))
}

fn is_unsettled(day: Date, refreshed: Timestamp) -> bool {
    let refreshed = refreshed.to_zoned(jiff::tz::TimeZone::UTC).date();
    day.saturating_add(UNSETTLED_DAYS.days()) > refreshed
}

/// Anthropic: `token_type` of the cost report.
fn kind(token_type: &str) -> Option<PricedKind> {
    Some(match token_type {
        "uncached_input_tokens" | "input_tokens" => PricedKind::Input,
        "output_tokens" => PricedKind::Output,
        "cache_read_input_tokens" => PricedKind::CacheRead,
        "cache_creation.ephemeral_5m_input_tokens" => PricedKind::CacheWrite5m,
        "cache_creation.ephemeral_1h_input_tokens" => PricedKind::CacheWrite1h,
        _ => return None,
    })
}
