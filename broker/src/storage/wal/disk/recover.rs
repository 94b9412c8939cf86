//! Reads a WAL back after a crash: the torn-tail rule of DESIGN §5.1.
//!
//! Writes that were not followed by an `fdatasync` may have reached the disk in any order, or in part. So the
//! first record that does not check ends the log, even where later records check: unless one of those says that
//! it was already synced. Then acknowledged data is damaged, and the WAL does not open.

use uuid::Uuid;

use super::super::Replayed;
use super::super::error::WalOpenError;
use super::super::frame::{ALIGN, FileHeader, Frame, HEADER_BYTES, seed};
use super::FileSystem;

/// The name of a WAL file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:016}.wal")
}

/// The number in a WAL file's name.
pub(super) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// A WAL as found on disk.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The WAL's id; `None`: there is no WAL here.
    pub wal_id: Option<Uuid>,
    /// Its files in order: number and first sequence (`None`: never used).
    pub files: Vec<(u64, Option<u64>)>,
    /// The first sequence that the files hold.
    pub first_sequence: u64,
    /// One past the last record.
    pub end_sequence: u64,
}

/// What fails when the files can't be listed.
pub(super) fn listing(files: &dyn FileSystem) -> String {
    format!("list the WAL's files in {}", files.path(""))
}

fn reading(files: &dyn FileSystem, name: &str) -> impl FnOnce(std::io::Error) -> WalOpenError + use<> {
    WalOpenError::io(format!("read the WAL's file {}", files.path(name)))
}

/// Lists the WAL's files, and reads their headers.
pub(super) fn find(files: &dyn FileSystem) -> Result<Found, WalOpenError> {
    let names = files.list().map_err(WalOpenError::io(listing(files)))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    let mut found = Found::default();
    for number in numbers {
        let name = file_name(number);
        let content = files.read(&name, HEADER_BYTES as u64).map_err(reading(files, &name))?;
        let header = FileHeader::decode(&content).filter(|header| header.number == number);
        if let Some(header) = header {
            match found.wal_id {
                Some(expected) if expected != header.wal_id => {
                    return Err(WalOpenError::OtherWal { expected, found: header.wal_id.to_string() });
                }
                Some(_) => {}
                None => {
                    found.first_sequence = header.first_sequence;
                    found.wal_id = Some(header.wal_id);
                }
            }
        }
        found.files.push((number, header.map(|header| header.first_sequence)));
    }
    found.end_sequence = found.first_sequence;
    Ok(found)
}

/// Reads all records from `from_sequence` on, in order. Sets `found.end_sequence`.
pub(super) fn replay(
    files: &dyn FileSystem,
    found: &mut Found,
    from_sequence: u64,
    each: &mut dyn FnMut(Replayed),
) -> Result<(), WalOpenError> {
    let Some(wal_id) = found.wal_id else { return Ok(()) };
    let mut next = found.first_sequence;
    for (index, &(number, first)) in found.files.iter().enumerate() {
        let name = file_name(number);
        // Where a later file takes over; everything below was on disk when it did.
        let limit = found.files[index + 1..].iter().find_map(|(_, first)| *first);
        if limit.is_some_and(|limit| limit <= next) && first.is_none_or(|first| first >= next) {
            continue; // Nothing of this file counts.
        }
        let content = files.read(&name, u64::MAX).map_err(reading(files, &name))?;
        let seed = seed(wal_id, number);
        let mut position = HEADER_BYTES;
        while first.is_some() && limit.is_none_or(|limit| next < limit) {
            let frame = Frame::decode(&content, position, number, seed);
            let Some(frame) = frame.filter(|frame| frame.info.sequence == next) else { break };
            if next >= from_sequence {
                each(frame.replayed());
            }
            position += frame.size_bytes();
            next += 1;
        }
        let damaged = match limit {
            Some(limit) => next < limit,
            None => claims_synced(&content, position, (number, seed), next),
        };
        if damaged {
            return Err(WalOpenError::Damaged { file: name, position: position as u64, sequence: next });
        }
    }
    found.end_sequence = next;
    Ok(())
}

/// Whether any whole frame from `position` on says that sequence `next` was on disk.
fn claims_synced(content: &[u8], position: usize, (number, seed): (u64, u32), next: u64) -> bool {
    let mut at = position.next_multiple_of(ALIGN);
    while at < content.len() {
        if Frame::decode(content, at, number, seed).is_some_and(|frame| frame.info.synced_below > next) {
            return true;
        }
        at += ALIGN;
    }
    false
}
