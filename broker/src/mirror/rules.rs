//! The pure half of the mirror's rules: what to make of a batch, given what is held.

use std::ops::Range;

use bytes::Bytes;
use towpath_wire::batch::{Batch, RecordView, split};

use super::{MirrorBatches, MirrorIdentity};
use crate::metadata::{MirrorState, PRODUCER_ID_FIRST};
use crate::partition::{DECOMPRESSED_BYTES_MAX, Refusal, refuse};

/// Compares the link with the topic's mirror state.
pub(super) fn check_identity(mirror: Option<&MirrorState>, identity: &MirrorIdentity) -> Result<(), Refusal> {
    let Some(mirror) = mirror.filter(|mirror| mirror.link == identity.link) else {
        return Err(Refusal::NotMirror { link: identity.link.clone() });
    };
    let differs = |what: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
        Err(Refusal::IdentityChanged(format!("the {what} was {was} and is now {is}")))
    };
    if mirror.source_cluster_id != identity.source_cluster_id {
        return differs("cluster id", &mirror.source_cluster_id, &identity.source_cluster_id);
    }
    if mirror.source_topic_id != identity.source_topic_id {
        return differs("topic id", &mirror.source_topic_id, &identity.source_topic_id);
    }
    Ok(())
}

/// Cuts and checks the batches of a call: whole, uncorrupted, in order, not of our own producers.
pub(super) fn check_batches(records: Bytes) -> Result<Vec<Batch>, Refusal> {
    let mut batches: Vec<Batch> = Vec::new();
    for batch in split(records) {
        let batch = batch.map_err(refuse)?;
        batch.check_crc().map_err(refuse)?;
        let (base_offset, last_offset) = (batch.base_offset(), batch.last_offset());
        let before = batches.last().map_or(-1, Batch::last_offset);
        if base_offset <= before || batch.last_offset_delta() < 0 || last_offset == i64::MAX {
            return Err(Refusal::OffsetBackward { base_offset, last_offset, log_end: before + 1 });
        }
        if batch.producer_id() >= PRODUCER_ID_FIRST {
            return Err(Refusal::ProducerIdReserved { producer_id: batch.producer_id() });
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// Where the log begins and ends before the batches: at its end, or, when the source deleted everything up to
/// where the link could fetch from, there, with nothing before it.
pub(super) fn check_start(asked: &MirrorBatches, log_end: i64) -> Result<(i64, i64), Refusal> {
    let from_offset = asked.from_offset;
    if from_offset <= log_end {
        Ok((i64::MIN, log_end))
    } else if from_offset == asked.source_log_start {
        Ok((from_offset, from_offset))
    } else {
        Err(Refusal::Gap { from_offset, log_end })
    }
}

/// Where a batch lies relative to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Behind,
    Before,
    Across,
}

/// Where a batch lies relative to the end of the log.
pub(super) fn place(batch: &Batch, log_end: i64) -> Place {
    match (batch.base_offset() >= log_end, batch.next_offset() <= log_end) {
        (true, _) => Place::Behind,
        (_, true) => Place::Before,
        _ => Place::Across,
    }
}

/// Judges a replayed batch by the batches held at its offsets. `Ok`: the same, or a compacted remainder of it.
pub(super) fn judge_replay(
    replay: &Batch,
    held: &[Batch],
    log_start: i64,
    compacted: bool,
) -> Result<(), Refusal> {
    if let [one] = held
        && (one.base_offset(), one.last_offset(), one.crc())
            == (replay.base_offset(), replay.last_offset(), replay.crc())
    {
        return Ok(());
    }
    let (base_offset, last_offset) = (replay.base_offset(), replay.last_offset());
    let records = decode(replay)?;
    let wanted: Vec<_> = records.into_iter().filter(|record| record.offset >= log_start).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if held.is_empty() {
        return Err(Refusal::OffsetBackward { base_offset, last_offset, log_end: last_offset + 1 });
    }
    same_records(replay, held, (log_start..last_offset + 1, &wanted), compacted)
}

/// Compares records that the source sent again with the batches held at their offsets. The source's cleaner
/// rewrites batches, and old formats are converted in other runs each time: so records count, not batches. Only a
/// cleaner may have taken some. `wanted` is what the batch has of the offsets within `log`.
fn same_records(
    replay: &Batch,
    held: &[Batch],
    (log, wanted): (Range<i64>, &[RecordView]),
    compacted: bool,
) -> Result<(), Refusal> {
    let mut ours = Vec::new();
    for batch in held {
        if writer(batch) != writer(replay) {
            let what = format!("producer {:?} wrote it, held is one of {:?}", writer(replay), writer(batch));
            return Err(Refusal::Mismatch { offset: batch.base_offset().max(replay.base_offset()), what });
        }
        ours.extend(decode(batch)?);
    }
    for record in wanted {
        let same = ours.binary_search_by_key(&record.offset, |ours| ours.offset);
        if same.is_err() || same.is_ok_and(|at| ours[at] != *record) {
            let what = "the record is not the one mirrored, and compaction does not explain it".to_owned();
            return Err(Refusal::Mismatch { offset: record.offset, what });
        }
    }
    let covered = log.start.max(replay.base_offset())..log.end.min(replay.next_offset());
    let mut left = wanted.iter().peekable();
    let gone = ours
        .iter()
        .filter(|ours| covered.contains(&ours.offset))
        .find(|ours| left.next_if(|wanted| wanted.offset == ours.offset).is_none());
    match gone.filter(|_| !compacted) {
        Some(ours) => {
            let what = "the record is held and no longer sent, and the topic is not compacted".to_owned();
            Err(Refusal::Mismatch { offset: ours.offset, what })
        }
        None => Ok(()),
    }
}

/// What a rewritten batch keeps of whoever wrote it.
fn writer(batch: &Batch) -> (i64, i16, bool, bool) {
    (batch.producer_id(), batch.producer_epoch(), batch.is_transactional(), batch.is_control())
}

/// Judges a batch that begins before our end and ends behind it, given what is held at its offsets before the
/// end. `Ok`: append it as it is.
pub(super) fn judge_across(
    batch: &Batch,
    held: &[Batch],
    log: &Range<i64>,
    (from_offset, compacted): (i64, bool),
) -> Result<(), Refusal> {
    let (base_offset, last_offset) = (batch.base_offset(), batch.last_offset());
    let records = decode(batch)?;
    let passed: Vec<_> = records.into_iter().filter(|record| log.contains(&record.offset)).collect();
    let Some(first) = held.first() else {
        // We passed over its front as a gap: none of its records may lie there.
        let goes_back = !passed.is_empty();
        let log_end = log.end;
        return if goes_back {
            Err(Refusal::OffsetBackward { base_offset, last_offset, log_end })
        } else {
            Ok(())
        };
    };
    // Fetched from before our end, it may begin with what we hold; fetched from there, it may not.
    if from_offset < log.end {
        same_records(batch, held, (log.clone(), &passed), compacted)?;
        return Err(Refusal::Gap { from_offset, log_end: log.end });
    }
    let what = format!(
        "batch {base_offset}..={last_offset} overlaps {}..={}, which ends the log",
        first.base_offset(),
        first.last_offset()
    );
    Err(Refusal::Mismatch { offset: base_offset.max(first.base_offset()), what })
}

fn decode(batch: &Batch) -> Result<Vec<RecordView>, Refusal> {
    batch.records(DECOMPRESSED_BYTES_MAX).and_then(Iterator::collect).map_err(refuse)
}
