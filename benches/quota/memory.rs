//! What counters take, and how long a look at all of them holds the lock.

use std::sync::Arc;

use tallyd::clock::{Clock, Stopwatch};
use tallyd::model::policy::{Field, Policy, Subject, Usage};
use tallyd::model::quota::Book;

use crate::daemon::{SMALL, policy};

const USERS: usize = 100_000;

/// Resident bytes of this process.
fn resident() -> anyhow::Result<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = pages.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok(pages * 4_096)
}

/// Prints the memory of an active user under a limit of users.
pub(crate) fn tell() -> anyhow::Result<()> {
    let policy = Policy::parse(&policy(SMALL)).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let policy = Arc::new(policy);
    let now = Clock::System.now();
    let before = resident()?;
    let mut book = Book::new(policy, 1_000);
    let usage = Usage {
        input: 1_200,
        requests: 1,
        ..Usage::default()
    };
    for user in 0..USERS {
        let user = format!("user{user}@example.com");
        let subject = Subject::default()
            .with(Field::User, &user)
            .with(Field::Team, "payments")
            .with(Field::Project, "checkout");
        book.post(&subject, &usage, now, now);
    }
    let bytes = resident()?.saturating_sub(before) / USERS;
    let watch = Stopwatch::start();
    let counters = book.all(now).len();
    let took = watch.elapsed();
    println!("{bytes} bytes an active user and limit; a look at {counters} counters {took:?}");
    Ok(())
}
