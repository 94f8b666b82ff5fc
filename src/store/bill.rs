//! What was billed, day by day. A day is replaced as a whole; what it replaced stays as history.

use jiff::SignedDuration;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::alarm::time;
use super::{Ledger, QueryError, StoreError};
use crate::model::bill::{
    Amounts, BillDay, BillLine, BilledSku, Charge, PricedKind, counted, settles_at,
};
use crate::model::money::PicoUsd;
use crate::model::usage::Tier;

/// Revisions of a day that are kept, the current one included: a day changes a few times while it
/// is young, and hardly ever after that.
const MAX_REVISIONS: u32 = 20;

/// Lines of one answer: a year of one line an hour, model, kind and a hundred people.
const MAX_LINES: usize = 5_000_000;

/// What a new revision of a day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub revision: u32,
    /// The lines that it replaced had been final.
    pub after_final: bool,
}

impl Ledger {
    /// Puts a day in place of what was known of it. Returns `None` if its lines are the same, else
    /// its new revision; the one in `day` is not looked at.
    pub async fn replace_bill_day(&self, day: BillDay) -> Result<Option<u32>, QueryError> {
        let replaced = self.replace_bill_days(vec![day]).await?;
        let replaced = replaced.into_iter().next().flatten();
        Ok(replaced.map(|replaced| replaced.revision))
    }

    /// Puts days in place of what was known of them, all or none, and tells of each what
    /// [`replace_bill_day`](Self::replace_bill_day) tells.
    pub async fn replace_bill_days(
        &self,
        days: Vec<BillDay>,
    ) -> Result<Vec<Option<Replaced>>, QueryError> {
        self.change(move |transaction| {
            days.into_iter()
                .map(|day| replace(transaction, day))
                .collect::<rusqlite::Result<_>>()
                .map_err(StoreError::sql("write the bill"))
        })
        .await
    }

    /// The current revisions of the UTC days in `[from, to)`, by day, source and account. Where two
    /// sources tell of one day of one account, only the one that counts is there
    /// ([`counted`]), so that all lines may be added.
    ///
    /// Errors: [`QueryError::TooLarge`] if there are too many lines.
    pub async fn bill(&self, from: Date, to: Date) -> Result<Vec<BillDay>, QueryError> {
        self.read(move |reader| {
            let connection = &reader.connection;
            let sql = StoreError::sql("read the bill");
            let mut days = days(connection, from, to).map_err(sql)?;
            let mut lines = 0;
            for (id, day) in &mut days {
                day.lines = read_lines(connection, *id, day)
                    .map_err(StoreError::sql("read lines of the bill"))?;
                lines += day.lines.len();
                if lines > MAX_LINES {
                    return Err(QueryError::TooLarge(format!(
                        "the bill has more than {MAX_LINES} lines from {from} to {to}: ask for \
                         fewer days"
                    )));
                }
            }
            let mut days: Vec<BillDay> = days.into_iter().map(|(_, day)| day).collect();
            let mut counts = counted(&days).into_iter();
            days.retain(|_| counts.next().unwrap_or(true));
            Ok(days)
        })
        .await
    }
}

fn replace(transaction: &Transaction<'_>, mut new: BillDay) -> rusqlite::Result<Option<Replaced>> {
    new.lines.sort_by(|a, b| order(a).cmp(&order(b)));
    let known = known(transaction, &new)?;
    let estimated = new.estimated;
    let pulled_at = new.pulled_at.as_millisecond();
    let (id, last) = match known {
        Some((id, known)) => {
            transaction
                .prepare_cached("UPDATE bill_day SET estimated = ?2, pulled_at = ?3 WHERE id = ?1")?
                .execute(params![id, estimated, pulled_at])?;
            if read_lines(transaction, id, &known)? == new.lines {
                return Ok(None);
            }
            (id, Some(known))
        }
        None => (insert_day(transaction, &new)?, None),
    };
    let revision = last.as_ref().map_or(1, |last| last.revision + 1);
    let after_final =
        last.is_some_and(|last| !last.estimated && last.pulled_at >= settles_at(last.day));
    transaction
        .prepare_cached("UPDATE bill_day SET revision = ?2 WHERE id = ?1")?
        .execute(params![id, revision])?;
    transaction
        .prepare_cached(
            "INSERT INTO bill_revision (bill, revision, pulled_at, estimated, after_final) \
             VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![id, revision, pulled_at, estimated, after_final])?;
    insert_lines(transaction, id, revision, &new.lines)?;
    if let Some(gone) = revision.checked_sub(MAX_REVISIONS) {
        for delete in [
            "DELETE FROM bill_line WHERE bill = ? AND revision <= ?",
            "DELETE FROM bill_revision WHERE bill = ? AND revision <= ?",
        ] {
            transaction
                .prepare_cached(delete)?
                .execute(params![id, gone])?;
        }
    }
    Ok(Some(Replaced {
        revision,
        after_final,
    }))
}

/// Lines have no order of their own, so that equal days are equal in whatever order they came.
fn order(line: &BillLine) -> impl Ord + '_ {
    let who = (&line.provider, &line.account, &line.user);
    let what = (line.charge, &line.service, &line.usage_type);
    let which = (&line.sku, &line.currency, &line.unit);
    let amounts = &line.amounts;
    let much = (
        amounts.unblended,
        amounts.net,
        amounts.blended,
        &line.quantity,
        line.tokens,
    );
    (who, what, which, much)
}

/// The day as it is known, without its lines.
fn known(connection: &Connection, like: &BillDay) -> rusqlite::Result<Option<(i64, BillDay)>> {
    connection
        .prepare_cached(
            "SELECT id, source, provider, account, day, estimated, revision, pulled_at \
             FROM bill_day WHERE source = ? AND provider = ? AND account = ? AND day = ?",
        )?
        .query_row(
            params![like.source, like.provider, like.account, number(like.day)],
            bill_day,
        )
        .optional()
}

fn insert_day(connection: &Connection, day: &BillDay) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO bill_day \
             (source, provider, account, day, estimated, revision, pulled_at) \
             VALUES (?, ?, ?, ?, ?, 0, ?)",
        )?
        .insert(params![
            day.source,
            day.provider,
            day.account,
            number(day.day),
            day.estimated,
            day.pulled_at.as_millisecond(),
        ])
}

fn insert_lines(
    connection: &Connection,
    id: i64,
    revision: u32,
    lines: &[BillLine],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO bill_line \
         (bill, revision, position, provider, account, charge, model, kind, scope, region, \
          tier, long_context, service, usage_type, user, quantity, unit, tokens, currency, \
          unblended, net, blended) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let text = |amount: Option<PicoUsd>| amount.map(|amount| amount.0.to_string());
    for (position, line) in lines.iter().enumerate() {
        insert.execute(params![
            id,
            revision,
            position,
            line.provider,
            line.account,
            line.charge.name(),
            line.sku.model,
            line.sku.kind.map(PricedKind::name),
            line.sku.scope,
            line.sku.region,
            line.sku.tier.name(),
            line.sku.long_context,
            line.service,
            line.usage_type,
            line.user,
            line.quantity,
            line.unit,
            line.tokens
                .map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX)),
            line.currency,
            text(line.amounts.unblended),
            text(line.amounts.net),
            text(line.amounts.blended),
        ])?;
    }
    Ok(())
}

/// Days without their lines, each with its number.
fn days(connection: &Connection, from: Date, to: Date) -> rusqlite::Result<Vec<(i64, BillDay)>> {
    connection
        .prepare_cached(
            "SELECT id, source, provider, account, day, estimated, revision, pulled_at \
             FROM bill_day WHERE day >= ? AND day < ? ORDER BY day, source, provider, account",
        )?
        .query_map([number(from), number(to)], bill_day)?
        .collect()
}

fn bill_day(row: &Row<'_>) -> rusqlite::Result<(i64, BillDay)> {
    let day = BillDay {
        source: row.get("source")?,
        provider: row.get("provider")?,
        account: row.get("account")?,
        day: date(row.get("day")?),
        estimated: row.get("estimated")?,
        revision: row.get("revision")?,
        pulled_at: time(row, "pulled_at")?,
        lines: Vec::new(),
    };
    Ok((row.get("id")?, day))
}

/// The lines of a day's revision, in [`order`].
fn read_lines(connection: &Connection, id: i64, day: &BillDay) -> rusqlite::Result<Vec<BillLine>> {
    connection
        .prepare_cached(
            "SELECT provider, account, charge, model, kind, scope, region, tier, long_context, \
             service, usage_type, user, quantity, unit, tokens, currency, unblended, net, blended \
             FROM bill_line WHERE bill = ? AND revision = ? ORDER BY position",
        )?
        .query_map(params![id, day.revision], |row| line(row, day))?
        .collect()
}

fn line(row: &Row<'_>, day: &BillDay) -> rusqlite::Result<BillLine> {
    let amount = |column| {
        let text: Option<String> = row.get(column)?;
        let parsed = text.and_then(|text| text.parse().ok());
        Ok::<_, rusqlite::Error>(parsed.map(PicoUsd))
    };
    let kind: Option<String> = row.get("kind")?;
    let tokens: Option<i64> = row.get("tokens")?;
    Ok(BillLine {
        provider: row.get("provider")?,
        account: row.get("account")?,
        day: day.day,
        charge: Charge::parse(&row.get::<_, String>("charge")?).unwrap_or(Charge::Unclassified),
        sku: BilledSku {
            model: row.get("model")?,
            kind: kind.as_deref().and_then(PricedKind::parse),
            scope: row.get("scope")?,
            region: row.get("region")?,
            tier: Tier::parse(&row.get::<_, String>("tier")?).unwrap_or_default(),
            long_context: row.get("long_context")?,
        },
        service: row.get("service")?,
        usage_type: row.get("usage_type")?,
        user: row.get("user")?,
        quantity: row.get("quantity")?,
        unit: row.get("unit")?,
        tokens: tokens.and_then(|tokens| u64::try_from(tokens).ok()),
        currency: row.get("currency")?,
        amounts: Amounts {
            unblended: amount("unblended")?,
            net: amount("net")?,
            blended: amount("blended")?,
        },
    })
}

/// Days since 1970-01-01.
fn number(day: Date) -> i64 {
    day.duration_since(EPOCH).as_hours() / 24
}

fn date(number: i64) -> Date {
    let since = SignedDuration::from_secs(number.saturating_mul(86_400));
    EPOCH.checked_add(since).unwrap_or(EPOCH)
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::clock::Clock;
    use crate::store::{Settings, Terms, WriterThread};

    fn open(folder: &std::path::Path) -> (Ledger, WriterThread) {
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
        let opened = Ledger::open(&settings, terms, clock).unwrap();
        opened.start(Box::new(|_, _| ())).unwrap()
    }

    fn a_line(usage_type: &str, unblended: i128) -> BillLine {
        BillLine {
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day: "2026-10-31".parse().unwrap(),
            charge: Charge::Tokens,
            sku: BilledSku {
                model: Some("claude-sonnet-4-6".into()),
                kind: Some(PricedKind::CacheWrite1h),
                scope: Some("global".into()),
                region: Some("us-east-1".into()),
                tier: Tier::Batch,
                long_context: true,
            },
            service: "Claude Sonnet 4.6 (Amazon Bedrock Edition)".into(),
            usage_type: usage_type.into(),
            user: Some("arn:aws:sts::111122223333:assumed-role/dev/kim".into()),
            quantity: "1.5".into(),
            unit: "Units".into(),
            tokens: Some(1_500_000),
            currency: "USD".into(),
            amounts: Amounts {
                unblended: Some(PicoUsd(unblended)),
                net: None,
                blended: Some(PicoUsd(i128::MIN)),
            },
        }
    }

    fn a_day(pulled_at: &str, lines: Vec<BillLine>) -> BillDay {
        BillDay {
            source: "cost_explorer".into(),
            provider: "bedrock".into(),
            account: "111122223333".into(),
            day: "2026-10-31".parse().unwrap(),
            estimated: false,
            revision: 0,
            pulled_at: pulled_at.parse().unwrap(),
            lines,
        }
    }

    async fn read(ledger: &Ledger) -> Vec<BillDay> {
        let from = "2026-10-01".parse().unwrap();
        let to = "2026-11-01".parse().unwrap();
        ledger.bill(from, to).await.unwrap()
    }

    #[tokio::test]
    async fn a_day_is_read_back_as_it_was_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, thread) = open(folder.path());
        let [a, b, c] = [a_line("a", -1), a_line("b", i128::MAX), a_line("c", 3)];
        let first = a_day("2026-11-02T06:00:00Z", vec![b.clone(), a.clone()]);
        assert_eq!(ledger.replace_bill_day(first).await.unwrap(), Some(1));
        let sorted = |pulled_at, revision, lines| BillDay {
            revision,
            ..a_day(pulled_at, lines)
        };
        let known = sorted("2026-11-02T06:00:00Z", 1, vec![a.clone(), b.clone()]);
        assert_eq!(read(&ledger).await, [known]);

        // The same lines in another order are the same day, read once more.
        let again = a_day("2026-11-09T06:00:00Z", vec![a.clone(), b.clone()]);
        assert_eq!(ledger.replace_bill_day(again).await.unwrap(), None);
        let known = sorted("2026-11-09T06:00:00Z", 1, vec![a.clone(), b]);
        assert_eq!(read(&ledger).await, [known]);

        // What the new reading does not have is gone.
        let later = a_day("2026-11-10T06:00:00Z", vec![c.clone(), a.clone()]);
        let replaced = ledger.replace_bill_days(vec![later]).await.unwrap();
        let revised = |revision, after_final| {
            [Some(Replaced {
                revision,
                after_final,
            })]
        };
        assert_eq!(replaced, revised(2, false));
        let known = sorted("2026-11-10T06:00:00Z", 2, vec![a, c]);
        assert_eq!(read(&ledger).await, [known]);

        // That reading was final; a change of it is told. An empty day is a day, too.
        let empty = a_day("2026-11-11T06:00:00Z", Vec::new());
        let replaced = ledger.replace_bill_days(vec![empty]).await.unwrap();
        assert_eq!(replaced, revised(3, true));
        let known = sorted("2026-11-11T06:00:00Z", 3, Vec::new());
        assert_eq!(read(&ledger).await, [known]);
        ledger.close();
        thread.join();
    }

    #[tokio::test]
    async fn only_the_newest_revisions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, thread) = open(folder.path());
        for amount in 0..30 {
            let day = a_day("2026-11-02T06:00:00Z", vec![a_line("a", amount)]);
            ledger.replace_bill_day(day).await.unwrap();
        }
        let kept: (i64, i64, i64) = ledger
            .read(|reader| {
                let row = reader.connection.query_row(
                    "SELECT count(*), min(revision), (SELECT count(*) FROM bill_revision) \
                     FROM bill_line",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                );
                Ok(row.map_err(StoreError::sql("count"))?)
            })
            .await
            .unwrap();
        assert_eq!(kept, (20, 11, 20));
        assert_eq!(read(&ledger).await[0].revision, 30);
        ledger.close();
        thread.join();
    }

    #[test]
    fn days_are_numbered_both_ways() {
        for day in ["1970-01-01", "2026-11-22", "2028-02-29", "1969-12-31"] {
            let day: Date = day.parse().unwrap();
            assert_eq!(date(number(day)), day);
        }
    }
}
