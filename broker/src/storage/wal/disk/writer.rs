//! The WAL's one writer thread: gathers what is queued, writes it at once, syncs once, tells the owners.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use super::super::frame::{ALIGN, FRAME_BYTES, FrameInfo, encode_front, seed};
use super::super::queue::{Health, Shared};
use super::super::{WalError, WalRecord};
use super::file_system::is_full;
use super::files::{ActiveFile, WalFiles, WriteFailure};

/// How long a writer that found the disk full waits before it tries again.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// Bodies up to this size are copied beside their frame: cheaper than one more slice of the gathered write.
const COPIED_BODY_BYTES_MAX: usize = 512;

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub files: WalFiles,
    pub active: Option<ActiveFile>,
    /// Every record below is on disk.
    pub synced_below: u64,
    pub group_bytes_max: usize,
}

impl Writer {
    /// Runs until the WAL is closed or has failed.
    pub fn run(mut self) {
        while let Some(group) = self.next_group() {
            if let Err(error) = self.make_durable(&group) {
                self.shared.fail(&error, group);
                return;
            }
            self.synced_below += group.len() as u64;
            if self.shared.acknowledge(group, self.synced_below).is_err() {
                return;
            }
        }
        // First its files: a spare that is still being filled must not meet the next life of this directory.
        let Writer { shared, files, active, .. } = self;
        drop((active, files));
        shared.ended();
    }

    /// Waits for records; `None` once closed and empty.
    fn next_group(&mut self) -> Option<VecDeque<WalRecord>> {
        let mut queue = self.shared.queue.lock();
        loop {
            let below = queue.trim_below;
            if below > queue.trimmed_below {
                queue.trimmed_below = below;
                drop(queue);
                // A file that can't be removed now is removed at the next trim.
                if let Err(error) = self.files.trim(below) {
                    tracing::warn!(%error, below, "could not remove trimmed WAL files");
                }
                self.count_files();
                queue = self.shared.queue.lock();
                continue;
            }
            if queue.failed().is_some() {
                return None;
            }
            if !queue.records.is_empty() {
                return Some(queue.take_group(self.group_bytes_max));
            }
            if queue.health == Health::Closing {
                return None;
            }
            self.shared.thread.wait(&mut queue);
        }
    }

    /// Writes and syncs one group. A full disk is waited out; a file that fails is given up and the group is
    /// written to a fresh one, once.
    fn make_durable(&mut self, group: &VecDeque<WalRecord>) -> Result<(), WalError> {
        let mut failed_files = 0;
        loop {
            let error = match self.try_group(group) {
                Ok(()) => {
                    self.shared.take_again();
                    return Ok(());
                }
                Err(error) => error,
            };
            if is_full(&error) {
                self.shared.hold(WalError::Full);
                self.wait_for_room()?;
                continue;
            }
            failed_files += 1;
            tracing::error!(%error, "a WAL file failed: it is given up, the group goes to a fresh one");
            self.shared.metrics.failed_files.inc();
            if failed_files > 1 {
                return Err(WalError::Failed(format!(
                    "{error}; fix: look at the disk, then restart the broker"
                )));
            }
        }
    }

    fn wait_for_room(&self) -> Result<(), WalError> {
        let mut queue = self.shared.queue.lock();
        if let Some(error) = queue.failed() {
            return Err(error.clone());
        }
        if queue.health == Health::Closing {
            return Err(WalError::Full);
        }
        self.shared.thread.wait_for(&mut queue, FULL_RETRY);
        Ok(())
    }

    fn try_group(&mut self, group: &VecDeque<WalRecord>) -> io::Result<()> {
        let bytes: u64 = group.iter().map(|record| record.size_bytes() as u64).sum();
        let mut active = self.active_with_room(bytes)?;
        let fronts = self.encode(group, active.number);
        let mut parts = gather(group, &fronts);
        let (started, result) = (self.shared.env.elapsed(), active.write(bytes, &mut parts));
        match result {
            Ok(()) => {
                self.shared.metrics.sync_seconds.observe((self.shared.env.elapsed() - started).as_secs_f64());
                self.files.prepare(&active);
                self.active = Some(active);
                Ok(())
            }
            // Nothing of the group counts yet, and the file itself has not failed.
            Err(WriteFailure::Write(error)) if is_full(&error) => {
                self.active = Some(active);
                Err(error)
            }
            Err(WriteFailure::Write(error) | WriteFailure::Sync(error)) => {
                self.files.retire(active, self.synced_below, false);
                Err(error)
            }
        }
    }

    fn active_with_room(&mut self, bytes: u64) -> io::Result<ActiveFile> {
        match self.active.take() {
            Some(active) if active.has_room(bytes) => return Ok(active),
            Some(active) => self.files.retire(active, self.synced_below, true),
            None => {}
        }
        let active = self.files.activate(self.synced_below, bytes)?;
        self.count_files();
        Ok(active)
    }

    fn count_files(&self) {
        self.shared.metrics.files.set(self.files.retired() as i64 + 1);
        self.shared.metrics.spare_files.set(self.files.spares() as i64);
    }

    fn encode(&self, group: &VecDeque<WalRecord>, file_number: u64) -> Fronts {
        let seed = seed(self.files.wal_id(), file_number);
        let mut fronts =
            Fronts { bytes: Vec::with_capacity(group.len() * 2 * FRAME_BYTES), ends: Vec::new() };
        for (index, record) in group.iter().enumerate() {
            let sequence = self.synced_below + index as u64;
            let info = FrameInfo { file_number, sequence, synced_below: self.synced_below };
            encode_front(&mut fronts.bytes, seed, info, (&record.head, &record.body, record.body_crc));
            if record.body.len() <= COPIED_BODY_BYTES_MAX {
                fronts.bytes.extend_from_slice(&record.body);
                fronts.bytes.extend_from_slice(padding(record));
            } else {
                fronts.ends.push(fronts.bytes.len());
            }
        }
        fronts
    }
}

/// Frame headers, heads and small bodies, one after the other.
struct Fronts {
    bytes: Vec<u8>,
    /// Where a large body interrupts them.
    ends: Vec<usize>,
}

/// What fills a record's frame up to the next multiple of [`ALIGN`].
fn padding(record: &WalRecord) -> &'static [u8] {
    static ZEROS: [u8; ALIGN] = [0; ALIGN];
    &ZEROS[..record.size_bytes() - FRAME_BYTES - record.head.len() - record.body.len()]
}

fn gather<'a>(group: &'a VecDeque<WalRecord>, fronts: &'a Fronts) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(3 * fronts.ends.len() + 1);
    let large = group.iter().filter(|record| record.body.len() > COPIED_BODY_BYTES_MAX);
    let mut start = 0;
    for (record, end) in large.zip(&fronts.ends) {
        parts.push(IoSlice::new(&fronts.bytes[start..*end]));
        parts.push(IoSlice::new(&record.body));
        if !padding(record).is_empty() {
            parts.push(IoSlice::new(padding(record)));
        }
        start = *end;
    }
    if start < fronts.bytes.len() {
        parts.push(IoSlice::new(&fronts.bytes[start..]));
    }
    parts
}
