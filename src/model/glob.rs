//! Patterns with `*` for any run of characters, as operators write them for names.

/// A pattern; without a `*` it is a plain name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one name that the pattern stands for, if it has no `*`.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// True if the whole of `text` fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            if let Some(part) = last.replace(part) {
                let Some(at) = rest.find(part) else {
                    return false;
                };
                rest = &rest[at + part.len()..];
            }
        }
        // Each part in the middle took its first place, so the end has all that is left.
        last.map_or(rest.is_empty(), |end| rest.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_all_else_for_itself() {
        let fits = |pattern: &str, text: &str| Glob::new(pattern).matches(text);
        let yes = [
            ("claude-*", "claude-opus-4-8"),
            ("*-haiku-*", "claude-haiku-4-5"),
            ("*", ""),
            ("", ""),
            ("a*b*c", "a-b-b-c"),
            ("a*bc", "abcbc"),
            ("claude-opus-4-5", "claude-opus-4-5"),
        ];
        let no = [
            ("claude-opus-4", "claude-opus-4-5"),
            ("claude-*", "my-claude-opus"),
            ("a*a", "a"),
            ("a*b*c", "a-c"),
            ("", "x"),
        ];
        for (pattern, text) in yes {
            assert!(fits(pattern, text), "{pattern} fits {text}");
        }
        for (pattern, text) in no {
            assert!(!fits(pattern, text), "{pattern} does not fit {text}");
        }
    }
}
