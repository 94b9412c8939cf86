//! The format of one slot: an object `wal/NODE/EPOCH/SLOT`. All integers little-endian.
//!
//! ```text
//! header (104) magic 8 | kind 1 | zeros 3 | node 4 | WAL id 16 | epoch 8 | slot 8 | nonce 16
//!              | first sequence 8 | records 4 | body crc 4 | body bytes 8 | synced below 8 | zeros 4 | crc 4
//! body         records: frames as in a disk WAL's file; fence: JSON; closed: nothing
//! ```
//!
//! `crc` covers the header before it, `body crc` the body of a fence; frames sum themselves, seeded with WAL id,
//! epoch and slot. `body bytes` tells a cut object from a whole one. `synced below`: when the slot was put, every
//! record with a lower sequence number was durable and may have been acknowledged; a walk that does not find them
//! before a slot that says so knows that they are gone.

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::frame::{ALIGN, Frame, FrameInfo, encode_front, seed};
use super::super::{FencedBy, Replayed, WalRecord};

pub(super) const HEADER_BYTES: usize = 104;
/// Where the header's own sum stands.
const HEADER_CRC: usize = 100;
const MAGIC: [u8; 8] = *b"TOWPSLT1";
const RECORDS: u8 = 1;
const FENCE: u8 = 2;
const CLOSED: u8 = 3;

/// Bodies up to this size are copied beside their frame: cheaper than one more piece of the request.
const COPIED_BODY_BYTES_MAX: usize = 2048;

/// Which slot of which WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub node_id: i32,
    pub wal_id: Uuid,
    pub epoch: i64,
    pub slot: u64,
}

/// A slot as it is read.
#[derive(Debug, PartialEq)]
pub(super) struct Slot {
    /// Whose put it was.
    pub nonce: Uuid,
    /// Every record below was durable when it was put.
    pub synced_below: u64,
    pub content: Content,
}

/// What a slot says.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Records, in order; the first has this sequence number.
    Records { first_sequence: u64, records: Vec<Replayed> },
    /// Nothing of this epoch counts from here on.
    Fence(Fence),
    /// The broker of this epoch has stopped and answers nobody.
    Closed,
}

/// The end of an epoch, written by the successor. Never collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fence {
    /// The successor's epoch: the WAL goes on there, in the slot after this one.
    pub next_epoch: i64,
    /// Where the successor tells clients to connect to.
    pub address: String,
    /// The successor's lease.
    pub lease_ms: u64,
    /// It was put where no gap was, to stop a predecessor that is quick, or one that may have come up and written
    /// nothing: it says nothing of slots before it.
    #[serde(default)]
    pub ahead: bool,
}

impl Slot {
    /// Whether it is a fence that says nothing of what came before it.
    pub fn is_fence_ahead(&self) -> bool {
        matches!(&self.content, Content::Fence(fence) if fence.ahead)
    }
}

impl Fence {
    /// Whom it speaks of, for messages.
    pub fn by(&self, node_id: i32) -> FencedBy {
        FencedBy { node_id, epoch: self.next_epoch, address: self.address.clone() }
    }
}

impl Place {
    /// The object's name: names sort as epochs and slots do.
    pub fn path(&self) -> object_store::path::Path {
        let Place { node_id, epoch, slot, .. } = self;
        format!("{}/{epoch:020}/{slot:020}", prefix(*node_id)).into()
    }

    /// As [`Place::path`], backwards; `None`: no slot's name.
    pub fn of_path(path: &str) -> Option<(i64, u64)> {
        let mut parts = path.rsplit('/');
        let (slot, epoch) = (parts.next()?, parts.next()?);
        let number = |part: &str| (part.len() == 20).then(|| part.parse::<u64>().ok())?;
        Some((i64::try_from(number(epoch)?).ok()?, number(slot)?))
    }

    fn seed(&self) -> u32 {
        crc32c::crc32c_append(seed(self.wal_id, self.slot), &self.epoch.to_le_bytes())
    }
}

/// Under which all slots of a broker lie.
pub(super) fn prefix(node_id: i32) -> String {
    format!("wal/{node_id}")
}

/// The object that holds these records, the first of which has this number. Large bodies are not copied.
pub(super) fn records<'a>(
    place: Place,
    nonce: Uuid,
    (first_sequence, synced_below): (u64, u64),
    group: impl ExactSizeIterator<Item = &'a WalRecord>,
) -> PutPayload {
    let (seed, count) = (place.seed(), group.len());
    let mut parts = vec![Bytes::new()];
    let mut front = Vec::new();
    let mut body_bytes = 0;
    for (index, record) in group.enumerate() {
        let sequence = first_sequence + index as u64;
        let info = FrameInfo { file_number: place.slot, sequence, synced_below };
        encode_front(&mut front, seed, info, (&record.head, &record.body, record.body_crc));
        if record.body.len() <= COPIED_BODY_BYTES_MAX {
            front.extend_from_slice(&record.body);
        } else {
            body_bytes += front.len() + record.body.len();
            parts.push(std::mem::take(&mut front).into());
            parts.push(record.body.clone());
        }
        // A large body ends its part: what fills it up is the beginning of the next.
        front.resize(front.len() + padding(body_bytes + front.len()), 0);
    }
    body_bytes += front.len();
    parts.push(front.into());
    let header =
        Header { kind: RECORDS, nonce, first_sequence, records: count as u32, body_crc: 0, synced_below };
    parts[0] = header.encode(place, body_bytes as u64);
    PutPayload::from_iter(parts)
}

/// The object of a fence.
pub(super) fn fence(place: Place, nonce: Uuid, synced_below: u64, fence: &Fence) -> PutPayload {
    // Two numbers and a text: nothing that JSON cannot hold.
    #[allow(clippy::expect_used)]
    let body = serde_json::to_vec(fence).expect("a fence has a JSON form");
    let body_crc = crc32c::crc32c(&body);
    let header = Header { kind: FENCE, nonce, first_sequence: 0, records: 0, body_crc, synced_below };
    PutPayload::from_iter([header.encode(place, body.len() as u64), body.into()])
}

/// The object that a broker that stops leaves behind.
pub(super) fn closed(place: Place, nonce: Uuid, synced_below: u64) -> PutPayload {
    let header = Header { kind: CLOSED, nonce, first_sequence: 0, records: 0, body_crc: 0, synced_below };
    PutPayload::from_iter([header.encode(place, 0)])
}

/// Reads a slot; the error says what does not hold.
pub(super) fn decode(place: Place, object: &[u8]) -> Result<Slot, &'static str> {
    let (header, body_bytes) = Header::decode(place, object)?;
    let body = &object[HEADER_BYTES..];
    if body.len() as u64 != body_bytes {
        return Err("it is cut or has bytes behind its end");
    }
    let content = match header.kind {
        RECORDS => {
            let records = frames(place, &header, body)?;
            Content::Records { first_sequence: header.first_sequence, records }
        }
        FENCE if crc32c::crc32c(body) == header.body_crc => {
            Content::Fence(serde_json::from_slice(body).map_err(|_| "its fence does not read")?)
        }
        FENCE => return Err("its fence does not check"),
        CLOSED => Content::Closed,
        _ => return Err("its kind is not known here: a newer version may have written it"),
    };
    Ok(Slot { nonce: header.nonce, synced_below: header.synced_below, content })
}

/// Whether this is a fence, of whichever place and WAL; `None`: it does not read.
pub(super) fn is_fence(object: &[u8]) -> Option<bool> {
    Header::read(object).ok().map(|(_, header, _)| header.kind == FENCE)
}

fn frames(place: Place, header: &Header, body: &[u8]) -> Result<Vec<Replayed>, &'static str> {
    let seed = place.seed();
    let mut position = 0;
    let mut records = Vec::new();
    for index in 0..u64::from(header.records) {
        let frame = Frame::decode(body, position, place.slot, seed);
        let frame = frame.filter(|frame| frame.info.sequence == header.first_sequence + index);
        let frame = frame.ok_or("a record does not check")?;
        records.push(frame.replayed());
        position += frame.size_bytes();
    }
    if position != body.len() {
        return Err("it holds other records than it says");
    }
    Ok(records)
}

fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN) - bytes
}

struct Header {
    kind: u8,
    nonce: Uuid,
    first_sequence: u64,
    records: u32,
    body_crc: u32,
    synced_below: u64,
}

impl Header {
    fn encode(&self, place: Place, body_bytes: u64) -> Bytes {
        let mut out = BytesMut::zeroed(HEADER_BYTES);
        out[..8].copy_from_slice(&MAGIC);
        out[8] = self.kind;
        out[12..16].copy_from_slice(&place.node_id.to_le_bytes());
        out[16..32].copy_from_slice(place.wal_id.as_bytes());
        out[32..40].copy_from_slice(&place.epoch.to_le_bytes());
        out[40..48].copy_from_slice(&place.slot.to_le_bytes());
        out[48..64].copy_from_slice(self.nonce.as_bytes());
        out[64..72].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[72..76].copy_from_slice(&self.records.to_le_bytes());
        out[76..80].copy_from_slice(&self.body_crc.to_le_bytes());
        out[80..88].copy_from_slice(&body_bytes.to_le_bytes());
        out[88..96].copy_from_slice(&self.synced_below.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER_CRC]);
        out[HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
        out.freeze()
    }

    /// The header of the slot at `place`, and how long the body must be.
    fn decode(place: Place, object: &[u8]) -> Result<(Header, u64), &'static str> {
        let (stands, header, body_bytes) = Header::read(object)?;
        match stands == place {
            true => Ok((header, body_bytes)),
            false => Err("it belongs to another place or write-ahead log"),
        }
    }

    /// Where a header says that it stands, itself, and how long the body must be.
    fn read(object: &[u8]) -> Result<(Place, Header, u64), &'static str> {
        let bytes = object.first_chunk::<HEADER_BYTES>().ok_or("it is cut")?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let uuid_at = |at: usize| Uuid::from_slice(&bytes[at..at + 16]).unwrap_or_default();
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..HEADER_CRC]) != u32_at(HEADER_CRC) {
            return Err("its header does not check");
        }
        let stands = Place {
            node_id: u32_at(12) as i32,
            wal_id: uuid_at(16),
            epoch: u64_at(32) as i64,
            slot: u64_at(40),
        };
        let header = Header {
            kind: bytes[8],
            nonce: uuid_at(48),
            first_sequence: u64_at(64),
            records: u32_at(72),
            body_crc: u32_at(76),
            synced_below: u64_at(88),
        };
        Ok((stands, header, u64_at(80)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::{KnownCrc, Owner, WalError};
    use super::*;

    struct Nobody;

    impl Owner for Nobody {
        fn durable(&self, _: i64) {}
        fn failed(&self, _: &WalError) {}
    }

    const PLACE: Place = Place { node_id: 7, wal_id: Uuid::from_u128(5), epoch: 3, slot: 12 };
    const NONCE: Uuid = Uuid::from_u128(9);

    fn record(body_bytes: usize) -> WalRecord {
        let (head, body) = (Bytes::from_static(b"head"), Bytes::from(vec![body_bytes as u8; body_bytes]));
        let crc = crc32c::crc32c(&body[body_bytes / 2..]);
        let body_crc = Some(KnownCrc { from: body_bytes / 2, crc });
        WalRecord { head, body, body_crc, owner: Arc::new(Nobody), mark: 0 }
    }

    fn whole(payload: &PutPayload) -> Vec<u8> {
        payload.iter().flat_map(|part| part.to_vec()).collect()
    }

    #[test]
    fn records_of_every_size_read_back_and_large_ones_are_not_copied() {
        let group = [0, 1, 7, 8, 2048, 2049, 5001, 3, 40_000, 40_001].map(record);
        let payload = records(PLACE, NONCE, (100, 97), group.iter());
        for record in group.iter().filter(|record| record.body.len() > COPIED_BODY_BYTES_MAX) {
            assert!(payload.iter().any(|part| part.as_ptr() == record.body.as_ptr()));
        }
        let slot = decode(PLACE, &whole(&payload)).unwrap();
        let Content::Records { first_sequence: 100, records } = slot.content else { panic!("{slot:?}") };
        let expected = group.iter().zip(100..).map(|(record, sequence)| Replayed {
            sequence,
            head: record.head.clone(),
            body: record.body.clone(),
        });
        assert_eq!((slot.nonce, slot.synced_below, records), (NONCE, 97, expected.collect()));
    }

    #[test]
    fn a_changed_byte_a_cut_and_another_place_are_all_found() {
        let group = [record(30), record(3000)];
        let fenced = Fence { next_epoch: 8, address: "host:9092".to_owned(), lease_ms: 3_000, ahead: false };
        let records = records(PLACE, NONCE, (1, 1), group.iter());
        for payload in [records, fence(PLACE, NONCE, 3, &fenced), closed(PLACE, NONCE, 3)] {
            let object = whole(&payload);
            decode(PLACE, &object).unwrap();
            for at in 0..object.len() {
                let mut damaged = object.clone();
                damaged[at] ^= 0x10;
                let read = decode(PLACE, &damaged);
                // What fills a frame up says nothing.
                assert!(read.is_err() || read == decode(PLACE, &object), "byte {at}");
                assert!(decode(PLACE, &object[..at]).is_err(), "cut at {at}");
            }
            assert!(decode(Place { slot: 13, ..PLACE }, &object).is_err());
            assert!(decode(Place { epoch: 4, ..PLACE }, &object).is_err());
            assert!(decode(Place { wal_id: Uuid::nil(), ..PLACE }, &object).is_err());
        }
    }

    #[test]
    fn a_slots_name_says_where_it_is() {
        let path = PLACE.path();
        assert_eq!(path.as_ref(), "wal/7/00000000000000000003/00000000000000000012");
        assert_eq!(Place::of_path(path.as_ref()), Some((3, 12)));
        assert_eq!(Place::of_path("wal/7/00000000000000000003/00000000000000000012#1"), None);
    }
}
