//! Which files hold the alarms, and whether they changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fault::Fault;
use super::{BUILT_IN, BUILT_IN_NAME};

/// Files of one folder that are looked at.
const MAX_FILES: usize = 200;

/// Bytes of a file; the reader tells of more.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Reads the texts of templates: files, and of folders all `.yaml`, `.yml` and `.json`, by name.
/// Without any the built-in ones.
///
/// Errors: the files that cannot be read.
pub fn files(places: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Vec<Fault>> {
    if places.is_empty() {
        return Ok(vec![(BUILT_IN_NAME.into(), BUILT_IN.to_owned())]);
    }
    let mut texts = Vec::new();
    let mut faults = Vec::new();
    for place in places {
        match paths(place)
            .and_then(|paths| paths.into_iter().map(read).collect::<Result<Vec<_>, _>>())
        {
            Ok(read) => texts.extend(read),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(texts)
    } else {
        Err(faults)
    }
}

fn fault(file: &Path, message: impl Into<String>) -> Fault {
    Fault {
        file: file.to_owned(),
        line: 1,
        property: String::new(),
        message: message.into(),
    }
}

/// The files of a place: itself, or what is in it.
fn paths(place: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let cannot = |error| fault(place, format!("cannot be read: {error}"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(place).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("yaml" | "yml" | "json")) && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(fault(place, format!("has more than {MAX_FILES} templates")));
        }
    }
    if paths.is_empty() {
        return Err(fault(place, "holds no .yaml, .yml or .json file"));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: PathBuf) -> Result<(PathBuf, String), Fault> {
    let cannot = |error: std::io::Error| fault(&path, format!("cannot be read: {error}"));
    let length = std::fs::metadata(&path).map_err(cannot)?.len();
    if length > MAX_BYTES {
        return Err(fault(&path, "is too large for a template"));
    }
    let text = std::fs::read_to_string(&path).map_err(cannot)?;
    Ok((path, text))
}

/// What tells that files changed: names, sizes and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl Stamp {
    /// Looks at the files; one that is not there is a stamp as well.
    #[must_use]
    pub fn of(places: &[PathBuf]) -> Self {
        let mut seen = Vec::new();
        for place in places {
            let paths = paths(place).unwrap_or_else(|_| vec![place.clone()]);
            for path in paths {
                let metadata = std::fs::metadata(&path).ok();
                let known = metadata.and_then(|file| Some((file.len(), file.modified().ok()?)));
                seen.push((path, known));
            }
        }
        Self(seen)
    }
}
