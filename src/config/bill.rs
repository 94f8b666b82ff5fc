//! `[cost]`: how the bill is read from AWS Cost Explorer.

use std::time::Duration;

use toml::Value;

use super::reader::{Converted, SectionReader, must_be};
use super::setting::Setting;
use super::value::{count, duration, flag, text, texts};
use crate::model::money::PicoUsd;

/// How the bill is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    pub collect: bool,
    /// Time between two readings.
    pub every: Duration,
    /// Accounts whose bill is read: ids of `[[aws.accounts]]`, or `own`. Empty: all of them.
    pub accounts: Vec<String>,
    /// Months before the current one that are read again each time.
    pub months_before: usize,
    /// Calls in a UTC month at most; each page is one.
    pub max_calls: usize,
    /// Of one call.
    pub call_price: PicoUsd,
    /// The cost-allocation tag that names the user; empty: none is asked for.
    pub user_tag: String,
    /// Credits, refunds, tax and fees of the whole account, not only those of Claude's services.
    pub account_wide: bool,
    /// Ask for the provider's own forecast once a day.
    pub forecast: bool,
    /// Time that one account may take.
    pub timeout: Duration,
}

/// AWS renews billing data up to three times a day; more often than hourly only costs money.
const SHORTEST_PERIOD: Duration = Duration::from_hours(1);
const LONGEST_PERIOD: Duration = Duration::from_hours(48);
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Cost Explorer keeps thirteen months besides the current one.
const MAX_MONTHS_BEFORE: usize = 12;

pub(super) const COLLECT: Setting = Setting::new(
    "collect",
    "false",
    "Read what AWS billed from Cost Explorer. Each call costs money (see docs/cost.md).",
);
pub(super) const EVERY: Setting = Setting::new(
    "every",
    r#""8h""#,
    "Time between two readings of the bill, 1h to 48h. AWS renews it up to three times a day.",
);
pub(super) const ACCOUNTS: Setting = Setting::new(
    "accounts",
    "[]",
    "Accounts whose bill is read: ids of [[aws.accounts]], and own for that of tallyd's \
     credentials. Empty: all of [[aws.accounts]], or own where none is named. A payer's bill holds \
     those of its members: name the payer alone.",
);
pub(super) const MONTHS_BEFORE: Setting = Setting::new(
    "months_before",
    "1",
    "Months before the current one that are read again each time, 1 to 12: invoices and credits \
     change them.",
);
pub(super) const MAX_CALLS: Setting = Setting::new(
    "max_calls",
    "500",
    "Calls to Cost Explorer in a UTC month at most, each page one; no bill is read beyond it.",
);
pub(super) const CALL_PRICE: Setting = Setting::new(
    "call_price",
    r#""0.01""#,
    "Price in USD of one call to Cost Explorer.",
);
pub(super) const USER_TAG: Setting = Setting::new(
    "user_tag",
    r#""""#,
    "Cost-allocation tag that names the user, such as iamPrincipal/email: one more call in each \
     reading gives actual cost by user. Empty: not asked for.",
);
pub(super) const ACCOUNT_WIDE: Setting = Setting::new(
    "account_wide",
    "false",
    "Keep credits, refunds, tax and fees of the whole account, not only those that AWS shows for \
     Claude's services.",
);
pub(super) const FORECAST: Setting = Setting::new(
    "forecast",
    "true",
    "Ask Cost Explorer once a day what it expects the month to cost, to show it beside tallyd's \
     own forecast.",
);
pub(super) const TIMEOUT: Setting = Setting::new(
    "timeout",
    r#""5m""#,
    "Time that the bill of one account may take to be read.",
);

pub(super) fn read(section: &mut SectionReader<'_, '_>) -> Bill {
    let bill = Bill {
        collect: section.get("collect", flag),
        every: section.get("every", |value| duration(value, SHORTEST_PERIOD)),
        accounts: section.get("accounts", texts),
        months_before: section.get("months_before", |value| count(value, 1, MAX_MONTHS_BEFORE)),
        max_calls: section.get("max_calls", |value| count(value, 0, 1_000_000)),
        call_price: section.get("call_price", price),
        user_tag: section.get("user_tag", tag),
        account_wide: section.get("account_wide", flag),
        forecast: section.get("forecast", flag),
        timeout: section.get("timeout", |value| duration(value, SHORTEST_TIMEOUT)),
    };
    if bill.every > LONGEST_PERIOD {
        let show = humantime::format_duration;
        let (longest, every) = (show(LONGEST_PERIOD), show(bill.every));
        section.fault("every", &format!("must be at most {longest}, got {every}"));
    }
    bill
}

fn price(value: &Value) -> Converted<PicoUsd> {
    match PicoUsd::parse(&text(value)?) {
        Ok(price) if price.0 >= 0 => Ok(price),
        _ => must_be("an amount in USD in quotes, such as \"0.01\"", value),
    }
}

/// AWS: keys of tags have 1 to 128 characters, and here `$` divides key and value.
fn tag(value: &Value) -> Converted<String> {
    let tag = text(value)?;
    if tag.chars().count() <= 128 && !tag.contains('$') {
        return Ok(tag);
    }
    must_be("the key of a tag, such as iamPrincipal/email", value)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::*;

    #[test]
    fn the_bill_is_not_read_until_asked_for() {
        let config = Config::parse("", &Environment::default()).unwrap();
        let expected = Bill {
            collect: false,
            every: Duration::from_hours(8),
            accounts: Vec::new(),
            months_before: 1,
            max_calls: 500,
            call_price: PicoUsd(10_000_000_000),
            user_tag: String::new(),
            account_wide: false,
            forecast: true,
            timeout: Duration::from_mins(5),
        };
        assert_eq!(config.cost.bill, expected);
        assert!(!config.uses_aws());
        let config = Config::parse("[cost]\ncollect = true", &Environment::default()).unwrap();
        assert!(config.uses_aws());
    }

    #[test]
    fn faults_name_the_setting_and_the_mend() {
        let text = r#"
            [cost]
            collect = true
            every = "5m"
            accounts = ["111122223333", "own"]
            months_before = 13
            call_price = "-1"
            user_tag = "a$b"
        "#;
        let faults = Config::parse(text, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "cost.every: must be at least 1h, got 5m",
                "cost.months_before: must be a number from 1 to 12, got 13",
                "cost.call_price: must be an amount in USD in quotes, such as \"0.01\", got -1",
                "cost.user_tag: must be the key of a tag, such as iamPrincipal/email, got a$b",
                "cost.accounts[0]: 111122223333 is not in aws.accounts; name it there, or write \
                 own for the account of tallyd's credentials",
            ]
        );
        let other = "[cost]\naccounts = [\"111122223333\"]\nevery = \"3d\"";
        let faults = Config::parse(other, &Environment::default()).unwrap_err().0;
        assert_eq!(
            faults,
            [
                "cost.every: must be at most 2days, got 3days",
                "cost.accounts[0]: 111122223333 is not in aws.accounts; name it there, or write \
                 own for the account of tallyd's credentials",
            ]
        );
    }
}
