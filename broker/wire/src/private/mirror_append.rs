//! MirrorAppend: batches at their source offsets, into mirror topics.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::PrivateError;

/// Appends batches at their source offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendRequest {
    /// The link's name: the topic's `towpath.mirror.link`.
    pub link: String,
    /// The source's cluster id: the topic's `towpath.mirror.source.cluster.id`.
    pub source_cluster_id: String,
    /// How long the broker may take to make it durable, in ms.
    pub timeout_ms: i32,
    /// What to append.
    pub topics: Vec<MirrorAppendTopic>,
}

/// Batches for one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendTopic {
    /// Topic name.
    pub name: String,
    /// The source's topic id.
    pub source_topic_id: Uuid,
    /// Batches by partition.
    pub partitions: Vec<MirrorAppendPartition>,
}

/// Batches for one partition, and where the source's log starts and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendPartition {
    /// Partition index.
    pub index: i32,
    /// The offset that was fetched from. It must not lie behind the mirror's end, or a stretch before this one is
    /// missing (`MIRROR_GAP`, nothing is appended); except that it may equal `source_log_start`: then the source
    /// deleted everything before it was mirrored, and the mirror is emptied and starts there. Below 0, with no
    /// records: [`MirrorAppendPartition::STATE_ONLY`] and [`MirrorAppendPartition::LIFT_HALT`].
    pub from_offset: i64,
    /// The source leader's epoch.
    pub source_leader_epoch: i32,
    /// The source's log start offset.
    pub source_log_start: i64,
    /// The source's high watermark.
    pub source_high_watermark: i64,
    /// Advance the end to this after the batches; −1 for the end of the last batch.
    pub log_end: i64,
    /// v2 batches, possibly none.
    pub records: Bytes,
}

/// The outcome per partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendResponse {
    /// How long the sender should pause, in ms.
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<MirrorAppendTopicResponse>,
}

/// The outcome for one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendTopicResponse {
    /// Topic name.
    pub name: String,
    /// By partition.
    pub partitions: Vec<MirrorAppendPartitionResponse>,
}

/// The outcome for one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAppendPartitionResponse {
    /// Partition index.
    pub index: i32,
    /// 0, a Kafka error code, or one of [`super::code`].
    pub error_code: i16,
    /// What failed and what to do.
    pub error_message: Option<String>,
    /// The mirror's log start offset.
    pub log_start: i64,
    /// The mirror's log end offset: where the next batch is expected. With `MIRROR_GAP` too; −1 with other errors.
    pub log_end: i64,
    /// The mirror's high watermark.
    pub high_watermark: i64,
}

impl MirrorAppendPartition {
    /// As `from_offset`, with no records: append nothing, only answer the state.
    pub const STATE_ONLY: i64 = -1;
    /// As `from_offset`, with no records: a person has accepted why the partition was halted; it takes batches
    /// again, behind what it holds.
    pub const LIFT_HALT: i64 = -2;
}

impl MirrorAppendRequest {
    /// The body without a header, as pieces whose concatenation it is. Records are shared, not copied.
    ///
    /// Strings longer than an INT16 can count are cut at that length, which no name reaches.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut out = Pieces::default();
        out.string(&self.link);
        out.string(&self.source_cluster_id);
        out.tail.put_i32(self.timeout_ms);
        out.count(self.topics.len());
        for topic in &self.topics {
            out.string(&topic.name);
            out.tail.put_slice(topic.source_topic_id.as_bytes());
            out.count(topic.partitions.len());
            for partition in &topic.partitions {
                out.tail.put_i32(partition.index);
                out.tail.put_i64(partition.from_offset);
                out.tail.put_i32(partition.source_leader_epoch);
                out.tail.put_i64(partition.source_log_start);
                out.tail.put_i64(partition.source_high_watermark);
                out.tail.put_i64(partition.log_end);
                out.count(partition.records.len());
                out.shared(partition.records.clone());
            }
        }
        out.finish()
    }

    /// Reads a body without a header. Records are slices of it.
    pub fn decode(body: Bytes) -> Result<MirrorAppendRequest, PrivateError> {
        let mut input = Reader::new("MirrorAppendRequest", body);
        let link = input.string()?;
        let source_cluster_id = input.string()?;
        let timeout_ms = input.i32()?;
        let topics = input.list(22, |input| {
            let name = input.string()?;
            let source_topic_id = Uuid::from_bytes(input.array()?);
            let partitions = input.list(44, |input| {
                Ok(MirrorAppendPartition {
                    index: input.i32()?,
                    from_offset: input.i64()?,
                    source_leader_epoch: input.i32()?,
                    source_log_start: input.i64()?,
                    source_high_watermark: input.i64()?,
                    log_end: input.i64()?,
                    records: input.bytes()?,
                })
            })?;
            Ok(MirrorAppendTopic { name, source_topic_id, partitions })
        })?;
        input.end()?;
        Ok(MirrorAppendRequest { link, source_cluster_id, timeout_ms, topics })
    }
}

impl MirrorAppendResponse {
    /// The body without a header, as pieces whose concatenation it is.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut out = Pieces::default();
        out.tail.put_i32(self.throttle_time_ms);
        out.count(self.topics.len());
        for topic in &self.topics {
            out.string(&topic.name);
            out.count(topic.partitions.len());
            for partition in &topic.partitions {
                out.tail.put_i32(partition.index);
                out.tail.put_i16(partition.error_code);
                match &partition.error_message {
                    Some(message) => out.string(message),
                    None => out.tail.put_i16(-1),
                }
                out.tail.put_i64(partition.log_start);
                out.tail.put_i64(partition.log_end);
                out.tail.put_i64(partition.high_watermark);
            }
        }
        out.finish()
    }

    /// Reads a body without a header.
    pub fn decode(body: Bytes) -> Result<MirrorAppendResponse, PrivateError> {
        let mut input = Reader::new("MirrorAppendResponse", body);
        let throttle_time_ms = input.i32()?;
        let topics = input.list(6, |input| {
            let name = input.string()?;
            let partitions = input.list(32, |input| {
                Ok(MirrorAppendPartitionResponse {
                    index: input.i32()?,
                    error_code: input.i16()?,
                    error_message: input.nullable_string()?,
                    log_start: input.i64()?,
                    log_end: input.i64()?,
                    high_watermark: input.i64()?,
                })
            })?;
            Ok(MirrorAppendTopicResponse { name, partitions })
        })?;
        input.end()?;
        Ok(MirrorAppendResponse { throttle_time_ms, topics })
    }
}

/// Output as pieces: small fields gather in `tail`, shared bytes go in between.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    tail: BytesMut,
}

impl Pieces {
    fn string(&mut self, text: &str) {
        let mut end = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.tail.put_i16(end as i16);
        self.tail.put_slice(&text.as_bytes()[..end]);
    }

    fn count(&mut self, count: usize) {
        self.tail.put_u32(count as u32);
    }

    fn shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.done.push(self.tail.split().freeze());
            self.done.push(bytes);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.done.push(self.tail.freeze());
        }
        self.done
    }
}

struct Reader {
    api: &'static str,
    rest: Bytes,
    size: usize,
}

impl Reader {
    fn new(api: &'static str, body: Bytes) -> Reader {
        Reader { api, size: body.len(), rest: body }
    }

    fn malformed<T>(&self, reason: &str) -> Result<T, PrivateError> {
        let position = self.size - self.rest.len();
        Err(PrivateError::Malformed { api: self.api, position, reason: reason.to_owned() })
    }

    fn take(&mut self, count: usize) -> Result<Bytes, PrivateError> {
        if count > self.rest.len() {
            return self.malformed("it is cut short");
        }
        Ok(self.rest.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PrivateError> {
        match self.rest.first_chunk::<N>() {
            Some(array) => {
                let array = *array;
                self.rest.advance(N);
                Ok(array)
            }
            None => self.malformed("it is cut short"),
        }
    }

    fn i16(&mut self) -> Result<i16, PrivateError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, PrivateError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, PrivateError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn nullable_string(&mut self) -> Result<Option<String>, PrivateError> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let Ok(length) = usize::try_from(length) else {
            return self.malformed("a string's length is negative");
        };
        match String::from_utf8(self.take(length)?.to_vec()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => self.malformed("a string is not UTF-8"),
        }
    }

    fn string(&mut self) -> Result<String, PrivateError> {
        match self.nullable_string()? {
            Some(text) => Ok(text),
            None => self.malformed("a string is null"),
        }
    }

    fn bytes(&mut self) -> Result<Bytes, PrivateError> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => self.malformed("a length is negative"),
        }
    }

    /// An array whose items take at least `item_bytes_min` each, so that the count cannot lie about memory.
    fn list<T>(
        &mut self,
        item_bytes_min: usize,
        mut item: impl FnMut(&mut Reader) -> Result<T, PrivateError>,
    ) -> Result<Vec<T>, PrivateError> {
        let count = self.i32()?;
        let Ok(count) = usize::try_from(count) else { return self.malformed("a count is negative") };
        if count > self.rest.len() / item_bytes_min {
            return self.malformed("a count exceeds the bytes that are left");
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn end(&self) -> Result<(), PrivateError> {
        if self.rest.is_empty() { Ok(()) } else { self.malformed("it has bytes left over") }
    }
}
