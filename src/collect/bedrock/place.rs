//! One account and region: what was found there, and what was read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use tracing::{info, warn};

use super::call::{self, Failure, Meter, Status};
use super::coverage::Totals;
use super::metric::{self, Metric, Wanted};
use super::window::{self, Batch, Series, Times};
use crate::aws::{Aws, Problem, Trouble};
use crate::config::{Account, Bedrock, Config};
use crate::model::catalogue;
use crate::model::names::ModelNames;
use crate::registry::Sample;

/// Seconds for which the list of metrics is good. CloudWatch itself tells a new one only after up
/// to 15 minutes.
const LIST_GOOD_FOR: i64 = 3_600;

/// After so many periods without a new reading values are shown no more.
const STALE_AFTER_PERIODS: i64 = 3;

/// The account of tallyd's own credentials where STS does not tell its number.
const OWN: &str = "own";

/// What is missing when a call is denied.
const STATEMENT: &str = r#"{"Effect":"Allow","Action":["cloudwatch:ListMetrics","cloudwatch:GetMetricData"],"Resource":"*"}"#;

/// An account and region to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `None` is the account of tallyd's own credentials.
    pub(super) account: Option<Account>,
    /// `None` is the region of `[aws]`.
    pub(super) region: Option<String>,
}

/// All accounts and regions that the configuration names.
pub(super) fn places(config: &Config) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |account: Option<&Account>, regions: &[String]| {
        let account = account.cloned();
        if regions.is_empty() {
            places.push(Place {
                account,
                region: None,
            });
        } else {
            places.extend(regions.iter().map(|region| Place {
                account: account.clone(),
                region: Some(region.clone()),
            }));
        }
    };
    let own = &config.bedrock.own_regions;
    if config.aws.accounts.is_empty() || !own.is_empty() {
        add(None, own);
    }
    for account in &config.aws.accounts {
        add(Some(account), &account.regions);
    }
    places
}

/// How places are read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) times: Times,
    pub(super) wanted: Wanted,
    pub(super) timeout: Duration,
    pub(super) meter: Meter,
    pub(super) aws: Aws,
}

/// A place and what is known of it.
#[derive(Debug)]
pub(super) struct Reading {
    place: Place,
    /// The account and region as labels show them.
    labels: [String; 2],
    series: Vec<Series>,
    /// The end of the round in which metrics were listed last.
    listed_at: Option<i64>,
    left_out: usize,
    control_left_out: bool,
    /// The end of the last round that went well.
    good_to: Option<i64>,
    /// Series of this round that got no answer yet.
    unanswered: usize,
    /// Why the last round did not go well.
    pub(super) failure: Option<Failure>,
    /// True if the last round brought anything.
    pub(super) is_reached: bool,
}

impl Reading {
    pub(super) fn new(place: Place) -> Self {
        let account = place.account.as_ref().map(|account| account.id.clone());
        let labels = [account, place.region.clone()];
        Self {
            place,
            labels: labels.map(Option::unwrap_or_default),
            series: Vec::new(),
            listed_at: None,
            left_out: 0,
            control_left_out: false,
            good_to: None,
            unanswered: 0,
            failure: None,
            is_reached: false,
        }
    }

    fn labels(&self) -> [&str; 2] {
        let [account, region] = &self.labels;
        [account, region]
    }

    /// A client for this account and region. Names what the configuration left open.
    async fn client(&mut self, aws: &Aws) -> Result<Client, Failure> {
        let failure =
            |trouble: Trouble| Failure::new("AssumeRole", "credentials", trouble.to_string());
        let own = aws.config().map_err(failure)?;
        let [account, region] = &mut self.labels;
        if self.place.account.is_none() {
            *account = aws.account_id().unwrap_or_else(|| OWN.to_owned());
        }
        if self.place.region.is_none() {
            *region = own.region().map(ToString::to_string).unwrap_or_default();
        }
        let config = aws.config_in(self.place.account.as_ref(), region).await;
        Ok(Client::new(&config.map_err(failure)?))
    }

    /// What is wrong here, and what to do, in one line.
    fn line(&self, failure: &Failure) -> String {
        let [account, region] = self.labels();
        let (operation, reason) = (failure.operation, failure.reason);
        let mend = match (reason, &self.place.account) {
            ("denied", _) => format!("; allow it with {STATEMENT}"),
            ("credentials", Some(account)) => {
                let role = &account.role;
                format!("; check that {role} is there and trusts the role of tallyd")
            }
            _ => String::new(),
        };
        format!("{account} {region}: {operation} {reason}{mend}")
    }

    /// What is set up wrongly.
    pub(super) fn problem(&self) -> Option<Problem> {
        let failure = self.failure.as_ref()?;
        let action = match failure.operation {
            "ListMetrics" => "cloudwatch:ListMetrics",
            _ => "cloudwatch:GetMetricData",
        };
        let account = self.place.account.as_ref();
        Problem::of_call(action, failure.reason, account, self.line(failure))
    }

    /// Reads up to `end`, within the time it has. What failed is due again in the next round.
    pub(super) async fn round(&mut self, end: i64, plan: &Plan) {
        self.is_reached = false;
        let read = tokio::time::timeout(plan.timeout, self.read(end, plan)).await;
        let failure = read.unwrap_or_else(|_| {
            let detail = format!("no answer within {:?}", plan.timeout);
            let failure = Failure::new("GetMetricData", "lost", detail);
            plan.meter.failed(&failure);
            Some(failure)
        });
        for series in &mut self.series {
            series.prune(end, &plan.times);
        }
        if failure.is_none() {
            self.good_to = Some(end);
        }
        if self.unanswered > 0 {
            let unanswered = u128::try_from(self.unanswered).unwrap_or(u128::MAX);
            let [account, region] = self.labels();
            let labels = [account, region, "NoAnswer"];
            let registry = &plan.meter.registry;
            registry.add(catalogue::BEDROCK_RESULTS, &labels, unanswered);
        }
        self.unanswered = 0;
        self.tell(failure.as_ref());
        self.failure = failure;
    }

    /// Says when reading begins to fail, when the reason changes, and when it works again.
    fn tell(&self, failure: Option<&Failure>) {
        let [account, region] = self.labels();
        let reason = |failure: Option<&Failure>| failure.map(|failure| failure.reason);
        if reason(failure) == reason(self.failure.as_ref()) {
            return;
        }
        let Some(failure) = failure else {
            info!(account, region, "the metrics of Bedrock are read again");
            return;
        };
        let Failure {
            operation,
            reason,
            detail,
        } = failure;
        let needs = if *reason == "denied" { STATEMENT } else { "" };
        warn!(
            account,
            region,
            operation,
            reason,
            needs,
            error = detail,
            "cannot read the metrics of Bedrock"
        );
    }

    /// Returns the first failure; after one the rest is read all the same.
    async fn read(&mut self, end: i64, plan: &Plan) -> Option<Failure> {
        // All that is known is due: what gets no answer is counted.
        self.unanswered = self.series.len();
        let client = match self.client(&plan.aws).await {
            Ok(client) => client,
            Err(failure) => return Some(failure),
        };
        let mut failure = self.list(&client, end, plan).await.err();
        let batches = window::batches(&self.series, end, &plan.times);
        self.unanswered = self.series.len();
        self.is_reached |= failure.is_none() && batches.is_empty();
        for batch in batches {
            if let Err(next) = self.read_batch(&client, &batch, plan).await {
                failure.get_or_insert(next);
            }
        }
        failure
    }

    /// Finds out which metrics there are, once an hour.
    async fn list(&mut self, client: &Client, end: i64, plan: &Plan) -> Result<(), Failure> {
        let is_good = |listed_at: i64| (0..LIST_GOOD_FOR).contains(&(end - listed_at));
        if self.listed_at.is_some_and(is_good) {
            return Ok(());
        }
        let found = call::list(client, &plan.meter).await?;
        let discovery = metric::discover(&found, &plan.wanted);
        let mut known = std::mem::take(&mut self.series);
        let mut queries = discovery.queries;
        known.retain(|series| queries.remove(&series.query));
        known.extend(queries.into_iter().map(Series::new));
        self.series = known;
        if discovery.left_out > 0 && self.left_out == 0 {
            let [account, region] = self.labels();
            let left_out = discovery.left_out;
            warn!(
                account,
                region, left_out, "there are more metrics than bedrock.max_metrics"
            );
        }
        self.left_out = discovery.left_out;
        self.control_left_out = discovery.control_left_out;
        self.listed_at = Some(end);
        Ok(())
    }

    async fn read_batch(
        &mut self,
        client: &Client,
        batch: &Batch,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let period = plan.times.period;
        let answers = call::read(client, &plan.meter, period, &self.series, batch).await?;
        self.is_reached = true;
        let mut missing = batch.series.len();
        let mut worst = None;
        let mut corrected = 0;
        for answer in answers {
            let is_whole = answer.status == Status::Complete;
            let series = &mut self.series[answer.series];
            corrected += series.merge(&answer.points, batch.to, is_whole);
            self.unanswered = self.unanswered.saturating_sub(1);
            missing = missing.saturating_sub(1);
            if !is_whole {
                worst = Some(answer.status.name());
            }
            let [account, region] = self.labels();
            let labels = [account, region, answer.status.name()];
            plan.meter
                .registry
                .add(catalogue::BEDROCK_RESULTS, &labels, 1);
        }
        let registry = &plan.meter.registry;
        let family = catalogue::BEDROCK_VALUES_CORRECTED;
        registry.add(family, &self.labels(), corrected.into());
        let incomplete = |detail: String| Failure::new("GetMetricData", "incomplete", detail);
        if missing > 0 {
            return Err(incomplete(format!("{missing} metrics had no result")));
        }
        worst.map_or(Ok(()), |status| {
            Err(incomplete(format!("a metric had the status {status}")))
        })
    }

    /// Up to where all that the control total needs was read, if it is all read at all.
    pub(super) fn whole_to(&self) -> Option<i64> {
        self.listed_at?;
        if self.control_left_out {
            return None;
        }
        let control = self.series.iter();
        let control = control.filter(|series| series.query.metric.measure().is_some());
        let read: Option<Vec<i64>> = control.map(|series| series.read_to).collect();
        read?.into_iter().min().or(self.good_to)
    }

    /// Adds what Bedrock counted in `[from, to)`.
    pub(super) fn add_totals(&self, from: i64, to: i64, names: &ModelNames, totals: &mut Totals) {
        for series in &self.series {
            let Some(measure) = series.query.metric.measure() else {
                continue;
            };
            let model = metric::canonical(names, &series.query.model_id);
            *totals.entry((model.into(), measure)).or_default() += series.sum(from, to);
        }
    }

    /// The end of the newest period in which a model of Anthropic's was used.
    pub(super) fn busy_to(&self, times: &Times) -> Option<i64> {
        let used = self.series.iter().filter(|series| {
            let query = &series.query;
            query.metric == Metric::Invocations && !metric::is_of_other_vendor(&query.model_id)
        });
        let newest = used.filter_map(|series| series.last_busy(series.read_to?));
        newest.max().map(|at| at + times.period)
    }

    /// Whether it could be read, also where nothing was.
    pub(super) fn state(&self) -> [Sample; 2] {
        let sample = |desc, value| Sample {
            desc,
            labels: self.labels.to_vec(),
            value,
        };
        let success = f64::from(u8::from(self.failure.is_none()));
        [
            sample(catalogue::BEDROCK_SUCCESS, success),
            sample(catalogue::BEDROCK_LEFT_OUT, self.left_out as f64),
        ]
    }

    /// The last complete period of every series that is fresh enough.
    pub(super) fn samples(&self, end: i64, times: &Times, names: &ModelNames) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut oldest = None;
        for series in &self.series {
            let Some(read_to) = series.read_to else {
                continue;
            };
            if end - read_to >= STALE_AFTER_PERIODS * times.period {
                continue;
            }
            oldest = Some(read_to.min(oldest.unwrap_or(read_to)));
            samples.extend(self.sample(series, read_to - times.period, names));
        }
        if let Some(read_to) = oldest {
            samples.push(Sample {
                desc: catalogue::BEDROCK_PERIOD_END,
                labels: self.labels.to_vec(),
                value: read_to as f64,
            });
        }
        samples
    }

    fn sample(&self, series: &Series, at: i64, names: &ModelNames) -> Option<Sample> {
        let query = &series.query;
        let (desc, last) = match query.metric {
            Metric::Invocations => (catalogue::BEDROCK_INVOCATIONS, None),
            Metric::Throttles => (catalogue::BEDROCK_THROTTLES, None),
            Metric::ClientErrors => (catalogue::BEDROCK_ERRORS, Some("client")),
            Metric::ServerErrors => (catalogue::BEDROCK_ERRORS, Some("server")),
            Metric::InputTokens
            | Metric::OutputTokens
            | Metric::CacheReadTokens
            | Metric::CacheWriteTokens => {
                let kind = query.metric.measure()?.name();
                (catalogue::BEDROCK_TOKENS, Some(kind))
            }
            Metric::Latency => (catalogue::BEDROCK_LATENCY, Some(&*query.statistic)),
            Metric::TimeToFirstToken => (catalogue::BEDROCK_FIRST_TOKEN, Some(&*query.statistic)),
        };
        let value = if query.metric.is_time() {
            series.value(at)? / 1_000.0
        } else {
            // CloudWatch has no value where nothing happened.
            series.value(at).unwrap_or_default()
        };
        let model = metric::canonical(names, &query.model_id);
        let [account, region] = self.labels();
        let labels = [account, region, &model, &query.model_id];
        let labels = labels.into_iter().chain(last);
        Some(Sample {
            desc,
            labels: labels.map(str::to_owned).collect(),
            value,
        })
    }
}

/// An account and region that is read twice: under tallyd's own credentials and through a role.
/// Only a call tells whose credentials tallyd has, so the configuration cannot.
pub(super) fn twice(readings: &[Reading]) -> Option<&[String; 2]> {
    let mut seen = BTreeSet::new();
    let mut labels = readings.iter().map(|reading| &reading.labels);
    labels.find(|labels| !seen.insert(*labels))
}

/// What is wrong in a few words, for a page that everybody may read.
pub(super) fn summary(readings: &[Reading]) -> String {
    const SHOWN: usize = 5;
    let failing: Vec<_> = readings
        .iter()
        .filter_map(|reading| Some((reading, reading.failure.as_ref()?)))
        .collect();
    if let Some([account, region]) = twice(readings) {
        return format!(
            "{account} {region} is read twice: remove it from aws.accounts or bedrock.own_regions"
        );
    }
    if failing.is_empty() {
        return format!("{} accounts and regions are read", readings.len());
    }
    let mut lines: Vec<String> = failing
        .iter()
        .take(SHOWN)
        .map(|(reading, failure)| reading.line(failure))
        .collect();
    if failing.len() > SHOWN {
        lines.push(format!("and {} more", failing.len() - SHOWN));
    }
    format!(
        "{} of {} accounts and regions are not read\n{}",
        failing.len(),
        readings.len(),
        lines.join("\n")
    )
}

/// What every place shares of the configuration.
pub(super) fn wanted(config: &Bedrock) -> Wanted {
    let statistics = config.latency_statistics.iter();
    Wanted {
        latency_statistics: statistics.map(|name| Arc::from(name.as_str())).collect(),
        all_models: config.all_models,
        max_metrics: config.max_metrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    const ROLE: &str = "arn:aws:iam::111122223333:role/tallyd";

    fn read(text: &str) -> Vec<(String, String)> {
        let config = Config::parse(text, &Environment::default()).unwrap();
        let shown = |place: Place| {
            let account = place.account.map_or(OWN.to_owned(), |account| account.id);
            (account, place.region.unwrap_or_default())
        };
        places(&config).into_iter().map(shown).collect()
    }

    fn pair(account: &str, region: &str) -> (String, String) {
        (account.to_owned(), region.to_owned())
    }

    #[test]
    fn the_own_account_is_read_alone_or_where_it_is_asked_for() {
        let accounts = format!(
            "[[aws.accounts]]\nid = \"111122223333\"\nrole = \"{ROLE}\"\n\
             regions = [\"us-east-1\", \"eu-west-1\"]"
        );
        assert_eq!(read(""), [pair(OWN, "")]);
        let other = [
            pair("111122223333", "us-east-1"),
            pair("111122223333", "eu-west-1"),
        ];
        assert_eq!(read(&accounts), other);
        let both = format!("[bedrock]\nown_regions = [\"us-west-2\"]\n{accounts}");
        assert_eq!(
            read(&both),
            [&[pair(OWN, "us-west-2")][..], &other].concat()
        );
    }

    #[test]
    fn what_fails_is_told_with_its_mend_and_what_is_read_twice_as_well() {
        let account = Account {
            id: "111122223333".to_owned(),
            role: ROLE.to_owned(),
            external_id: None,
            regions: Vec::new(),
        };
        let reading = |region: &str, failure: Option<Failure>| {
            let mut reading = Reading::new(Place {
                account: Some(account.clone()),
                region: Some(region.to_owned()),
            });
            reading.failure = failure;
            reading
        };
        let failure = |reason| Some(Failure::new("ListMetrics", reason, "all the rest"));
        assert_eq!(
            summary(&[reading("a", None)]),
            "1 accounts and regions are read"
        );
        assert_eq!(
            summary(&[
                reading("a", None),
                reading("b", failure("throttled")),
                reading("c", failure("credentials")),
                reading("d", failure("denied")),
            ]),
            format!(
                "3 of 4 accounts and regions are not read\n\
                 111122223333 b: ListMetrics throttled\n\
                 111122223333 c: ListMetrics credentials; check that {ROLE} is there and trusts \
                 the role of tallyd\n\
                 111122223333 d: ListMetrics denied; allow it with {STATEMENT}"
            )
        );
        let action = |reason| Some(reading("d", failure(reason)).problem()?.action);
        assert_eq!(
            ["throttled", "lost", "denied", "credentials"].map(action),
            [
                None,
                None,
                Some("cloudwatch:ListMetrics"),
                Some("sts:AssumeRole")
            ]
        );
        assert_eq!(
            summary(&[reading("a", None), reading("b", None), reading("a", None)]),
            "111122223333 a is read twice: remove it from aws.accounts or bedrock.own_regions"
        );
    }
}
