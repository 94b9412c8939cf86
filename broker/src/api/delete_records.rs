//! DeleteRecords: gives up everything below an offset.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::topics::partition_of;
use crate::metadata::Image;
use crate::metadata::config::TopicSettings;
use crate::server::{ClientContext, Shared};

/// Answers one DeleteRecords request. Each partition succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = broker.metadata.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let deleted = delete(broker, &image, &topic.name, asked).await;
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            partitions.push(match deleted {
                Ok(log_start) => result.with_low_watermark(log_start),
                Err(code) => result.with_low_watermark(-1).with_error_code(code),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete(
    broker: &Shared,
    image: &Image,
    name: &str,
    asked: &DeleteRecordsPartition,
) -> Result<i64, i16> {
    let topic = image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition.code())?;
    // As in Kafka: the history of a topic that is only compacted is not deleted by offset.
    if !TopicSettings::of(&topic.configs).cleanup.delete {
        return Err(ResponseError::PolicyViolation.code());
    }
    let partition = partition_of(broker, topic, asked.partition_index).map_err(|error| error.code())?;
    partition.delete_records(asked.offset).await.map_err(|error| {
        tracing::debug!(%error, "records were not deleted");
        error.code()
    })
}
