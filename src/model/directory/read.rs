//! Reads a directory file; reports all faults together.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Fault, Kind, Row};
use crate::model::{label, window};

const COLUMNS: [&str; 9] = [
    "identity",
    "person",
    "kind",
    "team",
    "project",
    "cost_center",
    "role",
    "from",
    "to",
];

/// Rows read at most, with a hundred megabytes of memory in mind. A longer file is refused.
const MAX_ROWS: usize = 500_000;

/// Faults told at most; nobody mends more in one go.
const MAX_FAULTS: usize = 100;

/// Bytes of `2026-11-22`.
const DATE_BYTES: usize = 10;

pub(super) type Rows = HashMap<Box<str>, Vec<Row>>;

pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<Rows, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut faults = Vec::new();
    let mut header = None;
    let mut rows = Rows::new();
    for (index, record) in reader.records().enumerate() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                faults.push(fault(0, "", error.to_string()));
                break;
            }
        };
        let line = line_of(text, &record);
        let Some(header) = &header else {
            header = Some(Header::read(&record, line, &mut faults));
            continue;
        };
        if index > MAX_ROWS {
            faults.push(fault(line, "", format!("more than {MAX_ROWS} rows")));
            break;
        }
        let mut line = Line {
            header,
            record: &record,
            number: line,
            faults: &mut faults,
        };
        if let Some((identity, row)) = line.row(zone) {
            rows.entry(identity).or_default().push(row);
        }
    }
    if header.is_none() {
        faults.push(fault(
            1,
            "identity",
            "the file has no header line".to_owned(),
        ));
    }
    order(&mut rows, &mut faults);
    if faults.is_empty() {
        return Ok(rows);
    }
    faults.sort_by(|a, b| (a.line, &a.column).cmp(&(b.line, &b.column)));
    faults.truncate(MAX_FAULTS);
    Err(faults)
}

fn fault(line: u64, column: &str, message: String) -> Fault {
    Fault {
        line,
        column: column.to_owned(),
        message,
    }
}

/// The line of a record. The reader counts from the blank lines before it.
fn line_of(text: &str, record: &StringRecord) -> u64 {
    let Some(position) = record.position() else {
        return 0;
    };
    let start = usize::try_from(position.byte()).unwrap_or(text.len());
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let blank = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
    position.line() + blank.map(|b| u64::from(*b == b'\n')).sum::<u64>()
}

/// Sorts the rows of each identity by time. An identity may stand for one thing at a time only.
fn order(rows: &mut Rows, faults: &mut Vec<Fault>) {
    for (identity, rows) in rows {
        rows.sort_by_key(|row| (row.from, row.line));
        let mut longest: Option<&Row> = None;
        for row in &*rows {
            if let Some(before) = longest.filter(|before| row.from < before.to) {
                let (later, earlier) = (row.line.max(before.line), row.line.min(before.line));
                let message = format!("`{identity}` overlaps in time with line {earlier}");
                faults.push(fault(later, "identity", message));
            }
            if longest.is_none_or(|before| row.to > before.to) {
                longest = Some(row);
            }
        }
    }
}

/// Where each column of [`COLUMNS`] stands.
struct Header {
    positions: [Option<usize>; COLUMNS.len()],
    width: usize,
}

impl Header {
    fn read(record: &StringRecord, line: u64, faults: &mut Vec<Fault>) -> Self {
        let mut positions = [None; COLUMNS.len()];
        for (position, name) in record.iter().enumerate() {
            let column = COLUMNS.iter().position(|column| *column == name);
            match column.map(|column| &mut positions[column]) {
                None => {
                    let message = format!("unknown column; known are {}", COLUMNS.join(", "));
                    faults.push(fault(line, name, message));
                }
                Some(Some(_)) => {
                    faults.push(fault(line, name, "the column occurs twice".to_owned()));
                }
                Some(place) => *place = Some(position),
            }
        }
        if positions[0].is_none() {
            faults.push(fault(line, "identity", "the column is missing".to_owned()));
        }
        Self {
            positions,
            width: record.len(),
        }
    }
}

/// One line and where its faults go.
struct Line<'a> {
    header: &'a Header,
    record: &'a StringRecord,
    number: u64,
    faults: &'a mut Vec<Fault>,
}

impl Line<'_> {
    fn fault(&mut self, column: &str, message: String) {
        self.faults.push(fault(self.number, column, message));
    }

    fn field(&self, column: &str) -> &str {
        let index = COLUMNS.iter().position(|known| *known == column);
        index
            .and_then(|index| self.header.positions[index])
            .and_then(|position| self.record.get(position))
            .unwrap_or_default()
    }

    /// Reads the line; `None` if it has no identity to put it under.
    fn row(&mut self, zone: &TimeZone) -> Option<(Box<str>, Row)> {
        let (width, found) = (self.header.width, self.record.len());
        if found != width {
            self.fault("", format!("{found} fields, the header has {width}"));
            return None;
        }
        self.header.positions[0]?;
        let Some(identity) = label::fold(self.field("identity")).map(Box::<str>::from) else {
            self.fault("identity", "must not be empty".to_owned());
            return None;
        };
        let kind = self.kind();
        let from = self.time("from", zone, Timestamp::MIN);
        let to = self.time("to", zone, Timestamp::MAX);
        let (from, to) = (from?, to?);
        if from >= to {
            self.fault("to", "must be later than `from`".to_owned());
            return None;
        }
        let text = |column| label::clean(self.field(column)).map(Box::<str>::from);
        let row = Row {
            line: self.number,
            from,
            to,
            person: label::fold(self.field("person")).map(Box::<str>::from),
            kind,
            team: text("team"),
            project: text("project"),
            cost_center: text("cost_center"),
            role: text("role"),
        };
        Some((identity, row))
    }

    fn kind(&mut self) -> Option<Kind> {
        let text = self.field("kind").to_owned();
        let kind = Kind::parse(&text);
        if kind.is_none() && !text.is_empty() {
            let known = Kind::STATED.map(Kind::name).join(", ");
            self.fault("kind", format!("`{text}` is none of {known}"));
        }
        kind
    }

    /// A date, a time with offset, or nothing; `None` after a fault.
    fn time(&mut self, column: &str, zone: &TimeZone, open: Timestamp) -> Option<Timestamp> {
        let text = self.field(column);
        if text.is_empty() {
            return Some(open);
        }
        let read = if text.len() == DATE_BYTES {
            text.parse::<Date>()
                .ok()
                .map(|day| window::day_start(day, zone))
        } else {
            text.parse::<Timestamp>().ok()
        };
        if read.is_none() {
            let message = format!("`{text}` is neither a date nor an RFC 3339 time");
            self.fault(column, message);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<(u64, String, String)> {
        let faults = parse(text, &TimeZone::UTC).err().unwrap_or_default();
        faults
            .into_iter()
            .map(|fault| (fault.line, fault.column, fault.message))
            .collect()
    }

    fn told(line: u64, column: &str, message: &str) -> (u64, String, String) {
        (line, column.to_owned(), message.to_owned())
    }

    #[test]
    fn all_faults_are_told_together_with_their_lines() {
        let text = "identity,kind,from,to\n\
            \n\
            alice,robot,2026-13-01,tomorrow\n\
            ,person,,\n\
            bob,person,2026-02-01,2026-02-01\n\
            carol,person\n\
            \"dave\nsmith\",person,,\n\
            erin,person,2026-01-01,2026-03-01\n\
            ERIN,person,2026-02-28,\n\
            frank,person,2026-01-01T00:00,\n";
        assert_eq!(
            faults(text),
            [
                told(
                    3,
                    "from",
                    "`2026-13-01` is neither a date nor an RFC 3339 time"
                ),
                told(3, "kind", "`robot` is none of person, service, device"),
                told(3, "to", "`tomorrow` is neither a date nor an RFC 3339 time"),
                told(4, "identity", "must not be empty"),
                told(5, "to", "must be later than `from`"),
                told(6, "", "2 fields, the header has 4"),
                told(10, "identity", "`erin` overlaps in time with line 9"),
                told(
                    11,
                    "from",
                    "`2026-01-01T00:00` is neither a date nor an RFC 3339 time"
                ),
            ]
        );
    }

    #[test]
    fn the_header_is_needed_and_its_names_are_known() {
        let known = "unknown column; known are \
            identity, person, kind, team, project, cost_center, role, from, to";
        assert_eq!(
            [faults(""), faults("person,squad,person\nalice,x,y\n")],
            [
                vec![told(1, "identity", "the file has no header line")],
                vec![
                    told(1, "identity", "the column is missing"),
                    told(1, "person", "the column occurs twice"),
                    told(1, "squad", known),
                ],
            ]
        );
    }

    #[test]
    fn a_spreadsheet_export_is_read() {
        let text = "\u{feff}team , identity,from\r\n\"Pay, ments\", Alice ,2026-01-01\r\n\r\n";
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone of the bundled database");
        let rows = parse(text, &berlin).expect("no faults");
        let read: Vec<_> = rows["alice"]
            .iter()
            .map(|row| (row.line, row.from.to_string(), row.to, row.team.as_deref()))
            .collect();
        assert_eq!(
            (rows.len(), read),
            (
                1,
                vec![(
                    2,
                    "2025-12-31T23:00:00Z".to_owned(),
                    Timestamp::MAX,
                    Some("Pay, ments")
                )]
            )
        );
    }

    #[test]
    fn a_row_within_a_long_one_is_an_overlap() {
        let text = "identity,from,to\na,2026-01-01,2026-12-31\na,2026-02-01,2026-03-01\n\
            a,2026-04-01,2026-05-01\na,2026-12-31,\n";
        assert_eq!(
            faults(text),
            [
                told(3, "identity", "`a` overlaps in time with line 2"),
                told(4, "identity", "`a` overlaps in time with line 2"),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_reader(text in "(identity,from,to\n)?[a-c\",\n\r;0-9 -]{0,80}|\\PC{0,40}") {
            if let Err(faults) = parse(&text, &TimeZone::UTC) {
                prop_assert!(!faults.is_empty() && faults.len() <= MAX_FAULTS);
            }
        }
    }
}
