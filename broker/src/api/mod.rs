//! One file per Kafka API, each with one entry point:
//!
//! ```text
//! pub async fn handle(broker: &Shared, ctx: &ClientContext, version: i16, request: XRequest) -> XResponse
//! ```
//!
//! A handler gets a request that passed the guard and the version table, and answers in Kafka's own error
//! codes; it never fails and never closes the connection. Produce, Fetch and MirrorAppend differ: they carry
//! record bytes that are not copied, and their ordered part is apart from their wait.
