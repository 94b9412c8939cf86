//! Broker configs.

use super::{ConfigDef, ConfigType, Rule};

/// The broker configs that tools ask for. All are read-only: they come from the broker's own file.
pub const BROKER_CONFIGS: &[ConfigDef] = &[
    ConfigDef { name: "advertised.listeners", kind: ConfigType::String, default: None, rule: Rule::Any, read_only: true, doc: "Where clients reach this broker." },
    ConfigDef { name: "auto.create.topics.enable", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: true, doc: "Whether asking for an unknown topic creates it." },
    ConfigDef { name: "broker.id", kind: ConfigType::Int, default: None, rule: Rule::Any, read_only: true, doc: "The node id." },
    ConfigDef { name: "broker.rack", kind: ConfigType::String, default: None, rule: Rule::Any, read_only: true, doc: "The broker's zone." },
    ConfigDef { name: "compression.type", kind: ConfigType::String, default: Some("producer"), rule: Rule::Any, read_only: true, doc: "Codec of stored batches." },
    ConfigDef { name: "default.replication.factor", kind: ConfigType::Int, default: Some("1"), rule: Rule::Any, read_only: true, doc: "Replicas of a new topic; durability is the WAL's and the store's." },
    ConfigDef { name: "delete.topic.enable", kind: ConfigType::Boolean, default: Some("true"), rule: Rule::Any, read_only: true, doc: "Whether topics can be deleted." },
    ConfigDef { name: "group.consumer.heartbeat.interval.ms", kind: ConfigType::Int, default: Some("5000"), rule: Rule::Any, read_only: true, doc: "Default of consumer.heartbeat.interval.ms." },
    ConfigDef { name: "group.consumer.session.timeout.ms", kind: ConfigType::Int, default: Some("45000"), rule: Rule::Any, read_only: true, doc: "Default of consumer.session.timeout.ms." },
    ConfigDef { name: "group.initial.rebalance.delay.ms", kind: ConfigType::Int, default: Some("3000"), rule: Rule::Any, read_only: true, doc: "How long a new classic group waits for more members, ms." },
    ConfigDef { name: "group.max.session.timeout.ms", kind: ConfigType::Int, default: Some("1800000"), rule: Rule::Any, read_only: true, doc: "Longest session timeout of a classic member, ms." },
    ConfigDef { name: "group.min.session.timeout.ms", kind: ConfigType::Int, default: Some("6000"), rule: Rule::Any, read_only: true, doc: "Shortest session timeout of a classic member, ms." },
    ConfigDef { name: "listeners", kind: ConfigType::String, default: None, rule: Rule::Any, read_only: true, doc: "Where this broker listens." },
    ConfigDef { name: "log.cleanup.policy", kind: ConfigType::List, default: Some("delete"), rule: Rule::Any, read_only: true, doc: "Default of cleanup.policy." },
    ConfigDef { name: "log.message.timestamp.type", kind: ConfigType::String, default: Some("CreateTime"), rule: Rule::Any, read_only: true, doc: "Default of message.timestamp.type." },
    ConfigDef { name: "log.retention.bytes", kind: ConfigType::Long, default: Some("-1"), rule: Rule::Any, read_only: true, doc: "Default of retention.bytes." },
    ConfigDef { name: "log.retention.ms", kind: ConfigType::Long, default: Some("604800000"), rule: Rule::Any, read_only: true, doc: "Default of retention.ms." },
    ConfigDef { name: "log.segment.bytes", kind: ConfigType::Int, default: Some("1073741824"), rule: Rule::Any, read_only: true, doc: "Default of segment.bytes." },
    ConfigDef { name: "message.max.bytes", kind: ConfigType::Int, default: Some("1048588"), rule: Rule::Any, read_only: true, doc: "Default of max.message.bytes." },
    ConfigDef { name: "min.insync.replicas", kind: ConfigType::Int, default: Some("1"), rule: Rule::Any, read_only: true, doc: "Default of min.insync.replicas." },
    ConfigDef { name: "node.id", kind: ConfigType::Int, default: None, rule: Rule::Any, read_only: true, doc: "The node id." },
    ConfigDef { name: "num.partitions", kind: ConfigType::Int, default: Some("1"), rule: Rule::Any, read_only: true, doc: "Partitions of a new topic that names no count." },
    ConfigDef { name: "offsets.retention.minutes", kind: ConfigType::Int, default: Some("10080"), rule: Rule::Any, read_only: true, doc: "How long offsets of an empty group are kept, minutes." },
    ConfigDef { name: "offsets.topic.num.partitions", kind: ConfigType::Int, default: Some("50"), rule: Rule::Any, read_only: true, doc: "Partitions of __consumer_offsets." },
    ConfigDef { name: "transaction.max.timeout.ms", kind: ConfigType::Int, default: Some("900000"), rule: Rule::Any, read_only: true, doc: "Longest transaction timeout, ms." },
];
