//! A Fetch response around the stored batches.
//!
//! Written here and not by the crate, which would copy the records.

use bytes::{BufMut, Bytes, BytesMut};
use towpath_wire::frame::{RequestHead, response_header_version};

use super::{FLEXIBLE_VERSION, Found, SESSION_VERSION, TOPIC_ID_VERSION, TopicKey};
use crate::server::{Answer, Response, head};

/// The first version with `log_start_offset`.
const LOG_START_VERSION: i16 = 5;
/// The first version with `preferred_read_replica`.
const READ_REPLICA_VERSION: i16 = 11;
/// Bytes of a partition's fields, for reserving.
const PARTITION_BYTES: usize = 64;

/// Encodes `found`, in its order; neighbours of one topic share its entry.
pub fn encode(request: &RequestHead, error_code: i16, session_id: i32, found: &[Found]) -> Answer {
    let version = request.api_version;
    let header_version = response_header_version(request.api_key, version).unwrap_or(0);
    let head = head(request.correlation_id, header_version, 32 + found.len() * PARTITION_BYTES);
    let mut out = Output { head: None, done: Vec::new(), tail: head, version };
    out.tail.put_i32(0); // throttle_time_ms
    if version >= SESSION_VERSION {
        out.tail.put_i16(error_code);
        out.tail.put_i32(session_id);
    }
    let topics: Vec<&[Found]> = found.chunk_by(|one, next| one.topic == next.topic).collect();
    out.count(topics.len());
    for topic in topics {
        out.topic(topic);
    }
    out.no_tags();
    Answer::Send(out.finish())
}

struct Output {
    /// The first piece, whose length prefix is still to be filled in.
    head: Option<BytesMut>,
    done: Vec<Bytes>,
    tail: BytesMut,
    version: i16,
}

impl Output {
    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE_VERSION
    }

    fn topic(&mut self, partitions: &[Found]) {
        match &partitions[0].topic {
            TopicKey::Id(id) => self.tail.put_slice(id.as_bytes()),
            TopicKey::Name(name) if self.version < TOPIC_ID_VERSION => self.string(name),
            // A session is of one kind, so names don't meet versions with ids.
            TopicKey::Name(_) => self.tail.put_slice(&[0; 16]),
        }
        self.count(partitions.len());
        for partition in partitions {
            self.partition(partition);
        }
        self.no_tags();
    }

    fn partition(&mut self, found: &Found) {
        self.tail.put_i32(found.index);
        self.tail.put_i16(found.error_code);
        self.tail.put_i64(found.high_watermark);
        self.tail.put_i64(found.last_stable);
        if self.version >= LOG_START_VERSION {
            self.tail.put_i64(found.log_start);
        }
        self.aborted(found);
        if self.version >= READ_REPLICA_VERSION {
            self.tail.put_i32(-1);
        }
        let size: usize = found.batches.iter().map(Bytes::len).sum();
        match self.flexible() {
            true => self.varint(size as u32 + 1),
            false => self.tail.put_i32(size as i32),
        }
        for batches in &found.batches {
            self.shared(batches.clone());
        }
        self.partition_tags(found);
    }

    fn aborted(&mut self, found: &Found) {
        let Some(aborted) = &found.aborted else {
            // Null, as Kafka answers readers of everything.
            match self.flexible() {
                true => self.tail.put_u8(0),
                false => self.tail.put_i32(-1),
            }
            return;
        };
        self.count(aborted.len());
        for transaction in aborted {
            self.tail.put_i64(transaction.producer_id);
            self.tail.put_i64(transaction.first_offset);
            self.no_tags();
        }
    }

    fn partition_tags(&mut self, found: &Found) {
        let (true, Some((epoch, end))) = (self.flexible(), found.diverging) else { return self.no_tags() };
        // One tagged field: number 0, 13 bytes: epoch, end offset, and no tagged fields of its own.
        self.tail.put_slice(&[1, 0, 13]);
        self.tail.put_i32(epoch);
        self.tail.put_i64(end);
        self.tail.put_u8(0);
    }

    fn no_tags(&mut self) {
        if self.flexible() {
            self.tail.put_u8(0);
        }
    }

    fn count(&mut self, count: usize) {
        match self.flexible() {
            true => self.varint(count as u32 + 1),
            false => self.tail.put_i32(count as i32),
        }
    }

    fn string(&mut self, text: &str) {
        match self.flexible() {
            true => self.varint(text.len() as u32 + 1),
            false => self.tail.put_i16(text.len() as i16),
        }
        self.tail.put_slice(text.as_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Puts `bytes` into the frame as they are.
    fn shared(&mut self, bytes: Bytes) {
        let before = self.tail.split();
        match self.head {
            None => self.head = Some(before),
            Some(_) => self.done.push(before.freeze()),
        }
        self.done.push(bytes);
    }

    fn finish(mut self) -> Response {
        match self.head.take() {
            None => Response::frame(self.tail, Vec::new()),
            Some(head) => {
                self.done.push(self.tail.freeze());
                Response::frame(head, self.done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::FetchResponse;
    use kafka_protocol::protocol::Decodable;
    use uuid::Uuid;

    use super::*;
    use crate::partition::AbortedTransaction;

    fn found(topic: TopicKey, index: i32, batches: &[&'static str]) -> Found {
        Found {
            topic,
            index,
            error_code: 0,
            high_watermark: 100,
            last_stable: 90,
            log_start: 5,
            batches: batches.iter().map(|bytes| Bytes::from_static(bytes.as_bytes())).collect(),
            aborted: None,
            diverging: None,
        }
    }

    fn decoded(version: i16, found: &[Found]) -> FetchResponse {
        let request = RequestHead {
            api_key: 1,
            api_version: version,
            correlation_id: 7,
            client_id: None,
            body_start: 0,
        };
        let Answer::Send(mut response) = encode(&request, 0, if version >= 7 { 9 } else { 0 }, found) else {
            panic!("no response");
        };
        let mut frame = response.copy_to_bytes(response.remaining());
        assert_eq!(frame.get_i32() as usize, frame.len());
        assert_eq!(frame.get_i32(), 7);
        if version >= FLEXIBLE_VERSION {
            assert_eq!(frame.get_u8(), 0);
        }
        let decoded = FetchResponse::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "v{version}: {} bytes too many", frame.len());
        decoded
    }

    #[test]
    fn the_crate_reads_every_version_as_it_was_meant() {
        for version in 4..=17 {
            let topic = |number| match version {
                TOPIC_ID_VERSION.. => TopicKey::Id(Uuid::from_u128(number)),
                _ => TopicKey::Name(Arc::from(format!("topic-{number}"))),
            };
            let mut committed = found(topic(2), 4, &[]);
            committed.aborted = Some(Vec::from([AbortedTransaction { producer_id: 11, first_offset: 12 }]));
            let response =
                decoded(version, &[found(topic(1), 0, &["abc", "def"]), found(topic(1), 1, &[]), committed]);
            assert_eq!(response.responses.len(), 2, "v{version}");
            let [one, other] = &response.responses[0].partitions[..] else { panic!("v{version}") };
            assert_eq!(one.records.as_deref(), Some(&b"abcdef"[..]));
            assert_eq!((one.high_watermark, one.last_stable_offset), (100, 90));
            assert_eq!(one.aborted_transactions, None);
            assert_eq!((other.partition_index, other.records.as_deref()), (1, Some(&b""[..])));
            let aborted = response.responses[1].partitions[0].aborted_transactions.as_ref().unwrap();
            assert_eq!((aborted[0].producer_id.0, aborted[0].first_offset), (11, 12));
        }
    }

    #[test]
    fn a_diverging_epoch_is_told_from_version_12_on() {
        let mut parted = found(TopicKey::Name(Arc::from("t")), 0, &[]);
        parted.diverging = Some((3, 77));
        let response = decoded(12, std::slice::from_ref(&parted));
        let diverging = &response.responses[0].partitions[0].diverging_epoch;
        assert_eq!((diverging.epoch, diverging.end_offset), (3, 77));
        decoded(11, &[parted]);
    }

    use std::sync::Arc;
}
