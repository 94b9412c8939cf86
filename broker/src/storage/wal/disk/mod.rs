//! The disk WAL: files on this node's disk, one write and one `fdatasync` per group.

#[cfg(test)]
mod fault;
mod file_system;
mod files;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use towpath_env::Env;
use towpath_env::panic::words;
use uuid::Uuid;

use super::error::{WalError, WalOpenError};
use super::frame::HEADER_BYTES;
use super::lease::Lease;
use super::queue::Shared;
use super::{Replayed, Wal};
use crate::background::Background;
use crate::storage::metrics::WalMetrics;
#[cfg(test)]
pub(crate) use fault::FaultyFileSystem;
pub(super) use file_system::is_full;
pub use file_system::{DiskFileSystem, FileSystem, WalFile};
use files::{WalFiles, leftovers};
use recover::{Found, file_name, file_number, find, listing, replay};
use writer::Writer;

/// Ends the name of a file that was put aside.
const ABANDONED: &str = ".abandoned";

/// What a disk WAL is opened with.
pub struct DiskWalSettings {
    /// The WAL that the store belongs to; `None`: none yet.
    pub expected: Option<Uuid>,
    /// A WAL that may lie here and is not needed: all it held is in the store.
    pub sealed: Option<Uuid>,
    /// Records below this sequence number are in the store.
    pub trimmed_to: u64,
    /// Open in spite of another identity or of damage, giving up what is lost thereby.
    pub accept_loss: bool,
    /// Size of one file.
    pub file_bytes: usize,
    /// Trimmed files kept for use again.
    pub spare_files_max: usize,
    /// Most bytes of one group.
    pub group_bytes_max: usize,
}

/// Refuses the files of another WAL than the one that the store knows, without changing anything.
pub fn check_disk_wal(files: &dyn FileSystem, settings: &DiskWalSettings) -> Result<(), WalOpenError> {
    if settings.accept_loss {
        return Ok(());
    }
    settings.refuse_other(&find(files)?)
}

impl DiskWalSettings {
    fn refuse_other(&self, found: &Found) -> Result<(), WalOpenError> {
        match self.expected {
            Some(expected) if found.wal_id != Some(expected) => {
                let found = found.wal_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
                Err(WalOpenError::OtherWal { expected, found })
            }
            _ => Ok(()),
        }
    }
}

impl Wal {
    /// Opens a WAL in a directory of this machine: replays what it holds from `trimmed_to` on, in order, and starts
    /// the writer.
    pub fn open_disk(
        files: Arc<dyn FileSystem>,
        settings: DiskWalSettings,
        env: Env,
        metrics: WalMetrics,
        each: &mut dyn FnMut(Replayed),
    ) -> Result<Wal, WalOpenError> {
        leftovers(&*files).map_err(WalOpenError::io(listing(&*files)))?;
        let found = match recover(&*files, &settings, each) {
            Err(error) if settings.accept_loss && !matches!(error, WalOpenError::Io { .. }) => {
                tracing::error!(%error, "the loss was accepted: starting a new WAL");
                abandon(&*files)?;
                Found::default()
            }
            found => found?,
        };
        metrics.abandoned_files.set(abandoned(&*files) as i64);
        let wal_id = found.wal_id.unwrap_or_else(|| env.uuid());
        // Another WAL than the store knows counts from zero, and so does the store once it is bound to it.
        let known = found.wal_id.is_some() && found.wal_id == settings.expected;
        let next_sequence = found.end_sequence.max(if known { settings.trimmed_to } else { 0 });
        let shared = Arc::new(Shared::new(next_sequence, env, metrics));
        // Recovered files end where the next one begins; all of them go at the first trim beyond that.
        let ends = found.files.iter().map(|&(number, _)| number);
        let ends = ends.zip(found.files.iter().skip(1).map(|(_, first)| *first).chain([None]));
        let ends: Vec<_> = ends.map(|(number, end)| (number, end.unwrap_or(next_sequence))).collect();
        let new_file = format!("make a new file of the WAL in {}", files.path(""));
        let bounds = (settings.file_bytes as u64, settings.spare_files_max);
        let mut files = WalFiles::new(files, wal_id, bounds, ends);
        // A fresh file at once: it voids whatever a torn tail left behind, before its sequence numbers come again.
        let active = files.activate(next_sequence, 0).map_err(WalOpenError::io(new_file))?;
        let writer = Writer {
            shared: shared.clone(),
            files,
            active: Some(active),
            synced_below: next_sequence,
            // A group that no file has room for would get one of its own, which can't be used again.
            group_bytes_max: settings.group_bytes_max.min(settings.file_bytes.saturating_sub(HEADER_BYTES)),
        };
        let thread = std::thread::Builder::new().name("towpath-wal".to_owned());
        thread.spawn(move || run(writer)).map_err(WalOpenError::io("start the WAL's writer thread"))?;
        // Nobody else can write here: its folder is locked.
        Ok(Wal { shared, wal_id, lease: Lease::always(), object: None, tasks: Background::new() })
    }
}

/// A writer that panics leaves records that nobody will make durable: the WAL has failed for good.
fn run(writer: Writer) {
    let shared = writer.shared.clone();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| writer.run())) {
        let error = WalError::bug(format!("its writer panicked: {}", words(&*panic)));
        shared.fail(&error, VecDeque::new());
    }
}

fn recover(
    files: &dyn FileSystem,
    settings: &DiskWalSettings,
    each: &mut dyn FnMut(Replayed),
) -> Result<Found, WalOpenError> {
    let mut found = find(files)?;
    if found.wal_id.is_some() && found.wal_id == settings.sealed && settings.expected.is_none() {
        tracing::info!("the disk WAL of an earlier time is removed: the store holds all that it held");
        each_file(files, "remove", |name| files.remove(name))?;
        found = find(files)?;
    }
    settings.refuse_other(&found)?;
    // What is accepted may have been read from memory only: it must be on disk before anybody relies on it.
    for (number, _) in found.files.iter().filter(|(_, first)| first.is_some()) {
        let name = file_name(*number);
        let syncing = format!("sync the WAL's file {}", files.path(&name));
        files.open(&name).and_then(|mut file| file.sync()).map_err(WalOpenError::io(syncing))?;
    }
    // Nothing may be handed out before it is clear that all of it can be: a first pass only checks.
    replay(files, &mut found, u64::MAX, &mut |_| {})?;
    let Found { first_sequence: first, end_sequence: end, .. } = found;
    let trimmed_to = settings.trimmed_to;
    if found.wal_id.is_some() && settings.expected.is_some() && (first > trimmed_to || end < trimmed_to) {
        return Err(WalOpenError::Gap { trimmed_to, first, end });
    }
    if let (Some(found), None, true) = (found.wal_id, settings.expected, end > first) {
        return Err(WalOpenError::UnknownToStore { found });
    }
    replay(files, &mut found, trimmed_to, each)?;
    Ok(found)
}

/// Puts aside the files of a WAL that is given up: nobody may have what they hold.
fn abandon(files: &dyn FileSystem) -> Result<(), WalOpenError> {
    each_file(files, "put aside", |name| files.rename(name, &format!("{name}{ABANDONED}")))
}

/// Puts aside the files of a disk WAL whose loss was accepted for an object WAL, and counts what lies aside.
pub fn abandon_disk_wal(files: &dyn FileSystem, metrics: &WalMetrics) -> Result<(), WalOpenError> {
    abandon(files)?;
    metrics.abandoned_files.set(abandoned(files) as i64);
    Ok(())
}

/// Does something with each file of the WAL.
fn each_file(
    files: &dyn FileSystem,
    what: &str,
    act: impl Fn(&str) -> io::Result<()>,
) -> Result<(), WalOpenError> {
    for name in files.list().map_err(WalOpenError::io(listing(files)))? {
        if file_number(&name).is_some() {
            let acting = format!("{what} the WAL's file {}", files.path(&name));
            act(&name).map_err(WalOpenError::io(acting))?;
        }
    }
    Ok(())
}

/// How many files there are that were put aside.
fn abandoned(files: &dyn FileSystem) -> usize {
    files.list().map_or(0, |names| names.iter().filter(|name| name.ends_with(ABANDONED)).count())
}
