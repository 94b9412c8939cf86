//! Record batches (message format v2) as views over the bytes that arrived.
//!
//! Owns the layout of the 61-byte batch header, cutting a records field into batches, the CRC, the three fields
//! that a broker patches in place, a read-only iterator over records, and leaving records out of a batch
//! ([`OpenBatch`], for compaction: what stays is copied as it is). Otherwise a batch is never decoded and encoded
//! again: what a producer sent is what is stored, mirrored and fetched, byte for byte. The one exception is
//! [`BatchBuilder`], which makes new batches (internal topics, control markers, conversion from old formats).
//!
//! Splitting and header access allocate nothing. No bytes whatsoever make this module panic, except the
//! documented preconditions of the patch functions.
//!
//! The layout is Apache Kafka's `DefaultRecordBatch`: base offset i64, length i32, leader epoch i32, magic i8,
//! CRC u32 (CRC-32C of everything after it), attributes i16, last offset delta i32, base timestamp i64, max
//! timestamp i64, producer id i64, producer epoch i16, base sequence i32, record count i32, records.

mod build;
mod codec;
mod error;
mod header;
mod patch;
mod records;
mod rewrite;
mod split;
pub(crate) mod varint;

pub use build::{BatchBuilder, Headers};
pub use codec::Codec;
pub(crate) use codec::{compress, decompress};
pub use error::BatchError;
pub use header::{Batch, BatchView, CRC_COVERS_FROM, ControlKind, HEADER_BYTES, TimestampType};
pub use patch::{patch_base_offset, patch_leader_epoch, patch_log_append_time};
pub use records::{RecordView, Records};
pub use rewrite::{OpenBatch, RawRecord, RawRecords};
pub use split::{Split, Views, split, views};

#[cfg(test)]
mod tests;
