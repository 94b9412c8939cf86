//! The tables of configs: name, type, default, rule and meaning of every key that topics, groups and brokers
//! have. Pure: describes and judges values; what acts on them is elsewhere.
//!
//! Names, types, defaults and limits are Apache Kafka 4.1's (`TopicConfig`, `LogConfig`, `GroupConfig`), but
//! where a source of an older version may hold a value that 4.1 would refuse, the older, wider limit is kept:
//! a mirror topic takes its source's configs as they are.

mod broker;
mod group;
mod settings;
mod topic;

use std::collections::BTreeMap;

use thiserror::Error;
use uuid::Uuid;

use super::image::MirrorState;

pub use broker::BROKER_CONFIGS;
pub use group::{GROUP_ATTEMPT, GROUP_CONFIGS, GROUP_LINK, GROUP_ROUTE};
pub use settings::{Cleanup, TimestampType, TopicSettings};
pub use topic::{MIRROR_LINK, MIRROR_SOURCE_CLUSTER_ID, MIRROR_SOURCE_TOPIC_ID, MIRROR_STATE, TOPIC_CONFIGS};

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    /// The key.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// The value when none is set; `None`: no value.
    pub default: Option<&'static str>,
    /// What a value must be, beyond its type.
    pub rule: Rule,
    /// Whether only the broker itself sets it.
    pub read_only: bool,
    /// What it means, for DescribeConfigs.
    pub doc: &'static str,
}

/// Type of a value, as DescribeConfigs reports it (`ConfigDef.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// A floating-point number.
    Double,
    /// Comma-separated.
    List,
}

impl ConfigType {
    /// The number in DescribeConfigs responses (`DescribeConfigsResponse.ConfigType`).
    pub fn code(self) -> i8 {
        match self {
            ConfigType::Boolean => 1,
            ConfigType::String => 2,
            ConfigType::Int => 3,
            ConfigType::Long => 5,
            ConfigType::Double => 6,
            ConfigType::List => 7,
        }
    }
}

/// What a value must be, beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Anything of its type.
    Any,
    /// Not empty.
    NotEmpty,
    /// A number from this on.
    AtLeast(i64),
    /// A number in this range, ends included.
    Between(i64, i64),
    /// A fraction from 0 to 1.
    Fraction,
    /// One of these words; for a list, each item.
    OneOf(&'static [&'static str]),
    /// A UUID.
    Uuid,
}

/// Why a config is refused (Kafka's INVALID_CONFIG).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidConfig {
    /// No such key.
    #[error("unknown {resource} config name: {name}; correct or remove it")]
    Unknown {
        /// `topic`, `group` or `broker`.
        resource: &'static str,
        /// The key.
        name: String,
    },
    /// Only the broker sets it.
    #[error("config {name} is kept by the broker and cannot be altered; remove it from the request")]
    ReadOnly {
        /// The key.
        name: String,
    },
    /// A value that does not fit.
    #[error("invalid value '{value}' for configuration {name}: must be {must}")]
    Value {
        /// The key.
        name: String,
        /// The value refused.
        value: String,
        /// What it must be.
        must: String,
    },
}

impl ConfigDef {
    /// Checks one value.
    pub fn validate(&self, value: &str) -> Result<(), InvalidConfig> {
        let valid = match self.kind {
            ConfigType::Boolean => {
                value.trim().eq_ignore_ascii_case("true") || value.trim().eq_ignore_ascii_case("false")
            }
            ConfigType::Int => value.trim().parse::<i32>().is_ok_and(|number| self.allows(i64::from(number))),
            ConfigType::Long => value.trim().parse::<i64>().is_ok_and(|number| self.allows(number)),
            ConfigType::Double => {
                value.trim().parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number))
            }
            ConfigType::List => items(value).all(|item| self.allows_text(item)),
            ConfigType::String => self.allows_text(value),
        };
        let valid = valid && !(matches!(self.rule, Rule::NotEmpty) && value.is_empty());
        if valid {
            return Ok(());
        }
        Err(InvalidConfig::Value { name: self.name.to_owned(), value: value.to_owned(), must: self.must() })
    }

    fn allows(&self, number: i64) -> bool {
        match self.rule {
            Rule::AtLeast(min) => number >= min,
            Rule::Between(min, max) => (min..=max).contains(&number),
            _ => true,
        }
    }

    fn allows_text(&self, text: &str) -> bool {
        match self.rule {
            Rule::OneOf(words) => words.contains(&text),
            Rule::Uuid => Uuid::try_parse(text).is_ok(),
            _ => true,
        }
    }

    fn must(&self) -> String {
        match (self.rule, self.kind) {
            (Rule::AtLeast(min), _) => format!("a whole number of at least {min}"),
            (Rule::Between(min, max), _) => format!("a whole number from {min} to {max}"),
            (Rule::Fraction, _) | (_, ConfigType::Double) => "a number from 0 to 1".to_owned(),
            (Rule::OneOf(words), ConfigType::List) => format!("a list of {}", words.join(", ")),
            (Rule::OneOf(words), _) => format!("one of {}", words.join(", ")),
            (Rule::Uuid, _) => "a UUID".to_owned(),
            (_, ConfigType::Boolean) => "true or false".to_owned(),
            (_, ConfigType::Int) => "a whole number of 32 bits".to_owned(),
            (_, ConfigType::Long) => "a whole number of 64 bits".to_owned(),
            _ => "not empty".to_owned(),
        }
    }
}

/// The items of a comma-separated list.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The definition of a topic config.
pub fn topic_config(name: &str) -> Option<&'static ConfigDef> {
    find(TOPIC_CONFIGS, name)
}

/// The definition of a group config.
pub fn group_config(name: &str) -> Option<&'static ConfigDef> {
    find(GROUP_CONFIGS, name)
}

/// The definition of a broker config.
pub fn broker_config(name: &str) -> Option<&'static ConfigDef> {
    find(BROKER_CONFIGS, name)
}

/// Checks configs that a client sets on a topic.
pub fn validate_topic(configs: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    validate("topic", TOPIC_CONFIGS, configs)
}

/// Checks configs that a client sets on a group.
pub fn validate_group(configs: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    validate("group", GROUP_CONFIGS, configs)
}

/// Checks configs that a client sets on a broker.
pub fn validate_broker(configs: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    validate("broker", BROKER_CONFIGS, configs)
}

/// Whose mirror a topic with these configs is, if it names a link.
pub fn mirror_state(configs: &BTreeMap<String, String>) -> Option<MirrorState> {
    let value = |name: &str| configs.get(name).cloned().unwrap_or_default();
    let link = configs.get(MIRROR_LINK).filter(|link| !link.is_empty())?.clone();
    Some(MirrorState {
        link,
        source_cluster_id: value(MIRROR_SOURCE_CLUSTER_ID),
        source_topic_id: Uuid::try_parse(&value(MIRROR_SOURCE_TOPIC_ID)).unwrap_or(Uuid::nil()),
        state: value(MIRROR_STATE),
    })
}

fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table.iter().find(|config| config.name == name)
}

fn validate(
    resource: &'static str,
    table: &'static [ConfigDef],
    configs: &BTreeMap<String, String>,
) -> Result<(), InvalidConfig> {
    for (name, value) in configs {
        let Some(config) = find(table, name) else {
            return Err(InvalidConfig::Unknown { resource, name: name.clone() });
        };
        if config.read_only {
            return Err(InvalidConfig::ReadOnly { name: name.clone() });
        }
        config.validate(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_default_obeys_its_own_rule_and_no_key_is_listed_twice() {
        for table in [TOPIC_CONFIGS, GROUP_CONFIGS, BROKER_CONFIGS] {
            for config in table {
                if let Some(default) = config.default {
                    assert_eq!(config.validate(default), Ok(()), "{}", config.name);
                }
                assert_eq!(table.iter().filter(|other| other.name == config.name).count(), 1);
                assert!(!config.doc.is_empty());
            }
        }
    }

    #[test]
    fn values_are_judged_by_type_and_rule() {
        for (name, good) in [
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "-1"),
            ("segment.bytes", "14"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("preallocate", "TRUE"),
            ("towpath.mirror.source.topic.id", "8c1f0b0e-6a0e-4a55-9c6e-3f4f6f0a9a11"),
        ] {
            assert_eq!(validate_topic(&one(name, good)), Ok(()), "{name}={good}");
        }
        for (name, bad) in [
            ("cleanup.policy", "shred"),
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("segment.bytes", "99999999999"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("min.cleanable.dirty.ratio", "NaN"),
            ("preallocate", "yes"),
            ("compression.type", "lzma"),
            ("towpath.mirror.source.topic.id", "x"),
            ("no.such.key", "1"),
        ] {
            assert!(validate_topic(&one(name, bad)).is_err(), "{name}={bad}");
        }
    }

    #[test]
    fn a_groups_route_can_be_read_and_not_set() {
        assert!(group_config(GROUP_ROUTE).is_some());
        assert_eq!(
            validate_group(&one(GROUP_ROUTE, "target")),
            Err(InvalidConfig::ReadOnly { name: GROUP_ROUTE.to_owned() })
        );
    }

    #[test]
    fn a_topic_is_a_mirror_once_it_names_a_link() {
        assert_eq!(mirror_state(&one(MIRROR_STATE, "mirroring")), None);
        let mut configs = one(MIRROR_LINK, "product-views");
        configs.insert(MIRROR_STATE.to_owned(), "mirroring".to_owned());
        let mirror = mirror_state(&configs).unwrap();
        assert_eq!((mirror.link.as_str(), mirror.state.as_str()), ("product-views", "mirroring"));
    }
}
