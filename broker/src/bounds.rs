//! What the numbers of a configuration may be. A bound of zero, or one below what it must hold, is a typing error that
//! would show as clients that can't connect or producers that wait for ever: it is refused at the start, by its key.

use crate::config::BrokerConfig;

const KIB: u64 = 1024;

/// The least that each number may be. What is not here may be 0.
const LEAST: &[(&str, &str, u64)] = &[
    ("", "node_id", 0),
    ("", "partitions_default", 1),
    ("limits", "connections_max", 1),
    ("limits", "request_bytes_max", KIB),
    ("limits", "decoded_bytes_max", KIB),
    ("limits", "inflight_request_bytes_max", KIB),
    ("limits", "inflight_produces_max", 1),
    ("limits", "inflight_fetch_bytes_max", KIB),
    ("limits", "fetch_bytes_max", KIB),
    ("limits", "idle_timeout_ms", 1),
    ("limits", "frame_timeout_ms", 1),
    ("limits", "write_timeout_ms", 1),
    ("groups", "offsets_partitions", 1),
    ("groups", "offsets_retention_ms", 1),
    ("groups", "offsets_retention_check_ms", 1),
    ("groups", "session_timeout_min_ms", 1),
    ("groups", "session_timeout_max_ms", 1),
    ("groups", "members_max", 1),
    ("groups", "groups_max", 1),
    ("groups", "park_max_ms", 1),
    ("groups", "fetch_park_max_ms", 1),
    ("storage", "wal_file_bytes", 64 * KIB),
    ("storage", "wal_group_bytes_max", KIB),
    ("storage", "wal_queue_bytes_max", KIB),
    ("storage", "wal_puts_inflight_max", 1),
    ("storage", "wal_request_timeout_ms", 1),
    ("storage", "wal_lease_ms", 1),
    ("storage", "unuploaded_bytes_max", KIB),
    ("storage", "segment_bytes", 1),
    ("storage", "segment_age_max_ms", 1),
    ("storage", "read_ahead_bytes", 1),
    ("storage", "merge_bytes_max", 1),
    ("storage", "merge_run_bytes", 1),
    ("storage", "orphan_sweep_interval_ms", 1),
    ("storage", "compact_interval_ms", 1),
    ("storage", "compact_map_bytes_max", 24),
    ("storage", "compact_object_bytes_max", 1),
    ("storage", "compact_range_bytes_max", 1),
    ("storage", "compact_bytes_per_second_max", 1),
    ("storage", "maintenance_interval_ms", 1),
    ("storage", "producer_expiry_ms", 1),
    ("storage", "producers_per_partition_max", 1),
];

/// Of each pair the first may not be larger than the second.
const IN_ORDER: &[(&str, &str, &str)] = &[
    ("groups", "session_timeout_min_ms", "session_timeout_max_ms"),
    ("storage", "segment_bytes", "unuploaded_bytes_max"),
];

/// The first number that can't be, with the key it stands under and what it may be.
pub(crate) fn check(config: &BrokerConfig) -> Result<(), String> {
    // A map of maps of numbers and strings: it has a JSON form.
    let all = serde_json::to_value(config).unwrap_or_default();
    let number = |section: &str, key: &str| match section {
        "" => all[key].as_i64(),
        _ => all[section][key].as_i64(),
    };
    let told = |section: &str, key: &str| {
        if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
    };
    for &(section, key, least) in LEAST {
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        if let Some(value) = number(section, key).filter(|value| *value < least) {
            return Err(format!("{}: {value} is too little; fix: at least {least}", told(section, key)));
        }
    }
    for &(section, smaller, larger) in IN_ORDER {
        if let (Some(less), Some(more)) = (number(section, smaller), number(section, larger))
            && less > more
        {
            return Err(format!(
                "{}: {less} is more than {larger}: {more}; fix: lower the first or raise the second",
                told(section, smaller)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn said(yaml: &str) -> String {
        check(&serde_saphyr::from_str(yaml).unwrap()).err().unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_within_the_bounds_and_every_bound_is_of_a_key() {
        assert_eq!(check(&BrokerConfig::default()), Ok(()));
        let all = serde_json::to_value(BrokerConfig::default()).unwrap();
        let find = |section: &str, key: &str| -> Value {
            if section.is_empty() { all[key].clone() } else { all[section][key].clone() }
        };
        for (section, key, _) in LEAST {
            assert!(find(section, key).is_number(), "{section}.{key}");
        }
        for (section, one, other) in IN_ORDER {
            assert!(find(section, one).is_number() && find(section, other).is_number(), "{section}.{one}");
        }
    }

    #[test]
    fn a_number_that_cannot_be_is_told_by_its_key_with_what_it_may_be() {
        assert_eq!(
            said("limits: { connections_max: 0 }"),
            "limits.connections_max: 0 is too little; fix: at least 1"
        );
        assert_eq!(said("node_id: -3"), "node_id: -3 is too little; fix: at least 0");
        let swapped = said("groups: { session_timeout_min_ms: 20, session_timeout_max_ms: 10 }");
        assert!(
            swapped.starts_with("groups.session_timeout_min_ms: 20 is more than session_timeout_max_ms: 10")
        );
        assert!(said("storage: { segment_bytes: 999999999999 }").contains("unuploaded_bytes_max"), "segment");
    }
}
