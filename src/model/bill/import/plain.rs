//! tallyd's own CSV, for bills of which there is no export that tallyd knows.

use std::io::Read;

use super::sums::{Sum, Sums};
use super::table::{Table, cut};
use super::{Format, ImportError, Imported, Terms};
use crate::model::bill::{Amounts, BillLine, BilledSku, Charge, PricedKind};
use crate::model::usage::Tier;

const NEEDED: &[&str] = &["day", "provider", "currency", "unblended"];

const KNOWN: &[&str] = &[
    "day",
    "provider",
    "account",
    "line_account",
    "charge",
    "model",
    "kind",
    "scope",
    "region",
    "tier",
    "long_context",
    "service",
    "usage_type",
    "user",
    "quantity",
    "unit",
    "tokens",
    "currency",
    "unblended",
    "net",
    "blended",
    "estimated",
];

pub(super) fn read(reader: impl Read, terms: &Terms<'_>) -> Result<Imported, ImportError> {
    let mut table = Table::open(reader, NEEDED)?;
    if let Some(other) = table.unknown(KNOWN) {
        let message = format!("is no column of this format; it knows {}", KNOWN.join(", "));
        return Err(ImportError::new(1, &other, message));
    }
    let mut sums = Sums::new(Format::Csv, terms.now);
    while table.next()? {
        let day = table.day("day")?;
        let provider = table.needed("provider")?.to_lowercase();
        let account = table.cell("account").to_owned();
        let estimated = flag(&table, "estimated")?;
        sums.note(day, &provider, &account, estimated);
        let model = table.given("model");
        let model = model.map(|model| terms.names.resolve(model, Some(&provider)).model);
        let charges = Charge::ALL.map(Charge::name).join(", ");
        let kinds = PricedKind::ALL.map(PricedKind::name).join(", ");
        let tiers = Tier::ALL.map(Tier::name).join(", ");
        let kind = choice(&table, "kind", &kinds, PricedKind::parse)?;
        let told = choice(&table, "charge", &charges, Charge::parse)?;
        let charge = match (&model, kind) {
            (Some(_), Some(_)) => Charge::Tokens,
            _ => Charge::Unclassified,
        };
        let of = BillLine {
            provider: provider.as_str().into(),
            account: table.given("line_account").unwrap_or(&account).into(),
            day,
            charge: told.unwrap_or(charge),
            sku: BilledSku {
                model,
                kind,
                scope: table.given("scope").map(Into::into),
                region: table.given("region").map(Into::into),
                tier: choice(&table, "tier", &tiers, Tier::parse)?.unwrap_or_default(),
                long_context: flag(&table, "long_context")?,
            },
            service: table.cell("service").into(),
            usage_type: table.cell("usage_type").into(),
            user: table.given("user").map(Into::into),
            quantity: "".into(),
            unit: table.cell("unit").into(),
            tokens: None,
            currency: table.currency("currency")?.into(),
            amounts: Amounts::default(),
        };
        table.needed("unblended")?;
        let row = Sum {
            amounts: Amounts {
                unblended: table.amount("unblended")?,
                net: table.amount("net")?,
                blended: table.amount("blended")?,
            },
            quantity: table.amount("quantity")?,
            tokens: table.count("tokens")?,
        };
        sums.add(&provider, &account, of, &row)?;
    }
    Ok(sums.finish(table.rows, table.rounded, |_| None))
}

fn flag<R: Read>(table: &Table<R>, column: &str) -> Result<bool, ImportError> {
    match &*table.cell(column).to_ascii_lowercase() {
        "" | "false" | "0" => Ok(false),
        "true" | "1" => Ok(true),
        other => Err(table.error(column, format!("`{}` is not true or false", cut(other)))),
    }
}

fn choice<R: Read, T>(
    table: &Table<R>,
    column: &str,
    names: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ImportError> {
    let Some(cell) = table.given(column) else {
        return Ok(None);
    };
    let message = || format!("`{}` is not one of {names}", cut(cell));
    parse(cell)
        .map(Some)
        .ok_or_else(|| table.error(column, message()))
}
