//! Events of GitLab: only the fields that are needed, in its own names.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Merged, Told, broken, commits};
use crate::config::Business;
use crate::http::error::Problem;

pub(super) const SOURCE: &str = "gitlab";

#[derive(Deserialize)]
struct MergeRequestEvent {
    project: Project,
    object_attributes: Attributes,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Project {
    id: u64,
    #[serde(default)]
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Attributes {
    iid: u64,
    title: String,
    description: Option<String>,
    state: String,
    action: Option<String>,
    target_branch: String,
    updated_at: Option<String>,
    merged_at: Option<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
    last_commit: Option<Commit>,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Label {
    title: String,
}

#[derive(Deserialize)]
struct Author {
    email: Option<String>,
}

#[derive(Deserialize)]
struct PushEvent {
    after: Option<String>,
    #[serde(default)]
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    #[serde(default)]
    message: String,
    author: Option<Author>,
}

/// Reads an event of this name.
pub(super) fn read(event: &str, body: &[u8], business: &Business) -> Result<Told, Problem> {
    match event {
        "Merge Request Hook" => {
            let event: MergeRequestEvent =
                serde_json::from_slice(body).map_err(|error| broken(&error))?;
            merge_request(&event, business)
        }
        "Push Hook" => {
            let push: PushEvent = serde_json::from_slice(body).map_err(|error| broken(&error))?;
            let pairs = push.commits.iter().map(|one| (&*one.id, &*one.message));
            let hashes = commits(pairs, push.after.as_deref());
            if hashes.is_empty() {
                return Ok(Told::Nothing("Claude Code took part in no commit of it"));
            }
            Ok(Told::Commits(hashes))
        }
        _ => Ok(Told::Nothing(
            "only the events Merge Request Hook and Push Hook count",
        )),
    }
}

fn merge_request(event: &MergeRequestEvent, business: &Business) -> Result<Told, Problem> {
    let change = &event.object_attributes;
    if change.state != "merged" {
        return Ok(Told::Nothing("it is not merged"));
    }
    let updated = change.updated_at.as_deref().and_then(time);
    // Older servers do not say when it was merged; what is told at the merge is of that time.
    let at = change.merged_at.as_deref().and_then(time);
    let is_merge = change.action.as_deref() == Some("merge");
    let labels = if event.labels.is_empty() {
        &change.labels
    } else {
        &event.labels
    };
    let last = change.last_commit.iter().map(|commit| &*commit.message);
    Merged {
        source: SOURCE,
        id: format!("{}!{}", event.project.id, change.iid),
        at: at.or(updated.filter(|_| is_merge)),
        updated,
        title: &change.title,
        texts: change
            .description
            .as_deref()
            .into_iter()
            .chain(last)
            .collect(),
        labels: labels.iter().map(|label| &*label.title).collect(),
        // The event names who merged; the last commit tells who wrote it.
        author: change
            .last_commit
            .as_ref()
            .and_then(|commit| commit.author.as_ref()?.email.as_deref())
            .filter(|email| email.contains('@')),
        by_claude: false,
        commit: change
            .merge_commit_sha
            .as_deref()
            .or(change.squash_commit_sha.as_deref())
            .or(change.last_commit.as_ref().map(|commit| &*commit.id)),
        branch: &change.target_branch,
        default_branch: event.project.default_branch.as_deref().unwrap_or_default(),
    }
    .told(business)
}

/// Times are RFC 3339, or `2026-11-22 03:06:46 UTC` from older servers.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let (date, rest) = text.split_once(' ')?;
    let (time, zone) = rest.split_once(' ')?;
    let offset = if zone == "UTC" { "Z" } else { zone };
    format!("{date}T{time}{offset}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_old_and_new_servers_are_read() {
        let same: Option<Timestamp> = "2026-11-22T03:06:46Z".parse().ok();
        for text in [
            "2026-11-22T03:06:46Z",
            "2026-11-22 03:06:46 UTC",
            "2026-11-22 04:06:46 +0100",
            "2026-11-22T03:06:46.000Z",
        ] {
            assert_eq!(time(text), same, "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }
}
