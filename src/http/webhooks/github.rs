//! Events of GitHub: only the fields that are needed, in its own names.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Merged, Told, broken, commits};
use crate::config::Business;
use crate::http::error::Problem;

pub(super) const SOURCE: &str = "github";

#[derive(Deserialize)]
struct PullRequestEvent {
    pull_request: PullRequest,
    repository: Repository,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    title: String,
    body: Option<String>,
    user: Option<User>,
    #[serde(default)]
    labels: Vec<Label>,
    merged_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    merge_commit_sha: Option<String>,
    base: Base,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    branch: String,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    #[serde(default)]
    default_branch: String,
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
    message: String,
}

/// The author of what Claude's app for GitHub opens.
const APP: &str = "claude[bot]";

/// Reads an event of this name.
pub(super) fn read(event: &str, body: &[u8], business: &Business) -> Result<Told, Problem> {
    match event {
        "ping" => Ok(Told::Ping),
        "pull_request" => {
            let event: PullRequestEvent =
                serde_json::from_slice(body).map_err(|error| broken(&error))?;
            pull_request(&event, business)
        }
        "push" => {
            let push: PushEvent = serde_json::from_slice(body).map_err(|error| broken(&error))?;
            let pairs = push.commits.iter().map(|one| (&*one.id, &*one.message));
            let hashes = commits(pairs, push.after.as_deref());
            if hashes.is_empty() {
                return Ok(Told::Nothing("Claude Code took part in no commit of it"));
            }
            Ok(Told::Commits(hashes))
        }
        _ => Ok(Told::Nothing("only the events pull_request and push count")),
    }
}

fn pull_request(event: &PullRequestEvent, business: &Business) -> Result<Told, Problem> {
    let change = &event.pull_request;
    let Some(merged_at) = change.merged_at else {
        return Ok(Told::Nothing("it is not merged"));
    };
    let author = change.user.as_ref().map(|user| &*user.login);
    Merged {
        source: SOURCE,
        id: format!("{}#{}", event.repository.id, change.number),
        at: Some(merged_at),
        updated: change.updated_at,
        title: &change.title,
        texts: change.body.iter().map(String::as_str).collect(),
        labels: change.labels.iter().map(|label| &*label.name).collect(),
        author,
        by_claude: author == Some(APP),
        commit: change.merge_commit_sha.as_deref(),
        branch: &change.base.branch,
        default_branch: &event.repository.default_branch,
    }
    .told(business)
}
