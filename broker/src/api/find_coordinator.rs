//! FindCoordinator: this broker coordinates every group; transactions can't start here yet.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::refusal::Refused;
use super::topics::node_id;
use crate::server::{ClientContext, Shared};

/// `key_type` of consumer groups.
const GROUP: i8 = 0;
/// `key_type` of transactional ids.
const TRANSACTION: i8 = 1;

/// What a transactional producer is told, here and by InitProducerId: the one error on which both the Java client
/// and librdkafka give up at once, instead of asking again until they time out.
pub fn no_transactions(transactional_id: &str) -> Refused {
    let message = format!(
        "transactions that start on this broker are not supported yet (transactional.id {transactional_id:?}); \
         fix: produce without a transactional.id, or on the source"
    );
    tracing::info!(%message, "a transactional producer was refused");
    Refused::new(ResponseError::TransactionalIdAuthorizationFailed, message)
}

/// Answers one FindCoordinator request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    // Batched from version 4 on (KIP-699).
    if version >= 4 {
        let coordinators =
            request.coordinator_keys.iter().map(|key| find(broker, request.key_type, key)).collect();
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = find(broker, request.key_type, &request.key);
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn find(broker: &Shared, key_type: i8, key: &StrBytes) -> Coordinator {
    let refused = match key_type {
        GROUP => {
            let (host, port) = &broker.advertised;
            return Coordinator::default()
                .with_key(key.clone())
                .with_node_id(node_id(broker))
                .with_host(StrBytes::from_string(host.clone()))
                .with_port(i32::from(*port));
        }
        TRANSACTION => no_transactions(key),
        other => Refused::new(ResponseError::InvalidRequest, format!("unknown coordinator key type {other}")),
    };
    Coordinator::default()
        .with_key(key.clone())
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(refused.code())
        .with_error_message(refused.text())
}
