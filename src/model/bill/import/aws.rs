//! AWS Data Exports: cost and usage reports (CUR 2.0, also the older CUR) as CSV.

use std::io::Read;

use serde_json::Value;

use super::sums::{Sum, Sums};
use super::table::Table;
use super::{Format, ImportError, Imported, Terms};
use crate::model::bill::classify::{self, Class};
use crate::model::bill::{Amounts, BillLine, BilledSku, Charge};

const PROVIDER: &str = "bedrock";

const NEEDED: &[&str] = &[
    "bill_payer_account_id",
    "line_item_usage_start_date",
    "line_item_line_item_type",
    "line_item_usage_type",
    "line_item_usage_amount",
    "line_item_currency_code",
    "line_item_unblended_cost",
];

/// Columns that may name the service, the most telling first. A product of the marketplace has an
/// opaque code, and only its name tells the model.
const SERVICES: [&str; 4] = [
    "product_product_name",
    "product_servicename",
    "product_servicecode",
    "line_item_product_code",
];

pub(super) fn read(reader: impl Read, terms: &Terms<'_>) -> Result<Imported, ImportError> {
    let mut table = Table::open(reader, NEEDED)?;
    let mut sums = Sums::new(Format::Aws, terms.now);
    while table.next()? {
        let day = table.day("line_item_usage_start_date")?;
        let payer = table.needed("bill_payer_account_id")?.to_owned();
        let item_type = table.needed("line_item_line_item_type")?;
        let charge = classify::record_type(item_type);
        // AWS: the invoice's number is there when the bill is final.
        let is_estimate = charge.is_none()
            && table.has("bill_invoice_id")
            && table.given("bill_invoice_id").is_none();
        sums.note(day, PROVIDER, &payer, is_estimate);
        let Some((service, mut class)) = class(&table, terms) else {
            sums.leave_out();
            continue;
        };
        let record_type = item_type.to_owned();
        let usage_type = match charge {
            None => table.cell("line_item_usage_type").to_owned(),
            Some(_) => record_type,
        };
        if class.sku.model.is_none() {
            class.sku.model = model_of_resource(&table, terms);
        }
        let currency = table.currency("line_item_currency_code")?.to_owned();
        let account = table.given("line_item_usage_account_id").unwrap_or(&payer);
        let of = BillLine {
            provider: class.provider.into(),
            account: account.into(),
            day,
            charge: charge.unwrap_or(class.charge),
            sku: if charge.is_none() {
                class.sku
            } else {
                BilledSku {
                    model: class.sku.model,
                    ..BilledSku::default()
                }
            },
            service: service.into(),
            usage_type: usage_type.into(),
            user: table.given("line_item_iam_principal").map(Into::into),
            quantity: "".into(),
            unit: table.cell("pricing_unit").into(),
            tokens: None,
            currency: currency.into(),
            amounts: Amounts::default(),
        };
        let unblended = table.amount("line_item_unblended_cost")?;
        let row = Sum {
            amounts: Amounts {
                unblended: Some(unblended.unwrap_or_default()),
                net: table.amount("line_item_net_unblended_cost")?,
                blended: table.amount("line_item_blended_cost")?,
            },
            quantity: table.amount("line_item_usage_amount")?,
            tokens: None,
        };
        sums.add(PROVIDER, &payer, of, &row)?;
    }
    Ok(sums.finish(table.rows, table.rounded, |line| tokens(line, terms)))
}

/// What a row is for, and the service that says so.
fn class<R: Read>(table: &Table<R>, terms: &Terms<'_>) -> Option<(String, Class)> {
    let usage_type = table.cell("line_item_usage_type");
    let product: Option<Value> = serde_json::from_str(table.cell("product")).ok();
    let in_product = |key: &str| Some(product.as_ref()?.get(key)?.as_str()?.to_owned());
    let named = in_product("product_name").or_else(|| in_product("servicename"));
    let described = table.cell("line_item_line_item_description");
    let edition = described.split(['|', ';']).map(str::trim);
    let edition = edition.filter(|part| part.contains("(Amazon Bedrock Edition)"));
    let edition = edition.filter_map(|part| {
        let end = part.find("Edition)")? + "Edition)".len();
        part.get(..end).map(str::to_owned)
    });
    let columns = SERVICES.iter().map(|column| table.cell(column).to_owned());
    let mut unclear = None;
    for service in named.into_iter().chain(edition).chain(columns) {
        if service.is_empty() {
            continue;
        }
        let Some(class) = classify::aws(&service, usage_type, terms.names) else {
            continue;
        };
        if class.charge != Charge::Unclassified {
            return Some((service, class));
        }
        unclear.get_or_insert((service, class));
    }
    unclear
}

/// The model that a line's resource names: a foundation model or a system profile.
fn model_of_resource<R: Read>(table: &Table<R>, terms: &Terms<'_>) -> Option<Box<str>> {
    let resource = table.given("line_item_resource_id")?;
    let model = terms.names.resolve(resource, Some(PROVIDER)).model;
    model.starts_with("claude-").then_some(model)
}

fn tokens(line: &BillLine, terms: &Terms<'_>) -> Option<u64> {
    let class = classify::aws(&line.service, &line.usage_type, terms.names)?;
    let cost = line.amounts.unblended.unwrap_or_default();
    class.tokens([&line.quantity, &line.unit], cost, line.day, terms.prices)
}
