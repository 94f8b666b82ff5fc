//! Groups of an answer become lines of the bill.

use jiff::civil::Date;

use super::group::Group;
use crate::model::bill::classify;
use crate::model::bill::{BillLine, BilledSku, Charge};
use crate::model::names::ModelNames;
use crate::model::price::PriceTable;

/// What lines are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) account: &'a str,
    pub(super) names: &'a ModelNames,
    pub(super) prices: &'a PriceTable,
}

/// The line of a group by service and usage type. `None` if it is not for Claude.
pub(super) fn usage(group: Group, day: Date, terms: &Terms<'_>) -> Option<BillLine> {
    let [service, usage_type] = &group.keys;
    let class = classify::aws(service, usage_type, terms.names)?;
    let amounts = &group.amounts;
    let cost = amounts.unblended.or(amounts.blended).unwrap_or_default();
    let billed = [&*group.quantity, &group.unit];
    let tokens = class.tokens(billed, cost, day, terms.prices);
    let [service, usage_type] = group.keys;
    Some(BillLine {
        provider: class.provider.into(),
        account: terms.account.into(),
        day,
        charge: class.charge,
        sku: class.sku,
        service: service.into(),
        usage_type: usage_type.into(),
        user: None,
        quantity: group.quantity.into(),
        unit: group.unit.into(),
        tokens,
        currency: group.currency.into(),
        amounts: group.amounts,
    })
}

/// The line of a group by record type and service. `None` if the service is not Claude's, unless
/// all are wanted.
pub(super) fn other(
    group: Group,
    day: Date,
    terms: &Terms<'_>,
    is_account_wide: bool,
) -> Option<BillLine> {
    let [record_type, service] = &group.keys;
    let class = classify::aws(service, "", terms.names);
    if class.is_none() && !is_account_wide {
        return None;
    }
    let charge = classify::record_type(record_type).unwrap_or(Charge::Unclassified);
    let [record_type, service] = group.keys;
    Some(BillLine {
        provider: class
            .as_ref()
            .map_or("bedrock", |class| class.provider)
            .into(),
        account: terms.account.into(),
        day,
        charge,
        sku: BilledSku {
            model: class.and_then(|class| class.sku.model),
            ..BilledSku::default()
        },
        service: service.into(),
        usage_type: record_type.into(),
        user: None,
        quantity: group.quantity.into(),
        unit: group.unit.into(),
        tokens: None,
        currency: group.currency.into(),
        amounts: group.amounts,
    })
}
