//! Reads typed values from the tree and gathers problems instead of stopping at the first.

use super::error::Problem;
use super::quantity::{parse_bytes, parse_duration};
use super::tree::{Node, Place, Value};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Gathers the problems of one file.
pub(crate) struct Problems {
    pub file: String,
    pub found: Vec<Problem>,
}

impl Problems {
    pub fn add(&mut self, place: Place, message: impl Into<String>, fix: impl Into<String>) {
        self.found.push(Problem {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            message: message.into(),
            fix: fix.into(),
        });
    }

    fn expected(&mut self, node: &Node, path: &str, wanted: &str) {
        let noun = node.value.noun();
        let quote = matches!(node.value, Value::Bool(_) | Value::Number(_)) && wanted.contains("text");
        let fix = if quote { format!("put {path} in quotes") } else { format!("give {path} {wanted}") };
        self.add(node.place, format!("{path} is {noun}, expected {wanted}"), fix);
    }
}

/// The fields of one mapping, each taken once; what is left over is unknown.
pub(crate) struct Fields<'a> {
    path: String,
    place: Place,
    entries: &'a [(String, Place, Node)],
}

impl<'a> Fields<'a> {
    /// Opens a mapping that may hold only these fields. Unknown ones are reported with the nearest known name.
    pub fn open(node: &'a Node, path: &str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let wanted = format!("a mapping of {}", known.join(", "));
            problems.expected(node, if path.is_empty() { "the plan" } else { path }, &wanted);
            return None;
        };
        for (key, place, _) in entries {
            if known.contains(&key.as_str()) {
                continue;
            }
            let whole = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let fix = match near_miss(key, known) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            problems.add(*place, format!("unknown field {whole:?}"), fix);
        }
        Some(Self { path: path.to_string(), place: node.place, entries })
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// The field's value, unless it is absent.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(key, _, _)| key == name).map(|(_, _, node)| node)
    }

    /// Text that must be there.
    pub fn required_text(&self, name: &str, why: &str, problems: &mut Problems) -> At<String> {
        match self.get(name) {
            Some(node) => text(node, &self.at(name), problems),
            None => {
                let path = self.at(name);
                problems.add(self.place, format!("{path} is missing"), format!("add `{name}:`, {why}"));
                At { value: String::new(), place: self.place }
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T, problems: &mut Problems) -> T {
        let Some(node) = self.get(name) else { return default };
        let found = text(node, &self.at(name), problems);
        if found.value.is_empty() {
            return default;
        }
        match words.iter().find(|(word, _)| *word == found.value) {
            Some((_, value)) => *value,
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let message =
                    format!("{} is {:?}, expected one of {}", self.at(name), found.value, known.join(", "));
                let nearest = near_miss(&found.value, &known).unwrap_or(known[0]);
                problems.add(node.place, message, format!("write {nearest:?}"));
                default
            }
        }
    }

    /// A duration in milliseconds.
    pub fn duration(&self, name: &str, default_ms: u64, problems: &mut Problems) -> u64 {
        self.quantity(name, default_ms, parse_duration, "a duration like 5s", problems)
    }

    /// A size in bytes.
    pub fn bytes(&self, name: &str, default: u64, problems: &mut Problems) -> u64 {
        self.quantity(name, default, parse_bytes, "a size like 100MB", problems)
    }

    fn quantity(
        &self,
        name: &str,
        default: u64,
        parse: fn(&str) -> Result<u64, String>,
        wanted: &str,
        problems: &mut Problems,
    ) -> u64 {
        let Some(node) = self.get(name) else { return default };
        let (Value::Text(written) | Value::Number(written)) = &node.value else {
            problems.expected(node, &self.at(name), wanted);
            return default;
        };
        parse(written).unwrap_or_else(|sentence| {
            let message = format!("{}: {sentence}", self.at(name));
            problems.add(node.place, message, format!("write {wanted}"));
            default
        })
    }

    /// A whole number, zero or more.
    pub fn number(&self, name: &str, default: u64, problems: &mut Problems) -> u64 {
        let Some(node) = self.get(name) else { return default };
        if let Value::Number(written) = &node.value
            && let Ok(number) = written.parse()
        {
            return number;
        }
        problems.expected(node, &self.at(name), "a whole number from 0 up");
        default
    }

    /// True or false.
    pub fn truth(&self, name: &str, default: bool, problems: &mut Problems) -> bool {
        let Some(node) = self.get(name) else { return default };
        if let Value::Bool(truth) = node.value {
            return truth;
        }
        problems.expected(node, &self.at(name), "true or false");
        default
    }

    /// A list of names; a single name will do for a list of one.
    pub fn names(&self, name: &str, problems: &mut Problems) -> Vec<At<String>> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let path = self.at(name);
        match &node.value {
            Value::List(nodes) => nodes
                .iter()
                .enumerate()
                .map(|(index, node)| text(node, &format!("{path}[{index}]"), problems))
                .filter(|name| !name.value.is_empty())
                .collect(),
            Value::Text(_) => vec![text(node, &path, problems)],
            _ => {
                problems.expected(node, &path, "a list of names");
                Vec::new()
            }
        }
    }

    /// A list of anything, each item with its path.
    pub fn list(&self, name: &str, problems: &mut Problems) -> Vec<(String, &'a Node)> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let path = self.at(name);
        let Value::List(nodes) = &node.value else {
            problems.expected(node, &path, "a list");
            return Vec::new();
        };
        nodes.iter().enumerate().map(|(index, node)| (format!("{path}[{index}]"), node)).collect()
    }
}

/// Text that is not empty; reports and answers the empty text otherwise.
pub(crate) fn text(node: &Node, path: &str, problems: &mut Problems) -> At<String> {
    let value = match &node.value {
        Value::Text(text) if !text.is_empty() => text.clone(),
        Value::Text(_) => {
            problems.add(node.place, format!("{path} is empty"), format!("give {path} a name"));
            String::new()
        }
        _ => {
            problems.expected(node, path, "text");
            String::new()
        }
    };
    At { value, place: node.place }
}

/// The known name that a person most probably meant: at most a third of its letters differ.
pub(crate) fn near_miss<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (distance(&written, name), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
