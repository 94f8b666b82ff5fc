//! One call, and what its outcome means for the rows that were in it.

use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::Builder;
use aws_smithy_types::retry::RetryConfig;
use tracing::{debug, warn};

use super::datum::Datum;
use super::{Exporter, Fate};
use crate::aws::{Failure, Kind};
use crate::model::catalogue;
use crate::schedule::jitter;
use crate::store::QueryError;

/// Attempts of one call in one round. The next round goes on.
const ATTEMPTS: u32 = 5;

/// Longest pause before the second attempt.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(400);

/// What became of a batch.
enum Outcome {
    Taken,
    /// CloudWatch will never take it as it is.
    Refused(Failure),
    /// Not now.
    Later,
}

impl Exporter {
    /// Delivers a batch. What is refused is halved until the datum at fault is alone. Returns
    /// whether it makes sense to go on in this round.
    pub(super) async fn deliver(
        &mut self,
        client: &Client,
        batch: Vec<Datum>,
    ) -> Result<bool, QueryError> {
        let mut work = vec![batch];
        while let Some(mut batch) = work.pop() {
            match self.send(client, &batch).await? {
                Outcome::Taken => self.leave(ids(&batch), Fate::Delivered).await?,
                Outcome::Refused(_) if batch.len() > 1 => {
                    let later = batch.split_off(batch.len() / 2);
                    work.push(later);
                    work.push(batch);
                }
                Outcome::Refused(failure) => {
                    for datum in &batch {
                        self.tell_rejected(datum.metric, &failure.to_string());
                    }
                    self.leave(ids(&batch), Fate::Rejected).await?;
                }
                Outcome::Later => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Asks CloudWatch once with a call that has no datums, so that a missing permission or a
    /// network without a way out shows at the start.
    pub(super) async fn check(&mut self) {
        if self.is_checked {
            return;
        }
        let Ok(client) = self.aws.cloudwatch() else {
            return;
        };
        self.is_checked = true;
        if let Err(failure) = self.call(&client, &[]).await {
            self.aws.note(&self.permission, Err(&failure));
        }
    }

    /// Whether CloudWatch answers. After a lost answer this is asked with a call that has no
    /// datums: it is refused at once, and nothing is risked while answers keep getting lost.
    pub(super) async fn is_answered(&mut self, client: &Client) -> bool {
        if !self.is_cautious {
            return true;
        }
        let kind = self
            .call(client, &[])
            .await
            .err()
            .map(|failure| failure.kind);
        let is_silent = matches!(
            kind,
            Some(Kind::Lost | Kind::Unreachable | Kind::Throttled | Kind::Fault)
        );
        self.is_cautious = is_silent;
        !is_silent
    }

    async fn send(&mut self, client: &Client, batch: &[Datum]) -> Result<Outcome, QueryError> {
        let mut pause = self.first_pause;
        for attempt in 1..=ATTEMPTS {
            self.ledger.outbox_sending(ids(batch)).await?;
            let failure = match self.call(client, batch).await {
                Ok(()) => {
                    self.aws.note(&self.permission, Ok(()));
                    return Ok(Outcome::Taken);
                }
                Err(failure) => failure,
            };
            if failure.kind == Kind::Lost {
                return self.lost(batch, &failure).await;
            }
            self.ledger.outbox_waiting(ids(batch)).await?;
            match failure.kind {
                Kind::Invalid if is_about_datums(&failure) => return Ok(Outcome::Refused(failure)),
                Kind::TooLarge => return Ok(Outcome::Refused(failure)),
                Kind::Throttled | Kind::Fault | Kind::Unreachable
                    if attempt < ATTEMPTS && !self.stop.is_stopped() =>
                {
                    debug!(error = %failure, attempt, "CloudWatch did not take a call");
                    tokio::time::sleep(jitter(pause)).await;
                    pause *= 2;
                }
                _ => {
                    self.aws.note(&self.permission, Err(&failure));
                    warn!(error = %failure, "CloudWatch takes nothing now, the next round goes on");
                    return Ok(Outcome::Later);
                }
            }
        }
        Ok(Outcome::Later)
    }

    /// No answer: the batch may have been stored.
    async fn lost(&mut self, batch: &[Datum], failure: &Failure) -> Result<Outcome, QueryError> {
        self.is_cautious = true;
        let rows = ids(batch);
        warn!(
            error = %failure,
            datapoints = rows.len(),
            "an answer of CloudWatch got lost, nobody knows whether it took the datapoints"
        );
        self.give_up(rows).await?;
        Ok(Outcome::Later)
    }

    async fn call(&self, client: &Client, batch: &[Datum]) -> Result<(), Failure> {
        // The SDK would send again after a lost answer, and count everything twice.
        let once = Builder::new().retry_config(RetryConfig::disabled());
        let sent = client
            .put_metric_data()
            .namespace(&self.settings.namespace)
            .set_metric_data(Some(batch.iter().map(Datum::to_sdk).collect()))
            .customize()
            .config_override(once)
            .send()
            .await;
        let outcome = sent.map(drop).map_err(|error| Failure::of(&error));
        let result = match &outcome {
            Ok(()) => "taken",
            Err(failure) => failure.kind.name(),
        };
        self.registry.add(catalogue::CLOUDWATCH_CALLS, &[result], 1);
        outcome
    }
}

/// A refusal of the namespace would be one of every datum; it stays due until it is mended.
fn is_about_datums(failure: &Failure) -> bool {
    failure.message.contains("MetricData") || !failure.message.contains("Namespace")
}

fn ids(batch: &[Datum]) -> Vec<i64> {
    batch
        .iter()
        .flat_map(|datum| datum.ids.iter().copied())
        .collect()
}
