//! What was billed, day by day. A day is replaced as a whole; what it replaced stays as history.

mod calls;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
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
        let bills = self.bills(from, to).await?.into_iter();
        Ok(bills
            .filter_map(|(day, counts)| counts.then_some(day))
            .collect())
    }

    /// As [`bill`](Self::bill), with the days that do not count, and whether each does.
    pub async fn bills(&self, from: Date, to: Date) -> Result<Vec<(BillDay, bool)>, QueryError> {
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
            let days: Vec<BillDay> = days.into_iter().map(|(_, day)| day).collect();
            let counts = counted(&days);
            Ok(days.into_iter().zip(counts).collect())
        })
        .await
    }

    /// A number that changes whenever lines of the bill do.
    pub async fn bill_mark(&self) -> Result<u64, QueryError> {
        self.read(|reader| {
            let mark: i64 = reader
                .connection
                .query_row(
                    "SELECT coalesce(sum(revision), 0) FROM bill_day",
                    [],
                    |row| row.get(0),
                )
                .map_err(StoreError::sql("read the state of the bill"))?;
            Ok(mark.unsigned_abs())
        })
        .await
    }

    /// When each account was read last from a source.
    pub async fn bill_pulled(
        &self,
        source: &'static str,
    ) -> Result<Vec<(String, Timestamp)>, QueryError> {
        self.read(move |reader| {
            let pulled = reader
                .connection
                .prepare_cached(
                    "SELECT account, max(pulled_at) AS pulled_at FROM bill_day \
                     WHERE source = ? GROUP BY account",
                )
                .and_then(|mut select| {
                    let rows = select.query_map([source], |row| {
                        Ok((row.get("account")?, time(row, "pulled_at")?))
                    })?;
                    rows.collect()
                });
            Ok(pulled.map_err(StoreError::sql("read when the bill was read"))?)
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
mod tests;
