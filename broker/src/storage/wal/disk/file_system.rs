//! The seam between the disk WAL and the operating system, so that tests can inject torn writes, failing
//! `fdatasync` and a full disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::error::WalOpenError;

/// One directory of WAL files.
pub trait FileSystem: Send + Sync {
    /// Where a file is, or the directory for an empty name: for messages.
    fn path(&self, name: &str) -> String;
    /// Names of the files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// The first `bytes_max` bytes of a file.
    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// A new file of `size_bytes` zeros, durable together with its name. Blocks are really allocated, so that
    /// later writes neither run out of space nor change metadata.
    fn create(&self, name: &str, size_bytes: u64) -> io::Result<()>;
    /// Opens a file for writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>>;
    /// Renames a file, durably.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames a file that holds nothing of worth any more; a crash may undo it. No wait for the disk.
    fn put_aside(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One WAL file open for writing.
pub trait WalFile: Send {
    /// Writes all parts one after the other from `position` on. On an error any part may have been written.
    fn write_at(&mut self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// `fdatasync`. After an error nothing written since the last success may be trusted.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of this machine, held by one broker at a time.
pub struct DiskFileSystem {
    directory: PathBuf,
    /// Two brokers on one WAL would each void what the other one acknowledged. The operating system lets go of
    /// the lock when this is dropped, or the process dies.
    _lock: File,
}

/// The file that is locked.
const LOCK: &str = "lock";
/// Files are filled in pieces of this size.
const ZEROS_BYTES: usize = 1024 * 1024;

impl DiskFileSystem {
    /// Opens the directory, creating it if need be, and locks it.
    pub fn open(directory: &Path) -> Result<DiskFileSystem, WalOpenError> {
        let name = || directory.display().to_string();
        let made = fs::create_dir_all(directory).and_then(|()| match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => Ok(()),
        });
        made.map_err(WalOpenError::io(format!("use the WAL's folder {}", name())))?;
        let locking = format!("lock the WAL's folder {}", name());
        let lock = File::create(directory.join(LOCK)).map_err(WalOpenError::io(&locking))?;
        match lock.try_lock() {
            Ok(()) => Ok(DiskFileSystem { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(WalOpenError::InUse { directory: name() }),
            Err(TryLockError::Error(source)) => Err(WalOpenError::io(locking)(source)),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn fill(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut left = size_bytes;
        while left > 0 {
            let piece = left.min(ZEROS_BYTES as u64) as usize;
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
        }
        file.sync_all()?;
        self.sync_directory()
    }
}

impl FileSystem for DiskFileSystem {
    fn path(&self, name: &str) -> String {
        // An empty name would add a slash.
        let path = if name.is_empty() { self.directory.clone() } else { self.directory.join(name) };
        path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.directory.join(name))?;
        let mut content = Vec::with_capacity(file.metadata()?.len().min(bytes_max) as usize);
        file.take(bytes_max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<()> {
        let path = self.directory.join(name);
        // A half-filled file must not keep the disk full.
        self.fill(&path, size_bytes).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let file = OpenOptions::new().write(true).open(self.directory.join(name))?;
        Ok(Box::new(DiskFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.put_aside(from, to)?;
        self.sync_directory()
    }

    fn put_aside(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }
}

struct DiskFile(File);

impl WalFile for DiskFile {
    fn write_at(&mut self, position: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(position))?;
        // Standard `write_all` for gathered writes.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.0.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Whether an error means that there is no room.
pub(in crate::storage::wal) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
