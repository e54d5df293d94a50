//! Reading a tree of YAML nodes so that no mistake hides another.
//!
//! A [`Node`] knows its path and its place. A reader that finds a mistake notes it and answers `None`; whoever asked
//! goes on with the default, and the notes decide in the end. A [`Map`] remembers which keys it was asked for and, when
//! it is dropped, refuses all others.

use std::{cell::RefCell, path::Path};

use saphyr::{MarkedYaml, Marker, Scalar, YamlData};

use super::{document::Document, not_acting::is_not_acting, problem::Problem, suggest::nearest};

/// What is around a file while it is read.
pub(super) struct Reading<'a> {
    pub(super) document: &'a Document,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder of the file.
    pub(super) base_dir: &'a Path,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
}

/// A value in the file.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) reading: &'a Reading<'a>,
    pub(super) yaml: &'a MarkedYaml<'static>,
    pub(super) path: String,
}

/// A map in the file.
pub(super) struct Map<'a> {
    node: Node<'a>,
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
    unknown: Unknown,
}

struct Entry<'a> {
    key: &'a str,
    at: Marker,
    value: &'a MarkedYaml<'static>,
}

/// What becomes of the keys nobody asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refused,
    LeftToTheCaller,
}

// === impl Reading ===

impl<'a> Reading<'a> {
    pub(super) fn new(document: &'a Document, env: &'a dyn Fn(&str) -> Option<String>, base_dir: &'a Path) -> Self {
        Self { document, env, base_dir, problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// The file as a whole.
    pub(super) fn root(&'a self) -> Node<'a> {
        Node { reading: self, yaml: &self.document.root, path: String::new() }
    }

    fn problem(&self, path: String, at: Marker, message: String) {
        self.problems.borrow_mut().push(noted(path, at, message));
    }

    pub(super) fn warning(&self, path: String, at: Marker, message: String) {
        self.warnings.borrow_mut().push(noted(path, at, message));
    }
}

fn noted(path: String, at: Marker, message: String) -> Problem {
    Problem { file: Default::default(), path, line: at.line(), column: at.col() + 1, message }
}

// === impl Node ===

impl<'a> Node<'a> {
    /// Notes a mistake.
    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.reading.problem(self.path.clone(), self.yaml.span.start, message.into());
    }

    /// Notes something worth a warning.
    pub(super) fn warn(&self, message: impl Into<String>) {
        self.reading.warning(self.path.clone(), self.yaml.span.start, message.into());
    }

    /// Whether nothing is written there (`key:`), which counts as no key at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.yaml.data, YamlData::Value(Scalar::Null))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.yaml.data, YamlData::Mapping(_))
    }

    /// Notes that something else stands there.
    pub(super) fn expected(&self, what: &str) {
        self.wrong(format!("must be {what}, not {}", self.kind()));
    }

    /// Reads a map.
    pub(super) fn map(&self) -> Option<Map<'a>> {
        self.map_with(Unknown::Refused)
    }

    /// Reads a map of which others read a part too.
    pub(super) fn shared_map(&self) -> Option<Map<'a>> {
        self.map_with(Unknown::LeftToTheCaller)
    }

    /// Reads a list.
    pub(super) fn list(&self) -> Option<Vec<Node<'a>>> {
        let YamlData::Sequence(items) = &self.yaml.data else {
            self.expected("a list");
            return None;
        };
        let node = |(i, yaml)| Node { reading: self.reading, yaml, path: format!("{}[{i}]", self.path) };
        Some(items.iter().enumerate().map(node).collect())
    }

    /// Reads a list whose items all read well.
    pub(super) fn list_of<T>(&self, read: impl FnMut(&Node<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items: Vec<Option<T>> = self.list()?.iter().map(read).collect();
        items.into_iter().collect()
    }

    fn map_with(&self, unknown: Unknown) -> Option<Map<'a>> {
        let YamlData::Mapping(written) = &self.yaml.data else {
            self.expected("a map");
            return None;
        };
        let mut map =
            Map { node: self.clone(), entries: Vec::with_capacity(written.len()), known: Vec::new(), unknown };
        for (key, value) in written {
            let at = key.span.start;
            let YamlData::Value(Scalar::String(key)) = &key.data else {
                self.reading.problem(self.path.clone(), at, "every key of a map must be text".into());
                continue;
            };
            match self.reading.document.repeated(key) {
                Some(key) => self.reading.problem(map.path(&key), at, "is written twice".into()),
                None => map.entries.push(Entry { key, at, value }),
            }
        }
        Some(map)
    }

    fn kind(&self) -> &'static str {
        match &self.yaml.data {
            YamlData::Value(Scalar::Null) => "nothing",
            YamlData::Value(Scalar::Boolean(_)) => "true or false",
            YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => "a number",
            YamlData::Value(Scalar::String(_)) | YamlData::Representation(..) => "text",
            YamlData::Sequence(_) => "a list",
            YamlData::Mapping(_) => "a map",
            YamlData::Tagged(..) => "a value with a !tag",
            YamlData::Alias(_) | YamlData::BadValue => "a value that does not fit its !tag",
        }
    }
}

// === impl Map ===

impl<'a> Map<'a> {
    /// The value of `key`, if one is written.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let node = Node { reading: self.node.reading, yaml: entry.value, path: self.path(key) };
        (!node.is_null()).then_some(node)
    }

    /// What `key` says, or `default` where it is absent.
    pub(super) fn or<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> T {
        let Some(node) = self.get(key) else { return default };
        let Some(value) = read(&node) else { return default };
        if value != default {
            warn_if_not_acting(&node);
        }
        value
    }

    /// What `key` says, or `default` where it is absent; `None` switches something off.
    pub(super) fn or_off<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        read: impl FnOnce(&Node<'a>) -> Option<Option<T>>,
    ) -> Option<T> {
        let Some(node) = self.get(key) else { return default };
        let Some(value) = read(&node) else { return default };
        if value.is_some() && value != default {
            warn_if_not_acting(&node);
        }
        value
    }

    /// What `key` says, where it may be absent.
    pub(super) fn maybe<T>(&mut self, key: &'static str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        let node = self.get(key)?;
        warn_if_not_acting(&node);
        read(&node)
    }

    /// What `key` says. It must be there.
    pub(super) fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        match self.get(key) {
            Some(node) => read(&node),
            None => {
                self.missing(key, "is missing");
                None
            }
        }
    }

    /// Notes what is wrong about a key that is not there.
    pub(super) fn missing(&self, key: &str, message: &str) {
        self.node.reading.problem(self.path(key), self.node.yaml.span.start, message.to_owned());
    }

    /// Warns about a key that is not there.
    pub(super) fn warn_missing(&self, key: &str, message: String) {
        self.node.reading.warning(self.path(key), self.node.yaml.span.start, message);
    }

    /// The keys nobody has asked for so far.
    pub(super) fn others(&self) -> Vec<(&'a str, Marker, Node<'a>)> {
        let others = self.entries.iter().filter(|entry| !self.known.contains(&entry.key));
        others
            .map(|entry| {
                let value = Node { reading: self.node.reading, yaml: entry.value, path: self.path(entry.key) };
                (entry.key, entry.at, value)
            })
            .collect()
    }

    fn path(&self, key: &str) -> String {
        if self.node.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.node.path) }
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        if self.unknown == Unknown::LeftToTheCaller {
            return;
        }
        for (key, at, value) in self.others() {
            let advice = match nearest(key, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.node.reading.problem(value.path, at, format!("unknown key; {advice}"));
        }
    }
}

fn warn_if_not_acting(node: &Node<'_>) {
    if is_not_acting(&node.path) {
        node.warn("is accepted but does not act yet");
    }
}
