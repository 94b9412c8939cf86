//! What a produced batch must be before it gets an offset (Kafka's `LogValidator`).
//!
//! Headers and checksums only: records are not decoded, but on compacted topics, where each needs a key.

use bytes::Bytes;
use towpath_wire::batch::{Batch, BatchError, TimestampType as BatchTime, views};

use super::{Origin, Refusal};
use crate::metadata::config::{TimestampType, TopicSettings};

/// Most bytes that a batch may decompress to where its records must be looked at.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Checks every batch of a records field; their sizes in order.
pub(super) fn check(
    records: &[u8],
    settings: &TopicSettings,
    origin: Origin,
    now_ms: i64,
) -> Result<Vec<usize>, Refusal> {
    let mut sizes = Vec::with_capacity(1);
    let mut idempotent = false;
    for batch in views(records) {
        let batch = batch.map_err(refuse)?;
        check_one(&batch, settings, origin, now_ms)?;
        idempotent |= batch.producer_id() >= 0;
        sizes.push(batch.size_bytes());
    }
    match sizes.len() {
        0 => Err(Refusal::Invalid("it has no batches".to_owned())),
        // Kafka's produce requests carry one batch per partition; only converted old formats have more.
        2.. if idempotent => {
            Err(Refusal::Invalid("an idempotent producer sends one batch at a time".to_owned()))
        }
        _ => Ok(sizes),
    }
}

fn check_one(
    batch: &Batch<&[u8]>,
    settings: &TopicSettings,
    origin: Origin,
    now_ms: i64,
) -> Result<(), Refusal> {
    let size_bytes = batch.size_bytes();
    if origin == Origin::Client && size_bytes > settings.message_bytes_max {
        return Err(Refusal::TooLarge { size_bytes, bytes_max: settings.message_bytes_max });
    }
    batch.check_crc().map_err(refuse)?;
    batch.check_produced().map_err(refuse)?;
    if origin == Origin::Coordinator {
        return Ok(());
    }
    if batch.is_transactional() {
        return Err(Refusal::Transactional);
    }
    check_time(batch, settings, now_ms)?;
    if settings.cleanup.compact { check_keys(batch) } else { Ok(()) }
}

fn check_time(batch: &Batch<&[u8]>, settings: &TopicSettings, now_ms: i64) -> Result<(), Refusal> {
    if batch.timestamp_type() == BatchTime::LogAppendTime {
        let what = "its timestamps claim to be set by a broker; fix: send CreateTime";
        return Err(Refusal::Invalid(what.to_owned()));
    }
    if settings.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    for timestamp_ms in [batch.base_timestamp_ms(), batch.max_timestamp_ms()] {
        let too_old = now_ms.saturating_sub(timestamp_ms) > settings.timestamp_before_max_ms;
        let too_new = timestamp_ms.saturating_sub(now_ms) > settings.timestamp_after_max_ms;
        // -1 is "no timestamp" (message format 0 knew none).
        if timestamp_ms >= 0 && (too_old || too_new) {
            return Err(Refusal::Timestamp { timestamp_ms });
        }
    }
    Ok(())
}

fn check_keys(batch: &Batch<&[u8]>) -> Result<(), Refusal> {
    let owned = Batch::new(Bytes::copy_from_slice(batch.bytes())).map_err(refuse)?;
    for record in owned.records(DECOMPRESSED_BYTES_MAX).map_err(refuse)? {
        if record.map_err(refuse)?.key.is_none() {
            return Err(Refusal::Invalid("a compacted topic takes no record without a key".to_owned()));
        }
    }
    Ok(())
}

/// Names what is wrong with a batch in Kafka's terms.
pub(crate) fn refuse(error: BatchError) -> Refusal {
    match error {
        BatchError::OldFormat { magic, .. } | BatchError::Magic { magic, .. } => Refusal::OldFormat { magic },
        BatchError::Header { .. } | BatchError::Codec { .. } => Refusal::Invalid(error.to_string()),
        error => Refusal::Corrupt(error.to_string()),
    }
}
