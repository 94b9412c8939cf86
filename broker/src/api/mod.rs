//! One file per Kafka API, each with one entry point:
//!
//! ```text
//! pub async fn handle(broker: &Shared, ctx: &ClientContext, version: i16, request: XRequest) -> XResponse
//! ```
//!
//! A handler gets a request that passed the guard and the version table, and answers in Kafka's own error
//! codes; it never fails and never closes the connection. Produce, Fetch and MirrorAppend differ: they carry
//! record bytes that are not copied, and their ordered part is apart from their wait.

pub mod delete_groups;
pub mod describe_groups;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod sync_group;
