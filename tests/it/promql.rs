//! Enough of `PromQL` to see what a query selects.
//!
//! Prometheus itself checks the grammar, in the tests that run every query; this finds the
//! selectors, their matchers and ranges, and the function around each.

use std::collections::BTreeSet;

/// A selector: `metric{matchers}[range]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// What is between the braces.
    pub(crate) matchers: String,
    /// What is between the brackets; empty without them.
    pub(crate) range: String,
    /// The function or aggregation whose argument it is; empty outside of any.
    pub(crate) function: String,
}

impl Selector {
    /// The labels that are matched on.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let matchers = outside_quotes(&self.matchers);
        let names = matchers.into_iter().flat_map(|plain| plain.split(','));
        let names = names.map(|matcher| matcher.trim_matches([' ', '=', '~', '!']));
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// The parts of a text that are not between quotes.
fn outside_quotes(text: &str) -> Vec<&str> {
    text.split('"').step_by(2).collect()
}

/// What a query is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Selector>,
    /// Labels by which it groups or joins.
    pub(crate) grouping: BTreeSet<String>,
}

const AGGREGATIONS: [&str; 8] = [
    "sum", "avg", "min", "max", "count", "topk", "bottomk", "quantile",
];
const GROUPING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// Reads a query. Panics on what no query of ours has.
pub(crate) fn read(query: &str) -> Query {
    let mut found = Query::default();
    let mut calls: Vec<String> = Vec::new();
    let mut pending = String::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if length == 0 {
            rest = &rest[first.len_utf8()..];
            match first {
                '(' => calls.push(std::mem::take(&mut pending)),
                ')' => drop(calls.pop().expect("a parenthesis that closes was opened")),
                '"' => rest = rest.split_once('"').expect("a text ends").1,
                _ => {}
            }
            continue;
        }
        let (name, after) = rest.split_at(length);
        rest = after;
        let is_call = rest.trim_start().starts_with('(');
        if first.is_ascii_digit() || OPERATORS.contains(&name) {
            continue;
        }
        if GROUPING.contains(&name) {
            let (labels, after) = enclosed(rest.trim_start(), '(', ')').expect("a list of labels");
            let labels = labels.split(',').map(|label| label.trim().to_owned());
            found.grouping.extend(labels);
            rest = after;
        } else if is_call || AGGREGATIONS.contains(&name) {
            name.clone_into(&mut pending);
        } else {
            let (matchers, after) = enclosed(rest, '{', '}').unwrap_or(("", rest));
            let (range, after) = enclosed(after, '[', ']').unwrap_or(("", after));
            rest = after;
            found.selectors.push(Selector {
                metric: name.to_owned(),
                matchers: matchers.to_owned(),
                range: range.to_owned(),
                function: calls.last().cloned().unwrap_or_default(),
            });
        }
    }
    assert!(calls.is_empty(), "not closed: {query}");
    found
}

/// What is between two marks at the begin of a text, and what follows them.
fn enclosed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inside = text.strip_prefix(open)?;
    let mut quoted = false;
    let end = inside.find(|c| {
        quoted ^= c == '"';
        !quoted && c == close
    });
    inside
        .split_at_checked(end?)
        .map(|(inside, rest)| (inside, &rest[close.len_utf8()..]))
}

#[test]
fn a_query_tells_its_selectors_and_what_is_around_them() {
    let query = r#"histogram_quantile(0.95, sum by (le, model) (rate(a_bucket{job=~"$job", code="{2}"}[$__rate_interval]))) or 0 * b"#;
    let selector = |metric: &str, matchers: &str, range: &str, function: &str| Selector {
        metric: metric.to_owned(),
        matchers: matchers.to_owned(),
        range: range.to_owned(),
        function: function.to_owned(),
    };
    let matchers = r#"job=~"$job", code="{2}""#;
    let read = read(query);
    assert_eq!(
        read,
        Query {
            selectors: vec![
                selector("a_bucket", matchers, "$__rate_interval", "rate"),
                selector("b", "", "", ""),
            ],
            grouping: ["le", "model"].map(str::to_owned).into(),
        }
    );
    assert_eq!(read.selectors[0].labels(), ["code", "job"].into());
}
