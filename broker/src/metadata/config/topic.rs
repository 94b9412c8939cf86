//! Topic configs.

use super::{ConfigDef, ConfigType, Rule};

/// Names the link that alone may append (DESIGN §5.5).
pub const MIRROR_LINK: &str = "towpath.mirror.link";
/// Names the source cluster.
pub const MIRROR_SOURCE_CLUSTER_ID: &str = "towpath.mirror.source.cluster.id";
/// Names the source's topic, so that a re-created one is told apart.
pub const MIRROR_SOURCE_TOPIC_ID: &str = "towpath.mirror.source.topic.id";
/// The mirror's state.
pub const MIRROR_STATE: &str = "towpath.mirror.state";

/// Every topic config, in alphabetical order of Kafka's keys, then Towpath's own.
pub const TOPIC_CONFIGS: &[ConfigDef] = &[
    ConfigDef { name: "cleanup.policy", kind: ConfigType::List, default: Some("delete"), rule: Rule::OneOf(&["compact", "delete"]), read_only: false, doc: "What happens to old records: delete them by retention, compact them by key, or both." },
    ConfigDef { name: "compression.gzip.level", kind: ConfigType::Int, default: Some("-1"), rule: Rule::Between(-1, 9), read_only: false, doc: "Level for gzip where the broker compresses." },
    ConfigDef { name: "compression.lz4.level", kind: ConfigType::Int, default: Some("9"), rule: Rule::Between(1, 17), read_only: false, doc: "Level for lz4 where the broker compresses." },
    ConfigDef { name: "compression.type", kind: ConfigType::String, default: Some("producer"), rule: Rule::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), read_only: false, doc: "Codec of stored batches; producer keeps what arrived." },
    ConfigDef { name: "compression.zstd.level", kind: ConfigType::Int, default: Some("3"), rule: Rule::Between(-131072, 22), read_only: false, doc: "Level for zstd where the broker compresses." },
    ConfigDef { name: "delete.retention.ms", kind: ConfigType::Long, default: Some("86400000"), rule: Rule::AtLeast(0), read_only: false, doc: "How long tombstones and markers of a compacted topic stay readable, ms." },
    ConfigDef { name: "file.delete.delay.ms", kind: ConfigType::Long, default: Some("60000"), rule: Rule::AtLeast(0), read_only: false, doc: "How long removed data is kept before it is deleted, ms." },
    ConfigDef { name: "flush.messages", kind: ConfigType::Long, default: Some("9223372036854775807"), rule: Rule::AtLeast(1), read_only: false, doc: "Accepted for compatibility: every acknowledged record is synced." },
    ConfigDef { name: "flush.ms", kind: ConfigType::Long, default: Some("9223372036854775807"), rule: Rule::AtLeast(0), read_only: false, doc: "Accepted for compatibility: every acknowledged record is synced." },
    ConfigDef { name: "follower.replication.throttled.replicas", kind: ConfigType::List, default: Some(""), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: there are no followers." },
    ConfigDef { name: "index.interval.bytes", kind: ConfigType::Int, default: Some("4096"), rule: Rule::AtLeast(0), read_only: false, doc: "Accepted for compatibility: the object index has its own interval." },
    ConfigDef { name: "leader.replication.throttled.replicas", kind: ConfigType::List, default: Some(""), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: there are no followers." },
    ConfigDef { name: "local.retention.bytes", kind: ConfigType::Long, default: Some("-2"), rule: Rule::AtLeast(-2), read_only: false, doc: "Accepted for compatibility: all data is in the object store." },
    ConfigDef { name: "local.retention.ms", kind: ConfigType::Long, default: Some("-2"), rule: Rule::AtLeast(-2), read_only: false, doc: "Accepted for compatibility: all data is in the object store." },
    ConfigDef { name: "max.compaction.lag.ms", kind: ConfigType::Long, default: Some("9223372036854775807"), rule: Rule::AtLeast(1), read_only: false, doc: "Longest time a record may stay uncompacted, ms." },
    ConfigDef { name: "max.message.bytes", kind: ConfigType::Int, default: Some("1048588"), rule: Rule::AtLeast(0), read_only: false, doc: "Largest record batch, bytes." },
    ConfigDef { name: "message.timestamp.after.max.ms", kind: ConfigType::Long, default: Some("3600000"), rule: Rule::AtLeast(0), read_only: false, doc: "How far a record's timestamp may lie after the broker's clock, ms." },
    ConfigDef { name: "message.timestamp.before.max.ms", kind: ConfigType::Long, default: Some("9223372036854775807"), rule: Rule::AtLeast(0), read_only: false, doc: "How far a record's timestamp may lie before the broker's clock, ms." },
    ConfigDef { name: "message.timestamp.type", kind: ConfigType::String, default: Some("CreateTime"), rule: Rule::OneOf(&["CreateTime", "LogAppendTime"]), read_only: false, doc: "Whose clock a record's timestamp is." },
    ConfigDef { name: "min.cleanable.dirty.ratio", kind: ConfigType::Double, default: Some("0.5"), rule: Rule::Fraction, read_only: false, doc: "Share of uncompacted data at which compaction begins." },
    ConfigDef { name: "min.compaction.lag.ms", kind: ConfigType::Long, default: Some("0"), rule: Rule::AtLeast(0), read_only: false, doc: "Shortest time a record stays uncompacted, ms." },
    ConfigDef { name: "min.insync.replicas", kind: ConfigType::Int, default: Some("1"), rule: Rule::AtLeast(1), read_only: false, doc: "Accepted for compatibility: durability is the WAL's and the store's." },
    ConfigDef { name: "preallocate", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility." },
    ConfigDef { name: "remote.copy.disable", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: all data is in the object store." },
    ConfigDef { name: "remote.log.delete.on.disable", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: all data is in the object store." },
    ConfigDef { name: "remote.storage.enable", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: all data is in the object store." },
    ConfigDef { name: "retention.bytes", kind: ConfigType::Long, default: Some("-1"), rule: Rule::Any, read_only: false, doc: "Most bytes a partition keeps; -1 is no limit." },
    ConfigDef { name: "retention.ms", kind: ConfigType::Long, default: Some("604800000"), rule: Rule::AtLeast(-1), read_only: false, doc: "How long records are kept, ms; -1 is for ever." },
    ConfigDef { name: "segment.bytes", kind: ConfigType::Int, default: Some("1073741824"), rule: Rule::AtLeast(14), read_only: false, doc: "Largest segment, bytes." },
    ConfigDef { name: "segment.index.bytes", kind: ConfigType::Int, default: Some("10485760"), rule: Rule::AtLeast(4), read_only: false, doc: "Accepted for compatibility: the object index has its own size." },
    ConfigDef { name: "segment.jitter.ms", kind: ConfigType::Long, default: Some("0"), rule: Rule::AtLeast(0), read_only: false, doc: "Accepted for compatibility: segments are cut by the upload." },
    ConfigDef { name: "segment.ms", kind: ConfigType::Long, default: Some("604800000"), rule: Rule::AtLeast(1), read_only: false, doc: "Longest time a segment stays open, ms." },
    ConfigDef { name: "unclean.leader.election.enable", kind: ConfigType::Boolean, default: Some("false"), rule: Rule::Any, read_only: false, doc: "Accepted for compatibility: nothing acknowledged is ever given up." },
    ConfigDef { name: MIRROR_LINK, kind: ConfigType::String, default: None, rule: Rule::NotEmpty, read_only: false, doc: "The link that alone may append to this mirror topic." },
    ConfigDef { name: MIRROR_SOURCE_CLUSTER_ID, kind: ConfigType::String, default: None, rule: Rule::NotEmpty, read_only: false, doc: "Cluster id of the source that this topic mirrors." },
    ConfigDef { name: MIRROR_SOURCE_TOPIC_ID, kind: ConfigType::String, default: None, rule: Rule::Uuid, read_only: false, doc: "Topic id at the source that this topic mirrors." },
    ConfigDef { name: MIRROR_STATE, kind: ConfigType::String, default: None, rule: Rule::NotEmpty, read_only: false, doc: "State of the mirror, kept by its link." },
];
