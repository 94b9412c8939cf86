//! The state of all partitions at one point, as an object in the store: what the trimmed WAL no longer tells.
//!
//! ```text
//! magic 8 | WAL id 16 | partition count 4 | partitions | crc 4          (integers big-endian)
//! partition  topic id 16 | index 4 | log start 8 | log end 8 | batches end 8 | applied below 8
//!            | epochs | producers | open transactions | aborted transactions | halt
//! ```
//! Lists begin with a count of 4 bytes.

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use uuid::Uuid;

use super::epochs::LeaderEpochs;
use super::log_state::LogState;
use super::producers::{Producer, Producers, Written};
use crate::metadata::ObjectId;
use crate::mirror::Halt;
use crate::transaction::{Aborted, TransactionIndex};

const MAGIC: [u8; 8] = *b"TOWPSNP1";
const CRC_BYTES: usize = 4;

/// Writes a snapshot.
pub(super) struct SnapshotBuilder {
    out: BytesMut,
    count: u32,
}

/// Where the count is.
const COUNT_AT: usize = 24;

impl SnapshotBuilder {
    /// A snapshot that goes with this WAL.
    pub fn new(wal_id: Uuid) -> SnapshotBuilder {
        let mut out = BytesMut::new();
        out.put_slice(&MAGIC);
        out.put_slice(wal_id.as_bytes());
        out.put_u32(0);
        SnapshotBuilder { out, count: 0 }
    }

    /// Adds one partition. One that was never written needs no entry.
    pub fn add(&mut self, topic_id: Uuid, index: i32, log: &LogState) {
        if *log == LogState::default() {
            return;
        }
        self.count += 1;
        let out = &mut self.out;
        out.put_slice(topic_id.as_bytes());
        out.put_i32(index);
        for offset in [log.log_start, log.log_end, log.batches_end] {
            out.put_i64(offset);
        }
        out.put_u64(log.applied_below);
        out.put_u32(log.epochs.starts().len() as u32);
        for (epoch, start) in log.epochs.starts() {
            out.put_i32(*epoch);
            out.put_i64(*start);
        }
        out.put_u32(log.producers.0.len() as u32);
        for (id, producer) in &log.producers.0 {
            put_producer(out, *id, producer);
        }
        out.put_u32(log.transactions.open().count() as u32);
        for (producer_id, first_offset) in log.transactions.open() {
            out.put_i64(producer_id);
            out.put_i64(first_offset);
        }
        out.put_u32(log.transactions.aborted().count() as u32);
        for aborted in log.transactions.aborted() {
            for field in [aborted.producer_id, aborted.first_offset, aborted.last_offset, aborted.last_stable]
            {
                out.put_i64(field);
            }
        }
        match &log.halted {
            None => out.put_u8(0),
            Some(halt) => {
                out.put_u8(1);
                out.put_i64(halt.since_ms);
                out.put_i64(halt.offset);
                out.put_u32(halt.reason.len() as u32);
                out.put_slice(halt.reason.as_bytes());
            }
        }
    }

    /// The object.
    pub fn finish(mut self) -> Bytes {
        self.out[COUNT_AT..COUNT_AT + 4].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&self.out);
        self.out.put_u32(crc);
        self.out.freeze()
    }
}

fn put_producer(out: &mut BytesMut, id: i64, producer: &Producer) {
    out.put_i64(id);
    out.put_i16(producer.epoch);
    out.put_i32(producer.coordinator_epoch);
    out.put_i64(producer.last_timestamp_ms);
    out.put_u32(producer.written.len() as u32);
    for written in &producer.written {
        out.put_i32(written.first_sequence);
        out.put_i32(written.last_sequence);
        out.put_i64(written.base_offset);
        out.put_i64(written.last_offset);
    }
}

/// What a snapshot holds.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub wal_id: Uuid,
    pub partitions: HashMap<(Uuid, i32), LogState>,
}

impl Snapshot {
    /// Records of this WAL below this sequence number were durable when the snapshot was committed.
    pub fn applied_below(&self, wal_id: Uuid) -> u64 {
        let same = self.wal_id == wal_id;
        self.partitions.values().filter(|_| same).map(|log| log.applied_below).max().unwrap_or(0)
    }

    /// Reads a snapshot; `None` when it is damaged or of another format.
    pub fn decode(bytes: &[u8]) -> Option<Snapshot> {
        let (mut body, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        if crc32c::crc32c(body).to_be_bytes() != crc || !body.starts_with(&MAGIC) {
            return None;
        }
        body.advance(MAGIC.len());
        Snapshot::decode_body(&mut body).ok().filter(|_| body.is_empty())
    }

    fn decode_body(body: &mut &[u8]) -> Result<Snapshot, TryGetError> {
        let mut snapshot =
            Snapshot { wal_id: Uuid::from_u128(body.try_get_u128()?), partitions: HashMap::new() };
        for _ in 0..body.try_get_u32()? {
            let id = (Uuid::from_u128(body.try_get_u128()?), body.try_get_i32()?);
            snapshot.partitions.insert(id, get_log(body)?);
        }
        Ok(snapshot)
    }
}

/// The segment whose commit names the snapshot of this key; `None`: no snapshot is called so.
pub(crate) fn segment_of_snapshot(key: &str) -> Option<ObjectId> {
    let (sequence, object) = key.rsplit_once('/')?.1.split_once('-')?;
    sequence.parse::<u64>().ok().and_then(|_| object.parse().ok()).map(ObjectId)
}

/// Whether bytes are a whole snapshot.
pub(crate) fn is_snapshot(bytes: &[u8]) -> bool {
    Snapshot::decode(bytes).is_some()
}

fn get_log(body: &mut &[u8]) -> Result<LogState, TryGetError> {
    Ok(LogState {
        log_start: body.try_get_i64()?,
        log_end: body.try_get_i64()?,
        batches_end: body.try_get_i64()?,
        applied_below: body.try_get_u64()?,
        epochs: LeaderEpochs::restore(list(body, |body| Ok((body.try_get_i32()?, body.try_get_i64()?)))?),
        producers: Producers(list(body, get_producer)?.into_iter().collect()),
        transactions: TransactionIndex::restore(
            list(body, |body| Ok((body.try_get_i64()?, body.try_get_i64()?)))?,
            list(body, |body| {
                Ok(Aborted {
                    producer_id: body.try_get_i64()?,
                    first_offset: body.try_get_i64()?,
                    last_offset: body.try_get_i64()?,
                    last_stable: body.try_get_i64()?,
                })
            })?,
        ),
        halted: match body.try_get_u8()? {
            0 => None,
            _ => {
                let (since_ms, offset) = (body.try_get_i64()?, body.try_get_i64()?);
                let reason = list(body, |body| body.try_get_u8())?;
                Some(Halt::of_wal(since_ms, offset, &reason))
            }
        },
    })
}

fn get_producer(body: &mut &[u8]) -> Result<(i64, Producer), TryGetError> {
    let id = body.try_get_i64()?;
    let producer = Producer {
        epoch: body.try_get_i16()?,
        coordinator_epoch: body.try_get_i32()?,
        last_timestamp_ms: body.try_get_i64()?,
        written: list(body, |body| {
            Ok(Written {
                first_sequence: body.try_get_i32()?,
                last_sequence: body.try_get_i32()?,
                base_offset: body.try_get_i64()?,
                last_offset: body.try_get_i64()?,
            })
        })?,
    };
    Ok((id, producer))
}

fn list<T>(
    body: &mut &[u8],
    mut item: impl FnMut(&mut &[u8]) -> Result<T, TryGetError>,
) -> Result<Vec<T>, TryGetError> {
    (0..body.try_get_u32()?).map(|_| item(body)).collect()
}
