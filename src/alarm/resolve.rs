//! Intrinsic functions and conditions, as far as alarms need them.
//!
//! What only the account knows (the name of a topic) stays as a reference in the form of
//! `Fn::Sub`: `${Topic}`, `${Topic.Arn}`. Where a value is needed at once, that is a fault.

use super::action::lacks;
use super::fault::Faults;
use super::scope::Scope;
use super::yaml::{Node, Value};

/// Nested conditions; more is a circle.
const MAX_CONDITIONS: usize = 32;

/// Values and bytes that the functions of one file may make: conditions that name conditions, and
/// texts put together from parameters, could otherwise make much of little.
const MAX_WORK: usize = 4 * 1024 * 1024;

const SUPPORTED: &str =
    "Ref, Fn::Sub, Fn::GetAtt, Fn::If, Fn::Join, Fn::FindInMap and conditions are";

/// A value after all functions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub line: usize,
    pub shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Text(String),
    /// A text with references that only the account can resolve.
    Deferred(String),
    List(Vec<Known>),
    /// Key, line of the key, value.
    Map(Vec<(String, usize, Known)>),
    /// `AWS::NoValue`: as if it were not there.
    Nothing,
    /// A fault was told.
    Faulty,
}

/// Resolves the functions of one template.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    scope: &'a Scope<'a>,
    pub faults: &'a mut Faults,
    /// What is left of [`MAX_WORK`].
    work: usize,
}

/// The function that a node calls, and its argument.
fn call(node: &Node) -> Option<(String, Node)> {
    if let Some(tag) = &node.tag {
        let name = match tag.as_str() {
            "Ref" | "Condition" => tag.clone(),
            other => format!("Fn::{other}"),
        };
        let argument = Node {
            tag: None,
            ..node.clone()
        };
        return Some((name, argument));
    }
    match node.map()? {
        [only] if only.key == "Ref" || only.key.starts_with("Fn::") => {
            Some((only.key.clone(), only.node.clone()))
        }
        _ => None,
    }
}

impl<'a> Resolver<'a> {
    pub(super) const fn new(scope: &'a Scope<'a>, faults: &'a mut Faults) -> Self {
        Self {
            scope,
            faults,
            work: MAX_WORK,
        }
    }

    /// Takes from what is left; false, with a fault, if that is too little.
    fn spend(&mut self, work: usize, line: usize) -> bool {
        let Some(left) = self.work.checked_sub(work) else {
            self.work = 0;
            self.faults
                .add(line, "", "the functions of this file make too much of it");
            return false;
        };
        self.work = left;
        true
    }

    /// Resolves a value; `property` is where it stands.
    pub(super) fn value(&mut self, node: &Node, property: &str) -> Known {
        let line = node.line;
        if !self.spend(1 + property.len(), line) {
            let shape = Shape::Faulty;
            return Known { line, shape };
        }
        let shape = match call(node) {
            None if node.is_null() => {
                let message = "is needed: null is no value";
                self.fault(line, property, message)
            }
            Some((function, argument)) => self.call(&function, &argument, property),
            None => match &node.value {
                Value::Text { text, .. } => Shape::Text(text.clone()),
                Value::List(items) => Shape::List(self.list(items, property)),
                Value::Map(entries) => {
                    let mut map = Vec::with_capacity(entries.len());
                    for entry in entries {
                        let property = join(property, &entry.key);
                        let value = self.value(&entry.node, &property);
                        if value.shape != Shape::Nothing {
                            map.push((entry.key.clone(), entry.line, value));
                        }
                    }
                    Shape::Map(map)
                }
            },
        };
        Known { line, shape }
    }

    fn list(&mut self, items: &[Node], property: &str) -> Vec<Known> {
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let value = self.value(item, &format!("{property}[{index}]"));
            if value.shape != Shape::Nothing {
                list.push(value);
            }
        }
        list
    }

    fn fault(&mut self, line: usize, property: &str, message: impl Into<String>) -> Shape {
        self.faults.add(line, property, message);
        Shape::Faulty
    }

    fn call(&mut self, function: &str, argument: &Node, property: &str) -> Shape {
        match function {
            "Ref" => self.reference(argument, property),
            "Fn::Sub" => self.substitute(argument, property),
            "Fn::GetAtt" => self.attribute(argument, property),
            "Fn::If" => self.choose(argument, property),
            "Fn::Join" => self.join(argument, property),
            "Fn::FindInMap" => self.find(argument, property),
            other => {
                let message = format!("{other} is not supported here; {SUPPORTED}");
                self.fault(argument.line, property, message)
            }
        }
    }

    fn reference(&mut self, argument: &Node, property: &str) -> Shape {
        let Some(name) = argument.text() else {
            return self.fault(argument.line, property, "Ref needs a name");
        };
        match name {
            "AWS::NoValue" => Shape::Nothing,
            "AWS::NotificationARNs" => Shape::List(vec![Known {
                line: argument.line,
                shape: Shape::Deferred(format!("${{{name}}}")),
            }]),
            _ => self.named(name, argument.line, property),
        }
    }

    /// What a name stands for: a parameter, or a resource that the account knows.
    fn named(&mut self, name: &str, line: usize, property: &str) -> Shape {
        if let Some(value) = self.scope.parameters.get(name) {
            if !self.spend(size(&value.shape), line) {
                return Shape::Faulty;
            }
            return value.shape.clone();
        }
        if self.scope.is_resource(name) {
            return Shape::Deferred(format!("${{{name}}}"));
        }
        let hint = self.scope.hint(name);
        let message = format!("{name} is neither a parameter nor a resource{hint}");
        self.fault(line, property, message)
    }

    fn attribute(&mut self, argument: &Node, property: &str) -> Shape {
        let parts: Vec<&str> = match &argument.value {
            Value::Text { text, .. } => text.splitn(2, '.').collect(),
            Value::List(items) => items.iter().filter_map(Node::text).collect(),
            Value::Map(_) => Vec::new(),
        };
        match parts.as_slice() {
            [resource, attribute] if self.scope.is_resource(resource) => {
                self.attribute_of(resource, attribute, argument.line, property)
            }
            [resource, _] => {
                let hint = self.scope.hint(resource);
                let message = format!("{resource} is no resource{hint}");
                self.fault(argument.line, property, message)
            }
            _ => self.fault(
                argument.line,
                property,
                "Fn::GetAtt needs Resource.Attribute",
            ),
        }
    }

    fn attribute_of(
        &mut self,
        resource: &str,
        attribute: &str,
        line: usize,
        property: &str,
    ) -> Shape {
        let kind = self.scope.kind(resource).unwrap_or_default();
        match lacks(kind, attribute) {
            Some(message) => self.fault(line, property, message),
            None => Shape::Deferred(format!("${{{resource}.{attribute}}}")),
        }
    }

    fn choose(&mut self, argument: &Node, property: &str) -> Shape {
        let Some([condition, yes, no]) = argument.list() else {
            let message = "Fn::If needs a condition and two values";
            return self.fault(argument.line, property, message);
        };
        let Some(name) = condition.text() else {
            let message = "the first part of Fn::If must be the name of a condition";
            return self.fault(condition.line, property, message);
        };
        match self.holds(name, condition.line, property) {
            Some(true) => self.value(yes, property).shape,
            Some(false) => self.value(no, property).shape,
            None => Shape::Faulty,
        }
    }

    fn substitute(&mut self, argument: &Node, property: &str) -> Shape {
        let (text, more) = match (&argument.value, argument.list()) {
            (Value::Text { text, .. }, _) => (text.clone(), None),
            (_, Some([text, more])) if more.map().is_some() => match text.text() {
                Some(text) => (text.to_owned(), Some(more)),
                None => return self.fault(text.line, property, "Fn::Sub needs a text"),
            },
            _ => {
                let message = "Fn::Sub needs a text, or a text and a map";
                return self.fault(argument.line, property, message);
            }
        };
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                let message = format!("${{ without }} in {text}");
                return self.fault(argument.line, property, message);
            };
            parts.push(Shape::Text(rest[..start].to_owned()));
            let name = rest[start + 2..start + length].trim();
            let own = more.and_then(|more| more.get(name));
            parts.push(match (name.strip_prefix('!'), own) {
                (Some(literal), _) => Shape::Text(format!("${{{literal}}}")),
                (None, Some(own)) => self.value(&own.node, property).shape,
                (None, None) => match name.split_once('.') {
                    Some((resource, attribute)) if self.scope.is_resource(resource) => {
                        self.attribute_of(resource, attribute, argument.line, property)
                    }
                    _ => self.named(name, argument.line, property),
                },
            });
            rest = &rest[start + length + 1..];
        }
        parts.push(Shape::Text(rest.to_owned()));
        self.concatenate(parts, "", argument.line, property)
    }

    fn join(&mut self, argument: &Node, property: &str) -> Shape {
        let parts = argument.list().unwrap_or_default();
        let [delimiter, items] = parts else {
            let message = "Fn::Join needs a delimiter and a list";
            return self.fault(argument.line, property, message);
        };
        let items = self.value(items, property);
        match (delimiter.text(), items.shape) {
            (_, Shape::Faulty) => Shape::Faulty,
            (Some(delimiter), Shape::List(items)) => {
                let parts = items.into_iter().map(|item| item.shape).collect();
                self.concatenate(parts, delimiter, argument.line, property)
            }
            _ => {
                let message = "Fn::Join needs a delimiter and a list";
                self.fault(argument.line, property, message)
            }
        }
    }

    fn concatenate(
        &mut self,
        parts: Vec<Shape>,
        delimiter: &str,
        line: usize,
        property: &str,
    ) -> Shape {
        let mut texts = Vec::with_capacity(parts.len());
        let mut deferred = false;
        for part in parts {
            match part {
                Shape::Text(text) => texts.push(text),
                Shape::Deferred(text) => {
                    deferred = true;
                    texts.push(text);
                }
                Shape::Faulty => return Shape::Faulty,
                Shape::List(_) | Shape::Map(_) | Shape::Nothing => {
                    return self.fault(line, property, "only texts can be put together");
                }
            }
        }
        let length = texts.iter().map(|text| text.len() + delimiter.len()).sum();
        if !self.spend(length, line) {
            return Shape::Faulty;
        }
        let text = texts.join(delimiter);
        if deferred {
            Shape::Deferred(text)
        } else {
            Shape::Text(text)
        }
    }

    fn find(&mut self, argument: &Node, property: &str) -> Shape {
        let keys = argument.list().unwrap_or_default();
        if keys.len() != 3 {
            let message = "Fn::FindInMap needs a map and two keys";
            return self.fault(argument.line, property, message);
        }
        let mut place = self.scope.mappings;
        for key in keys {
            let Some(key) = self.needed(key, property) else {
                return Shape::Faulty;
            };
            place = place
                .and_then(|node| node.get(&key))
                .map(|entry| &entry.node);
            if place.is_none() {
                let message = format!("Mappings have no {key} there");
                return self.fault(argument.line, property, message);
            }
        }
        match place {
            Some(node) => self.literal(node, property),
            None => Shape::Faulty,
        }
    }

    /// A value of a mapping: a text or a list of texts, without functions.
    fn literal(&mut self, node: &Node, property: &str) -> Shape {
        if !self.spend(64, node.line) {
            return Shape::Faulty;
        }
        let texts: Option<Vec<&str>> = match &node.value {
            Value::Text { text, .. } if node.tag.is_none() => return Shape::Text(text.clone()),
            Value::List(items) => items.iter().map(Node::text).collect(),
            _ => None,
        };
        let Some(texts) = texts else {
            let message = "a mapping holds texts and lists of texts";
            return self.fault(node.line, property, message);
        };
        let known = |text: &str| Known {
            line: node.line,
            shape: Shape::Text(text.to_owned()),
        };
        Shape::List(texts.into_iter().map(known).collect())
    }

    /// A text that is needed here and now; nothing after a fault.
    fn needed(&mut self, node: &Node, property: &str) -> Option<String> {
        match self.value(node, property).shape {
            Shape::Text(text) => Some(text),
            Shape::Faulty => None,
            Shape::Deferred(text) => {
                self.faults.add(node.line, property, unknown(&text));
                None
            }
            _ => {
                self.faults.add(node.line, property, "must be a text");
                None
            }
        }
    }

    /// Whether a condition holds; nothing after a fault.
    pub(super) fn holds(&mut self, name: &str, line: usize, property: &str) -> Option<bool> {
        self.named_condition(name, line, property, 0)
    }

    fn named_condition(
        &mut self,
        name: &str,
        line: usize,
        property: &str,
        depth: usize,
    ) -> Option<bool> {
        if !self.spend(1 + name.len(), line) {
            return None;
        }
        if depth > MAX_CONDITIONS {
            let message = format!("the condition {name} goes in a circle");
            self.faults.add(line, property, message);
            return None;
        }
        let Some(node) = self.scope.conditions.get(name) else {
            self.faults
                .add(line, property, format!("{name} is no condition"));
            return None;
        };
        self.condition(node, &format!("Conditions.{name}"), depth + 1)
    }

    fn condition(&mut self, node: &Node, property: &str, depth: usize) -> Option<bool> {
        let called = call(node).or_else(|| match node.map()? {
            [only] if only.key == "Condition" => Some((only.key.clone(), only.node.clone())),
            _ => None,
        });
        let Some((function, argument)) = called else {
            self.faults
                .add(node.line, property, "must be a condition function");
            return None;
        };
        let parts = argument.list().unwrap_or_default();
        match (function.as_str(), parts) {
            ("Condition", _) => {
                let name = argument.text().unwrap_or_default();
                self.named_condition(name, argument.line, property, depth)
            }
            ("Fn::Equals", [left, right]) => {
                let left = self.needed(left, property);
                let right = self.needed(right, property);
                Some(left? == right?)
            }
            ("Fn::Not", [only]) => Some(!self.condition(only, property, depth)?),
            ("Fn::And" | "Fn::Or", parts) if (2..=10).contains(&parts.len()) => {
                let found: Vec<Option<bool>> = parts
                    .iter()
                    .map(|part| self.condition(part, property, depth))
                    .collect();
                let found = found.into_iter().collect::<Option<Vec<bool>>>()?;
                Some(match function.as_str() {
                    "Fn::And" => found.into_iter().all(|holds| holds),
                    _ => found.into_iter().any(|holds| holds),
                })
            }
            _ => {
                let message = format!(
                    "{function} with {} parts is no condition; Fn::Equals takes 2, Fn::Not 1, \
                     Fn::And and Fn::Or 2 to 10",
                    parts.len()
                );
                self.faults.add(argument.line, property, message);
                None
            }
        }
    }
}

/// What a value costs to copy.
fn size(shape: &Shape) -> usize {
    match shape {
        Shape::Text(text) | Shape::Deferred(text) => text.len() + 1,
        Shape::List(items) => items.iter().map(|item| 32 + size(&item.shape)).sum(),
        Shape::Map(_) | Shape::Nothing | Shape::Faulty => 1,
    }
}

/// What to say where a value is needed that only the account knows.
pub(super) fn unknown(text: &str) -> String {
    format!("{text} is known to the account only: give the parameter a value, or write it out")
}

fn join(property: &str, key: &str) -> String {
    if property.is_empty() {
        return key.to_owned();
    }
    format!("{property}.{key}")
}
