//! YAML as a tree with lines, within bounds.
//!
//! JSON is read as the YAML that it is. Aliases are refused, as CloudFormation does: they serve no
//! template and could make a small file large.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

/// A template may have a megabyte in CloudFormation.
const MAX_BYTES: usize = 1024 * 1024;

/// Deeper than any template, and shallow enough for recursion.
const MAX_DEPTH: usize = 64;

/// Nodes of one file; with the bound on bytes this bounds memory.
const MAX_NODES: usize = 200_000;

/// A value with the line at which it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1.
    pub line: usize,
    /// A short tag without its mark: `Ref`, `Sub`.
    pub tag: Option<String>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text, number or flag as it is written; `plain` where it is not in quotes.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and what stands under it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub line: usize,
    pub key: String,
    pub node: Node,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub line: usize,
    pub message: String,
}

impl Broken {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// What stands under a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.map()?.iter().find(|entry| entry.key == key)
    }

    /// True for a value that was left empty: `key:` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Text { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads a file of one document.
pub(super) fn parse(text: &str) -> Result<Node, Broken> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes");
        return Err(Broken::new(1, message));
    }
    let mut reader = Reader {
        events: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
        line: 1,
        nodes: 0,
    };
    let mut root = None;
    loop {
        match reader.next()? {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if root.is_some() => {
                return Err(Broken::new(reader.line, "a second document begins here"));
            }
            event => root = Some(reader.node(event, 0)?),
        }
    }
    root.ok_or_else(|| Broken::new(1, "the file is empty"))
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Where the last event began.
    line: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, Broken> {
        match self.events.next_event() {
            Some(Ok((event, Span { start, .. }))) => {
                self.line = start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(Broken::new(error.marker().line(), error.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    /// Reads the node that begins with `event`.
    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, Broken> {
        let line = self.line;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Broken::new(line, format!("more than {MAX_NODES} values")));
        }
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Broken::new(line, message));
        }
        let (value, tag) = match event {
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                (Value::Text { text, plain }, tag)
            }
            Event::SequenceStart(_, tag) => (Value::List(self.list(depth)?), tag),
            Event::MappingStart(_, tag) => (Value::Map(self.map(depth)?), tag),
            Event::Alias(_) => {
                let message = "aliases are not taken, as in CloudFormation: write it out";
                return Err(Broken::new(line, message));
            }
            _ => return Err(Broken::new(line, "a value is missing")),
        };
        Ok(Node {
            line,
            tag: tag.as_deref().and_then(short),
            value,
        })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Broken> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Broken> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = BTreeMap::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(entries),
                event => self.node(event, depth + 1)?,
            };
            let line = key.line;
            let Value::Text { text: key, .. } = key.value else {
                return Err(Broken::new(line, "a key must be a text"));
            };
            if key == "<<" {
                return Err(Broken::new(
                    line,
                    "merges (<<) are not taken, as in CloudFormation",
                ));
            }
            if let Some(first) = seen.insert(key.clone(), line) {
                let message = format!("{key} is there twice, first in line {first}");
                return Err(Broken::new(line, message));
            }
            let event = self.next()?;
            let node = self.node(event, depth + 1)?;
            entries.push(Entry { line, key, node });
        }
    }
}

/// The name of a local tag; the tags of YAML itself (`!!str`) say nothing that is needed here.
fn short(tag: &Tag) -> Option<String> {
    (!tag.is_yaml_core_schema()).then(|| match tag.handle.as_str() {
        "!" => tag.suffix.clone(),
        handle => format!("{handle}{}", tag.suffix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let broken = parse(text).unwrap_err();
        (broken.line, broken.message)
    }

    #[test]
    fn json_is_yaml() {
        let node = parse("{\"a\":\n [1, true, \"x\"],\t\"b\": {\"Ref\": \"C\"}}\n").unwrap();
        let items = node.get("a").unwrap().node.list().unwrap();
        assert_eq!(items[2].text(), Some("x"));
        assert_eq!((items[0].line, items[0].text()), (2, Some("1")));
        assert_eq!(node.get("b").unwrap().node.get("Ref").unwrap().line, 2);
    }

    #[test]
    fn short_tags_are_kept_and_lines_are_known() {
        let node = parse("# first\na: !Sub '${B}-c'\nb: !!str 7\n").unwrap();
        let sub = node.get("a").unwrap();
        assert_eq!((sub.line, sub.node.tag.as_deref()), (2, Some("Sub")));
        assert_eq!(node.get("b").unwrap().node.tag, None);
    }

    #[test]
    fn what_could_grow_or_mislead_is_refused_with_its_line() {
        let bomb = "a: &a [x]\nb: [*a, *a]\n";
        assert_eq!(fault(bomb).0, 2);
        assert!(fault("a: 1\nb: 2\na: 3\n").1.contains("first in line 1"));
        assert_eq!(
            fault("a: 1\n---\nb: 2\n"),
            (3, "a second document begins here".to_owned())
        );
        assert_eq!(fault("").1, "the file is empty");
        let deep = "[".repeat(10_000);
        assert!(parse(&deep).is_err());
        let mut steep = String::new();
        for level in 0..300 {
            steep.extend([&" ".repeat(level), "a:\n"]);
        }
        assert_eq!(fault(&steep).1, "nested deeper than 64 levels");
        assert!(fault(&"x".repeat(MAX_BYTES + 1)).1.contains("bytes"));
        assert!(fault(&"- a\n".repeat(MAX_NODES + 1)).1.contains("values"));
        assert_eq!(fault("a: b: c\n").0, 1);
    }
}
