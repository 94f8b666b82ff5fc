//! The company at work now: sessions are reported while they go on.
//!
//! Here it is never night or weekend, so that whoever tries the demo sees something.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::add;
use super::calls::calls;
use super::company::{Kind, Person, Way};
use super::random::Random;
use super::senders::{Load, Senders};
use super::work::{self, Session};
use crate::clock::Clock;
use crate::schedule::{Stop, Ticks};

/// Claude Code exports its events every five seconds.
const PERIOD: Duration = Duration::from_secs(5);

/// Of so many people, one has a session open.
const PEOPLE_PER_SESSION: usize = 8;

/// A session that goes on, and the turns of it that were reported.
struct Open {
    session: Session,
    reported: usize,
}

pub(super) async fn work(
    people: Arc<[Person]>,
    seed: u64,
    senders: Senders,
    asks: bool,
    clock: Clock,
    stop: Stop,
) -> anyhow::Result<()> {
    let began = clock.now();
    let entropy = began.as_second().unsigned_abs();
    let mut random = Random::of(seed, &[3, entropy]);
    let mut open: Vec<Open> = Vec::new();
    let mut ticks = Ticks::every("demo", PERIOD, clock, stop).starting_now();
    while let Some(now) = ticks.next().await {
        fill(&mut open, &people, now, &mut random);
        let load = due(&mut open, &people, asks, now);
        senders.send(load).await?;
    }
    Ok(())
}

/// Opens sessions until enough are open, always with the agent that runs away among them.
fn fill(open: &mut Vec<Open>, people: &[Person], now: Timestamp, random: &mut Random) {
    let enough = 3 + people.len() / PEOPLE_PER_SESSION;
    let runs_away = |open: &Open| people[open.session.person].kind == Kind::Runaway;
    if !open.iter().any(runs_away)
        && let Some(agent) = people.iter().position(|who| who.kind == Kind::Runaway)
    {
        open.push(begin(agent, people, now, random));
    }
    while open.len() < enough {
        let count = people.len() as u64;
        let index = usize::try_from(random.between(0, count - 1)).unwrap_or_default();
        open.push(begin(index, people, now, random));
    }
}

/// A session that began a little while ago, so that some are always in the middle.
fn begin(person: usize, people: &[Person], now: Timestamp, random: &mut Random) -> Open {
    let ago = i64::try_from(random.between(0, 240)).unwrap_or_default();
    let start = now - SignedDuration::from_secs(ago);
    Open {
        session: work::session(&people[person], person, start, random),
        reported: 0,
    }
}

/// What has ended since the last round; sessions that are over are closed. Where the gateway `asks`,
/// those who work through it alone need room under their limits for each request.
fn due(open: &mut Vec<Open>, people: &[Person], asks: bool, now: Timestamp) -> Load {
    let mut load = Load::default();
    for Open { session, reported } in open.iter_mut() {
        let ended = session.turns.iter().take_while(|turn| turn.end <= now);
        let ended = ended.count();
        if ended > *reported {
            let (who, turns) = (&people[session.person], *reported..ended);
            if asks && who.way == Way::Gateway {
                load.calls.extend(calls(who, session, turns));
            } else {
                add(&mut load, who, session, turns);
            }
            *reported = ended;
        }
    }
    open.retain(|open| open.reported < open.session.turns.len());
    load
}

#[cfg(test)]
mod tests {
    use super::super::company::company;
    use super::*;

    #[test]
    fn each_turn_is_reported_once_and_after_its_end() {
        let people = company(10, 1);
        let mut random = Random::of(1, &[]);
        let mut now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut open = Vec::new();
        fill(&mut open, &people, now, &mut random);
        let turns: usize = open.iter().map(|open| open.session.turns.len()).sum();
        let mut prompts = 0;
        while !open.is_empty() {
            let load = due(&mut open, &people, false, now);
            let told = load.events.iter().flat_map(|logs| &logs.scope_logs);
            let prompt = |record: &&_| {
                let record: &opentelemetry_proto::tonic::logs::v1::LogRecord = record;
                let body = record.body.as_ref().and_then(|body| body.value.as_ref());
                format!("{body:?}").contains("user_prompt")
            };
            let told = told.flat_map(|scope| &scope.log_records);
            prompts += told.filter(prompt).count();
            now += SignedDuration::from_secs(30);
        }
        let silent = |open: &Open| {
            people[open.session.person].way == Way::Gateway
                || open.session.loss == work::Loss::Events
        };
        let mut again = Vec::new();
        fill(
            &mut again,
            &people,
            "2026-11-22T12:00:00Z".parse().unwrap(),
            &mut Random::of(1, &[]),
        );
        let lost: usize = again
            .iter()
            .filter(|open| silent(open))
            .map(|open| open.session.turns.len())
            .sum();
        assert_eq!(prompts, turns - lost);
    }
}
