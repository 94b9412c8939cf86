//! CreatePartitions: topics grow, and never shrink.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{BrokerId, CreatePartitionsRequest, CreatePartitionsResponse};

use super::refusal::Refused;
use crate::metadata::entry::PartitionsAdded;
use crate::metadata::{Entry, Image};
use crate::server::{ClientContext, Shared};

/// Answers one CreatePartitions request. Each topic succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let grown = grow(broker, &asked, request.validate_only).await;
        let result = CreatePartitionsTopicResult::default().with_name(asked.name);
        results.push(match grown {
            Ok(()) => result,
            Err(refused) => result.with_error_code(refused.code()).with_error_message(refused.text()),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(broker: &Shared, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refused> {
    let image = broker.metadata.image();
    let Some(topic) = image.topic(&asked.name) else {
        let message = format!("no topic is named '{}'", asked.name.as_str());
        return Err(Refused::new(ResponseError::UnknownTopicOrPartition, message));
    };
    let added = i64::from(asked.count) - topic.partitions.len() as i64;
    let here = [BrokerId(broker.config.node_id)];
    let assigned_here = asked.assignments.as_ref().is_none_or(|assignments| {
        assignments.len() as i64 == added && assignments.iter().all(|assigned| assigned.broker_ids == here)
    });
    if added > 0 && !assigned_here {
        let message = format!("a manual assignment must list each new partition once, with [{}]", here[0].0);
        return Err(Refused::new(ResponseError::InvalidReplicaAssignment, message));
    }
    let entry = Entry::PartitionsAdded(PartitionsAdded { topic_id: topic.id, total: asked.count });
    if validate_only {
        entry.validate()?;
        return Ok(Image::clone(&image).apply(&entry)?);
    }
    broker.metadata.propose(entry).await?;
    tracing::info!(topic = topic.name, partitions = asked.count, "partitions added");
    Ok(())
}
