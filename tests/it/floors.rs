//! Who may import whom: the table in `lib.rs`, held.

use std::path::{Path, PathBuf};

/// Modules by floor, from the ground up.
const FLOORS: [&[&str]; 6] = [
    &["model", "clock"],
    &["config"],
    &[
        "registry", "series", "schedule", "store", "record", "notify", "aws", "heard", "ready",
    ],
    &["forward", "collect", "export", "quota", "alarm", "report"],
    &["http", "grpc", "otlp", "web"],
    &["app", "serve", "cli", "telemetry", "demo", "main", "lib"],
];

/// Imports within a floor. Jobs and doors have none: they never know each other.
const WITHIN: [(&str, &[&str]); 7] = [
    ("record", &["registry", "series", "store"]),
    ("series", &["registry", "store"]),
    ("notify", &["store", "aws"]),
    ("app", &["serve", "telemetry"]),
    ("demo", &["app", "serve", "telemetry"]),
    ("cli", &["app", "serve", "telemetry", "demo"]),
    ("main", &["app", "serve", "cli", "telemetry", "demo"]),
];

/// Crates that belong to some modules only, all other modules do without.
const CRATES: [(&str, &[&str]); 5] = [
    (
        "axum",
        &["http", "grpc", "otlp", "web", "app", "serve", "demo"],
    ),
    (
        "tonic",
        &["http", "grpc", "otlp", "web", "app", "serve", "demo"],
    ),
    ("rusqlite", &["store"]),
    ("clap", &["cli", "main"]),
    (
        "anyhow",
        &["app", "serve", "cli", "telemetry", "demo", "main"],
    ),
];

/// A file of `src/`.
struct Source {
    path: PathBuf,
    module: String,
    /// How far it is from the crate's root: 1 for `src/store.rs` and `src/store/mod.rs`.
    depth: usize,
    /// Code without comments.
    code: Vec<String>,
    /// The line at which tests begin; they may do more.
    tests_from: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push(read(&root, path));
            }
        }
    }
    sources
}

fn read(root: &Path, path: PathBuf) -> Source {
    let text = std::fs::read_to_string(&path).unwrap();
    let code: Vec<_> = text.lines().map(without_comment).collect();
    let inner = path.strip_prefix(root).unwrap().with_extension("");
    let mut names: Vec<_> = inner.iter().map(|name| name.to_str().unwrap()).collect();
    if names.last() == Some(&"mod") {
        names.pop();
    }
    let tests = names.contains(&"tests");
    let first_test = code
        .windows(2)
        .position(|lines| lines[0].trim() == "#[cfg(test)]" && lines[1].trim_end().ends_with('{'));
    Source {
        module: names[0].to_owned(),
        depth: names.len(),
        tests_from: if tests {
            0
        } else {
            first_test.unwrap_or(code.len())
        },
        code,
        path,
    }
}

fn without_comment(line: &str) -> String {
    let end = line.find("//").unwrap_or(line.len());
    line[..end].to_owned()
}

fn floor(module: &str) -> usize {
    let floor = FLOORS.iter().position(|modules| modules.contains(&module));
    floor.unwrap_or_else(|| panic!("the module {module} is on no floor: see src/lib.rs"))
}

fn may_import(module: &str, other: &str) -> bool {
    let within = WITHIN.iter().find(|(importer, _)| *importer == module);
    module == other
        || floor(other) < floor(module)
        || within.is_some_and(|(_, modules)| modules.contains(&other))
}

/// The names that follow `prefix` in a line, where the prefix begins a path.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let starts = line.match_indices(prefix).filter(|(start, _)| {
        let before = line[..*start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    });
    starts.map(move |(start, _)| {
        let rest = &line[start + prefix.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// All lines of `src/` that `fault` objects to, with what it says.
fn faults(fault: impl Fn(&Source, usize, &str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources() {
        for (index, line) in source.code.iter().enumerate() {
            if let Some(text) = fault(&source, index, line) {
                let path = source.path.display();
                faults.push(format!("{path}:{}: {text}", index + 1));
            }
        }
    }
    faults
}

#[test]
fn files_import_from_lower_floors_only() {
    let none: [&str; 0] = [];
    let found = faults(|source, _, line| {
        // `lib.rs` declares all modules; what it says of them are links.
        if source.module == "lib" {
            return None;
        }
        let root = if source.module == "main" {
            "tallyd::"
        } else {
            "crate::"
        };
        names_after(line, root)
            .find(|name| name.is_empty() || !may_import(&source.module, name))
            .map(|name| match name {
                "" => "name the module behind `crate::`, a line each".to_owned(),
                name => format!("{} may not import {name}", source.module),
            })
    });
    assert_eq!(found, none);
}

#[test]
fn no_path_climbs_out_of_its_module() {
    let none: [&str; 0] = [];
    let found = faults(|source, index, line| {
        let depth = source.depth + usize::from(index >= source.tests_from);
        let climbs = "super::".repeat(depth);
        line.contains(&climbs)
            .then(|| "write `crate::`, so that the floors can be seen".to_owned())
    });
    assert_eq!(found, none);
}

#[test]
fn crates_stay_in_their_modules() {
    let none: [&str; 0] = [];
    let found = faults(|source, _, line| {
        CRATES.iter().find_map(|(name, modules)| {
            let path = format!("{name}::");
            let used = names_after(line, &path).next().is_some();
            (used && !modules.contains(&source.module.as_str()))
                .then(|| format!("{} may not use {name}", source.module))
        })
    });
    assert_eq!(found, none);
}

#[test]
fn the_environment_is_read_in_config_only() {
    let none: [&str; 0] = [];
    let found = faults(|source, index, line| {
        let reads = line.contains("env::var") && index < source.tests_from;
        (reads && source.module != "config").then(|| "reads the environment".to_owned())
    });
    assert_eq!(found, none);
}

#[test]
fn every_module_of_the_library_is_on_a_floor() {
    for source in sources() {
        floor(&source.module);
    }
}
