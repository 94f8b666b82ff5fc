//! A second evaluator, written from the guide's prose in another way, held against the first on
//! random cases.

use super::*;

const CASES: u32 = 100_000;

/// Writes out every period that the guide speaks of and counts on the text.
fn oracle(n: usize, m: usize, missing: MissingData, row: &str, previous: State) -> State {
    let known = row.replace('-', "");
    if known.len() >= n {
        let newest = &known[known.len() - n..];
        return by_count(newest, m);
    }
    let gaps = n - known.len();
    match missing {
        MissingData::Breaching => by_count(&(known + &"X".repeat(gaps)), m),
        MissingData::NotBreaching => by_count(&(known + &"0".repeat(gaps)), m),
        MissingData::Missing if known.is_empty() => State::InsufficientData,
        MissingData::Ignore if known.is_empty() => previous,
        MissingData::Missing | MissingData::Ignore => {
            // What would the state be if all that is missing were good, and if it were bad?
            let best = by_count(&(known.clone() + &"0".repeat(gaps)), m);
            if best == State::Alarm || known.contains('0') {
                return best;
            }
            if missing == MissingData::Ignore {
                return previous;
            }
            let since = row.trim_start_matches('-').len();
            if since >= m {
                return State::Alarm;
            }
            State::InsufficientData
        }
    }
}

fn by_count(points: &str, m: usize) -> State {
    match points.matches('X').count() {
        bad if bad < m => State::Ok,
        _ => State::Alarm,
    }
}

/// Xorshift: small, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

#[test]
fn no_difference_to_the_oracle_in_many_cases() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for case in 0..CASES {
        let n = 1 + random.below(7);
        let m = 1 + random.below(n);
        let length = n + random.below(5);
        // Rows of mostly gaps, of mostly values, and of all between.
        let gaps = random.below(10);
        let row: String = (0..length)
            .map(|_| match random.below(10) {
                mark if mark < gaps => '-',
                mark if mark % 2 == 0 => 'X',
                _ => '0',
            })
            .collect();
        let missing = MissingData::ALL[random.below(4)];
        let previous = State::ALL[random.below(3)];
        let points: Vec<_> = row
            .chars()
            .map(|mark| (mark != '-').then_some(mark == 'X'))
            .collect();
        let rule = Rule {
            periods: n,
            to_alarm: m,
            missing,
        };
        assert_eq!(
            decide(rule, &points, previous),
            oracle(n, m, missing, &row, previous),
            "case {case}: {m} of {n}, {row}, {}, {previous:?}",
            missing.name()
        );
    }
}
