//! Group configs (KIP-1043's GROUP resource).

use super::{ConfigDef, ConfigType, Rule};

/// The group's route (DESIGN §5.6).
pub const GROUP_ROUTE: &str = "towpath.route";
/// The group's link.
pub const GROUP_LINK: &str = "towpath.link";
/// The number of the group's last move.
pub const GROUP_ATTEMPT: &str = "towpath.attempt";

/// Every group config.
pub const GROUP_CONFIGS: &[ConfigDef] = &[
    ConfigDef {
        name: "consumer.heartbeat.interval.ms",
        kind: ConfigType::Int,
        default: Some("5000"),
        rule: Rule::AtLeast(1),
        read_only: false,
        doc: "How often members of a KIP-848 group send a heartbeat, ms.",
    },
    ConfigDef {
        name: "consumer.session.timeout.ms",
        kind: ConfigType::Int,
        default: Some("45000"),
        rule: Rule::AtLeast(1),
        read_only: false,
        doc: "After how long without a heartbeat a member of a KIP-848 group is removed, ms.",
    },
    ConfigDef {
        name: GROUP_ROUTE,
        kind: ConfigType::String,
        default: None,
        rule: Rule::OneOf(&["source", "draining", "target"]),
        read_only: true,
        doc: "Which side this group may consume from; no value is an ordinary group.",
    },
    ConfigDef {
        name: GROUP_LINK,
        kind: ConfigType::String,
        default: None,
        rule: Rule::NotEmpty,
        read_only: true,
        doc: "The link that this group belongs to.",
    },
    ConfigDef {
        name: GROUP_ATTEMPT,
        kind: ConfigType::Long,
        default: None,
        rule: Rule::AtLeast(0),
        read_only: true,
        doc: "Number of the last move of this group.",
    },
];
