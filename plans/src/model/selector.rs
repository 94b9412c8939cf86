//! Topics by name or by pattern.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which topics: one by name, or all whose whole name matches a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicSelector {
    /// This topic.
    Name(String),
    /// Every topic whose whole name matches, also one that is created later. Internal topics never match.
    Pattern(TopicPattern),
}

impl TopicSelector {
    /// Whether it selects the topic of this name.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }
}

impl fmt::Display for TopicSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Pattern(pattern) => write!(f, "pattern {:?}", pattern.as_str()),
        }
    }
}

/// A regular expression over whole topic names (the `regex` crate's syntax, no look-around: linear time).
#[derive(Clone)]
pub struct TopicPattern {
    text: String,
    regex: Regex,
}

impl TopicPattern {
    /// Compiles a pattern; the error is the compiler's sentence.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        // Alone first: inside the anchors, `a)|(b` would compile and mean something else.
        let alone = Regex::new(&text);
        let anchored = alone.and_then(|_| Regex::new(&format!("^(?:{text})$")));
        let regex = anchored.map_err(|error| match error.to_string().lines().last() {
            Some(sentence) => sentence.trim_start_matches("error: ").to_string(),
            None => "not a regular expression".to_string(),
        })?;
        Ok(Self { text, regex })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name matches. Kafka's internal topics (`__...`) never do.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.regex.is_match(topic)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern({:?})", self.text)
    }
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TopicPattern {}

impl Hash for TopicPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Serialize for TopicPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
