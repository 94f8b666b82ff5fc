//! The quota backend beside bare servers that do the same exchange and decide nothing, in one run.
//!
//! The floor of the HTTP door is an axum handler that reads the same request and writes the same
//! answer; that of Envoy's door is a tonic service that says OK. tallyd decides under three
//! calendar limits, writes the hold to its journal, and counts the decision. Floors and doors
//! take turns, so that what else runs on the machine touches all of them; the load generator runs
//! in the same process.
//!
//! `cargo bench --bench quota [-- SECONDS ROUNDS [PART]]` prints the medians of all rounds, and
//! ratios; with a part of a name, only what has it in its name. It is a program of its own, not a
//! criterion bench: what is measured is a whole daemon.

use std::time::Duration;

use mimalloc::MiMalloc;

mod bare;
mod daemon;
mod load;
mod memory;

use daemon::{Daemon, LARGE, SMALL};
use load::Load;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SECONDS: u64 = 4;
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 32;
/// Senders of pairs: each waits for its settlement to be on disk.
const PAIR_CONNECTIONS: usize = 256;

/// What is measured, in the order of the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    BareHttp,
    Reserve,
    ReserveLarge,
    BareManyHttp,
    Pairs,
    BareGrpc,
    Ask,
    Count,
}

impl What {
    const ALL: [Self; 8] = [
        Self::BareHttp,
        Self::Reserve,
        Self::ReserveLarge,
        Self::BareManyHttp,
        Self::Pairs,
        Self::BareGrpc,
        Self::Ask,
        Self::Count,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::BareHttp => "HTTP floor, 32 connections",
            Self::Reserve => "reserve, 3 limits, 1,000 users, 32 connections",
            Self::ReserveLarge => "reserve, 1,000 limits, 100,000 users, 32 connections",
            Self::BareManyHttp => "HTTP floor, 256 connections",
            Self::Pairs => "reserve and durable settle, pairs, 256 connections",
            Self::BareGrpc => "gRPC floor, 32 streams",
            Self::Ask => "Envoy, only asking, 32 streams",
            Self::Count => "Envoy, counting a request, 32 streams",
        }
    }

    const fn floor(self) -> Option<Self> {
        match self {
            Self::BareHttp | Self::BareManyHttp | Self::BareGrpc => None,
            Self::Reserve => Some(Self::BareHttp),
            Self::ReserveLarge => Some(Self::Reserve),
            Self::Pairs => Some(Self::BareManyHttp),
            Self::Ask | Self::Count => Some(Self::BareGrpc),
        }
    }

    async fn measure(self, time: Duration) -> anyhow::Result<Load> {
        match self {
            Self::BareHttp | Self::BareManyHttp => {
                let bare = bare::start().await?;
                let connections = match self {
                    Self::BareHttp => CONNECTIONS,
                    _ => PAIR_CONNECTIONS,
                };
                let requests = load::reserves(SMALL);
                let load = load::http(bare.address, connections, time, requests).await?;
                bare.stop().await?;
                Ok(load)
            }
            Self::BareGrpc => {
                let bare = bare::start().await?;
                let load = load::grpc(bare.address, CONNECTIONS, time, 0).await?;
                bare.stop().await?;
                Ok(load)
            }
            Self::Reserve | Self::ReserveLarge | Self::Pairs => {
                let size = if self == Self::ReserveLarge {
                    LARGE
                } else {
                    SMALL
                };
                let daemon = Daemon::start(size).await?;
                let load = if self == Self::Pairs {
                    load::pairs(daemon.http, PAIR_CONNECTIONS, time, size).await?
                } else {
                    let requests = load::reserves(size);
                    load::http(daemon.http, CONNECTIONS, time, requests).await?
                };
                daemon.stop().await?;
                Ok(load)
            }
            Self::Ask | Self::Count => {
                let daemon = Daemon::start(SMALL).await?;
                let hits = u64::from(self == Self::Count);
                let load = load::grpc(daemon.grpc, CONNECTIONS, time, hits).await?;
                daemon.stop().await?;
                Ok(load)
            }
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let is_word = |argument: &String| argument.parse::<u64>().is_err() && argument != "--bench";
    let part = std::env::args().skip(1).find(is_word).unwrap_or_default();
    let time = Duration::from_secs(numbers.next().unwrap_or(SECONDS));
    let rounds = numbers.next().map_or(Ok(ROUNDS), usize::try_from)?;
    println!("{rounds} rounds of {} s", time.as_secs());
    memory::tell()?;
    let wanted = What::ALL
        .into_iter()
        .filter(|what| what.text().contains(&part));
    let mut loads: Vec<_> = wanted.map(|what| (what, Vec::new())).collect();
    for _ in 0..rounds {
        for (what, loads) in &mut loads {
            loads.push(what.measure(time).await?);
        }
    }
    let loads = loads.into_iter();
    let loads: Vec<_> = loads
        .map(|(what, loads)| (what, load::median(loads)))
        .collect();
    let of = |floor| {
        let known = loads.iter().find(|(what, _)| *what == floor);
        known.map(|(_, load)| load)
    };
    for (what, load) in &loads {
        let text = what.text();
        print!("{text}: {load}");
        if let Some(floor) = what.floor().and_then(of) {
            let rate = load.rate / floor.rate;
            let time = load.median.as_secs_f64() / floor.median.as_secs_f64();
            print!("; {rate:.2} of its rate, {time:.2} of its median");
        }
        println!();
    }
    Ok(())
}
