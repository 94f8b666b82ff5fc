//! What a round would do.

use super::super::plan::{GIVE_UP_AFTER, Grouping, Manner, Plan, Reason, plan};
use super::*;
use crate::store::{MAX_NOTICES, NoticeQueue, Queued, Told};

fn queued(id: i64, transition: Transition) -> Queued {
    Queued {
        id,
        due: transition.at,
        transition,
        open_since: None,
        batch: None,
        attempts: 0,
    }
}

fn fired(id: i64, name: &str, seconds: i64) -> Queued {
    queued(id, transition(name, State::Alarm, seconds))
}

fn over(id: i64, name: &str, seconds: i64) -> Queued {
    queued(id, transition(name, State::Ok, seconds))
}

fn heard(name: &str, to: State) -> Told {
    Told {
        transition: transition(name, to, 0),
        now: Some(to),
    }
}

fn queue(waiting: Vec<Queued>, told: Vec<Told>) -> NoticeQueue {
    NoticeQueue {
        waiting,
        told,
        unreadable: Vec::new(),
    }
}

fn mute(from: i64, to: i64, alarms: &str) -> Mute {
    Mute {
        id: None,
        from: at(from),
        to: at(to),
        alarms: alarms.to_owned(),
        reason: "upgrade".to_owned(),
        created_by: "configuration".to_owned(),
    }
}

fn manner(grouping: Grouping, budget: usize) -> Manner<'static> {
    Manner {
        grouping,
        states: &State::ALL,
        budget,
    }
}

/// The numbers of the notices in each message, and what was dropped.
fn outline(plan: &Plan) -> (Vec<Vec<i64>>, Vec<(i64, Reason)>) {
    let messages = plan.messages.iter();
    let messages = messages.map(|message| message.iter().map(|notice| notice.id).collect());
    (messages.collect(), plan.dropped.clone())
}

fn run(queue: NoticeQueue, mutes: &[Mute], seconds: i64) -> (Vec<Vec<i64>>, Vec<(i64, Reason)>) {
    outline(&plan(
        queue,
        mutes,
        manner(Grouping::Above(3), 10),
        at(seconds),
    ))
}

#[test]
fn a_recovery_is_told_to_those_who_heard_of_the_trouble_only() {
    let waiting = || vec![over(1, "a", 60)];
    let (told, dropped) = run(queue(waiting(), Vec::new()), &[], 60);
    assert_eq!((told, dropped), (vec![], vec![(1, Reason::Known)]));
    let knows = queue(waiting(), vec![heard("a", State::Alarm)]);
    assert_eq!(run(knows, &[], 60), (vec![vec![1]], vec![]));
}

#[test]
fn a_round_tells_each_transition_and_not_before_it_is_due() {
    let waiting = vec![fired(1, "a", 0), over(2, "a", 60), fired(3, "a", 120)];
    assert_eq!(
        run(queue(waiting, Vec::new()), &[], 60),
        (vec![vec![1], vec![2]], vec![])
    );
}

#[test]
fn a_recovery_that_is_not_wanted_counts_as_heard_once_what_came_before_was_told() {
    let alarms_only = |queue: NoticeQueue| {
        let manner = Manner {
            states: &[State::Alarm],
            ..manner(Grouping::Above(3), 10)
        };
        let plan = plan(queue, &[], manner, at(60));
        let settled: Vec<i64> = plan.settled.iter().map(|notice| notice.id).collect();
        (outline(&plan), settled)
    };
    let waiting = || vec![over(2, "a", 20), fired(3, "a", 40)];
    let knows = queue(waiting(), vec![heard("a", State::Alarm)]);
    let unwanted = vec![(2, Reason::Unwanted)];
    assert_eq!(alarms_only(knows), ((vec![vec![3]], unwanted), vec![2]));
    // Else what is told later would be written down over it.
    let mut waiting = waiting();
    waiting.insert(0, fired(1, "a", 0));
    let behind = ((vec![vec![1]], vec![]), vec![]);
    assert_eq!(alarms_only(queue(waiting.clone(), Vec::new())), behind);
    (waiting[0].attempts, waiting[0].batch) = (1, Some(1));
    assert_eq!(alarms_only(queue(waiting, Vec::new())), behind);
}

#[test]
fn a_storm_is_one_message() {
    let names = ["a", "b", "c", "d", "e"];
    let storm = |count: usize| {
        let waiting = names[..count].iter().zip(1..);
        let waiting = waiting.map(|(name, id)| fired(id, name, 0)).collect();
        run(queue(waiting, Vec::new()), &[], 0).0
    };
    assert_eq!(storm(3), [[1], [2], [3]]);
    assert_eq!(storm(4), [[1, 2, 3, 4]]);
}

#[test]
fn beyond_the_rate_messages_join_or_wait() {
    let plan_with = |grouping, budget| {
        let waiting = (1..=3).map(|id| fired(id, &format!("a{id}"), 0)).collect();
        outline(&plan(
            queue(waiting, Vec::new()),
            &[],
            manner(grouping, budget),
            at(0),
        ))
        .0
    };
    let none: Vec<Vec<i64>> = Vec::new();
    assert_eq!(plan_with(Grouping::Above(3), 1), [[1, 2, 3]]);
    assert_eq!(plan_with(Grouping::Above(3), 0), none);
    assert_eq!(plan_with(Grouping::Each, 2), [[1], [2]]);
    assert_eq!(plan_with(Grouping::Outcome, usize::MAX), [[1, 2, 3]]);
}

#[test]
fn nothing_is_told_in_a_mute_and_the_outcome_after_it() {
    let mutes = [mute(0, 100, "a*")];
    let nothing = (vec![], vec![]);
    let waiting = || vec![fired(1, "a", 10), over(2, "a", 20), fired(3, "a", 30)];
    assert_eq!(run(queue(waiting(), Vec::new()), &mutes, 99), nothing);
    assert_eq!(
        run(queue(waiting(), Vec::new()), &mutes, 100),
        (vec![vec![3]], vec![(1, Reason::Muted), (2, Reason::Muted)])
    );
    let short = || vec![fired(1, "a", 10), over(2, "a", 20)];
    assert_eq!(
        run(queue(short(), Vec::new()), &mutes, 100),
        (vec![], vec![(1, Reason::Muted), (2, Reason::Known)])
    );
    // Who heard of the trouble before the mute hears of the recovery after it.
    let knows = queue(vec![over(1, "a", 20)], vec![heard("a", State::Alarm)]);
    assert_eq!(run(knows, &mutes, 100), (vec![vec![1]], vec![]));
    let other = queue(vec![fired(1, "b", 10)], Vec::new());
    assert_eq!(run(other, &mutes, 10), (vec![vec![1]], vec![]));
}

#[test]
fn a_target_that_wants_a_pause_gets_it_and_nothing_overtakes() {
    let tried = Queued {
        attempts: 1,
        due: at(100),
        ..fired(1, "a", 0)
    };
    let waiting = || vec![tried.clone(), fired(2, "b", 50)];
    assert_eq!(run(queue(waiting(), Vec::new()), &[], 99), (vec![], vec![]));
    assert_eq!(
        run(queue(waiting(), Vec::new()), &[], 100),
        (vec![vec![1], vec![2]], vec![])
    );
}

#[test]
fn what_may_have_been_told_goes_out_again_as_it_was_before_anything_else() {
    let sent = |id, name| Queued {
        attempts: 1,
        batch: Some(1),
        ..fired(id, name, 0)
    };
    let waiting = vec![
        sent(1, "a"),
        sent(2, "b"),
        over(3, "a", 5),
        fired(4, "c", 5),
    ];
    assert_eq!(
        run(queue(waiting, Vec::new()), &[], 10),
        (vec![vec![1, 2]], vec![])
    );
}

#[test]
fn a_notice_is_given_up_a_day_after_it_could_have_been_told() {
    let day = i64::try_from(GIVE_UP_AFTER.as_secs()).unwrap();
    let opened = |id, seconds| Queued {
        open_since: Some(at(seconds)),
        ..fired(id, &format!("a{id}"), 0)
    };
    let waiting = vec![opened(1, 0), opened(2, 1), fired(3, "muted-for-a-week", 0)];
    assert_eq!(
        run(queue(waiting, Vec::new()), &[], day),
        (vec![vec![2], vec![3]], vec![(1, Reason::Expired)])
    );
}

#[test]
fn what_was_given_up_counts_as_heard() {
    let day = i64::try_from(GIVE_UP_AFTER.as_secs()).unwrap();
    let lost = Queued {
        open_since: Some(at(0)),
        ..over(1, "a", 0)
    };
    let again = fired(2, "a", 10);
    let knows = queue(vec![lost.clone(), again], vec![heard("a", State::Alarm)]);
    let plan = plan(knows, &[], manner(Grouping::Above(3), 10), at(day));
    assert_eq!(outline(&plan), (vec![vec![2]], vec![(1, Reason::Expired)]));
    assert_eq!(plan.claim().settled, [lost]);
}

#[test]
fn for_an_alertmanager_only_the_outcome_counts() {
    let waiting = vec![
        fired(1, "a", 0),
        over(2, "a", 10),
        fired(3, "b", 0),
        over(4, "b", 10),
        fired(5, "b", 20),
    ];
    let plan = plan(
        queue(waiting, Vec::new()),
        &[],
        manner(Grouping::Outcome, 9),
        at(20),
    );
    let dropped = vec![
        (1, Reason::Superseded),
        (2, Reason::Known),
        (3, Reason::Superseded),
        (4, Reason::Superseded),
    ];
    assert_eq!(outline(&plan), (vec![vec![5]], dropped));
    assert_eq!((plan.waiting, plan.opened), (1, vec![5]));
}

#[test]
fn the_oldest_go_where_too_many_wait() {
    let waiting = (1..).map(|id| fired(id, &format!("a{id}"), 0));
    let waiting = waiting.take(MAX_NOTICES + 2).collect();
    let plan = plan(
        queue(waiting, Vec::new()),
        &[],
        manner(Grouping::Above(3), 1),
        at(0),
    );
    assert_eq!(plan.dropped, [(1, Reason::Overflow), (2, Reason::Overflow)]);
    assert_eq!(plan.waiting, MAX_NOTICES);
    assert_eq!(plan.messages.len(), 1);
}
