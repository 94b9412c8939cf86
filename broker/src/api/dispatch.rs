//! From a frame to the file of its API: version table, guard, decoding, and back to a response frame.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};
use towpath_wire::frame::{RequestHead, response_header_version};
use towpath_wire::guard::{GuardError, check_request};
use towpath_wire::{private, versions};

use super::*;
use crate::server::head as response_head;
use crate::server::{Answer, ClientContext, CloseReason, Handler, Request, Response, Shared, Started};
use crate::storage::Lease;

/// The APIs behind one connection.
pub struct Dispatch {
    broker: Arc<Shared>,
    client: ClientContext,
}

/// A request on its way to its handler.
pub struct Call {
    /// The broker.
    pub broker: Arc<Shared>,
    /// Who asks.
    pub client: ClientContext,
    /// The request's header.
    pub head: RequestHead,
}

impl Dispatch {
    /// The dispatch of one connection.
    pub fn new(broker: Arc<Shared>, client: ClientContext) -> Dispatch {
        Dispatch { broker, client }
    }

    fn call(&mut self, head: RequestHead) -> Call {
        let client_id = head.client_id.as_deref().unwrap_or_default();
        if *self.client.client_id != *client_id {
            self.client.client_id = Arc::from(client_id);
        }
        Call { broker: Arc::clone(&self.broker), client: self.client.clone(), head }
    }
}

impl Handler for Dispatch {
    fn start(&mut self, request: Request) -> Started {
        let api_key = request.head.api_key;
        let started = self.begin(request);
        let lease = self.broker.partitions.lease();
        if lease.is_always() || !answers_from_state(api_key) {
            return started;
        }
        let lease = lease.clone();
        match started {
            Started::Ordered(answer) => Started::Ordered(leased(lease, answer).boxed()),
            Started::Ordering(ordering) => {
                Started::Ordering(ordering.map(|answer| leased(lease, answer).boxed()).boxed())
            }
        }
    }

    fn pipelines(&self, api_key: i16) -> bool {
        matches!(api_key, PRODUCE | private::MIRROR_APPEND)
    }
}

/// Whether an answer would be wrong once another broker has taken over.
fn answers_from_state(api_key: i16) -> bool {
    const STATELESS: [ApiKey; 3] = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    !STATELESS.iter().any(|api| *api as i16 == api_key)
}

/// The answer, if it may be given at the moment when it is.
async fn leased(lease: Lease, answer: BoxFuture<'static, Answer>) -> Answer {
    match answer.await {
        Answer::Send(response) => match lease.check().await {
            Ok(()) => Answer::Send(response),
            Err(reason) => Answer::Close(CloseReason::Lease(reason)),
        },
        other => other,
    }
}

impl Dispatch {
    fn begin(&mut self, request: Request) -> Started {
        let Request { head, frame } = request;
        let (key, version) = (head.api_key, head.api_version);
        if !versions::is_supported(key, version) {
            return Started::Ordered(ready(refuse_version(&head)).boxed());
        }
        let budget = self.broker.config.limits.decoded_bytes_max;
        if let Err(error) = check_request(key, version, &frame[head.body_start..], budget) {
            return Started::Ordered(ready(refuse_body(&error)).boxed());
        }
        let call = self.call(head);
        match key {
            PRODUCE => Started::Ordered(produce::start(&call, frame)),
            FETCH => Started::Ordered(fetch::answer(call, frame.freeze()).boxed()),
            private::MIRROR_APPEND => Started::Ordering(mirror_append::start(call, frame.freeze()).boxed()),
            _ => Started::Ordered(answer(call, frame.freeze()).boxed()),
        }
    }
}

const PRODUCE: i16 = ApiKey::Produce as i16;
const FETCH: i16 = ApiKey::Fetch as i16;

/// A client may ask for versions of ApiVersions that only a later broker knows, and then expects the table in
/// version 0 (KIP-511). Any other request outside of the table gets no answer that its sender could read.
fn refuse_version(head: &RequestHead) -> Answer {
    let (key, version) = (head.api_key, head.api_version);
    if key == ApiKey::ApiVersions as i16 {
        return encoded(head, 0, &api_versions::unsupported_version());
    }
    Answer::Close(CloseReason::Request(format!("{} v{version} is not supported", name(key))))
}

fn refuse_body(error: &GuardError) -> Answer {
    Answer::Close(CloseReason::Request(error.to_string()))
}

/// Decodes, asks the API's file, encodes.
async fn answer(call: Call, frame: Bytes) -> Answer {
    match dispatch(&call, frame.slice(call.head.body_start..)).await {
        Ok(answer) => answer,
        Err(error) => {
            // It passed the guard, so this is a request that the guard and the decoder read differently.
            let api = name(call.head.api_key);
            Answer::Close(CloseReason::Request(format!("{api} v{}: {error}", call.head.api_version)))
        }
    }
}

/// What the decoder said.
type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// The table of APIs. A line per API is longer than a screen, and clearer than any split of it.
async fn dispatch(call: &Call, body: Bytes) -> Result<Answer, DecodeError> {
    let Call { broker, client: ctx, head } = call;
    let (broker, v) = (&**broker, head.api_version);
    if head.api_key == private::LINK_GROUP {
        let response = link_group::handle(broker, ctx, v, private::LinkGroupRequest::decode(&body)?).await;
        let begun = response_head(head.correlation_id, 0, 0);
        return Ok(Answer::Send(Response::frame(begun, Vec::from([response.encode()]))));
    }
    let Ok(api) = ApiKey::try_from(head.api_key) else { return Ok(refuse_version(head)) };
    let b = body;
    Ok(match api {
        ApiKey::AlterConfigs => reply(call, &alter_configs::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::ApiVersions => reply(call, &api_versions::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::CreatePartitions => {
            reply(call, &create_partitions::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::CreateTopics => reply(call, &create_topics::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DeleteGroups => reply(call, &delete_groups::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DeleteRecords => reply(call, &delete_records::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DeleteTopics => reply(call, &delete_topics::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DescribeCluster => reply(call, &describe_cluster::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DescribeConfigs => reply(call, &describe_configs::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DescribeGroups => reply(call, &describe_groups::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DescribeLogDirs => reply(call, &describe_log_dirs::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::DescribeProducers => {
            reply(call, &describe_producers::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::DescribeTopicPartitions => {
            reply(call, &describe_topic_partitions::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::DescribeTransactions => {
            reply(call, &describe_transactions::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::FindCoordinator => reply(call, &find_coordinator::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::Heartbeat => reply(call, &heartbeat::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::IncrementalAlterConfigs => {
            reply(call, &incremental_alter_configs::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::InitProducerId => reply(call, &init_producer_id::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::JoinGroup => reply(call, &join_group::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::LeaveGroup => reply(call, &leave_group::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::ListConfigResources => {
            reply(call, &list_config_resources::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::ListGroups => reply(call, &list_groups::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::ListOffsets => reply(call, &list_offsets::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::ListTransactions => {
            reply(call, &list_transactions::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::Metadata => reply(call, &metadata::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::OffsetCommit => reply(call, &offset_commit::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::OffsetDelete => reply(call, &offset_delete::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::OffsetFetch => reply(call, &offset_fetch::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::OffsetForLeaderEpoch => {
            reply(call, &offset_for_leader_epoch::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::SaslAuthenticate => {
            reply(call, &sasl_authenticate::handle(broker, ctx, v, read(b, v)?).await)
        }
        ApiKey::SaslHandshake => reply(call, &sasl_handshake::handle(broker, ctx, v, read(b, v)?).await),
        ApiKey::SyncGroup => reply(call, &sync_group::handle(broker, ctx, v, read(b, v)?).await),
        _ => refuse_version(head),
    })
}

fn read<R: Decodable>(mut body: Bytes, version: i16) -> Result<R, DecodeError> {
    Ok(R::decode(&mut body, version)?)
}

fn reply<M: Encodable>(call: &Call, response: &M) -> Answer {
    encoded(&call.head, call.head.api_version, response)
}

/// Encodes `response` as the answer to `head`, in `version`.
pub fn encoded<M: Encodable>(head: &RequestHead, version: i16, response: &M) -> Answer {
    let header_version = response_header_version(head.api_key, version).unwrap_or(0);
    match Response::encode(head.correlation_id, header_version, version, response) {
        Ok(response) => Answer::Send(response),
        Err(error) => Answer::Close(CloseReason::Bug(error.to_string())),
    }
}

/// Name of an API for metrics and messages.
pub fn name(api_key: i16) -> &'static str {
    match api_key {
        private::MIRROR_APPEND => "MirrorAppend",
        private::LINK_GROUP => "LinkGroup",
        _ => NAMES.iter().find(|(key, _)| *key as i16 == api_key).map_or("unknown", |(_, name)| name),
    }
}

const NAMES: &[(ApiKey, &str)] = &[
    (ApiKey::Produce, "Produce"),
    (ApiKey::Fetch, "Fetch"),
    (ApiKey::ListOffsets, "ListOffsets"),
    (ApiKey::Metadata, "Metadata"),
    (ApiKey::OffsetCommit, "OffsetCommit"),
    (ApiKey::OffsetFetch, "OffsetFetch"),
    (ApiKey::FindCoordinator, "FindCoordinator"),
    (ApiKey::JoinGroup, "JoinGroup"),
    (ApiKey::Heartbeat, "Heartbeat"),
    (ApiKey::LeaveGroup, "LeaveGroup"),
    (ApiKey::SyncGroup, "SyncGroup"),
    (ApiKey::DescribeGroups, "DescribeGroups"),
    (ApiKey::ListGroups, "ListGroups"),
    (ApiKey::SaslHandshake, "SaslHandshake"),
    (ApiKey::ApiVersions, "ApiVersions"),
    (ApiKey::CreateTopics, "CreateTopics"),
    (ApiKey::DeleteTopics, "DeleteTopics"),
    (ApiKey::DeleteRecords, "DeleteRecords"),
    (ApiKey::InitProducerId, "InitProducerId"),
    (ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch"),
    (ApiKey::DescribeConfigs, "DescribeConfigs"),
    (ApiKey::AlterConfigs, "AlterConfigs"),
    (ApiKey::DescribeLogDirs, "DescribeLogDirs"),
    (ApiKey::SaslAuthenticate, "SaslAuthenticate"),
    (ApiKey::CreatePartitions, "CreatePartitions"),
    (ApiKey::DeleteGroups, "DeleteGroups"),
    (ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs"),
    (ApiKey::OffsetDelete, "OffsetDelete"),
    (ApiKey::DescribeCluster, "DescribeCluster"),
    (ApiKey::DescribeProducers, "DescribeProducers"),
    (ApiKey::DescribeTransactions, "DescribeTransactions"),
    (ApiKey::ListTransactions, "ListTransactions"),
    (ApiKey::ListConfigResources, "ListConfigResources"),
    (ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advertised_api_has_a_name() {
        for (key, ..) in versions::BROKER_VERSIONS {
            assert_ne!(name(*key), "unknown", "API key {key}");
        }
    }
}
