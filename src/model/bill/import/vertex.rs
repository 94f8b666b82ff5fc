//! Google's billing export, as a query of it writes CSV: one row a usage, nested fields flat.

use std::io::Read;

use super::sums::{Sum, Sums};
use super::table::Table;
use super::{Format, ImportError, Imported, Terms};
use crate::model::bill::classify;
use crate::model::bill::{Amounts, BillLine, BilledSku, Charge};

const PROVIDER: &str = "vertex";

const NEEDED: &[&str] = &[
    "billing_account_id",
    "service_description",
    "sku_description",
    "usage_start_time",
    "cost",
    "currency",
];

pub(super) fn read(reader: impl Read, terms: &Terms<'_>) -> Result<Imported, ImportError> {
    let mut table = Table::open(reader, NEEDED)?;
    let mut sums = Sums::new(Format::Vertex, terms.now);
    while table.next()? {
        let day = table.day("usage_start_time")?;
        let account = table.needed("billing_account_id")?.to_owned();
        sums.note(day, PROVIDER, &account, false);
        let sku = table.cell("sku_description").to_owned();
        let Some(class) = classify::described(PROVIDER, &sku, terms.names) else {
            sums.leave_out();
            continue;
        };
        let charge = match table.cell("cost_type") {
            "" | "regular" => None,
            "tax" => Some(Charge::Tax),
            "adjustment" => Some(Charge::Refund),
            "rounding_error" => Some(Charge::Fee),
            _ => Some(Charge::Unclassified),
        };
        let project = table.given("project_id").unwrap_or(&account).to_owned();
        let region = table
            .given("location_region")
            .or_else(|| table.given("location_location"));
        let (quantity, unit) = match table.given("usage_pricing_unit") {
            Some(unit) => ("usage_amount_in_pricing_units", unit.to_owned()),
            None => ("usage_amount", table.cell("usage_unit").to_owned()),
        };
        let mut of = BillLine {
            provider: PROVIDER.into(),
            account: project.into(),
            day,
            charge: charge.unwrap_or(class.charge),
            sku: BilledSku {
                region: region.map(Into::into),
                ..class.sku
            },
            service: table.cell("service_description").into(),
            usage_type: sku.into(),
            user: None,
            quantity: "".into(),
            unit: unit.into(),
            tokens: None,
            currency: table.currency("currency")?.into(),
            amounts: Amounts::default(),
        };
        let cost = table.amount("cost")?.unwrap_or_default();
        let credits = table.amount("credits_amount")?;
        let row = Sum {
            amounts: Amounts {
                unblended: Some(cost),
                ..Amounts::default()
            },
            quantity: table.amount(quantity)?,
            tokens: None,
        };
        sums.add(PROVIDER, &account, of.clone(), &row)?;
        if let Some(credits) = credits.filter(|credits| credits.0 != 0) {
            of.charge = Charge::Credit;
            of.unit = "".into();
            let row = Sum {
                amounts: Amounts {
                    unblended: Some(credits),
                    ..Amounts::default()
                },
                ..Sum::default()
            };
            sums.add(PROVIDER, &account, of, &row)?;
        }
    }
    Ok(sums.finish(table.rows, table.rounded, |line| {
        if line.charge != Charge::Tokens {
            return None;
        }
        let class = classify::described(PROVIDER, &line.usage_type, terms.names)?;
        let cost = line.amounts.unblended.unwrap_or_default();
        class.tokens([&line.quantity, &line.unit], cost, line.day, terms.prices)
    }))
}
