//! Log groups of CloudWatch Logs, read window by window.

use std::collections::HashMap;

use aws_sdk_cloudwatchlogs::Client;
use jiff::{SignedDuration, Timestamp};

use super::decode::Told;
use super::entry;
use super::place::{Failure, Sink, account_of, region_of};
use crate::aws::{self, Aws, Permission};
use crate::config::{Account, BedrockLogs, LogSource};
use crate::store::LogObject;

/// A window is remembered as read when all its pages were.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Pages of a window at most, each of up to 1 MB (CloudWatch Logs: `FilterLogEvents`). A token
/// that never ends must not be followed for ever.
const MAX_PAGES: usize = 10_000;

/// Events that are remembered at most. Those beyond are read again, and the ledger knows them.
const MAX_SEEN: usize = 200_000;

/// Events that were read, with their times in milliseconds.
pub(super) type Seen = HashMap<LogObject, i64>;

/// A log group, ready to be asked.
pub(super) struct Group<'a> {
    client: Client,
    name: &'a str,
    permission: Permission,
    aws: &'a Aws,
}

/// The windows from one time to another.
pub(super) fn windows(from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut windows = Vec::new();
    let mut start = from;
    while start < to {
        let end = start.saturating_add(WINDOW).map_or(to, |end| end.min(to));
        windows.push((start, end));
        start = end;
    }
    windows
}

impl<'a> Group<'a> {
    pub(super) async fn open(
        source: &LogSource,
        name: &'a str,
        accounts: &[Account],
        aws: &'a Aws,
    ) -> Result<Self, Failure> {
        let failure = |trouble: aws::Trouble| Failure(trouble.to_string());
        let account = account_of(source, accounts);
        let own = aws.config().map_err(failure)?;
        let region = region_of(source, account).map(str::to_owned);
        let region = region.or_else(|| own.region().map(ToString::to_string));
        let region = region.unwrap_or_default();
        let config = aws.config_in(account, &region).await.map_err(failure)?;
        let owner = source.account.clone().or_else(|| aws.account_id());
        let owner = owner.unwrap_or_else(|| "*".to_owned());
        let resource = format!("arn:aws:logs:{region}:{owner}:log-group:{name}:*");
        Ok(Self {
            client: Client::new(&config),
            name,
            permission: Permission::on("logs:FilterLogEvents", resource),
            aws,
        })
    }

    /// Reads one window and hands on its requests, page by page.
    pub(super) async fn read(
        &self,
        (from, to): (Timestamp, Timestamp),
        config: &BedrockLogs,
        seen: &mut Seen,
        sink: &mut dyn Sink,
    ) -> Result<Told, Failure> {
        let mut told = Told::default();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let page = self
                .client
                .filter_log_events()
                .log_group_name(self.name)
                .start_time(from.as_millisecond())
                // Both are inclusive.
                .end_time(to.as_millisecond() - 1)
                .set_next_token(token)
                .send()
                .await;
            let page = page.map_err(|error| self.failed(&aws::Failure::of(&error)))?;
            self.aws.note(&self.permission, Ok(()));
            let mut entries = Vec::with_capacity(page.events().len());
            let mut fresh = Vec::with_capacity(page.events().len());
            for event in page.events() {
                if let Some(id) = event.event_id() {
                    let event_id = LogObject::new(id, "");
                    if seen.contains_key(&event_id) {
                        continue;
                    }
                    fresh.push((event_id, event.timestamp().unwrap_or(i64::MAX)));
                }
                told.lines += 1;
                let message = event.message().unwrap_or_default();
                match entry::read(message.as_bytes(), config) {
                    // A body in S3 is in no place that this source names.
                    Ok(entry) if entry.counts_in.is_some() => told.skip(entry::Skip::NoTokens),
                    Ok(entry) => entries.push(entry),
                    Err(skip) => told.skip(skip),
                }
            }
            if !entries.is_empty() {
                sink.take(entries).await?;
            }
            let room = MAX_SEEN.saturating_sub(seen.len());
            seen.extend(fresh.into_iter().take(room));
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(told);
            }
        }
        let pages = MAX_PAGES;
        Err(Failure(format!(
            "{}: an hour has more than {pages} pages",
            self.name
        )))
    }

    fn failed(&self, failure: &aws::Failure) -> Failure {
        self.aws.note(&self.permission, Err(failure));
        let mend = failure.mend(&self.permission);
        let mend = mend.map_or_else(String::new, |mend| format!("; {mend}"));
        Failure(format!("{}: {failure}{mend}", self.permission.action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_up_to_the_end() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let [a, b, c] = ["10:30", "11:30", "11:45"].map(|hour| at(&format!("2026-11-22T{hour}Z")));
        assert_eq!(windows(a, c), [(a, b), (b, c)]);
        assert_eq!(windows(a, a), []);
        assert_eq!(windows(c, a), []);
    }
}
