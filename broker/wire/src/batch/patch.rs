//! The fields that a broker sets in a batch that it appends.

use super::header::{
    ATTRIBUTES, BASE_OFFSET, CRC, HEADER_BYTES, LEADER_EPOCH, LENGTH, LENGTH_OVERHEAD, LOG_APPEND_TIME,
    MAX_TIMESTAMP,
};

/// Sets the base offset of the batch that `batch` starts with. Outside the CRC.
///
/// # Panics
/// When `batch` is shorter than the field: give it bytes that [`super::views`] has accepted.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&base_offset.to_be_bytes());
}

/// Sets the leader epoch of the batch that `batch` starts with. Outside the CRC.
///
/// # Panics
/// When `batch` is shorter than the field: give it bytes that [`super::views`] has accepted.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    batch[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Makes the batch that `batch` starts with LogAppendTime at `timestamp_ms` and recomputes its CRC, as Kafka's
/// `DefaultRecordBatch.setMaxTimestamp` does. Readers then take this timestamp for every record.
///
/// # Panics
/// When `batch` does not start with a whole batch: give it bytes that [`super::views`] has accepted.
pub fn patch_log_append_time(batch: &mut [u8], timestamp_ms: i64) {
    let mut length = [0; 4];
    length.copy_from_slice(&batch[LENGTH..LENGTH + 4]);
    let size = (u32::from_be_bytes(length) as usize).saturating_add(LENGTH_OVERHEAD);
    let batch = &mut batch[..size];
    batch[ATTRIBUTES + 1] |= LOG_APPEND_TIME as u8;
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    debug_assert!(size >= HEADER_BYTES);
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
