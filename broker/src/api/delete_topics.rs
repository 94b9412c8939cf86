//! DeleteTopics: by name, from version 6 on by id too (KIP-516).

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::refusal::Refused;
use super::topics::topic_name;
use crate::metadata::entry::TopicDeleted;
use crate::metadata::{Entry, TopicImage};
use crate::server::{ClientContext, Shared};

/// Answers one DeleteTopics request. Each topic succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = match version {
        6.. => request.topics,
        _ => request
            .topic_names
            .into_iter()
            .map(|name| DeleteTopicState::default().with_name(Some(name)))
            .collect(),
    };
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        let result =
            DeletableTopicResult::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
        responses.push(match delete(broker, &topic).await {
            Ok(deleted) => result.with_name(Some(topic_name(&deleted.name))).with_topic_id(deleted.id),
            Err(refused) => result.with_error_code(refused.code()).with_error_message(refused.text()),
        });
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn delete(broker: &Shared, asked: &DeleteTopicState) -> Result<Arc<TopicImage>, Refused> {
    let image = broker.metadata.image();
    let topic = match &asked.name {
        Some(name) if !asked.topic_id.is_nil() => {
            let message =
                format!("topic '{}' is named by name and by id; fix: use one of them", name.as_str());
            return Err(Refused::new(ResponseError::InvalidRequest, message));
        }
        Some(name) => image.topic(name).ok_or_else(|| {
            Refused::new(
                ResponseError::UnknownTopicOrPartition,
                format!("no topic is named '{}'", name.as_str()),
            )
        })?,
        None => image.topic_by_id(asked.topic_id).ok_or_else(|| {
            Refused::new(ResponseError::UnknownTopicId, format!("no topic has the id {}", asked.topic_id))
        })?,
    };
    if topic.internal {
        let message = format!("topic '{}' belongs to the broker and can't be deleted", topic.name);
        return Err(Refused::new(ResponseError::InvalidTopicException, message));
    }
    broker.metadata.propose(Entry::TopicDeleted(TopicDeleted { topic_id: topic.id })).await?;
    tracing::info!(topic = topic.name, id = %topic.id, "topic deleted");
    Ok(Arc::clone(topic))
}
