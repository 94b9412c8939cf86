//! The segment object. All integers big-endian.
//!
//! ```text
//! object   batches of partition A | batches of partition B | … | footer | trailer (24)
//! footer   per partition: topic id 16 | index 4 | page count 4 | pages
//! page     base offset 8 | last offset 8 | max timestamp 8 | position 8 | length 4 | crc 4
//! trailer  footer position 8 | footer length 4 | footer crc 4 | magic 8
//! ```
//!
//! A page is a run of whole batches of about [`PAGE_BYTES`]: what the block cache holds and checks. Its CRC covers
//! the first 21 bytes of each batch, the batch's own CRC among them, which covers the rest: so no byte is summed
//! again when a segment is put together, and every byte is when a page is read ([`PageInfo::checks`]).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use towpath_wire::batch::{Batch, CRC_COVERS_FROM, views};
use uuid::Uuid;

use crate::metadata::{ObjectId, SegmentRange};

/// Pages grow to this size, or to one batch where that is larger.
pub(super) const PAGE_BYTES: usize = 256 * 1024;
/// Size of the trailer.
pub(crate) const TRAILER_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"TOWPSEG1";
const PAGE_ENTRY_BYTES: usize = 40;

/// A run of whole batches of one partition in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageInfo {
    /// First offset covered.
    pub base_offset: i64,
    /// Last offset covered.
    pub last_offset: i64,
    /// Largest timestamp inside (UTC ms).
    pub max_timestamp_ms: i64,
    /// Where the bytes start in the object.
    pub position: u64,
    /// How many bytes.
    pub length: u32,
    /// CRC-32C of the batches' first 21 bytes, their own CRCs included.
    pub checksum: u32,
}

impl PageInfo {
    /// Whether `bytes` are this page, to the last bit.
    pub(crate) fn checks(&self, bytes: &[u8]) -> bool {
        let mut checksum = 0;
        for batch in views(bytes) {
            match batch {
                Ok(batch) if batch.check_crc().is_ok() => checksum = sum(checksum, batch.bytes()),
                _ => return false,
            }
        }
        bytes.len() == self.length as usize && checksum == self.checksum
    }
}

/// The page's checksum once `batch` has been added.
fn sum(checksum: u32, batch: &[u8]) -> u32 {
    // A batch is never shorter than its header.
    crc32c::crc32c_append(checksum, &batch[..CRC_COVERS_FROM.min(batch.len())])
}

/// [`sum`] over all batches of a page; over those before the first that does not read.
fn sum_all(checksum: u32, page: &[u8]) -> u32 {
    views(page).map_while(Result::ok).fold(checksum, |checksum, batch| sum(checksum, batch.bytes()))
}

/// Pages of each partition in an object.
pub(crate) type ObjectIndex = HashMap<(Uuid, i32), Arc<[PageInfo]>>;

/// An object ready to be put.
pub(crate) struct Segment {
    /// Its name.
    pub object: ObjectId,
    /// Its bytes, in order.
    pub chunks: Vec<Bytes>,
    /// How many bytes.
    pub size_bytes: u64,
    /// What the metadata must know.
    pub ranges: Vec<SegmentRange>,
    /// What a reader would find in the footer.
    pub(super) index: ObjectIndex,
    /// Size of the footer.
    pub(super) footer_bytes: usize,
}

/// A partition and the offsets that a range covers, gaps at both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: i32,
    /// First offset covered.
    pub base_offset: i64,
    /// Last offset covered.
    pub last_offset: i64,
}

/// Puts an object together, sharing the batches' bytes. Partitions come in the order of topic id and index, each
/// once, so that neighbours in one object are neighbours in all: merging reads them with one request.
pub(crate) struct SegmentBuilder {
    object: ObjectId,
    chunks: Vec<Bytes>,
    position: u64,
    ranges: Vec<SegmentRange>,
    index: ObjectIndex,
    footer: BytesMut,
}

impl SegmentBuilder {
    /// An empty object.
    pub fn new(object: ObjectId) -> SegmentBuilder {
        SegmentBuilder {
            object,
            chunks: Vec::new(),
            position: 0,
            ranges: Vec::new(),
            index: ObjectIndex::new(),
            footer: BytesMut::new(),
        }
    }

    /// Adds the batches of one partition, in order; the range covers exactly what they do.
    pub fn add(&mut self, topic_id: Uuid, partition: i32, batches: impl IntoIterator<Item = Batch>) {
        let (start, pages) = (self.position, self.pages_of(batches));
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else { return };
        let (base_offset, last_offset) = (first.base_offset, last.last_offset);
        self.finish_range(Cover { topic_id, partition, base_offset, last_offset }, start, pages);
    }

    /// Adds the batches that are left of a run, in order; there may be none.
    pub fn add_batches(&mut self, cover: Cover, batches: impl IntoIterator<Item = Batch>) {
        let (start, pages) = (self.position, self.pages_of(batches));
        self.finish_range(cover, start, pages);
    }

    /// Adds whole pages of other objects, in order. Their checksums are carried over, not made anew, so that what
    /// was damaged in between is seen by whoever reads the object.
    pub fn add_pages(&mut self, cover: Cover, pages: impl IntoIterator<Item = (PageInfo, Bytes)>) {
        let start = self.position;
        let mut joined: Vec<PageInfo> = Vec::new();
        for (page, bytes) in pages {
            // A page that is not what its checksum says any more stays one of its own, with that checksum.
            let fits = |last: &PageInfo| {
                (last.length + page.length) as usize <= PAGE_BYTES && sum_all(0, &bytes) == page.checksum
            };
            match joined.last_mut() {
                Some(last) if fits(last) => {
                    last.last_offset = page.last_offset;
                    last.max_timestamp_ms = last.max_timestamp_ms.max(page.max_timestamp_ms);
                    last.checksum = sum_all(last.checksum, &bytes);
                    last.length += page.length;
                }
                _ => joined.push(PageInfo { position: self.position, ..page }),
            }
            self.position += u64::from(page.length);
            self.chunks.push(bytes);
        }
        self.finish_range(cover, start, joined);
    }

    fn pages_of(&mut self, batches: impl IntoIterator<Item = Batch>) -> Vec<PageInfo> {
        let mut pages: Vec<PageInfo> = Vec::new();
        for batch in batches {
            let size = batch.size_bytes() as u32;
            match pages.last_mut() {
                Some(page) if (page.length + size) as usize <= PAGE_BYTES => {
                    page.last_offset = batch.last_offset();
                    page.max_timestamp_ms = page.max_timestamp_ms.max(batch.max_timestamp_ms());
                    page.length += size;
                    page.checksum = sum(page.checksum, batch.bytes());
                }
                _ => pages.push(PageInfo {
                    base_offset: batch.base_offset(),
                    last_offset: batch.last_offset(),
                    max_timestamp_ms: batch.max_timestamp_ms(),
                    position: self.position,
                    length: size,
                    checksum: sum(0, batch.bytes()),
                }),
            }
            self.position += u64::from(size);
            self.chunks.push(batch.into_bytes());
        }
        pages
    }

    fn finish_range(&mut self, cover: Cover, start: u64, pages: Vec<PageInfo>) {
        let Cover { topic_id, partition, base_offset, last_offset } = cover;
        let before = self.ranges.last().map(|last| (last.topic_id, last.partition));
        debug_assert!(before < Some((topic_id, partition)), "partitions out of order");
        self.ranges.push(SegmentRange {
            topic_id,
            partition,
            object: self.object,
            base_offset,
            last_offset,
            max_timestamp_ms: pages.iter().map(|page| page.max_timestamp_ms).fold(-1, i64::max),
            position: start,
            length: (self.position - start) as u32,
            checksum: checksum_of(&pages),
        });
        self.footer.put_slice(topic_id.as_bytes());
        self.footer.put_i32(partition);
        self.footer.put_u32(pages.len() as u32);
        for page in &pages {
            self.footer.put_i64(page.base_offset);
            self.footer.put_i64(page.last_offset);
            self.footer.put_i64(page.max_timestamp_ms);
            self.footer.put_u64(page.position);
            self.footer.put_u32(page.length);
            self.footer.put_u32(page.checksum);
        }
        self.index.insert((topic_id, partition), pages.into());
    }

    /// The object.
    pub fn finish(mut self) -> Segment {
        let footer = self.footer.freeze();
        let mut trailer = BytesMut::with_capacity(TRAILER_BYTES);
        trailer.put_u64(self.position);
        trailer.put_u32(footer.len() as u32);
        trailer.put_u32(crc32c::crc32c(&footer));
        trailer.put_slice(&MAGIC);
        let footer_bytes = footer.len();
        let size_bytes = self.position + (footer_bytes + TRAILER_BYTES) as u64;
        self.chunks.extend([footer, trailer.freeze()]);
        let (object, chunks, ranges) = (self.object, self.chunks, self.ranges);
        Segment { object, chunks, size_bytes, ranges, index: self.index, footer_bytes }
    }
}

/// What the footer's pages and the metadata do not say alike of a range.
pub(crate) fn disagreement(range: &SegmentRange, pages: &[PageInfo]) -> Option<&'static str> {
    let mut at = range.position;
    let mut next = range.base_offset;
    for page in pages {
        if page.position != at {
            return Some("its pages are not where the metadata says");
        }
        if page.base_offset < next
            || page.last_offset < page.base_offset
            || page.last_offset > range.last_offset
        {
            return Some("its pages hold other offsets than the metadata says");
        }
        at += u64::from(page.length);
        next = page.last_offset + 1;
    }
    if at != range.position + u64::from(range.length) {
        return Some("its pages have another size than the metadata says");
    }
    (checksum_of(pages) != range.checksum).then_some("its pages have another checksum than the metadata says")
}

/// The checksum of a range, from those of its pages.
fn checksum_of(pages: &[PageInfo]) -> u32 {
    pages.iter().fold(0, |sum, page| crc32c::crc32c_append(sum, &page.checksum.to_be_bytes()))
}

/// Where the footer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub footer_position: u64,
    pub footer_length: u32,
    footer_crc: u32,
}

impl Trailer {
    /// Reads the last [`TRAILER_BYTES`] of an object.
    pub fn decode(mut bytes: &[u8]) -> Option<Trailer> {
        if bytes.len() != TRAILER_BYTES || !bytes.ends_with(&MAGIC) {
            return None;
        }
        Some(Trailer {
            footer_position: bytes.get_u64(),
            footer_length: bytes.get_u32(),
            footer_crc: bytes.get_u32(),
        })
    }

    /// Reads the footer.
    pub fn decode_footer(&self, mut bytes: &[u8]) -> Option<ObjectIndex> {
        if bytes.len() != self.footer_length as usize || crc32c::crc32c(bytes) != self.footer_crc {
            return None;
        }
        let mut index = ObjectIndex::new();
        while !bytes.is_empty() {
            let topic_id = Uuid::from_u128(bytes.try_get_u128().ok()?);
            let partition = bytes.try_get_i32().ok()?;
            let count = bytes.try_get_u32().ok()? as usize;
            if count.checked_mul(PAGE_ENTRY_BYTES)? > bytes.len() {
                return None;
            }
            let pages = (0..count).map(|_| PageInfo {
                base_offset: bytes.get_i64(),
                last_offset: bytes.get_i64(),
                max_timestamp_ms: bytes.get_i64(),
                position: bytes.get_u64(),
                length: bytes.get_u32(),
                checksum: bytes.get_u32(),
            });
            index.insert((topic_id, partition), pages.collect());
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::tests::batch;

    #[test]
    fn a_page_with_any_bit_changed_any_byte_missing_or_any_batch_doubled_does_not_check() {
        let batches = [batch(&["a", "b"]), batch(&["c"])].map(|bytes| Batch::new(bytes.freeze()).unwrap());
        let mut segment = SegmentBuilder::new(ObjectId(Uuid::nil()));
        segment.add(Uuid::nil(), 0, batches.clone());
        let Segment { chunks, size_bytes, .. } = segment.finish();
        let object = chunks.concat();
        assert_eq!(object.len() as u64, size_bytes);
        let trailer = Trailer::decode(&object[object.len() - TRAILER_BYTES..]).unwrap();
        let footer = &object[trailer.footer_position as usize..][..trailer.footer_length as usize];
        let page = trailer.decode_footer(footer).unwrap()[&(Uuid::nil(), 0)][0];
        let bytes = &object[..page.length as usize];
        assert!(page.checks(bytes));
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!page.checks(&changed), "bit {bit}");
        }
        assert!(!page.checks(&bytes[..bytes.len() - 1]));
        assert!(!page.checks(batches[0].bytes()));
        assert!(!page.checks(&[batches[0].bytes().clone(), batches[0].bytes().clone()].concat()));
    }
}
