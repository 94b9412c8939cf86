//! The WAL's files over time: one is written, older ones wait to be trimmed, spares are kept ready.
//!
//! ```text
//! spare (zeros or a retired file) ─activate─▶ active ─full or failed─▶ retired ─trim─▶ spare, or removed
//! ```
//!
//! Filling a file with zeros costs as much as writing it with records, so as many files are kept as a steady load
//! needs between two trims, and the one used last, whose pages the system still holds, is used first.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::thread::JoinHandle;

use uuid::Uuid;

use super::super::frame::{FileHeader, HEADER_BYTES};
use super::recover::file_name;
use super::{FileSystem, WalFile};

const SPARE: &str = "spare-";
const SPARE_NEW: &str = "spare.new";
/// Filled by the writer itself: another name than that of a spare that may be filled at the same time.
const IN_LINE_NEW: &str = "in-line.new";

/// The file being written.
pub(super) struct ActiveFile {
    file: Box<dyn WalFile>,
    pub number: u64,
    pub size_bytes: u64,
    /// Where the next frame goes.
    pub position: u64,
}

impl ActiveFile {
    /// Whether `bytes` more fit.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.position + bytes <= self.size_bytes
    }

    /// Writes at the end and makes it durable. The end moves only on success.
    pub fn write(&mut self, bytes: u64, parts: &mut [IoSlice<'_>]) -> Result<(), WriteFailure> {
        self.file.write_at(self.position, parts).map_err(WriteFailure::Write)?;
        self.file.sync().map_err(WriteFailure::Sync)?;
        self.position += bytes;
        Ok(())
    }
}

/// Which step failed: after a failed sync the file is never trusted again.
#[derive(Debug)]
pub(super) enum WriteFailure {
    Write(io::Error),
    Sync(io::Error),
}

struct Retired {
    number: u64,
    size_bytes: u64,
    /// One past its last record.
    end_sequence: u64,
    /// May be used again: it never failed.
    reusable: bool,
}

/// All files of one WAL.
pub(super) struct WalFiles {
    system: Arc<dyn FileSystem>,
    wal_id: Uuid,
    file_bytes: u64,
    next_number: u64,
    retired: VecDeque<Retired>,
    spares: Spares,
}

#[derive(Default)]
struct Spares {
    count_max: usize,
    /// By number, the one used last at the end.
    ready: Vec<u64>,
    /// Being filled with zeros by a thread of its own, so that the writer does not wait for it.
    filling: Option<(u64, JoinHandle<io::Result<()>>)>,
    next_number: u64,
}

fn spare_name(number: u64) -> String {
    format!("{SPARE}{number}")
}

impl WalFiles {
    /// Takes over the files that recovery found: `(number, end sequence)`.
    pub fn new(
        system: Arc<dyn FileSystem>,
        wal_id: Uuid,
        (file_bytes, spare_files_max): (u64, usize),
        found: impl IntoIterator<Item = (u64, u64)>,
    ) -> WalFiles {
        let retired: VecDeque<Retired> = found
            .into_iter()
            .map(|(number, end_sequence)| Retired { number, size_bytes: 0, end_sequence, reusable: false })
            .collect();
        let next_number = retired.back().map_or(1, |last| last.number + 1);
        let spares = Spares { count_max: spare_files_max, ..Spares::default() };
        WalFiles { system, wal_id, file_bytes, next_number, retired, spares }
    }

    /// The WAL's id.
    pub fn wal_id(&self) -> Uuid {
        self.wal_id
    }

    /// How many files there are besides the active one and the spares.
    pub fn retired(&self) -> usize {
        self.retired.len()
    }

    /// How many spares are ready.
    pub fn spares(&self) -> usize {
        self.spares.ready.len()
    }

    /// Makes a file the active one; its header, durable already, says that everything below `first_sequence`
    /// is on disk and that earlier files are void from there on.
    pub fn activate(&mut self, first_sequence: u64, bytes_needed: u64) -> io::Result<ActiveFile> {
        let size_bytes = self.file_bytes.max(bytes_needed + HEADER_BYTES as u64);
        let name = file_name(self.next_number);
        let spare = if size_bytes == self.file_bytes { self.take_spare() } else { None };
        if let Some(spare) = spare {
            self.system.rename(&spare_name(spare), &name)?;
        } else {
            self.system.create(IN_LINE_NEW, size_bytes)?;
            self.system.rename(IN_LINE_NEW, &name)?;
        }
        let number = self.next_number;
        self.next_number += 1;
        let mut active = ActiveFile { file: self.system.open(&name)?, number, size_bytes, position: 0 };
        let header = FileHeader { number, wal_id: self.wal_id, first_sequence }.encode();
        match active.write(HEADER_BYTES as u64, &mut [IoSlice::new(&header)]) {
            Ok(()) => Ok(active),
            Err(WriteFailure::Write(error) | WriteFailure::Sync(error)) => {
                let _ = self.system.remove(&name);
                Err(error)
            }
        }
    }

    /// The active file is full (`reusable`) or has failed.
    pub fn retire(&mut self, active: ActiveFile, end_sequence: u64, reusable: bool) {
        let ActiveFile { number, size_bytes, .. } = active;
        self.retired.push_back(Retired { number, size_bytes, end_sequence, reusable });
    }

    /// Lets go of files that hold nothing from `below` on.
    pub fn trim(&mut self, below: u64) -> io::Result<()> {
        while let Some(oldest) = self.retired.front().filter(|oldest| oldest.end_sequence <= below) {
            let name = file_name(oldest.number);
            let reuse = oldest.reusable && oldest.size_bytes == self.file_bytes;
            if reuse && self.spares.ready.len() < self.spares.count_max {
                let spare = self.next_spare();
                self.system.put_aside(&name, &spare_name(spare))?;
                self.spares.ready.push(spare);
            } else {
                self.system.remove(&name)?;
            }
            self.retired.pop_front();
        }
        Ok(())
    }

    /// Begins to fill a spare file once the active one is half full and none is ready.
    pub fn prepare(&mut self, active: &ActiveFile) {
        let needless = !self.spares.ready.is_empty() || self.spares.filling.is_some();
        if needless || active.position < active.size_bytes / 2 {
            return;
        }
        let (system, size_bytes, number) = (self.system.clone(), self.file_bytes, self.next_spare());
        let filling = std::thread::Builder::new().name("towpath-wal-spare".to_owned()).spawn(move || {
            system.create(SPARE_NEW, size_bytes)?;
            system.rename(SPARE_NEW, &spare_name(number))
        });
        if let Ok(filling) = filling {
            self.spares.filling = Some((number, filling));
        }
    }

    fn next_spare(&mut self) -> u64 {
        self.spares.next_number += 1;
        self.spares.next_number
    }

    /// A spare, after a wait for one that is being filled; `None` when there is none (a full disk shows up again,
    /// where it is dealt with, when the file is created in line).
    fn take_spare(&mut self) -> Option<u64> {
        if let Some(spare) = self.spares.ready.pop() {
            return Some(spare);
        }
        let (number, filling) = self.spares.filling.take()?;
        matches!(filling.join(), Ok(Ok(()))).then_some(number)
    }
}

impl Drop for WalFiles {
    fn drop(&mut self) {
        if let Some((_, filling)) = self.spares.filling.take() {
            let _ = filling.join();
        }
    }
}

/// Removes files left by an unfinished preparation, and earlier spares.
pub(super) fn leftovers(system: &dyn FileSystem) -> io::Result<()> {
    for name in system.list()? {
        if name.starts_with(SPARE) || name == SPARE_NEW || name == IN_LINE_NEW {
            system.remove(&name)?;
        }
    }
    Ok(())
}
