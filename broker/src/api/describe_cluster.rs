//! DescribeCluster: cluster id, controller, brokers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::topics::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, node_id};
use crate::server::{ClientContext, Shared};

/// `endpoint_type` of brokers; 2 is KRaft controllers, which there are none of (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;

/// Answers one DescribeCluster request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if version >= 1 && request.endpoint_type != ENDPOINT_BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::UnsupportedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str(
                "this endpoint serves brokers (type 1) only",
            )));
    }
    let (host, port) = &broker.advertised;
    let this = DescribeClusterBroker::default()
        .with_broker_id(node_id(broker))
        .with_host(StrBytes::from_string(host.clone()))
        .with_port(i32::from(*port))
        .with_rack(broker.config.rack.clone().map(StrBytes::from_string));
    let operations = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_endpoint_type(ENDPOINT_BROKERS)
        .with_cluster_id(StrBytes::from_string(broker.metadata.image().cluster_id.clone()))
        .with_controller_id(node_id(broker))
        .with_brokers(Vec::from([this]))
        .with_cluster_authorized_operations(if operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        })
}
