//! What librdkafka shows, as the deciding half of the diff takes it.

use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use towpath_plans::diff::{Record, RecordDigest, RecordHasher, TimestampType};

/// Digests a record where it lies.
pub(super) fn digest(message: &BorrowedMessage<'_>) -> RecordDigest {
    let (timestamp_ms, timestamp_type) = timestamp(message);
    let mut hasher = RecordHasher::new(message.offset(), timestamp_ms, timestamp_type);
    hasher.bytes(message.key()).bytes(message.payload());
    match message.headers() {
        None => {
            hasher.header_count(0);
        }
        Some(headers) => {
            hasher.header_count(headers.count());
            for header in headers.iter() {
                hasher.bytes(Some(header.key.as_bytes())).bytes(header.value);
            }
        }
    }
    hasher.finish()
}

/// Copies a record.
pub(super) fn copy(message: &BorrowedMessage<'_>) -> Record {
    let (timestamp_ms, timestamp_type) = timestamp(message);
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        offset: message.offset(),
        timestamp_ms,
        timestamp_type,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Bytes of key and value.
pub(super) fn size_bytes(message: &BorrowedMessage<'_>) -> u64 {
    (message.key_len() + message.payload_len()) as u64
}

fn timestamp(message: &BorrowedMessage<'_>) -> (i64, TimestampType) {
    match message.timestamp() {
        Timestamp::NotAvailable => (-1, TimestampType::None),
        Timestamp::CreateTime(ms) => (ms, TimestampType::CreateTime),
        Timestamp::LogAppendTime(ms) => (ms, TimestampType::LogAppendTime),
    }
}
