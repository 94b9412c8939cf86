//! Producers and transactions: who writes, what is open, fencing.

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::{
    DescribeProducersRequest, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::fan_out::{by_topic, each, outcome, outcome_with_words, to_leader};
use super::{Each, ask_all_brokers, name, text};
use crate::client::{Client, ClientError, To, TopicPartition};

/// A producer that a partition's leader remembers (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The last sequence number it wrote.
    pub last_sequence: i32,
    /// When it last wrote, in UTC milliseconds.
    pub last_timestamp_ms: i64,
    /// The first offset of its open transaction, if one is open.
    pub transaction_start: Option<i64>,
}

/// A transaction in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    /// The transactional id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// `Empty`, `Ongoing`, `PrepareCommit`, …
    pub state: String,
}

/// A producer id with its epoch, as the coordinator gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// The producers that each partition's leader remembers; one request per broker.
///
/// # Errors
/// No leader could be asked at all; [`ClientError::Unsupported`] before Kafka 2.8.
pub async fn describe_producers(
    client: &Client,
    partitions: &[TopicPartition],
) -> Result<Each<TopicPartition, Vec<ActiveProducer>>, ClientError> {
    let items = partitions.iter().map(|id| (id.clone(), ())).collect();
    each(client, DescribeProducersRequest::KEY, items, to_leader, |connection, items| async move {
        let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
            let indexes = partitions.into_iter().map(|(index, ())| index).collect();
            TopicRequest::default().with_name(name(topic)).with_partition_indexes(indexes)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let answer = connection.send(request).await?;
        let mut outcomes = Vec::new();
        for topic in &answer.topics {
            for part in &topic.partitions {
                let id = TopicPartition::new(topic.name.as_str(), part.partition_index);
                let words = part.error_message.as_ref().map(StrBytes::as_str);
                let producers = part.active_producers.iter().map(read_producer).collect();
                let producers =
                    outcome_with_words("DescribeProducers", &id, (part.error_code, words), producers);
                outcomes.push((id, producers));
            }
        }
        Ok(outcomes)
    })
    .await
}

fn read_producer(producer: &ProducerState) -> ActiveProducer {
    ActiveProducer {
        producer_id: producer.producer_id.0,
        producer_epoch: producer.producer_epoch,
        last_sequence: producer.last_sequence,
        last_timestamp_ms: producer.last_timestamp,
        transaction_start: Some(producer.current_txn_start_offset).filter(|&offset| offset >= 0),
    }
}

/// The transactions of all coordinators; `producer_ids` narrows them, empty means all.
///
/// # Errors
/// Any broker could not be asked: a listing with holes would read as transactions that do not exist.
pub async fn list_transactions(
    client: &Client,
    producer_ids: &[i64],
) -> Result<Vec<TransactionListing>, ClientError> {
    let request = ListTransactionsRequest::default()
        .with_producer_id_filters(producer_ids.iter().map(|&id| ProducerId(id)).collect());
    let mut transactions = Vec::new();
    for answer in ask_all_brokers(client, &request).await? {
        outcome("ListTransactions", &"a broker", answer.error_code, ())?;
        transactions.extend(answer.transaction_states.iter().map(|state| TransactionListing {
            transactional_id: state.transactional_id.to_string(),
            producer_id: state.producer_id.0,
            state: state.transaction_state.to_string(),
        }));
    }
    Ok(transactions)
}

/// Takes over a transactional id (InitProducerId): its running producer is fenced, its open transaction aborted.
///
/// # Errors
/// The coordinator's error.
pub async fn fence_producer(
    client: &Client,
    transactional_id: &str,
) -> Result<ProducerIdentity, ClientError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(transactional_id))))
        .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = client.send(To::TransactionCoordinator(transactional_id.to_owned()), request).await?;
    let subject = format_args!("transactional id {transactional_id}");
    let identity =
        ProducerIdentity { producer_id: answer.producer_id.0, producer_epoch: answer.producer_epoch };
    outcome("InitProducerId", &subject, answer.error_code, identity)
}

/// Nothing is written under it; it only has to be below the broker's `transaction.max.timeout.ms`.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
