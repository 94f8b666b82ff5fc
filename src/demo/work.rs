//! What people do: sessions of turns, each with requests, tools and their results.
//!
//! Everything follows from the seed, the person and the day, so a history can be played again.

use jiff::civil::{Date, Weekday};
use jiff::{SignedDuration, Timestamp};

use super::company::{Kind, Model, Person};
use super::random::Random;

/// What a client lost of its telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    /// The events never arrive: metrics alone tell of the tokens.
    Events,
    /// The metrics never arrive.
    Metrics,
}

/// One session of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Index into the company.
    pub(super) person: usize,
    pub(super) id: String,
    pub(super) start: Timestamp,
    pub(super) loss: Loss,
    pub(super) turns: Vec<Turn>,
}

/// From a prompt to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) prompt_length: u64,
    pub(super) steps: Vec<Step>,
    pub(super) lines_added: u64,
    pub(super) lines_removed: u64,
    pub(super) commits: u64,
    pub(super) pull_requests: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Request(Request),
    /// The client gave up after this status.
    Failure(Failure),
    Tool(Tool),
}

/// A model request that went well. Tokens: input, output, cache read, cache write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) at: Timestamp,
    pub(super) id: String,
    pub(super) model: Model,
    pub(super) tokens: [u64; 4],
    pub(super) duration_ms: u64,
    pub(super) query_source: &'static str,
}

impl Request {
    /// The client's own estimate in micro-USD.
    pub(super) fn client_cost(&self) -> u64 {
        let pairs = self.tokens.iter().zip(self.model.prices);
        pairs.map(|(tokens, price)| tokens * price).sum::<u64>() / 1_000
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) at: Timestamp,
    pub(super) model: Model,
    pub(super) status: u64,
    pub(super) attempts: u64,
    pub(super) duration_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) at: Timestamp,
    pub(super) name: &'static str,
    pub(super) success: bool,
    pub(super) duration_ms: u64,
}

const TOOLS: [&str; 9] = [
    "Read", "Read", "Grep", "Bash", "Bash", "Edit", "Edit", "Write", "Glob",
];

/// The sessions that a person begins on a day of the own calendar.
pub(super) fn day(people: &[Person], person: usize, date: Date, seed: u64) -> Vec<Session> {
    let who = &people[person];
    let day_number = u64::try_from(date.to_zoned(who.zone.clone()).map_or(0, |midnight| {
        midnight.timestamp().as_second().div_euclid(86_400)
    }))
    .unwrap_or_default();
    let mut random = Random::of(seed, &[2, who.number, day_number]);
    let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
    let sessions = match who.kind {
        Kind::Service => random.between(2, who.keenness),
        // It gets loose about once a week.
        Kind::Runaway => u64::from(random.percent(15)),
        Kind::Person if weekend => u64::from(random.percent(6)),
        // Holidays, meetings, illness.
        Kind::Person if random.percent(12) => 0,
        Kind::Person => random.between(1, who.keenness),
    };
    let mut begun = Vec::new();
    for _ in 0..sessions {
        let minute = match who.kind {
            Kind::Person => random.between(8 * 60 + 30, 17 * 60 + 30),
            Kind::Service | Kind::Runaway => random.between(0, 23 * 60),
        };
        let second = random.between(0, 59);
        let wait = SignedDuration::from_secs(signed(minute * 60 + second));
        let midnight = date.to_zoned(who.zone.clone());
        if let Ok(start) = midnight.map(|midnight| midnight.timestamp() + wait) {
            begun.push(session(who, person, start, &mut random));
        }
    }
    begun
}

/// A session that begins now.
pub(super) fn session(
    who: &Person,
    person: usize,
    start: Timestamp,
    random: &mut Random,
) -> Session {
    let loss = match random.between(1, 100) {
        1 | 2 => Loss::Events,
        3 => Loss::Metrics,
        _ => Loss::Nothing,
    };
    let turns = match who.kind {
        Kind::Person => random.skewed(2, 17),
        Kind::Service => random.between(1, 2),
        Kind::Runaway => 300,
    };
    let mut session = Session {
        person,
        id: random.uuid(),
        start,
        loss,
        turns: Vec::new(),
    };
    let mut at = start + SignedDuration::from_millis(signed(random.between(300, 9_000)));
    // What the conversation holds is read from the cache again with each request.
    let mut context = random.between(12_000, 24_000);
    for _ in 0..turns {
        let turn = turn(who, at, &mut context, random);
        let pause = match who.kind {
            Kind::Person => random.between(8_000, 300_000),
            Kind::Service => random.between(500, 2_000),
            Kind::Runaway => random.between(200, 3_000),
        };
        at = turn.end + SignedDuration::from_millis(signed(pause));
        session.turns.push(turn);
    }
    session
}

fn turn(who: &Person, start: Timestamp, context: &mut u64, random: &mut Random) -> Turn {
    let mut turn = Turn {
        start,
        end: start,
        prompt_length: random.skewed(8, 1_800),
        steps: Vec::new(),
        lines_added: 0,
        lines_removed: 0,
        commits: 0,
        pull_requests: 0,
    };
    let mut at = start;
    let strong = who.kind == Kind::Runaway || random.percent(30);
    let main = who.models[usize::from(!strong)];
    if random.percent(25) {
        // The small model names the topic.
        let tokens = [random.between(200, 900), random.between(8, 60), 0, 0];
        push_request(
            &mut turn,
            &mut at,
            who.models[2],
            tokens,
            "auxiliary",
            random,
        );
    }
    let requests = match who.kind {
        Kind::Runaway => random.between(2, 6),
        _ => random.skewed(1, 7),
    };
    for round in 0..requests {
        if random.percent(1) {
            fail(&mut turn, &mut at, main, random);
            break;
        }
        let fresh = random.skewed(300, 9_000);
        let output = random.skewed(40, 2_600);
        let tokens = [random.between(3, 400), output, *context, fresh];
        push_request(&mut turn, &mut at, main, tokens, "repl_main_thread", random);
        *context = (*context + fresh + output).min(170_000);
        if round + 1 < requests {
            use_tool(&mut turn, &mut at, random);
        }
    }
    if turn.lines_added > 0 && random.percent(20) {
        turn.commits = 1;
        turn.pull_requests = u64::from(random.percent(35));
    }
    turn.end = at + SignedDuration::from_millis(1);
    turn
}

fn push_request(
    turn: &mut Turn,
    at: &mut Timestamp,
    model: Model,
    tokens: [u64; 4],
    query_source: &'static str,
    random: &mut Random,
) {
    let duration_ms = 350 + tokens[1] * random.between(9, 24) + random.skewed(0, 2_500);
    *at += SignedDuration::from_millis(signed(duration_ms));
    turn.steps.push(Step::Request(Request {
        at: *at,
        id: format!("req_{}", random.hex(24)),
        model,
        tokens,
        duration_ms,
        query_source,
    }));
}

fn fail(turn: &mut Turn, at: &mut Timestamp, model: Model, random: &mut Random) {
    let duration_ms = random.between(9_000, 40_000);
    *at += SignedDuration::from_millis(signed(duration_ms));
    turn.steps.push(Step::Failure(Failure {
        at: *at,
        model,
        status: random.pick(&[429, 429, 529, 529, 529, 500, 400]),
        attempts: random.between(2, 11),
        duration_ms,
    }));
}

fn use_tool(turn: &mut Turn, at: &mut Timestamp, random: &mut Random) {
    let name = random.pick(&TOOLS);
    let duration_ms = random.skewed(4, 20_000);
    *at += SignedDuration::from_millis(signed(duration_ms));
    let success = random.percent(95);
    if success && matches!(name, "Edit" | "Write") {
        turn.lines_added += random.skewed(1, 90);
        turn.lines_removed += random.skewed(0, 40);
    }
    turn.steps.push(Step::Tool(Tool {
        at: *at,
        name,
        success,
        duration_ms,
    }));
}

/// Small numbers only, so it never saturates.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// All sessions of the last `days` days, without what would lie after `now`.
pub(super) fn history(people: &[Person], days: u32, seed: u64, now: Timestamp) -> Vec<Session> {
    let from = now - SignedDuration::from_hours(24 * i64::from(days));
    let mut sessions = Vec::new();
    for (index, who) in people.iter().enumerate() {
        let last = now.to_zoned(who.zone.clone()).date();
        let mut date = from.to_zoned(who.zone.clone()).date();
        while date <= last {
            for mut session in day(people, index, date, seed) {
                session.turns.retain(|turn| turn.end < now);
                if session.start >= from && !session.turns.is_empty() {
                    sessions.push(session);
                }
            }
            let Ok(tomorrow) = date.tomorrow() else {
                break;
            };
            date = tomorrow;
        }
    }
    sessions.sort_by_key(|session| (session.start, session.person));
    sessions
}

#[cfg(test)]
mod tests {
    use super::super::company::company;
    use super::*;

    fn played(seed: u64) -> Vec<Session> {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        history(&company(10, seed), 7, seed, now)
    }

    #[test]
    fn a_seed_gives_the_same_history_each_time() {
        assert_eq!(played(1), played(1));
        assert_ne!(played(1), played(2));
    }

    #[test]
    fn nothing_happens_after_now_and_turns_follow_each_other() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for session in played(3) {
            let mut before = session.start;
            for turn in &session.turns {
                assert!(before < turn.start && turn.start < turn.end && turn.end < now);
                before = turn.end;
            }
        }
    }

    #[test]
    fn people_rest_at_night() {
        let people = company(10, 5);
        for session in played(5) {
            let who = &people[session.person];
            if who.kind == Kind::Person {
                let hour = session.start.to_zoned(who.zone.clone()).hour();
                assert!((8..=17).contains(&hour), "{hour}");
            }
        }
    }
}
