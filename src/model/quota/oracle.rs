//! Random lives of a book against plain bookkeeping: lists of reservations and charges, summed
//! anew for each question.

use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::offset;
use proptest::prelude::*;

use super::*;

/// A day for each user, a month for the team of both, in Tokyo.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let text = "timezone = \"Asia/Tokyo\"\n\
         [[limits]]\nname = \"user-day\"\nper = [\"user\"]\nunit = \"tokens\"\n\
         limit = 1\nwindow = \"day\"\n\
         [[limits]]\nname = \"team-month\"\nper = [\"team\"]\nunit = \"tokens\"\n\
         limit = 1\nwindow = \"month\"\n";
    Policy::parse(text).unwrap()
});

fn policy(day: i64, month: i64) -> Arc<Policy> {
    let mut policy = POLICY.clone();
    policy.limits[0].bound = Bound::At(day.into());
    policy.limits[1].bound = Bound::At(month.into());
    Arc::new(policy)
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(u8, i64),
    Settle(u8, i64),
    Release(u8),
    Extend(u8, i64),
    /// A round of the one who owns the book.
    Expire,
    WaitSeconds(i64),
    WaitHours(i64),
    /// New bounds: a new book, filled from what was charged and is live.
    Change(i64, i64),
    /// The same after a crash.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0_u8..10;
    let step = prop_oneof![
        // Few amounts, so that some repetitions say the same.
        6 => (id.clone(), 1_i64..6).prop_map(|(id, n)| Step::Reserve(id, n * 100)),
        4 => (id.clone(), 0_i64..8).prop_map(|(id, n)| Step::Settle(id, n * 100)),
        1 => id.clone().prop_map(Step::Release),
        1 => (id, 0_i64..900).prop_map(|(id, n)| Step::Extend(id, n)),
        2 => Just(Step::Expire),
        2 => (0_i64..400).prop_map(Step::WaitSeconds),
        1 => (1_i64..9).prop_map(Step::WaitHours),
        1 => (1_i64..15, 1_i64..30).prop_map(|(d, m)| Step::Change(d * 100, m * 100)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the oracle knows of one reservation.
#[derive(Clone, Debug)]
struct Known {
    amount: i64,
    at: Timestamp,
    until: Timestamp,
    phase: Phase,
    settled: i64,
    forget: Timestamp,
}

struct Oracle {
    now: Timestamp,
    bounds: (i64, i64),
    known: HashMap<u8, Known>,
    /// By user's number, amount and the time of the reservation.
    charges: Vec<(u8, i64, Timestamp)>,
}

fn date(at: Timestamp) -> Date {
    // Tokyo sets no clocks.
    offset(9).to_datetime(at).date()
}

impl Oracle {
    /// Used and held of a user's day and of the team's month.
    fn sums(&self, user: u8) -> [(i64, i64); 2] {
        let today = date(self.now);
        let is_today = |at: Timestamp| date(at) == today;
        let is_this_month = |at: Timestamp| date(at).first_of_month() == today.first_of_month();
        let mut sums = [(0, 0); 2];
        for (of, amount, at) in &self.charges {
            sums[0].0 += amount * i64::from(*of == user && is_today(*at));
            sums[1].0 += amount * i64::from(is_this_month(*at));
        }
        let live = |(_, known): &(&u8, &Known)| known.phase == Phase::Live;
        for (id, known) in self.known.iter().filter(live) {
            sums[0].1 += known.amount * i64::from(id % 2 == user && is_today(known.at));
            sums[1].1 += known.amount * i64::from(is_this_month(known.at));
        }
        sums
    }

    fn fits(&self, user: u8, more: i64) -> bool {
        let [(day, day_held), (month, month_held)] = self.sums(user);
        day + day_held + more <= self.bounds.0 && month + month_held + more <= self.bounds.1
    }

    fn end(&mut self, id: u8, phase: Phase) {
        let forget = self.now + REMEMBER;
        if let Some(known) = self.known.get_mut(&id) {
            if known.phase == Phase::Live {
                known.forget = forget;
            }
            known.phase = phase;
        }
    }
}

fn subject(id: u8) -> Subject {
    Subject::default()
        .with(Field::User, ["ann", "bob"][usize::from(id % 2)])
        .with(Field::Team, "ml")
}

fn tokens(input: i64) -> Usage {
    Usage {
        input,
        ..Usage::default()
    }
}

const LEASE: SignedDuration = SignedDuration::from_mins(2);

fn reserve(book: &mut Book, oracle: &mut Oracle, id: u8, amount: i64) {
    let request = Request {
        id: id.to_string().into(),
        asked: Asked::by(subject(id)),
        estimate: tokens(amount),
        output: 0,
        lease: LEASE,
    };
    let seen = book.reserve(&request, oracle.now);
    match oracle.known.get(&id) {
        Some(known) if known.amount == amount => {
            assert!(matches!(seen, Ok(Decision::Allowed(grant)) if grant.replayed));
        }
        Some(_) => assert_eq!(seen, Err(QuotaError::Conflict)),
        None => {
            let fits = oracle.fits(id % 2, amount);
            assert_eq!(matches!(seen, Ok(Decision::Allowed(_))), fits);
            if fits {
                let known = Known {
                    amount,
                    at: oracle.now,
                    until: oracle.now + LEASE,
                    phase: Phase::Live,
                    settled: 0,
                    forget: Timestamp::MAX,
                };
                oracle.known.insert(id, known);
            }
        }
    }
}

fn settle(book: &mut Book, oracle: &mut Oracle, id: u8, amount: i64) {
    let now = oracle.now;
    let seen = book.settle(&id.to_string(), &tokens(amount), now);
    let Some(known) = oracle.known.get_mut(&id) else {
        assert_eq!(seen, Err(QuotaError::Unknown));
        return;
    };
    match known.phase {
        Phase::Released => assert_eq!(seen, Err(QuotaError::Ended)),
        Phase::Settled if known.settled == amount => assert!(seen.unwrap().replayed),
        Phase::Settled => assert_eq!(seen, Err(QuotaError::Conflict)),
        Phase::Live | Phase::Expired => {
            let seen = seen.unwrap();
            assert_eq!(seen.late, known.phase == Phase::Expired);
            assert_eq!(seen.overage, amount > known.amount);
            known.settled = amount;
            // The ledger books it at the time of the reservation.
            book.post(&subject(id), &tokens(amount), known.at, now);
            oracle.charges.push((id % 2, amount, known.at));
            oracle.end(id, Phase::Settled);
        }
    }
}

fn extend(book: &mut Book, oracle: &mut Oracle, id: u8, so_far: i64) {
    let now = oracle.now;
    let seen = book.extend(&id.to_string(), LEASE, &tokens(so_far), now);
    let Some(known) = oracle.known.get_mut(&id) else {
        assert_eq!(seen, Err(QuotaError::Unknown));
        return;
    };
    if known.phase != Phase::Live {
        assert_eq!(seen, Err(QuotaError::Ended));
        return;
    }
    known.until = known.until.max(now + LEASE);
    let expected = (known.until, (so_far - known.amount).max(0));
    let goes_on = oracle.fits(id % 2, expected.1);
    assert_eq!(seen, Ok((expected.0, goes_on)));
}

/// A book as after a restart or under new bounds: from charges and live reservations alone.
fn again(oracle: &mut Oracle) -> Book {
    let (day, month) = oracle.bounds;
    let mut book = Book::new(policy(day, month), 100);
    for (user, amount, at) in &oracle.charges {
        book.post(&subject(*user), &tokens(*amount), *at, oracle.now);
    }
    oracle.known.retain(|_, known| known.phase == Phase::Live);
    for (id, known) in &oracle.known {
        let request = Request {
            id: id.to_string().into(),
            asked: Asked::by(subject(*id)),
            estimate: tokens(known.amount),
            output: 0,
            lease: SignedDuration::ZERO,
        };
        book.restore(&request, known.at, known.until);
    }
    book
}

fn step(book: &mut Book, oracle: &mut Oracle, step: &Step) {
    match *step {
        Step::Reserve(id, amount) => reserve(book, oracle, id, amount),
        Step::Settle(id, amount) => settle(book, oracle, id, amount),
        Step::Extend(id, so_far) => extend(book, oracle, id, so_far),
        Step::Release(id) => {
            let seen = book.release(&id.to_string(), oracle.now);
            let phase = oracle.known.get(&id).map(|known| known.phase);
            match phase {
                None => assert_eq!(seen, Err(QuotaError::Unknown)),
                Some(Phase::Settled) => assert_eq!(seen, Err(QuotaError::Ended)),
                Some(Phase::Live) => oracle.end(id, Phase::Released),
                Some(Phase::Released | Phase::Expired) => assert_eq!(seen, Ok(())),
            }
        }
        Step::Expire => {
            let now = oracle.now;
            let ended = book.expire(now).charges.len();
            oracle.known.retain(|_, known| known.forget > now);
            let due = |known: &Known| known.phase == Phase::Live && known.until <= now;
            let due: Vec<_> = oracle.known.iter().filter(|(_, k)| due(k)).collect();
            let due: Vec<u8> = due.into_iter().map(|(id, _)| *id).collect();
            assert_eq!(ended, due.len());
            for id in due {
                oracle.end(id, Phase::Expired);
            }
        }
        Step::WaitSeconds(seconds) => oracle.now += SignedDuration::from_secs(seconds),
        Step::WaitHours(hours) => oracle.now += SignedDuration::from_hours(hours),
        Step::Change(day, month) => {
            oracle.bounds = (day, month);
            *book = again(oracle);
        }
        Step::Restart => *book = again(oracle),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_life_of_a_book_is_what_plain_bookkeeping_says(steps in steps()) {
        let mut oracle = Oracle {
            // The month ends a day and a half later.
            now: "2026-11-29T03:00:00Z".parse().unwrap(),
            bounds: (1_000, 2_500),
            known: HashMap::new(),
            charges: Vec::new(),
        };
        let mut book = again(&mut oracle);
        for next in &steps {
            step(&mut book, &mut oracle, next);
            for user in [0, 1] {
                let standings = book.standings(&subject(user), oracle.now);
                let seen: Vec<_> = standings.iter().map(|s| (s.used, s.held)).collect();
                let expected = oracle.sums(user).map(|(u, h)| (i128::from(u), i128::from(h)));
                prop_assert_eq!(seen, expected, "user {} after {:?}", user, next);
            }
        }
    }
}
