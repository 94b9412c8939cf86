//! InitProducerId: ids for idempotent producers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use tokio::sync::Mutex;

use super::find_coordinator::no_transactions;
use crate::metadata::entry::ProducerIdsTaken;
use crate::metadata::{Entry, Metadata, PRODUCER_ID_FIRST, ProposeError, Rejection};
use crate::server::{ClientContext, Shared};

/// Ids taken from the metadata at once, as in Kafka: one entry of the log for so many producers.
const BLOCK: i64 = 1_000;

/// The producer ids that this broker may hand out. They start at 2^62, so that they never meet ids mirrored from
/// a source (DESIGN §5.5). Those of a block not handed out before a restart are never used.
#[derive(Default)]
pub struct ProducerIds {
    /// Next id and one past the last.
    block: Mutex<(i64, i64)>,
}

impl ProducerIds {
    /// An id that nobody else has or gets.
    pub async fn next(&self, metadata: &Metadata) -> Result<i64, ProposeError> {
        let mut block = self.block.lock().await;
        if block.0 == block.1 {
            *block = take_block(metadata).await?;
        }
        let id = block.0;
        block.0 += 1;
        Ok(id)
    }
}

async fn take_block(metadata: &Metadata) -> Result<(i64, i64), ProposeError> {
    let mut from = metadata.image().next_producer_id;
    loop {
        let up_to = from + BLOCK;
        match metadata.propose(Entry::ProducerIdsTaken(ProducerIdsTaken { from, up_to })).await {
            Ok(_) => return Ok((from, up_to)),
            // Another broker took them; ids only go up, so this ends.
            Err(ProposeError::Rejected(Rejection::ProducerIdsGone { next, .. })) => from = next,
            Err(error) => return Err(error),
        }
    }
}

/// Answers one InitProducerId request. An idempotent producer that asks again gets a new id, as in Kafka.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if let Some(id) = &request.transactional_id {
        return refused(no_transactions(id).error);
    }
    match broker.producer_ids.next(&broker.metadata).await {
        Ok(id) => {
            let first = if broker.config.producer_ids_from_zero { PRODUCER_ID_FIRST } else { 0 };
            InitProducerIdResponse::default().with_producer_id(ProducerId(id - first)).with_producer_epoch(0)
        }
        Err(error) => {
            tracing::warn!(%error, "no producer id could be given");
            // What Kafka answers while its own block is on the way: the client tries again.
            refused(ResponseError::CoordinatorLoadInProgress)
        }
    }
}
