//! What the kernel itself takes of a core for the bytes that a broker moves, without a broker: the floor under its
//! CPU-seconds per GB. One thread does what must be done with each byte and nothing else, and its CPU time is what counts;
//! whoever sends to it or reads from it is another thread. All of these block.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};

use super::proc::cpu_seconds;

/// As the disk WAL's files are used over and over.
const WAL_BYTES: usize = 64 << 20;
/// What one group of the WAL takes under such a load, more or less.
const GROUP_BYTES: usize = 1 << 20;
/// `segment_bytes`.
const SEGMENT_BYTES: usize = 32 << 20;
/// `read_ahead_bytes`.
const READ_BYTES: usize = 4 << 20;

/// CPU-seconds per GB to receive batches of `batch_bytes` over loopback, to write each group over what a file holds, with
/// `fdatasync`, and to write all of it once more into new files, with `fsync`.
pub fn produce(folder: &Path, bytes: usize, batch_bytes: usize) -> Result<f64> {
    let (mut receiver, mut sender) = loopback()?;
    let wal = filled(&folder.join("floor-wal"), WAL_BYTES)?;
    let sending = thread::spawn(move || -> std::io::Result<()> {
        let batch = vec![7; batch_bytes];
        for _ in 0..bytes / batch_bytes {
            sender.write_all(&batch)?;
        }
        Ok(())
    });
    let (mut segment, mut group, mut places) = (vec![0; SEGMENT_BYTES], 0, (0..).step_by(GROUP_BYTES));
    let start = cpu_seconds("thread-self")?;
    let (mut received, mut objects) = (0, 0);
    loop {
        let read = receiver.read(&mut segment[received..])?;
        received += read;
        let full = received == SEGMENT_BYTES || read == 0;
        if received - group >= GROUP_BYTES || full && received > group {
            let place = places.next().unwrap_or_default() % (WAL_BYTES - READ_BYTES);
            wal.write_all_at(&segment[group..received], place as u64)?;
            wal.sync_data()?;
            group = received;
        }
        if full && received > 0 {
            let mut object = File::create(folder.join(format!("floor-{objects}")))?;
            for batch in segment[..received].chunks(batch_bytes) {
                object.write_all(batch)?;
            }
            object.sync_all()?;
            objects += 1;
            (received, group) = (0, 0);
        }
        if read == 0 {
            break;
        }
    }
    let took = cpu_seconds("thread-self")? - start;
    sending.join().map_err(|_| anyhow!("the sending thread panicked"))??;
    for object in 0..objects {
        std::fs::remove_file(folder.join(format!("floor-{object}")))?;
    }
    std::fs::remove_file(folder.join("floor-wal"))?;
    Ok(took / (bytes as f64 / 1e9))
}

/// CPU-seconds per GB to read a file out of the page cache and to send it over loopback.
pub fn catch_up(folder: &Path, bytes: usize) -> Result<f64> {
    let path = folder.join("floor-read");
    let (mut receiver, mut sender) = loopback()?;
    let file = filled(&path, bytes)?;
    let receiving = thread::spawn(move || std::io::copy(&mut receiver, &mut std::io::sink()));
    let mut content = vec![0; READ_BYTES];
    let start = cpu_seconds("thread-self")?;
    let mut place = 0;
    loop {
        let read = file.read_at(&mut content, place)?;
        if read == 0 {
            break;
        }
        sender.write_all(&content[..read])?;
        place += read as u64;
    }
    let took = cpu_seconds("thread-self")? - start;
    drop(sender);
    receiving.join().map_err(|_| anyhow!("the receiving thread panicked"))??;
    std::fs::remove_file(&path)?;
    Ok(took / (place as f64 / 1e9))
}

/// Both ends of a connection.
fn loopback() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    Ok((one, other))
}

/// A file of that size, on the disk.
fn filled(path: &Path, bytes: usize) -> Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let block = vec![3; GROUP_BYTES];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(block.len());
        file.write_all(&block[..some])?;
        left -= some;
    }
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 80 << 20;

    #[test]
    fn every_byte_is_moved_and_no_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let cpu_s_per_gb = produce(folder.path(), BYTES, 128 << 10).unwrap();
        assert!(cpu_s_per_gb > 0.0 && cpu_s_per_gb < 100.0, "{cpu_s_per_gb}");
        assert!(catch_up(folder.path(), BYTES).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
