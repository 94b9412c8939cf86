//! One file per Kafka API, each with one entry point:
//!
//! ```text
//! pub async fn handle(broker: &Shared, ctx: &ClientContext, version: i16, request: XRequest) -> XResponse
//! ```
//!
//! A handler gets a request that passed the guard and the version table, and answers in Kafka's own error
//! codes; it never fails and never closes the connection. Produce, Fetch and MirrorAppend differ: they carry
//! record bytes that are not copied, and their ordered part is apart from their wait. `dispatch` is the table.

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod dispatch;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod link_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_transactions;
pub mod metadata;
pub mod mirror_append;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod refusal;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod topics;

pub use dispatch::{Dispatch, name};

#[cfg(test)]
mod tests;
