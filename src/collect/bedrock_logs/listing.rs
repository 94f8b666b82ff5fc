//! Which objects of a log there are.
//!
//! Bedrock writes below `AWSLogs/ACCOUNT/BedrockModelInvocationLogs/REGION/YYYY/MM/DD/HH/`, and
//! bodies that are too large for a record into `data/` below that. Where the log lies so, only the
//! hours that are asked for are listed; elsewhere, such as in a folder that was copied, all is.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, ObjectStore, Result};

use crate::store::{LogObject, NO_HOUR};

/// The folder under which Bedrock's logs are.
const LOGS: &str = "AWSLogs";
const SERVICE: &str = "BedrockModelInvocationLogs";

/// Where bodies lie that are no records.
const BODIES: &str = "data";

/// Written when logging is switched on; holds no record.
const CHECK: &str = "permission-check";

/// Lists that are asked for at the same time.
const AT_ONCE: usize = 8;

/// Objects of a log that does not lie by hours. A folder with more is a log in the making for
/// years.
const MAX_LISTED: usize = 200_000;

/// An object of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: Path,
    pub size: u64,
    pub known_by: LogObject,
    /// The UTC hour since 1970 that it lies under.
    pub hour: i64,
}

impl Found {
    pub(super) fn new(meta: &ObjectMeta, hour: i64) -> Option<Self> {
        let name = meta.location.filename()?;
        if meta.size == 0 || name.contains(CHECK) {
            return None;
        }
        let changed = meta.last_modified.timestamp_millis();
        let version = match &meta.e_tag {
            Some(tag) => format!("{tag} {}", meta.size),
            None => format!("{changed} {}", meta.size),
        };
        Some(Self {
            path: meta.location.clone(),
            size: meta.size,
            known_by: LogObject::new(meta.location.as_ref(), &version),
            hour,
        })
    }
}

/// The objects of the hours from `from` to `to`, both included; all where the log does not lie by
/// hours.
pub(super) async fn list(
    store: &Arc<dyn ObjectStore>,
    prefix: &Path,
    from: i64,
    to: i64,
) -> Result<Vec<Found>> {
    let Some(roots) = roots(store, prefix).await? else {
        return all(store, prefix).await;
    };
    let hours = roots
        .iter()
        .flat_map(|root| (from..=to).filter_map(|hour| Some((folder(root, hour)?, hour))));
    let lists = hours
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(folder, hour)| of_hour(store.clone(), folder, hour));
    let found: Vec<_> = stream::iter(lists).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn of_hour(store: Arc<dyn ObjectStore>, folder: Path, hour: i64) -> Result<Vec<Found>> {
    let listed = store.list_with_delimiter(Some(&folder)).await?;
    let found = listed.objects.iter();
    Ok(found.filter_map(|meta| Found::new(meta, hour)).collect())
}

/// All objects under a prefix that may be logs.
pub(super) async fn all(store: &Arc<dyn ObjectStore>, prefix: &Path) -> Result<Vec<Found>> {
    let mut listed = store.list(Some(prefix));
    let mut found = Vec::new();
    while let Some(meta) = listed.try_next().await? {
        let is_body = meta.location.parts().any(|part| part.as_ref() == BODIES);
        let name = meta.location.filename().unwrap_or_default();
        let is_log = [".gz", ".json", ".jsonl", ".ndjson", ".log"]
            .iter()
            .any(|ending| name.ends_with(ending));
        if !is_body && is_log {
            found.extend(Found::new(&meta, NO_HOUR));
        }
        if found.len() >= MAX_LISTED {
            tracing::warn!(
                prefix = %prefix,
                "more than {MAX_LISTED} log files: name a folder further down"
            );
            break;
        }
    }
    Ok(found)
}

/// The folders above the years, one for each account and region; `None` if the log does not lie
/// so.
async fn roots(store: &Arc<dyn ObjectStore>, prefix: &Path) -> Result<Option<Vec<Path>>> {
    let parts: Vec<_> = prefix.parts().collect();
    let begin = parts.iter().position(|part| part.as_ref() == LOGS);
    let depth = begin.map_or(0, |begin| parts.len() - begin);
    let mut folders = vec![prefix.clone()];
    if depth == 0 {
        let below = children(store, prefix).await?;
        let Some(logs) = below.into_iter().find(|path| ends_in(path, LOGS)) else {
            return Ok(None);
        };
        folders = vec![logs];
    }
    if depth > 4 {
        return Ok(None);
    }
    if depth <= 1 {
        folders = each_below(store, folders).await?;
    }
    if depth <= 2 {
        folders = folders
            .into_iter()
            .map(|account| account.join(SERVICE))
            .collect();
    }
    if depth <= 3 {
        folders = each_below(store, folders).await?;
    }
    Ok(Some(folders))
}

async fn each_below(store: &Arc<dyn ObjectStore>, folders: Vec<Path>) -> Result<Vec<Path>> {
    let mut below = Vec::new();
    for folder in folders {
        below.extend(children(store, &folder).await?);
    }
    Ok(below)
}

async fn children(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<Vec<Path>> {
    Ok(store
        .list_with_delimiter(Some(folder))
        .await?
        .common_prefixes)
}

fn ends_in(path: &Path, name: &str) -> bool {
    path.parts().next_back() == Some(PathPart::from(name))
}

fn folder(root: &Path, hour: i64) -> Option<Path> {
    let at = Timestamp::from_second(hour.checked_mul(3_600)?).ok()?;
    let at = at.to_zoned(TimeZone::UTC);
    let below = format!(
        "{:04}/{:02}/{:02}/{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour()
    );
    Some(Path::from(format!("{root}/{below}")))
}

/// Where the body lies that a record names, if it lies in the same log. Copies keep what is below
/// `AWSLogs`.
pub(super) fn body_beside(object: &Path, named: &str) -> Option<Path> {
    let (_, key) = named.strip_prefix("s3://")?.split_once('/')?;
    let marker = format!("{LOGS}/");
    let below = &key[key.find(&marker)?..];
    let object = object.as_ref();
    let above = &object[..object.find(&marker)?];
    Path::parse(format!("{above}{below}")).ok()
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;

    use super::*;

    const REGION: &str = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1";

    fn log(files: &[String]) -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        (folder, Arc::new(store))
    }

    fn hour(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second() / 3_600
    }

    async fn listed(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
        let from = hour("2026-11-21T23:00:00Z");
        let found = list(store, &Path::from(prefix), from, from + 1).await;
        let mut paths: Vec<_> = found.unwrap().iter().map(|f| f.path.to_string()).collect();
        paths.sort();
        paths
    }

    #[tokio::test]
    async fn only_the_hours_asked_for_are_listed_of_all_accounts_and_regions() {
        let other = "AWSLogs/444455556666/BedrockModelInvocationLogs/eu-west-1";
        let files = [
            format!("p/{REGION}/2026/11/21/22/too-old.json.gz"),
            format!("p/{REGION}/2026/11/21/23/a.json.gz"),
            format!("p/{REGION}/2026/11/21/23/data/r1_input.json.gz"),
            format!("p/{REGION}/2026/11/22/00/amazon-bedrock-logs-permission-check"),
            format!("p/{other}/2026/11/22/00/b.json.gz"),
            "p/AWSLogs/444455556666/CloudTrail/us-east-1/2026/11/22/00/c.json.gz".to_owned(),
        ];
        let (_folder, store) = log(&files);
        let both = [files[1].clone(), files[4].clone()];
        assert_eq!(listed(&store, "p").await, both);
        assert_eq!(listed(&store, "p/AWSLogs").await, both);
        assert_eq!(listed(&store, "p/AWSLogs/111122223333").await, both[..1]);
        assert_eq!(listed(&store, &format!("p/{REGION}")).await, both[..1]);
    }

    #[tokio::test]
    async fn elsewhere_all_files_that_may_be_logs_are_listed() {
        let files = ["a.json.gz", "b.jsonl", "data/c.json.gz", "notes.txt"].map(str::to_owned);
        let (_folder, store) = log(&files);
        assert_eq!(listed(&store, "").await, files[..2]);
        assert_eq!(listed(&store, "absent").await, [""; 0]);
    }

    #[test]
    fn a_body_is_looked_for_in_the_same_log_only() {
        let object = Path::from(format!("copy/{REGION}/2026/11/21/23/a.json.gz"));
        let named = format!("s3://logs/p/{REGION}/2026/11/21/23/data/r1_output.json.gz");
        let beside = format!("copy/{REGION}/2026/11/21/23/data/r1_output.json.gz");
        assert_eq!(body_beside(&object, &named), Some(Path::from(beside)));
        assert_eq!(body_beside(&object, "s3://logs/elsewhere"), None);
        assert_eq!(body_beside(&object, "https://example.com/AWSLogs/x"), None);
        assert_eq!(
            body_beside(&object, "s3://logs/AWSLogs/../../etc/passwd"),
            None
        );
    }
}
