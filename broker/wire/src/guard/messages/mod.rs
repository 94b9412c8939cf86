//! The shapes of all messages that may be decoded: facts from Kafka's message definitions, one row per field.
//!
//! Field names are `kafka_protocol`'s. A test encodes every message in every version with that crate and checks
//! that the rows agree with it.

mod cluster;
mod consumer_groups;
mod groups;
mod offsets;
mod records;
mod security;
mod topics;
mod transactions;

use super::schema::Api;

/// All APIs, by key.
pub(super) static APIS: &[&Api] = &[
    &records::PRODUCE,
    &records::FETCH,
    &records::LIST_OFFSETS,
    &cluster::METADATA,
    &offsets::OFFSET_COMMIT,
    &offsets::OFFSET_FETCH,
    &groups::FIND_COORDINATOR,
    &groups::JOIN_GROUP,
    &groups::HEARTBEAT,
    &groups::LEAVE_GROUP,
    &groups::SYNC_GROUP,
    &groups::DESCRIBE_GROUPS,
    &groups::LIST_GROUPS,
    &security::SASL_HANDSHAKE,
    &cluster::API_VERSIONS,
    &topics::CREATE_TOPICS,
    &topics::DELETE_TOPICS,
    &records::DELETE_RECORDS,
    &transactions::INIT_PRODUCER_ID,
    &records::OFFSET_FOR_LEADER_EPOCH,
    &transactions::ADD_PARTITIONS_TO_TXN,
    &transactions::ADD_OFFSETS_TO_TXN,
    &transactions::END_TXN,
    &offsets::TXN_OFFSET_COMMIT,
    &security::DESCRIBE_ACLS,
    &security::CREATE_ACLS,
    &security::DELETE_ACLS,
    &topics::DESCRIBE_CONFIGS,
    &topics::ALTER_CONFIGS,
    &cluster::DESCRIBE_LOG_DIRS,
    &security::SASL_AUTHENTICATE,
    &topics::CREATE_PARTITIONS,
    &groups::DELETE_GROUPS,
    &topics::INCREMENTAL_ALTER_CONFIGS,
    &offsets::OFFSET_DELETE,
    &cluster::DESCRIBE_QUORUM,
    &cluster::DESCRIBE_CLUSTER,
    &transactions::DESCRIBE_PRODUCERS,
    &transactions::DESCRIBE_TRANSACTIONS,
    &transactions::LIST_TRANSACTIONS,
    &consumer_groups::CONSUMER_GROUP_HEARTBEAT,
    &consumer_groups::CONSUMER_GROUP_DESCRIBE,
    &security::GET_TELEMETRY_SUBSCRIPTIONS,
    &cluster::LIST_CONFIG_RESOURCES,
    &cluster::DESCRIBE_TOPIC_PARTITIONS,
];
