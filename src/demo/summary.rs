//! What the demo says when the history is in.

use std::fmt::Write as _;

use super::{ByTeam, History, Totals, reachable};
use crate::model::label::grouped;

/// A text for people: what was played, whether it was counted right, and where to look.
#[must_use]
pub fn summary(history: &History) -> String {
    let History {
        addresses,
        settings,
        played,
        counted,
        ..
    } = history;
    let sums: Totals = played.values().sum();
    let show = |address: Option<std::net::SocketAddr>| {
        address.map_or("off".to_owned(), |address| reachable(address).to_string())
    };
    let http = show(addresses.http);
    let mut text = format!(
        "\nSIMULATED: {} days of a company of {} people and {} services (seed {}), none of it is real\n\n  \
         {} sessions, {} events, {} requests ({} failed), {} tokens, loaded in {:.1} s\n",
        settings.days,
        settings.users,
        history.people.saturating_sub(settings.users as usize),
        settings.seed,
        grouped(history.sessions as u64),
        grouped(history.events),
        grouped(sums.requests),
        grouped(sums.errors),
        grouped(sums.tokens()),
        history.took.as_secs_f64(),
    );
    text.push_str(&verdict(played, counted));
    let _ = write!(
        text,
        "
  page      http://{http}/
  metrics   http://{http}/metrics
  usage     curl 'http://{http}/api/v1/usage?group_by=team&from={}'
            tallyd usage --url http://{http} --group-by team,model
  reports   tallyd report chargeback --url http://{http} --month last
            tallyd report budget --url http://{http}
  quotas    tallyd quota top --url http://{http}
  senders   tallyd doctor --url http://{http}
  OTLP      http {}, grpc {}

  Prometheus:

    scrape_configs:
      - job_name: tallyd
        static_configs:
          - targets: [\"{http}\"]

The company goes on working. Ctrl-C ends the demo and removes its ledger.
",
        history.since,
        show(addresses.otlp_http),
        show(addresses.grpc),
    );
    text
}

/// Each request was told up to three times: by events, by metrics and by a gateway.
fn verdict(played: &ByTeam, counted: &ByTeam) -> String {
    if played == counted {
        return "  counted once: the ledger's totals of every team are exactly what was played\n"
            .to_owned();
    }
    let mut text = "  WARNING: the ledger differs from what was played\n".to_owned();
    let mut teams: Vec<_> = played.keys().chain(counted.keys()).collect();
    teams.sort();
    teams.dedup();
    for team in teams {
        let (played, counted) = (played.get(team), counted.get(team));
        if played != counted {
            let _ = writeln!(text, "  {team:?}: played {played:?}, counted {counted:?}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_both_sides() {
        let data = Totals {
            input: 2,
            ..Totals::default()
        };
        let both = |payments| {
            let teams = [("data", data), ("payments", payments)];
            ByTeam::from(teams.map(|(team, totals)| (team.to_owned(), totals)))
        };
        let played = both(data);
        assert!(verdict(&played, &played).contains("counted once"));
        let text = verdict(&played, &both(Totals::default()));
        assert!(text.contains("WARNING") && text.contains("\"payments\": played"));
        assert!(!text.contains("\"data\""));
    }
}
