//! Merged changes: which of them are fixes, and in which Claude Code took part.

use crate::model::glob::Glob;

/// Which changes are fixes. Case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixRule {
    labels: Vec<Glob>,
    titles: Vec<Glob>,
    /// Types of conventional commits: `fix` of `fix(parser)!: ...`.
    types: Vec<String>,
}

impl FixRule {
    /// A change is a fix if one of its labels or its title fits a pattern, or its title begins
    /// with one of the types of conventional commits.
    #[must_use]
    pub fn new(labels: &[String], titles: &[String], types: &[String]) -> Self {
        let globs = |patterns: &[String]| {
            let patterns = patterns.iter();
            patterns.map(|one| Glob::new(&one.to_lowercase())).collect()
        };
        Self {
            labels: globs(labels),
            titles: globs(titles),
            types: types.iter().map(|one| one.to_lowercase()).collect(),
        }
    }

    #[must_use]
    pub fn is_fix<'a>(&self, title: &str, labels: impl IntoIterator<Item = &'a str>) -> bool {
        let title = title.trim().to_lowercase();
        let fits = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.matches(text));
        let typed = commit_type(&title).is_some_and(|found| self.types.iter().any(|t| t == found));
        typed
            || fits(&self.titles, &title)
            || labels
                .into_iter()
                .any(|label| fits(&self.labels, &label.trim().to_lowercase()))
    }
}

/// The type of a conventional commit: `fix` of `fix: a`, `fix(b): a`, `fix!: a`, `fix(b)!: a`.
fn commit_type(title: &str) -> Option<&str> {
    let (head, _) = title.split_once(':')?;
    let head = head.strip_suffix('!').unwrap_or(head);
    let kind = match head.split_once('(') {
        Some((kind, scope)) if scope.ends_with(')') => kind,
        Some(_) => return None,
        None => head,
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    (!kind.is_empty() && kind.chars().all(is_word)).then_some(kind)
}

/// The address with which Claude Code signs commits.
const ADDRESS: &str = "noreply@anthropic.com";

/// How the address of Claude's GitHub app ends, after a number.
const APP: &str = "+claude[bot]@users.noreply.github.com";

/// True if a commit message or the text of a pull request says that Claude Code took part.
///
/// Claude Code ends commit messages with `Co-Authored-By: Claude <noreply@anthropic.com>` (newer
/// clients add the model's name) and descriptions with `Generated with [Claude Code](...)`. The
/// name alone is not enough: people are called Claude too.
#[must_use]
pub fn claude_took_part(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim().to_ascii_lowercase();
        if let Some(author) = line.strip_prefix("co-authored-by:") {
            let address = author.rsplit_once('<').map(|(_, rest)| rest);
            let address = address.and_then(|rest| rest.strip_suffix('>'));
            return address.is_some_and(|address| address == ADDRESS || address.ends_with(APP));
        }
        line.contains("generated with [claude code](")
            || line.ends_with("generated with claude code")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> FixRule {
        let texts = |list: &[&str]| {
            list.iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        FixRule::new(
            &texts(&["bug", "kind/bug*"]),
            &texts(&["*[hotfix]*"]),
            &texts(&["fix"]),
        )
    }

    #[test]
    fn a_fix_is_known_by_its_label_its_title_or_its_type() {
        let fixes = [
            ("anything", vec!["docs", "Bug"]),
            ("anything", vec!["kind/bug-ui"]),
            ("fix: a crash", vec![]),
            ("Fix(parser)!: a crash", vec![]),
            ("fix(a b, c): a crash", vec![]),
            ("Do it [HOTFIX] now", vec![]),
        ];
        for (title, labels) in fixes {
            assert!(rule().is_fix(title, labels.clone()), "{title} {labels:?}");
        }
        let others = [
            ("fixing: the docs", vec![]),
            ("Revert \"fix: a crash\"", vec![]),
            ("fix the docs", vec!["debug", "not a bug"]),
            ("feat(fix): b", vec![]),
            ("fix(: b", vec![]),
            (": b", vec![]),
            ("", vec![]),
        ];
        for (title, labels) in others {
            assert!(!rule().is_fix(title, labels.clone()), "{title} {labels:?}");
        }
    }

    #[test]
    fn claude_is_known_by_its_address_and_by_its_footer() {
        let yes = [
            "a crash\n\nCo-Authored-By: Claude <noreply@anthropic.com>",
            "a crash\n\nCo-authored-by: Claude Opus 5.5 <noreply@anthropic.com>\r\n",
            "Co-authored-by: claude[bot] <209825114+claude[bot]@users.noreply.github.com>",
            "What it does.\n\n🤖 Generated with [Claude Code](https://claude.com/claude-code)",
            "🤖 Generated with Claude Code",
        ];
        for text in yes {
            assert!(claude_took_part(text), "{text}");
        }
        let no = [
            "Co-Authored-By: Claude Dupont <claude@example.com>",
            "we should ask Claude Code",
            "it was not Co-Authored-By: Claude <noreply@anthropic.com>",
            "mail noreply@anthropic.com",
            "Co-Authored-By: Claude <evil-noreply@anthropic.com>",
            "",
        ];
        for text in no {
            assert!(!claude_took_part(text), "{text}");
        }
    }
}
