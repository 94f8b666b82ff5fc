//! The bill of one account: when it is due, how it is read, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_sdk_costexplorer::Client;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tracing::{info, warn};

use super::call::{self, FORECAST, Failure, Group, LEVEL, Meter, Query, Records, USAGE};
use super::group::{BLENDED, Day, NET, QUANTITY, UNBLENDED};
use super::lines::{self, Terms};
use super::users::{self, Shares};
use crate::aws::{Aws, Problem, Trouble};
use crate::config::{Account, Bill, Config};
use crate::model::bill::{BillDay, BillForecast, BillLine, Charge};
use crate::model::catalogue;
use crate::model::names::ModelNames;
use crate::store;

/// The source under which days are kept.
pub(super) const SOURCE: &str = "cost_explorer";

const PROVIDER: &str = "bedrock";

/// The account of tallyd's own credentials where STS does not tell its number.
pub(super) const OWN: &str = "own";

/// The wait after a failed reading; it doubles up to the time between two.
const FIRST_RETRY: Duration = Duration::from_mins(10);

const FORECAST_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Services that one forecast is asked for at most: there is one a model.
const MAX_SERVICES: usize = 100;

/// What is missing when a call is denied.
const STATEMENT: &str =
    r#"{"Effect":"Allow","Action":["ce:GetCostAndUsage","ce:GetCostForecast"],"Resource":"*"}"#;

/// The accounts whose bills are read; `None` is that of tallyd's own credentials.
pub(super) fn places(config: &Config) -> Vec<Option<Account>> {
    let all = &config.aws.accounts;
    let wanted = &config.cost.bill.accounts;
    let mut places = Vec::new();
    if wanted.iter().any(|id| id == OWN) || (all.is_empty() && wanted.is_empty()) {
        places.push(None);
    }
    let is_wanted = |account: &&Account| wanted.is_empty() || wanted.contains(&account.id);
    places.extend(all.iter().filter(is_wanted).cloned().map(Some));
    places
}

/// How bills are read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Bill,
    pub(super) meter: Meter,
    pub(super) aws: Aws,
    pub(super) names: Arc<ArcSwap<ModelNames>>,
    pub(super) terms: Arc<ArcSwap<store::Terms>>,
}

/// An account and what is known of its bill.
#[derive(Debug)]
pub(super) struct Reading {
    /// `None` is the account of tallyd's own credentials.
    place: Option<Account>,
    /// As labels and the ledger show it.
    pub(super) account: String,
    /// After a failure: when it is tried again.
    retry_at: Option<Timestamp>,
    failures: u32,
    /// Why the last reading did not go well.
    pub(super) failure: Option<Failure>,
    /// AWS does not tell amounts after discounts here.
    pub(super) net_is_refused: bool,
    forecast_tried: Option<Timestamp>,
}

impl Reading {
    pub(super) fn new(place: Option<Account>) -> Self {
        let account = place.as_ref().map(|account| account.id.clone());
        Self {
            place,
            account: account.unwrap_or_else(|| OWN.to_owned()),
            retry_at: None,
            failures: 0,
            failure: None,
            net_is_refused: false,
            forecast_tried: None,
        }
    }

    #[cfg(test)]
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// What is wrong here, and what to do, in one line.
    pub(super) fn line(&self, failure: &Failure) -> String {
        let mend = match failure.reason {
            "denied" => format!("; allow it with {STATEMENT}"),
            "credentials" => "; check the role and whom it trusts".to_owned(),
            "ceiling" => "; cost.max_calls is reached".to_owned(),
            _ => String::new(),
        };
        let (operation, reason) = (failure.operation, failure.reason);
        format!("{}: {operation} {reason}{mend}", self.account)
    }

    /// What is set up wrongly.
    pub(super) fn problem(&self) -> Option<Problem> {
        let failure = self.failure.as_ref()?;
        let action = match failure.operation {
            FORECAST => "ce:GetCostForecast",
            _ => "ce:GetCostAndUsage",
        };
        let account = self.place.as_ref();
        Problem::of_call(action, failure.reason, account, self.line(failure))
    }

    /// Reads the bill if it is due.
    pub(super) async fn round(&mut self, now: Timestamp, plan: &Plan) {
        let client = self.client(&plan.aws).await;
        if !self.is_due(now, plan).await {
            return;
        }
        let outcome = match client {
            Err(failure) => Err(failure),
            Ok(client) => {
                let limit = plan.settings.timeout;
                let read = tokio::time::timeout(limit, self.read(&client, now, plan)).await;
                read.unwrap_or_else(|_| {
                    let detail = format!("not read within {limit:?}; cost.timeout may be longer");
                    let failure = Failure::new(USAGE, "lost", detail);
                    plan.meter.failed(&failure);
                    Err(failure)
                })
            }
        };
        self.take(outcome, now, plan.settings.every);
    }

    /// A client for this account. Names what the configuration left open. Cost Explorer has one
    /// address for all regions of a partition.
    async fn client(&mut self, aws: &Aws) -> Result<Client, Failure> {
        let failure =
            |trouble: Trouble| Failure::new("AssumeRole", "credentials", trouble.to_string());
        let own = aws.config().map_err(failure)?;
        if self.place.is_none()
            && let Some(account) = aws.account_id()
        {
            self.account = account;
        }
        let is_in_china = own
            .region()
            .is_some_and(|region| region.as_ref().starts_with("cn-"));
        let region = if is_in_china {
            "cn-northwest-1"
        } else {
            "us-east-1"
        };
        let config = aws.config_in(self.place.as_ref(), region).await;
        Ok(Client::new(&config.map_err(failure)?))
    }

    /// Whether it is time, by what the ledger knows: a restart reads nothing again.
    pub(super) async fn is_due(&self, now: Timestamp, plan: &Plan) -> bool {
        if let Some(retry_at) = self.retry_at {
            return now >= retry_at;
        }
        let Ok(pulled) = plan.meter.ledger.bill_pulled(SOURCE).await else {
            return false;
        };
        let last = pulled.iter().find(|(account, _)| *account == self.account);
        let every = SignedDuration::try_from(plan.settings.every).unwrap_or(FORECAST_EVERY);
        // A clock that was set back is no reason to wait.
        last.is_none_or(|(_, at)| now.duration_since(*at) >= every || now < *at)
    }

    /// Keeps what became of a reading, and says it when it is new.
    pub(super) fn take(&mut self, outcome: Result<(), Failure>, now: Timestamp, every: Duration) {
        let account = &self.account;
        let failure = match outcome {
            Ok(()) => {
                if self.failure.take().is_some() {
                    info!(account, "the bill is read again");
                }
                self.failures = 0;
                self.retry_at = None;
                return;
            }
            Err(failure) => failure,
        };
        let wait = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(16))
            .min(every);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = SignedDuration::try_from(wait)
            .ok()
            .and_then(|wait| now.checked_add(wait).ok());
        if self.failure.as_ref().map(|known| known.reason) != Some(failure.reason) {
            let Failure {
                operation, reason, ..
            } = failure;
            let needs = if reason == "denied" { STATEMENT } else { "" };
            let error = &failure.detail;
            warn!(
                account,
                operation, reason, needs, error, "cannot read the bill"
            );
        }
        self.failure = Some(failure);
    }

    /// Reads the whole period and puts its days in place of what was known.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        now: Timestamp,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let wrong = |error: jiff::Error| Failure::new(USAGE, "refused", error.to_string());
        let months = i64::try_from(plan.settings.months_before).unwrap_or(1);
        let from = today
            .first_of_month()
            .checked_sub(months.months())
            .map_err(wrong)?;
        let to = today.checked_add(1.day()).map_err(wrong)?;
        let usage = self.usage(client, [from, to], now, plan).await?;
        let query = |records, group_by| Query {
            from,
            to,
            records,
            group_by,
            metrics: metrics(self.net_is_refused),
        };
        let by_record = [Group::Dimension("RECORD_TYPE"), Group::Dimension("SERVICE")];
        let others = query(Records::AllButUsage, by_record);
        let others = call::ask(client, &plan.meter, &others, now).await?;
        let tag = &plan.settings.user_tag;
        let users = if tag.is_empty() {
            Vec::new()
        } else {
            let by_user = [Group::Tag(tag.clone()), Group::Dimension("SERVICE")];
            call::ask(client, &plan.meter, &query(Records::Usage, by_user), now).await?
        };
        let days = self.days(usage, others, users, now, plan);
        let services = services(&days);
        self.keep(days, plan).await?;
        self.forecast(client, services, now, plan).await;
        Ok(())
    }

    /// Usage by service and usage type. Where AWS refuses amounts after discounts, it is asked
    /// without them from then on.
    async fn usage(
        &mut self,
        client: &Client,
        [from, to]: [Date; 2],
        now: Timestamp,
        plan: &Plan,
    ) -> Result<Vec<Day>, Failure> {
        let mut query = Query {
            from,
            to,
            records: Records::Usage,
            group_by: [Group::Dimension("SERVICE"), Group::Dimension("USAGE_TYPE")],
            metrics: metrics(self.net_is_refused),
        };
        let failure = match call::ask(client, &plan.meter, &query, now).await {
            Ok(days) => return Ok(days),
            Err(failure) => failure,
        };
        let is_about_net = failure.detail.contains(NET) || failure.code == "ValidationException";
        if self.net_is_refused || !is_about_net {
            return Err(failure);
        }
        query.metrics = metrics(true);
        let days = call::ask(client, &plan.meter, &query, now).await?;
        self.net_is_refused = true;
        let (account, error) = (&self.account, &failure.detail);
        warn!(
            account,
            error, "the bill has no amounts after discounts: basis net is as unblended"
        );
        Ok(days)
    }

    fn days(
        &self,
        usage: Vec<Day>,
        others: Vec<Day>,
        users: Vec<Day>,
        now: Timestamp,
        plan: &Plan,
    ) -> Vec<BillDay> {
        let names = plan.names.load();
        let prices = plan.terms.load();
        let terms = Terms {
            account: &self.account,
            names: &names,
            prices: &prices.prices,
        };
        let mut others: BTreeMap<Date, Day> = by_day(others);
        let mut users: BTreeMap<Date, Day> = by_day(users);
        let mut days = Vec::with_capacity(usage.len());
        let mut rounded = 0;
        for Day {
            day,
            mut estimated,
            groups,
            rounded: of_day,
        } in usage
        {
            rounded += of_day;
            let groups = groups.into_iter();
            let mut lines: Vec<BillLine> = groups
                .filter_map(|group| lines::usage(group, day, &terms))
                .collect();
            if let Some(of_users) = users.remove(&day) {
                rounded += of_users.rounded;
                lines = users::split(lines, &shares(of_users, &plan.settings.user_tag));
            }
            if let Some(other) = others.remove(&day) {
                rounded += other.rounded;
                estimated |= other.estimated;
                let is_wide = plan.settings.account_wide;
                let other = other.groups.into_iter();
                lines.extend(other.filter_map(|group| lines::other(group, day, &terms, is_wide)));
            }
            days.push(BillDay {
                source: SOURCE.into(),
                provider: PROVIDER.into(),
                account: self.account.as_str().into(),
                day,
                estimated,
                revision: 0,
                pulled_at: now,
                lines,
            });
        }
        let registry = &plan.meter.registry;
        registry.add(catalogue::BILL_ROUNDED, &[SOURCE], rounded.into());
        days
    }

    /// Puts days in place, and tells of those that had been final.
    async fn keep(&self, days: Vec<BillDay>, plan: &Plan) -> Result<(), Failure> {
        let dates: Vec<Date> = days.iter().map(|day| day.day).collect();
        let replaced = plan.meter.ledger.replace_bill_days(days).await;
        let replaced = replaced.map_err(|error| Failure::new(USAGE, "store", error.to_string()))?;
        for (day, replaced) in dates.iter().zip(replaced) {
            let Some(replaced) = replaced.filter(|replaced| replaced.revision > 1) else {
                continue;
            };
            let standing = if replaced.after_final {
                "final"
            } else {
                "provisional"
            };
            let labels = [SOURCE, standing];
            plan.meter
                .registry
                .add(catalogue::BILL_REVISIONS, &labels, 1);
            if replaced.after_final {
                let (account, revision) = (&self.account, replaced.revision);
                warn!(account, %day, revision, "a billed day changed after it was final");
            }
        }
        Ok(())
    }

    /// Asks once a day what the month will cost. Without an answer there is none: it is a second
    /// opinion.
    async fn forecast(
        &mut self,
        client: &Client,
        services: Vec<String>,
        now: Timestamp,
        plan: &Plan,
    ) {
        let is_fresh = |at: Timestamp| now.duration_since(at).abs() < FORECAST_EVERY;
        if !plan.settings.forecast || services.is_empty() {
            return;
        }
        if self.forecast_tried.is_some_and(is_fresh) {
            return;
        }
        self.forecast_tried = Some(now);
        let ledger = &plan.meter.ledger;
        let known = ledger.bill_forecasts().await.unwrap_or_default();
        if known
            .iter()
            .any(|known| *known.account == *self.account && is_fresh(known.made_at))
        {
            return;
        }
        let from = now.to_zoned(TimeZone::UTC).date();
        let Ok(to) = from.first_of_month().checked_add(1.month()) else {
            return;
        };
        let account = &self.account;
        let forecast = match call::forecast(client, &plan.meter, services, [from, to], now).await {
            Ok(forecast) => forecast,
            Err(Failure { reason, detail, .. }) => {
                info!(
                    account,
                    reason,
                    error = detail,
                    "Cost Explorer gives no forecast"
                );
                return;
            }
        };
        let kept = ledger.keep_bill_forecast(BillForecast {
            account: account.as_str().into(),
            from,
            to,
            currency: forecast.currency.into(),
            low: forecast.low,
            mid: forecast.mid,
            high: forecast.high,
            level: LEVEL,
            made_at: now,
        });
        if let Err(error) = kept.await {
            warn!(account, %error, "cannot keep the forecast");
        }
    }
}

fn metrics(without_net: bool) -> Vec<&'static str> {
    let mut metrics = vec![UNBLENDED, BLENDED, QUANTITY];
    if !without_net {
        metrics.push(NET);
    }
    metrics
}

fn by_day(days: Vec<Day>) -> BTreeMap<Date, Day> {
    days.into_iter().map(|day| (day.day, day)).collect()
}

/// What users cost, by service and currency. AWS writes `key$value`; an empty value is nobody.
fn shares(day: Day, tag: &str) -> BTreeMap<(String, String), Shares> {
    let mut shares: BTreeMap<(String, String), Shares> = BTreeMap::new();
    for group in day.groups {
        let [user, service] = group.keys;
        let user = user
            .strip_prefix(tag)
            .and_then(|user| user.strip_prefix('$'));
        let (Some(user), Some(cost)) = (user, group.amounts.unblended) else {
            continue;
        };
        if user.is_empty() || cost.0 == 0 {
            continue;
        }
        let service = shares.entry((service, group.currency)).or_default();
        let sum = service.entry(user.to_owned()).or_default();
        *sum = sum.checked_add(cost).unwrap_or(*sum);
    }
    shares
}

/// Services whose usage was billed.
fn services(days: &[BillDay]) -> Vec<String> {
    let lines = days.iter().flat_map(|day| &day.lines);
    let usage = lines.filter(|line| {
        matches!(
            line.charge,
            Charge::Tokens | Charge::OtherUsage | Charge::Unclassified
        )
    });
    let services: BTreeSet<&str> = usage.map(|line| &*line.service).collect();
    services
        .into_iter()
        .take(MAX_SERVICES)
        .map(str::to_owned)
        .collect()
}
