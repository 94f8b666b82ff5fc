//! What the simulated company has agreed on: assumptions, budgets, the phases of its rollout, and
//! quotas. All of it is as made up as the company, and says so where it is shown.

use std::path::Path;

use anyhow::Context as _;
use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};

use crate::config::{Config, Environment};

/// The file of the quotas.
const POLICY: &str = include_str!("policy.toml");

/// Its name in the demo's folder.
const POLICY_FILE: &str = "policy.toml";

const TERMS: &str = r#"
[business]
assumptions = "simulated (demo)"
minutes_saved_per_active_minute = {low = -0.16, mid = 0.1, high = 0.4}
hourly_rate = 85

[[cost.budgets]]
name = "company (simulated)"
amount = "5000"
scope = "all"

[[cost.budgets]]
name = "platform (simulated)"
amount = "1000"
scope = {team = "platform"}

[[cost.budgets]]
name = "commerce (simulated)"
amount = "500"
scope = {cost_center = "cc-101"}
"#;

/// The company's own configuration, in which the last `days` until `today` were its rollout. Its
/// policy is a file in `folder`.
pub(super) fn config(folder: &Path, days: u32, today: &Zoned) -> anyhow::Result<Config> {
    let text = format!("{TERMS}{}", phases(today.date(), days)?);
    let mut config = Config::parse(&text, &Environment::default())?;
    let policy = folder.join(POLICY_FILE);
    std::fs::write(&policy, POLICY)
        .with_context(|| format!("cannot write {}", policy.display()))?;
    config.quota.policy = Some(policy);
    Ok(config)
}

/// A pilot of the first half with one team, then everyone.
fn phases(today: Date, days: u32) -> anyhow::Result<String> {
    let begin = today.checked_sub(i64::from(days).days())?;
    let middle = today.checked_sub(i64::from(days / 2).days())?;
    let end = today.checked_add(1.month())?;
    if begin >= middle {
        return Ok(String::new());
    }
    Ok(format!(
        r#"
[[business.phases]]
name = "Pilot (simulated)"
from = "{begin}"
to = "{middle}"
groups = ["platform"]
criteria = ["active_users > 5", "acceptance_rate > 60%", "productivity_gain > 20%"]

[[business.phases]]
name = "Everyone (simulated)"
from = "{middle}"
to = "{end}"
criteria = ["active_users > 100", "roi_percent > 100", "error_rate < 5%"]
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Policy;

    #[test]
    fn the_terms_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let today: Zoned = "2026-11-23T12:00[UTC]".parse().unwrap();
        for (days, phases) in [(30, 2), (1, 2), (0, 0)] {
            let config = config(folder.path(), days, &today).unwrap();
            assert_eq!(config.business.phases.len(), phases);
            let policy = std::fs::read_to_string(config.quota.policy.unwrap()).unwrap();
            assert!(!Policy::parse(&policy).unwrap().limits.is_empty());
        }
    }
}
