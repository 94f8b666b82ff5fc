//! The documents: links lead somewhere, and every page is found from the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dashboards::root;

/// All documents that people read.
fn pages() -> Vec<PathBuf> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    let within = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(is_page)
    };
    within(".").chain(within("docs")).collect()
}

/// Where the links of a text lead; what stands between backticks is no link.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split('`').step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| !target.contains("://"))
        .collect()
}

/// Headings as GitHub names them in addresses.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

#[test]
fn every_link_leads_to_a_file_and_its_heading() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let is_there =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 100, "{seen} links: they are not found");
    assert_eq!(broken, Vec::<String>::new());
}

fn is_page(name: &str) -> bool {
    Path::new(name).extension() == Some("md".as_ref())
}

#[test]
fn the_index_has_every_page_once() {
    let index = read(&root().join("docs/README.md"));
    let mut listed: Vec<&str> = links(&index)
        .into_iter()
        .filter(|link| is_page(link))
        .collect();
    listed.sort_unstable();
    let entries = std::fs::read_dir(root().join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names
        .filter(|name| is_page(name) && name != "README.md")
        .collect();
    pages.sort_unstable();
    assert_eq!(listed, pages);
}
