//! A file system that tears writes, fails `fdatasync` and runs full, for tests.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{FileSystem, WalFile};

/// Files in memory that know which of their writes have reached the disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyFileSystem(Arc<Inner>);

#[derive(Default)]
struct Inner {
    disk: Mutex<Disk>,
    changed: Condvar,
}

#[derive(Clone, Default)]
struct Disk {
    files: BTreeMap<String, Content>,
    /// So many of the next syncs fail; what they should have written may be lost.
    failing_syncs: usize,
    /// So many syncs may end, further ones wait; `None`: all.
    syncs_allowed: Option<usize>,
    /// No room for new files.
    full: bool,
    /// Files ever made.
    created: usize,
    /// Making a file of this name waits.
    held_creation: Option<String>,
}

#[derive(Clone, Default)]
struct Content {
    /// What survives a crash for sure.
    synced: Vec<u8>,
    /// What the process sees.
    seen: Vec<u8>,
    /// Written and not synced, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

impl FaultyFileSystem {
    /// The next `count` syncs fail.
    pub fn fail_syncs(&self, count: usize) {
        self.0.disk.lock().failing_syncs = count;
    }

    /// Lets so many syncs end; further ones wait. `None`: all.
    pub fn allow_syncs(&self, count: Option<usize>) {
        self.0.disk.lock().syncs_allowed = count;
        self.0.changed.notify_all();
    }

    /// There is no room for another file.
    pub fn set_full(&self, full: bool) {
        self.0.disk.lock().full = full;
    }

    /// Blocks until so many bytes were written and not synced.
    pub fn wait_for_pending(&self, bytes: usize) {
        let mut disk = self.0.disk.lock();
        let deadline = std::time::Duration::from_secs(20);
        let waited = self.0.changed.wait_while_for(&mut disk, |disk| disk.pending_bytes() < bytes, deadline);
        assert!(!waited.timed_out(), "{} of {bytes} bytes were written", disk.pending_bytes());
    }

    /// The disk after a power loss: what was synced, and those units of `unit_bytes` of unsynced writes that
    /// `survives` picks. The old one lives on, unconnected.
    pub fn crash(&self, unit_bytes: usize, mut survives: impl FnMut(usize) -> bool) -> FaultyFileSystem {
        let mut disk = self.0.disk.lock().clone();
        let mut unit = 0;
        for content in disk.files.values_mut() {
            for (position, bytes) in std::mem::take(&mut content.pending) {
                for (index, piece) in bytes.chunks(unit_bytes).enumerate() {
                    if survives(unit) {
                        let at = position + index * unit_bytes;
                        content.synced[at..at + piece.len()].copy_from_slice(piece);
                    }
                    unit += 1;
                }
            }
            content.seen = content.synced.clone();
        }
        (disk.failing_syncs, disk.syncs_allowed, disk.full) = (0, None, false);
        FaultyFileSystem(Arc::new(Inner { disk: Mutex::new(disk), changed: Condvar::new() }))
    }

    /// Making a file of this name waits until another one is named, or none.
    pub fn hold_creation(&self, name: Option<&str>) {
        self.0.disk.lock().held_creation = name.map(str::to_owned);
        self.0.changed.notify_all();
    }

    /// How many files were ever made.
    pub fn created(&self) -> usize {
        self.0.disk.lock().created
    }

    /// Changes one byte on the disk.
    pub fn flip(&self, name: &str, position: usize) {
        let mut disk = self.0.disk.lock();
        let content = disk.files.get_mut(name).unwrap();
        content.synced[position] ^= 0x40;
        content.seen[position] ^= 0x40;
    }
}

impl Disk {
    fn pending_bytes(&self) -> usize {
        self.files.values().flat_map(|content| &content.pending).map(|(_, bytes)| bytes.len()).sum()
    }
}

impl FileSystem for FaultyFileSystem {
    fn path(&self, name: &str) -> String {
        format!("faulty/{name}")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.disk.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let disk = self.0.disk.lock();
        let content = disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.seen[..content.seen.len().min(bytes_max as usize)].to_vec())
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        self.0.changed.wait_while(&mut disk, |disk| disk.held_creation.as_deref() == Some(name));
        if disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.created += 1;
        let zeros = vec![0; size_bytes as usize];
        let content = Content { synced: zeros.clone(), seen: zeros, pending: Vec::new() };
        disk.files.insert(name.to_owned(), content);
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let known = self.0.disk.lock().files.contains_key(name);
        known
            .then(|| Box::new(FaultyFile(self.clone(), name.to_owned())) as _)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        let content = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn put_aside(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.disk.lock().files.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
}

struct FaultyFile(FaultyFileSystem, String);

impl WalFile for FaultyFile {
    fn write_at(&mut self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut disk = self.0.0.disk.lock();
        let content = disk.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let at = position as usize;
        content.seen[at..at + bytes.len()].copy_from_slice(&bytes);
        content.pending.push((at, bytes));
        self.0.0.changed.notify_all();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.0.disk.lock();
        self.0.0.changed.wait_while(&mut disk, |disk| disk.syncs_allowed == Some(0));
        if let Some(allowed) = &mut disk.syncs_allowed {
            *allowed -= 1;
        }
        let fails = disk.failing_syncs > 0;
        disk.failing_syncs = disk.failing_syncs.saturating_sub(1);
        let content = disk.files.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            // The pages may have been written or not, and nobody will ever say.
            return Err(io::Error::other("injected"));
        }
        let pending = std::mem::take(&mut content.pending);
        for (at, bytes) in pending {
            content.synced[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}
