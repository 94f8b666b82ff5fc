//! From the bytes of an object to requests, line by line. Pure.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;

use flate2::bufread::MultiGzDecoder;

use super::entry::{self, Entry, Skip};
use crate::config::BedrockLogs;

/// Requests handed on at once.
const CHUNK: usize = 1_000;

/// Longest line. Bodies above 100 KB are objects of their own (Amazon Bedrock: model invocation
/// logging), so that a longer line is no record.
const MAX_LINE: u64 = 8 << 20;

/// Most bytes of an object after unpacking: no log is so large, and a bomb would go on for ever.
const MAX_UNPACKED: u64 = 8 << 30;

/// What begins a file packed with gzip.
pub(super) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What an object held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub lines: u64,
    pub skipped: BTreeMap<Skip, u64>,
    /// The number of the first line that cannot be read, from 1.
    pub first_bad: Option<u64>,
    /// Why it ends before its end.
    pub damage: Option<String>,
}

impl Told {
    pub(super) fn skip(&mut self, skip: Skip) {
        *self.skipped.entry(skip).or_default() += 1;
        if skip == Skip::BadLine {
            self.first_bad.get_or_insert(self.lines);
        }
    }

    /// What is wrong with the object, in words that repeat none of it.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let bad = self.skipped.get(&Skip::BadLine);
        let lines = bad.zip(self.first_bad).map(|(bad, first)| {
            format!(
                "{bad} of {} lines cannot be read, first line {first}",
                self.lines
            )
        });
        let faults: Vec<_> = self.damage.clone().into_iter().chain(lines).collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

/// Unpacks an object and hands on its requests until `take` breaks off. What cannot be read is
/// told, and what comes after it is read.
pub fn decode(
    bytes: &[u8],
    config: &BedrockLogs,
    mut take: impl FnMut(Vec<Entry>) -> ControlFlow<()>,
) -> Told {
    let mut told = Told::default();
    let mut chunk = Vec::new();
    let mut flow = |chunk: &mut Vec<Entry>| take(std::mem::take(chunk));
    let mut each = |line: &[u8], told: &mut Told| {
        match entry::read(line, config) {
            Ok(entry) => chunk.push(entry),
            Err(skip) => told.skip(skip),
        }
        if chunk.len() >= CHUNK {
            return flow(&mut chunk);
        }
        ControlFlow::Continue(())
    };
    let ended = if bytes.starts_with(&GZIP) {
        let unpacked = MultiGzDecoder::new(bytes).take(MAX_UNPACKED);
        lines(&mut BufReader::new(unpacked), &mut told, &mut each)
    } else {
        lines(&mut &*bytes, &mut told, &mut each)
    };
    if let Err(error) = ended {
        told.damage = Some(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("it breaks off after {} lines", told.lines),
            _ => format!("it cannot be unpacked after {} lines ({error})", told.lines),
        });
    }
    if !chunk.is_empty() {
        // The last one: nothing is left to break off.
        let _ = take(chunk);
    }
    told
}

/// Reads lines up to the end, or until `each` breaks off. Blank ones do not count.
fn lines(
    reader: &mut impl BufRead,
    told: &mut Told,
    each: &mut impl FnMut(&[u8], &mut Told) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let is_too_long = line.len() as u64 >= MAX_LINE && !line.ends_with(b"\n");
        if is_too_long {
            reader.skip_until(b'\n')?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        told.lines += 1;
        if is_too_long {
            told.skip(Skip::BadLine);
        } else if each(line.trim_ascii(), told).is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::entry::tests::{config, record};
    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    fn ids(bytes: &[u8]) -> (Vec<String>, Told) {
        let mut ids = Vec::new();
        let told = decode(bytes, &config(), |entries| {
            ids.extend(entries.into_iter().map(|entry| entry.id));
            ControlFlow::Continue(())
        });
        (ids, told)
    }

    fn log(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|n| record(&format!("r{n}")) + "\n").collect()
    }

    #[test]
    fn packed_and_plain_objects_hold_a_record_a_line() {
        let text = log(0..3);
        let expected: Vec<_> = (0..3).map(|n| format!("r{n}")).collect();
        let told = Told {
            lines: 3,
            ..Told::default()
        };
        assert_eq!(ids(text.as_bytes()), (expected.clone(), told.clone()));
        assert_eq!(ids(&gzip(&text)), (expected.clone(), told.clone()));
        // Parts that were packed one by one, blank lines, and no end of line at the end.
        let parts = [
            gzip(&log(0..2)),
            gzip("\r\n\n"),
            gzip(record("r2").trim_end()),
        ];
        assert_eq!(ids(&parts.concat()), (expected, told));
    }

    #[test]
    fn an_object_that_breaks_off_gives_what_it_has() {
        let packed = gzip(&log(0..2_000));
        let (found, told) = ids(&packed[..packed.len() / 2]);
        assert!(found.len() > 500 && found.len() < 1_500, "{}", found.len());
        let lines = told.lines;
        assert_eq!(
            told.damage,
            Some(format!("it breaks off after {lines} lines"))
        );
        assert_eq!(lines, found.len() as u64);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_costs_only_itself() {
        let secret = "{\"schemaType\":\"ModelInvocationLog\",\"input\":\"a secret";
        let text = format!("{}{secret}\n{}[1]\n", log(0..1), log(1..2));
        let (found, told) = ids(text.as_bytes());
        assert_eq!(found, ["r0", "r1"]);
        let fault = told.fault().unwrap();
        assert_eq!(fault, "2 of 4 lines cannot be read, first line 2");
        let long = vec![b'x'; 9 << 20];
        let text = [&long[..], b"\n", log(0..1).as_bytes()].concat();
        let (found, told) = ids(&text);
        assert_eq!(found, ["r0"]);
        assert_eq!((told.lines, told.first_bad), (2, Some(1)));
    }

    #[test]
    fn reading_ends_where_nobody_takes() {
        let mut chunks = 0;
        let told = decode(log(0..5_000).as_bytes(), &config(), |_| {
            chunks += 1;
            ControlFlow::Break(())
        });
        assert_eq!((chunks, told.lines), (1, 1_000));
    }
}
