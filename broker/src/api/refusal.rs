//! Refusals of the metadata as Kafka's error codes.

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use crate::metadata::{ProposeError, Rejection};

/// An error code and what to tell the client about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Kafka's error.
    pub error: ResponseError,
    /// What failed and what to do.
    pub message: String,
}

impl Refused {
    /// A refusal with its reason.
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refused {
        Refused { error, message: message.into() }
    }

    /// The code on the wire.
    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The message on the wire.
    pub fn text(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Refused {
        let error = match &rejection {
            Rejection::TopicExists(_) | Rejection::TopicIdTaken(..) => ResponseError::TopicAlreadyExists,
            Rejection::TopicCollides { .. } | Rejection::TopicName(_) => ResponseError::InvalidTopicException,
            Rejection::UnknownTopic(_) => ResponseError::UnknownTopicId,
            Rejection::UnknownTopicName(_) | Rejection::UnknownPartition { .. } => {
                ResponseError::UnknownTopicOrPartition
            }
            Rejection::Config(_) => ResponseError::InvalidConfig,
            Rejection::PartitionCount { .. } => ResponseError::InvalidPartitions,
            Rejection::LogStartBackward { .. } | Rejection::CompactionBackward { .. } => {
                ResponseError::OffsetOutOfRange
            }
            _ => ResponseError::InvalidRequest,
        };
        Refused::new(error, rejection.to_string())
    }
}

impl From<ProposeError> for Refused {
    fn from(error: ProposeError) -> Refused {
        match error {
            ProposeError::Rejected(rejection) => rejection.into(),
            // Retriable: clients look again at what there is.
            ProposeError::Unknown(_) => Refused::new(ResponseError::RequestTimedOut, error.to_string()),
            ProposeError::Log(_) => Refused::new(ResponseError::KafkaStorageError, error.to_string()),
            ProposeError::Closed => Refused::new(ResponseError::NotController, error.to_string()),
        }
    }
}
