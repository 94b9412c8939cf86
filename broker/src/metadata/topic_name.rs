//! What a topic may be called: Kafka's rules (`org.apache.kafka.common.internals.Topic`).

use thiserror::Error;

/// Longest topic name, in bytes, so that `NAME-PARTITION` plus a suffix still fits a file name in Kafka.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Why a topic name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTopicName {
    /// No characters.
    #[error("the empty string is not allowed as a topic name; give it a name")]
    Empty,
    /// `.` or `..`.
    #[error("'{0}' is not allowed as a topic name; choose another")]
    Dots(String),
    /// Longer than [`TOPIC_NAME_BYTES_MAX`].
    #[error("a topic name of {0} characters is longer than {TOPIC_NAME_BYTES_MAX}; shorten it")]
    TooLong(usize),
    /// A character outside `[a-zA-Z0-9._-]`.
    #[error(
        "'{0}' contains a character other than ASCII letters, digits, '.', '_' and '-'; rename the topic"
    )]
    Characters(String),
}

/// Checks a topic name as Kafka does.
pub fn validate_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    if name.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    if name == "." || name == ".." {
        return Err(InvalidTopicName::Dots(name.to_owned()));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(InvalidTopicName::TooLong(name.len()));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(InvalidTopicName::Characters(name.to_owned()));
    }
    Ok(())
}

/// Whether two topic names would share one metric name: Kafka refuses to create `a.b` beside `a_b`.
pub fn names_collide(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().map(metric_byte).eq(other.bytes().map(metric_byte))
}

fn metric_byte(byte: u8) -> u8 {
    if byte == b'.' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_judges_them() {
        for good in ["a", "orders", "A.b_c-9", "__consumer_offsets", "...", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "täg", "a:b", "a\0", &"x".repeat(250)] {
            assert!(validate_topic_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(names_collide("a.b", "a_b"));
        assert!(names_collide("a.b", "a.b"));
        assert!(!names_collide("a.b", "a-b"));
        assert!(!names_collide("a.b", "a.bc"));
    }
}
