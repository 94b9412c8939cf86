//! What the readers are asked to do: digest ranges, copy records, look for keys.

use std::collections::HashSet;

use rdkafka::message::Message;
use tokio::sync::mpsc;
use towpath_plans::Side;
use towpath_plans::diff::{CompactedDiff, RangeDigest, RangeDigester, Record, Unsorted};

use super::reader::{ReadError, Stretch};
use super::record;
use super::session::{Manner, Seen, Session};
use crate::error::LinkerError;

/// One range of one side.
#[derive(Debug)]
pub(super) struct Cut {
    /// Index of the stretch that it belongs to.
    pub(super) index: usize,
    /// Count and digest.
    pub(super) range: RangeDigest,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

/// Cuts every stretch into ranges of `range_offsets` and sends their digests as they are complete. Ends early when
/// nobody listens.
pub(super) fn digest(
    session: &Session,
    stretches: &[Stretch],
    range_offsets: u64,
    manner: &Manner,
    cuts: &mpsc::Sender<Cut>,
) -> Result<(), ReadError> {
    let mut states: Vec<(Option<RangeDigester>, u64)> =
        stretches.iter().map(|stretch| (Some(RangeDigester::new(stretch.from, range_offsets)), 0)).collect();
    let send = |index: usize, bytes: &mut u64, done: Vec<RangeDigest>| {
        for range in done {
            let bytes = std::mem::take(bytes);
            cuts.blocking_send(Cut { index, range, bytes }).map_err(|_| ReadError::Stopped)?;
        }
        Ok(())
    };
    session.read(stretches, manner, &mut |seen| match seen {
        Seen::Record(index, message) => {
            let (digester, bytes) = &mut states[index];
            let Some(digester) = digester else { return Ok(()) };
            let digest = record::digest(message);
            let done = digester.push_digest(message.offset(), &digest).map_err(went_back)?;
            if !done.is_empty() {
                send(index, bytes, done)?;
            }
            *bytes += record::size_bytes(message);
            Ok(())
        }
        Seen::Through(index) => {
            let (digester, bytes) = &mut states[index];
            match digester.take() {
                Some(digester) => send(index, bytes, digester.finish(stretches[index].to)),
                None => Ok(()),
            }
        }
    })
}

/// One digest over a whole stretch.
pub(super) fn digest_whole(
    session: &Session,
    stretch: &Stretch,
    manner: &Manner,
) -> Result<RangeDigest, ReadError> {
    let mut digester = RangeDigester::new(stretch.from, u64::MAX);
    session.read(std::slice::from_ref(stretch), manner, &mut |seen| {
        if let Seen::Record(_, message) = seen {
            digester.push_digest(message.offset(), &record::digest(message)).map_err(went_back)?;
        }
        Ok(())
    })?;
    let whole = digester.finish(stretch.to).pop();
    whole.ok_or_else(|| ReadError::Failed(LinkerError::Bug(format!("digest of nothing: {stretch:?}"))))
}

/// Copies the records of a stretch.
pub(super) fn records(
    session: &Session,
    stretch: &Stretch,
    manner: &Manner,
) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    session.read(std::slice::from_ref(stretch), manner, &mut |seen| {
        if let Seen::Record(_, message) = seen {
            records.push(record::copy(message));
        }
        Ok(())
    })?;
    Ok(records)
}

/// The latest record of each of some keys within a stretch.
pub(super) fn latest(
    session: &Session,
    stretch: &Stretch,
    keys: &HashSet<[u8; 32]>,
    manner: &Manner,
) -> Result<CompactedDiff, ReadError> {
    let side = match session.side {
        crate::error::Side::Source => Side::Source,
        crate::error::Side::Target => Side::Target,
    };
    let mut latest = CompactedDiff::default();
    session.read(std::slice::from_ref(stretch), manner, &mut |seen| {
        if let Seen::Record(_, message) = seen
            && message.key().is_some_and(|key| keys.contains(&CompactedDiff::key_name(key)))
        {
            latest.push(side, &record::copy(message));
        }
        Ok(())
    })?;
    Ok(latest)
}

fn went_back(error: Unsorted) -> ReadError {
    ReadError::Failed(LinkerError::Bug(format!("librdkafka: {error}")))
}
