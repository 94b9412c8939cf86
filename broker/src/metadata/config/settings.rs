//! A topic's configs as numbers: what the storage and the partitions act on.

use std::collections::BTreeMap;

use super::{items, topic_config};

/// The effective settings of one topic: set values over defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// How long records are kept, ms; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// Most bytes a partition keeps; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// Largest segment, bytes.
    pub segment_bytes: u64,
    /// Longest time a segment stays open, ms.
    pub segment_ms: i64,
    /// Largest record batch, bytes.
    pub message_bytes_max: usize,
    /// Whose clock timestamps are.
    pub timestamp_type: TimestampType,
    /// How far a timestamp may lie before the broker's clock, ms.
    pub timestamp_before_max_ms: i64,
    /// How far a timestamp may lie after the broker's clock, ms.
    pub timestamp_after_max_ms: i64,
    /// How long tombstones and markers stay readable, ms.
    pub delete_retention_ms: i64,
    /// Shortest time a record stays uncompacted, ms.
    pub compaction_lag_min_ms: i64,
    /// Longest time a record may stay uncompacted, ms.
    pub compaction_lag_max_ms: i64,
    /// Share of uncompacted data at which compaction begins.
    pub dirty_ratio_min: f64,
}

/// `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// By retention.
    pub delete: bool,
    /// By key.
    pub compact: bool,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock.
    CreateTime,
    /// The broker's clock.
    LogAppendTime,
}

impl TopicSettings {
    /// The settings that these configs mean. A value that does not parse (written by another version) counts as
    /// its default.
    pub fn of(configs: &BTreeMap<String, String>) -> TopicSettings {
        let text = |name: &str| {
            let config = topic_config(name);
            let set = configs.get(name).map(String::as_str);
            set.filter(|value| config.is_some_and(|config| config.validate(value).is_ok()))
                .or(config.and_then(|config| config.default))
                .unwrap_or_default()
        };
        // Every default parses (tested with the tables), so the zero is never taken.
        let number = |name: &str| text(name).trim().parse::<i64>().unwrap_or(0);
        let policies = text("cleanup.policy");
        TopicSettings {
            cleanup: Cleanup {
                delete: items(policies).any(|policy| policy == "delete"),
                compact: items(policies).any(|policy| policy == "compact"),
            },
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            segment_bytes: number("segment.bytes").unsigned_abs(),
            segment_ms: number("segment.ms"),
            message_bytes_max: usize::try_from(number("max.message.bytes")).unwrap_or(0),
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            delete_retention_ms: number("delete.retention.ms"),
            compaction_lag_min_ms: number("min.compaction.lag.ms"),
            compaction_lag_max_ms: number("max.compaction.lag.ms"),
            dirty_ratio_min: text("min.cleanable.dirty.ratio").trim().parse().unwrap_or(0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_configs_a_topic_behaves_as_kafkas_defaults_say() {
        let settings = TopicSettings::of(&BTreeMap::new());
        assert_eq!(settings.cleanup, Cleanup { delete: true, compact: false });
        assert_eq!(settings.retention_ms, Some(604_800_000));
        assert_eq!(settings.retention_bytes, None);
        assert_eq!(settings.segment_bytes, 1 << 30);
        assert_eq!(settings.message_bytes_max, 1_048_588);
        assert_eq!(settings.timestamp_type, TimestampType::CreateTime);
        assert_eq!(settings.timestamp_after_max_ms, 3_600_000);
    }

    #[test]
    fn set_values_win_and_unreadable_ones_do_not() {
        let configs = [
            ("cleanup.policy", "compact"),
            ("retention.ms", "-1"),
            ("retention.bytes", "100"),
            ("max.message.bytes", "a lot"),
            ("message.timestamp.type", "LogAppendTime"),
        ];
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = TopicSettings::of(&configs);
        assert_eq!(settings.cleanup, Cleanup { delete: false, compact: true });
        assert_eq!((settings.retention_ms, settings.retention_bytes), (None, Some(100)));
        assert_eq!(settings.message_bytes_max, 1_048_588);
        assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
    }
}
