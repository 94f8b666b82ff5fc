//! Groups of an answer become lines of the bill.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::group::Group;
use crate::model::bill::classify::{self, Class};
use crate::model::bill::{BillLine, BilledSku, Charge};
use crate::model::names::ModelNames;
use crate::model::price::{PriceTable, WriteLifetime};
use crate::model::usage::{Band, Sku};

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
    let tokens = (class.charge == Charge::Tokens)
        .then(|| tokens(&class, &group, day, terms.prices))
        .flatten();
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

/// The quantity in tokens, if the unit is understood and the price does not contradict it.
fn tokens(class: &Class, group: &Group, day: Date, prices: &PriceTable) -> Option<u64> {
    let told = classify::per_unit(&group.unit).or(class.per_unit);
    let list = list_price(class, day, prices);
    let cost = group.amounts.unblended.or(group.amounts.blended)?;
    let per_unit = classify::believed_per_unit(told, &group.quantity, cost, list)?;
    classify::tokens(&group.quantity, per_unit)
}

/// Scopes that are tried where a line tells none. Their prices differ by a tenth at most, and only
/// the order of magnitude is asked for.
const SCOPES: [&str; 4] = ["us", "global", "in_region", "base"];

/// About what a token costs by the price table, in pico-USD.
fn list_price(class: &Class, day: Date, prices: &PriceTable) -> Option<u64> {
    let BilledSku { model, kind, .. } = &class.sku;
    let (model, kind) = (model.as_deref()?, (*kind)?);
    let at = day.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let told = class.sku.scope.as_deref();
    let scopes = told.into_iter().chain(SCOPES);
    let priced = |scope: &str| {
        let sku = Sku {
            provider: class.provider.into(),
            model: model.into(),
            raw_model: model.into(),
            scope: scope.into(),
            region: None,
            tier: class.sku.tier,
            band: if class.sku.long_context {
                Band::Above200k
            } else {
                Band::UpTo100k
            },
        };
        prices.unit(&sku, at)?.of(kind, WriteLifetime::FiveMinutes)
    };
    scopes.into_iter().find_map(priced)
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
