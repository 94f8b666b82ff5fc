//! Money in another currency: converted where it is shown, the ledger stays in USD.

use jiff::{Timestamp, ToSpan as _};

use super::table::{Cell, Column, Kind, Rows};
use super::{Report, ReportError, Reports, Request};
use crate::model::rates::{Rate, Rates, USD};

/// The end of names of columns that hold dollars.
const SUFFIX: &str = "_usd";

/// The column that tells the currency.
const CURRENCY: Column = Column::of(
    "currency",
    Kind::Text,
    "ISO 4217 code of the amounts; the manifest has the rate.",
);

/// The rate that a request asks for; `None` for USD.
///
/// It is that of the last day of the period, or of today if the period is not over.
pub(super) fn rate(
    reports: &Reports,
    request: &Request,
    now: Timestamp,
) -> Result<Option<Rate>, ReportError> {
    if *request.currency == *USD {
        return Ok(None);
    }
    let config = reports.config.load();
    let Some(file) = &config.cost.plans.currency_rates else {
        return Err(ReportError::NotConfigured(format!(
            "currency: {} needs cost.currency_rates, a file of exchange rates",
            request.currency
        )));
    };
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| ReportError::NotConfigured(format!("cost.currency_rates: {shown}: {e}")))?;
    let rates = Rates::parse(&text).map_err(|faults| {
        let first = faults.first().map_or("", String::as_str);
        ReportError::NotConfigured(format!("cost.currency_rates: {shown}: {first}"))
    })?;
    let day = request
        .to
        .checked_sub(1.nanosecond())
        .unwrap_or(request.to)
        .min(now)
        .to_zoned(request.zone.clone())
        .date();
    match rates.on(&request.currency, day) {
        Ok(rate) => Ok(Some(rate.clone())),
        Err(error) => Err(ReportError::Parameter(format!("currency: {error}"))),
    }
}

/// Converts a report: amounts lose `_usd` in their names, and a column tells the currency.
pub(super) fn convert(report: &mut Report, rate: &Rate) {
    let currency = report.manifest.request.currency.clone();
    for table in &mut report.tables {
        let has_money = |column: &Column| matches!(column.kind, Kind::Money | Kind::UnitPrice);
        if !table.columns.iter().any(has_money) {
            continue;
        }
        for column in &mut table.columns {
            column.name = column.name.strip_suffix(SUFFIX).unwrap_or(column.name);
        }
        table.columns.insert(0, CURRENCY);
        let rows = std::mem::replace(&mut table.rows, Box::new(Vec::new()));
        table.rows = Box::new(Converted {
            rows,
            rate: rate.clone(),
            currency: Cell::Text(currency.clone()),
        });
    }
    let origin = format!("{} {}", rate.date, rate.source);
    report.manifest.rate = Some((rate.text.to_string(), origin.trim_end().to_owned()));
}

/// Rows with their money converted.
#[derive(Debug)]
struct Converted {
    rows: Box<dyn Rows>,
    rate: Rate,
    currency: Cell,
}

impl Rows for Converted {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn settled(&self) -> usize {
        self.rows.settled()
    }

    fn row(&self, index: usize, cells: &mut Vec<Cell>) {
        self.rows.row(index, cells);
        for cell in &mut *cells {
            // An amount beyond the range of money is not known in this currency.
            match cell {
                Cell::Money(usd) => {
                    *cell = self.rate.convert(*usd).map_or(Cell::Empty, Cell::Money);
                }
                Cell::UnitPrice(usd) => {
                    *cell = self.rate.convert(*usd).map_or(Cell::Empty, Cell::UnitPrice);
                }
                _ => {}
            }
        }
        cells.insert(0, self.currency.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;
    use crate::model::money::PicoUsd;

    #[test]
    fn amounts_are_converted_and_say_so() {
        let column = |name, kind| Column {
            name,
            kind,
            sums: kind == Kind::Money,
            help: "",
        };
        let mut table = Table {
            name: "x",
            columns: vec![column("team", Kind::Text), column("cost_usd", Kind::Money)],
            rows: Box::new(vec![vec![
                Cell::Text("a".into()),
                Cell::Money(PicoUsd(2_000_000_000_000)),
            ]]),
        };
        let rates = Rates::parse("date,currency,rate,source\n2026-11-30,EUR,0.86,ECB\n").unwrap();
        let rate = rates.on("EUR", "2026-11-30".parse().unwrap()).unwrap();
        let rows = std::mem::replace(&mut table.rows, Box::new(Vec::new()));
        let converted = Converted {
            rows,
            rate: rate.clone(),
            currency: Cell::Text("EUR".into()),
        };
        let mut cells = Vec::new();
        converted.row(0, &mut cells);
        assert_eq!(
            cells,
            [
                Cell::Text("EUR".into()),
                Cell::Text("a".into()),
                Cell::Money(PicoUsd(1_720_000_000_000)),
            ]
        );
    }
}
