use proptest::prelude::*;

use super::*;

const POLICY: &str = r#"
timezone = "Asia/Tokyo"

[[limits]]
name = "user-day"
per = ["user"]
unit = "tokens"
limit = 1000
window = "day"

[[limits]]
name = "team-month"
match = {team = "ml"}
per = ["team"]
unit = "tokens"
limit = 1500
window = "month"

[[limits]]
name = "watched"
unit = "requests"
limit = 1
window = "hour"
mode = "shadow"
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Noon in Tokyo.
fn noon() -> Timestamp {
    at("2026-11-22T03:00:00Z")
}

fn book() -> Book {
    Book::new(Arc::new(Policy::parse(POLICY).unwrap()), 100)
}

fn subject(user: &str, team: &str) -> Subject {
    Subject::default()
        .with(Field::User, user)
        .with(Field::Team, team)
}

fn tokens(input: i64) -> Usage {
    Usage {
        input,
        requests: 1,
        ..Usage::default()
    }
}

fn request(id: &str, user: &str, input: i64) -> Request {
    Request {
        id: id.into(),
        asked: Asked::by(subject(user, "ml")),
        estimate: tokens(input),
        output: 0,
        lease: SignedDuration::from_mins(2),
    }
}

/// Used and held by limit, in the policy's order.
fn sums(book: &mut Book, user: &str, now: Timestamp) -> Vec<(i128, i128)> {
    let standings = book.standings(&subject(user, "ml"), now);
    standings.iter().map(|s| (s.used, s.held)).collect()
}

fn allowed(decision: &Result<Decision, QuotaError>) -> bool {
    matches!(decision, Ok(Decision::Allowed(_)))
}

#[test]
fn a_hold_counts_under_every_limit_and_a_denied_one_under_none() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 900), noon())));
    assert_eq!(sums(&mut book, "ann", noon()), [(0, 900), (0, 900), (0, 1)]);
    // Bob has room himself, but the team has not.
    let Ok(Decision::Denied(denial)) = book.reserve(&request("b", "bob", 700), noon()) else {
        panic!("the team's pool is too small");
    };
    assert_eq!((denial.violated, denial.never), (vec![1], false));
    assert_eq!(sums(&mut book, "bob", noon()), [(0, 0), (0, 900), (0, 1)]);
}

#[test]
fn a_request_larger_than_the_limit_never_fits() {
    let mut book = book();
    let Ok(Decision::Denied(denial)) = book.reserve(&request("a", "ann", 1_001), noon()) else {
        panic!("it is larger than the limit");
    };
    assert!(denial.never);
}

#[test]
fn the_same_reservation_again_is_answered_and_held_once() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 900), noon())));
    let Ok(Decision::Allowed(grant)) = book.reserve(&request("a", "ann", 900), noon()) else {
        panic!("it was allowed before");
    };
    assert!(grant.replayed);
    assert_eq!(sums(&mut book, "ann", noon())[0], (0, 900));
    let other = book.reserve(&request("a", "ann", 901), noon());
    assert_eq!(other, Err(QuotaError::Conflict));
}

#[test]
fn a_settlement_frees_the_hold_once_and_the_ledger_posts_the_charge() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 900), noon())));
    let first = book.settle("a", &tokens(300), noon()).unwrap();
    book.post(&subject("ann", "ml"), &tokens(300), noon(), noon());
    let second = book.settle("a", &tokens(300), noon()).unwrap();
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(sums(&mut book, "ann", noon()), [(300, 0), (300, 0), (1, 0)]);
    let other = book.settle("a", &tokens(301), noon());
    assert_eq!(other, Err(QuotaError::Conflict));
}

#[test]
fn a_charge_goes_to_the_day_of_its_reservation() {
    let mut book = book();
    let before = at("2026-11-22T14:59:59Z");
    let after = at("2026-11-22T15:00:01Z");
    assert!(allowed(&book.reserve(&request("a", "ann", 900), before)));
    assert_eq!(sums(&mut book, "ann", after)[0], (0, 0));
    book.settle("a", &tokens(900), after).unwrap();
    book.post(&subject("ann", "ml"), &tokens(900), before, after);
    // The new day is untouched, the month has it.
    assert_eq!(sums(&mut book, "ann", after), [(0, 0), (900, 0), (0, 0)]);
}

#[test]
fn what_a_fast_clock_books_tomorrow_counts_tomorrow() {
    let mut book = book();
    let today = at("2026-11-22T14:59:59Z");
    let tomorrow = at("2026-11-22T15:00:01Z");
    assert_eq!(sums(&mut book, "ann", today)[0], (0, 0));
    book.post(&subject("ann", "ml"), &tokens(50), tomorrow, today);
    assert_eq!(sums(&mut book, "ann", today)[0], (0, 0));
    assert_eq!(sums(&mut book, "ann", tomorrow)[0], (50, 0));
}

#[test]
fn a_clock_set_back_opens_no_window_again() {
    let mut book = book();
    let tomorrow = at("2026-11-22T15:00:01Z");
    book.post(&subject("ann", "ml"), &tokens(50), tomorrow, tomorrow);
    assert_eq!(sums(&mut book, "ann", noon())[0], (50, 0));
}

#[test]
fn a_lease_that_ends_frees_its_hold_and_a_late_settlement_is_known() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 900), noon())));
    let later = at("2026-11-22T03:02:00Z");
    let ended = book.expire(later);
    assert_eq!(ended.charges, [("a".into(), Usage::default())]);
    assert_eq!(sums(&mut book, "ann", later)[0], (0, 0));
    assert!(book.settle("a", &tokens(10), later).unwrap().late);
    assert!(book.settle("a", &tokens(10), later).unwrap().replayed);
}

#[test]
fn an_extended_lease_goes_on_and_says_when_to_stop() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 900), noon())));
    let now = at("2026-11-22T03:01:00Z");
    let lease = SignedDuration::from_mins(2);
    let (until, goes_on) = book.extend("a", lease, &tokens(950), now).unwrap();
    assert_eq!((until, goes_on), (at("2026-11-22T03:03:00Z"), true));
    let (_, goes_on) = book.extend("a", lease, &tokens(1_050), now).unwrap();
    assert!(!goes_on, "150 beyond the hold of 900 do not fit into 1,000");
    assert_eq!(book.expire(at("2026-11-22T03:02:30Z")), Expired::default());
}

#[test]
fn a_limit_in_shadow_tells_and_does_not_deny() {
    let mut book = book();
    assert!(allowed(&book.reserve(&request("a", "ann", 1), noon())));
    let Ok(Decision::Allowed(grant)) = book.reserve(&request("b", "ann", 1), noon()) else {
        panic!("shadow limits deny nothing");
    };
    assert_eq!(grant.shadow_denials, [2]);
}

#[test]
fn rolling_windows_let_go_of_quarter_hours() {
    let policy = "[[limits]]\nname = \"r\"\nunit = \"tokens\"\nlimit = 10\n\
                  window = \"rolling\"\nduration = \"1h\"\n";
    let mut book = Book::new(Arc::new(Policy::parse(policy).unwrap()), 10);
    let ann = subject("ann", "");
    book.post(
        &ann,
        &tokens(7),
        at("2026-11-22T03:14:00Z"),
        at("2026-11-22T03:14:00Z"),
    );
    let used = |book: &mut Book, now: &str| book.standings(&ann, at(now))[0].used;
    assert_eq!(used(&mut book, "2026-11-22T04:14:59Z"), 7);
    assert_eq!(used(&mut book, "2026-11-22T04:15:00Z"), 0);
}

/// One step of a random life of a book.
#[derive(Clone, Debug)]
enum Step {
    Reserve(u8, i64),
    Settle(u8, i64),
    Release(u8),
    Expire,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..12, 1_i64..600).prop_map(|(id, n)| Step::Reserve(id, n)),
        3 => (0_u8..12, 0_i64..700).prop_map(|(id, n)| Step::Settle(id, n)),
        1 => (0_u8..12).prop_map(Step::Release),
        1 => Just(Step::Expire),
        1 => (0_i64..200).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against plain bookkeeping of what is live and what was charged, within one day.
    #[test]
    fn admissions_never_exceed_a_bound_and_sums_are_those_of_what_is_live(steps in steps()) {
        let mut book = book();
        let mut now = noon();
        let mut live: HashMap<u8, (i64, Timestamp)> = HashMap::new();
        let mut ended: HashMap<u8, Option<i64>> = HashMap::new();
        let mut charged = 0;
        for step in steps {
            match step {
                Step::Reserve(id, n) => {
                    let fresh = !live.contains_key(&id) && !ended.contains_key(&id);
                    let held: i64 = live.values().map(|(n, _)| n).sum();
                    let fits = charged + held + n <= 1_000;
                    let decision = book.reserve(&request(&id.to_string(), "ann", n), now);
                    if fresh {
                        prop_assert_eq!(allowed(&decision), fits);
                        if fits {
                            live.insert(id, (n, now + SignedDuration::from_mins(2)));
                        }
                    }
                }
                Step::Settle(id, n) => {
                    let settled = book.settle(&id.to_string(), &tokens(n), now);
                    let counts = live.remove(&id).is_some()
                        || ended.get(&id) == Some(&Some(-1));
                    prop_assert_eq!(matches!(settled, Ok(s) if !s.replayed), counts);
                    if counts {
                        book.post(&subject("ann", "ml"), &tokens(n), now, now);
                        charged += n;
                        ended.insert(id, Some(n));
                    }
                }
                Step::Release(id) => {
                    let _ = book.release(&id.to_string(), now);
                    if live.remove(&id).is_some() {
                        ended.insert(id, None);
                    }
                }
                Step::Expire => {
                    book.expire(now);
                    for (id, _) in live.extract_if(|_, (_, until)| *until <= now) {
                        // May still be settled, late.
                        ended.insert(id, Some(-1));
                    }
                }
                Step::Wait(seconds) => now += SignedDuration::from_secs(seconds),
            }
            // Ended ones would be forgotten after ten minutes; the day is young.
            if now > at("2026-11-22T03:09:00Z") {
                break;
            }
            let held: i64 = live.values().map(|(n, _)| n).sum();
            let expected = (i128::from(charged), i128::from(held));
            prop_assert_eq!(sums(&mut book, "ann", now)[0], expected);
        }
    }
}

#[test]
fn input_that_was_written_to_the_cache_is_within_the_hold() {
    let mut book = book();
    book.reserve(&request("a", "ann", 900), noon()).unwrap();
    let cached = |write: i64| Usage {
        cache_write: write,
        ..tokens(100)
    };
    let lease = SignedDuration::from_mins(2);
    let goes_on = |book: &mut Book, so_far: &Usage| {
        let extended = book.extend("a", lease, so_far, noon());
        extended.unwrap().1
    };
    assert!(goes_on(&mut book, &cached(800)));
    // The user's day has room for 1,000.
    assert!(!goes_on(&mut book, &cached(950)));
    assert!(!book.settle("a", &cached(800), noon()).unwrap().overage);
    book.reserve(&request("b", "bob", 100), noon()).unwrap();
    assert!(book.settle("b", &cached(1), noon()).unwrap().overage);
}
