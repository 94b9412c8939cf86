//! Fetch: batches out of partitions, as they are stored.
//!
//! `session` remembers what incremental fetchers want (KIP-227), `collect` reads and waits, `encode` writes the
//! response around the stored bytes without copying them.

mod collect;
mod encode;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::Decodable;
use uuid::Uuid;

use self::collect::{Collector, Limits};
use self::encode::encode;
use super::dispatch::Call;
use crate::partition::{AbortedTransaction, Isolation};
use crate::server::{Answer, CloseReason};

/// Versions from this one on name topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;
/// Versions from this one on are flexible and know diverging epochs (KIP-595).
const FLEXIBLE_VERSION: i16 = 12;
/// Versions from this one on have sessions.
const SESSION_VERSION: i16 = 7;
/// `isolation_level` of readers that see no open or aborted transaction.
const READ_COMMITTED: i8 = 1;

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// Up to version 12.
    Name(Arc<str>),
    /// From version 13 on.
    Id(Uuid),
}

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub index: i32,
    /// The next offset to read.
    pub offset: i64,
    /// Most bytes of this partition.
    pub bytes_max: usize,
    /// The leader epoch that the client believes in; -1: none.
    pub current_epoch: i32,
    /// Epoch of the last record that the client has; -1: it does not say.
    pub last_fetched_epoch: i32,
}

/// What was found in one partition.
#[derive(Debug)]
pub struct Found {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub index: i32,
    /// Kafka's error code.
    pub error_code: i16,
    /// The high watermark; -1 on an error.
    pub high_watermark: i64,
    /// The last stable offset; -1 on an error.
    pub last_stable: i64,
    /// First offset available; -1 on an error.
    pub log_start: i64,
    /// Whole batches, in order.
    pub batches: Vec<Bytes>,
    /// Aborted transactions; `None` for readers of everything.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Where the client's log and this one part: epoch and end offset.
    pub diverging: Option<(i32, i64)>,
}

/// Answers one Fetch request, waiting for `min_bytes` up to `max_wait_ms`.
pub async fn answer(call: Call, frame: Bytes) -> Answer {
    let version = call.head.api_version;
    let mut body = frame.slice(call.head.body_start..);
    let request = match FetchRequest::decode(&mut body, version) {
        Ok(request) => request,
        Err(error) => return Answer::Close(CloseReason::Request(format!("Fetch v{version}: {error}"))),
    };
    let sessions = &call.broker.fetch_sessions;
    let now = call.broker.env.elapsed();
    let begun = match sessions.begin(&request, version, now) {
        Ok(begun) => begun,
        Err(error) => return encode(&call.head, error.code(), 0, &[]),
    };
    let mut wanted = begun.wanted();
    if is_replica(&request, version) {
        // Only this broker has replicas, and it does not fetch from itself.
        wanted.clear();
        return encode(&call.head, ResponseError::NotLeaderOrFollower.code(), 0, &[]);
    }
    let limits = limits(&call, &request);
    let (found, charge) = Collector::new(&call, limits, wanted).run().await;
    let (session_id, shown) = sessions.finish(begun, found, call.broker.env.random_u64(), now);
    match encode(&call.head, 0, session_id, &shown) {
        Answer::Send(response) => Answer::Send(response.holding(charge)),
        other => other,
    }
}

fn is_replica(request: &FetchRequest, version: i16) -> bool {
    // In a tagged field from version 15 on (KIP-903). Consumers send -1, debugging ones -2.
    let replica = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    replica.0 >= 0
}

fn limits(call: &Call, request: &FetchRequest) -> Limits {
    let configured = &call.broker.config.limits;
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(configured.fetch_bytes_max);
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(configured.fetch_wait_max_ms);
    Limits {
        bytes_max,
        // More than a response may hold is never there.
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        wait_max: Duration::from_millis(wait_ms),
        isolation: match request.isolation_level {
            READ_COMMITTED => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
    }
}
