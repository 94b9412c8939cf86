//! The disk WAL: the handle that appenders hold, and its queue.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};
use towpath_env::Env;
use towpath_env::panic::words;
use uuid::Uuid;

use super::error::{WalError, WalOpenError};
use super::files::{WalFiles, leftovers};
use super::recover::{Found, file_name, file_number, find, listing, replay};
use super::writer::{Writer, tell_failed};
use super::{FileSystem, Replayed, Wal, WalRecord};
use crate::storage::metrics::WalMetrics;

/// What a disk WAL is opened with.
pub struct DiskWalSettings {
    /// The WAL that the store belongs to; `None`: none yet.
    pub expected: Option<Uuid>,
    /// Records below this sequence number are in the store.
    pub trimmed_to: u64,
    /// Open in spite of another identity or of damage, giving up what is lost thereby.
    pub accept_loss: bool,
    /// Size of one file.
    pub file_bytes: usize,
    /// Most bytes of one group.
    pub group_bytes_max: usize,
}

/// A WAL in a directory of this machine.
pub struct DiskWal {
    shared: Arc<Shared>,
    wal_id: Uuid,
}

impl DiskWal {
    /// Replays what the directory holds from `trimmed_to` on, in order, and starts the writer.
    pub fn open(
        files: Arc<dyn FileSystem>,
        settings: DiskWalSettings,
        env: Env,
        metrics: WalMetrics,
        each: &mut dyn FnMut(Replayed),
    ) -> Result<DiskWal, WalOpenError> {
        leftovers(&*files).map_err(WalOpenError::io(listing(&*files)))?;
        let found = match recover(&*files, &settings, each) {
            Err(error) if settings.accept_loss && !matches!(error, WalOpenError::Io { .. }) => {
                tracing::error!(%error, "the loss was accepted: starting a new WAL");
                abandon(&*files)?;
                Found::default()
            }
            found => found?,
        };
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
        let mut files = WalFiles::new(files, wal_id, settings.file_bytes as u64, ends);
        // A fresh file at once: it voids whatever a torn tail left behind, before its sequence numbers come again.
        let active = files.activate(next_sequence, 0).map_err(WalOpenError::io(new_file))?;
        let writer = Writer {
            shared: shared.clone(),
            files,
            active: Some(active),
            synced_below: next_sequence,
            group_bytes_max: settings.group_bytes_max,
        };
        let thread = std::thread::Builder::new().name("towpath-wal".to_owned());
        thread.spawn(move || run(writer)).map_err(WalOpenError::io("start the WAL's writer thread"))?;
        Ok(DiskWal { shared, wal_id })
    }

    /// The id that the store must name.
    pub fn id(&self) -> Uuid {
        self.wal_id
    }
}

/// A writer that panics leaves records that nobody will make durable: the WAL has failed for good.
fn run(writer: Writer) {
    let shared = writer.shared.clone();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| writer.run())) {
        let why = format!("bug: its writer panicked: {}", words(&*panic));
        shared.fail(&WalError::Failed(why), VecDeque::new());
    }
}

fn recover(
    files: &dyn FileSystem,
    settings: &DiskWalSettings,
    each: &mut dyn FnMut(Replayed),
) -> Result<Found, WalOpenError> {
    let mut found = find(files)?;
    if let Some(expected) = settings.expected.filter(|expected| found.wal_id != Some(*expected)) {
        let found = found.wal_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        return Err(WalOpenError::OtherWal { expected, found });
    }
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

/// Puts aside the files of a WAL that is given up.
fn abandon(files: &dyn FileSystem) -> Result<(), WalOpenError> {
    for name in files.list().map_err(WalOpenError::io(listing(files)))? {
        if file_number(&name).is_some() {
            let putting = format!("put the WAL's file {} aside", files.path(&name));
            files.rename(&name, &format!("{name}.abandoned")).map_err(WalOpenError::io(putting))?;
        }
    }
    Ok(())
}

/// What appenders and the writer share.
pub(super) struct Shared {
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    pub env: Env,
    pub metrics: WalMetrics,
    durable_below: watch::Sender<u64>,
    failure: watch::Sender<Option<WalError>>,
}

pub(super) struct Queue {
    pub records: VecDeque<WalRecord>,
    pub health: Health,
    pub trim_below: u64,
    pub trimmed_below: u64,
    bytes: usize,
    next_sequence: u64,
    closed: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// No room on the disk; what is queued waits.
    Full,
    /// Takes nothing more; ends when the queue is empty.
    Closing,
    /// Nothing will become durable any more.
    Failed(WalError),
}

impl Shared {
    fn new(next_sequence: u64, env: Env, metrics: WalMetrics) -> Shared {
        let queue = Queue {
            records: VecDeque::new(),
            health: Health::Good,
            trim_below: 0,
            trimmed_below: 0,
            bytes: 0,
            next_sequence,
            closed: Vec::new(),
        };
        Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            env,
            metrics,
            durable_below: watch::Sender::new(next_sequence),
            failure: watch::Sender::new(None),
        }
    }

    pub fn set_full(&self, full: bool) {
        let mut queue = self.queue.lock();
        match (&queue.health, full) {
            (Health::Good, true) => queue.health = Health::Full,
            (Health::Full, false) => {
                tracing::info!("the WAL's disk has room again");
                queue.health = Health::Good;
            }
            _ => return,
        }
        self.metrics.full.set(i64::from(full));
    }

    /// A group is durable and its owners know.
    pub fn completed(&self, records: usize, bytes: usize, durable_below: u64) {
        let mut queue = self.queue.lock();
        queue.bytes -= bytes;
        self.metrics.queued_bytes.set(queue.bytes as i64);
        self.metrics.groups.inc();
        self.metrics.records.inc_by(records as u64);
        self.metrics.bytes.inc_by(bytes as u64);
        self.durable_below.send_replace(durable_below);
    }

    /// The writer ends: with `group`, everything queued fails.
    pub fn fail(&self, error: &WalError, group: VecDeque<WalRecord>) {
        tracing::error!(%error, "the WAL stops");
        let queued = {
            let mut queue = self.queue.lock();
            queue.health = Health::Failed(error.clone());
            queue.closed.clear();
            std::mem::take(&mut queue.records)
        };
        tell_failed(group.into_iter().chain(queued), error);
        self.failure.send_replace(Some(error.clone()));
    }

    /// The writer ends after everything was written.
    pub fn ended(&self) {
        let mut queue = self.queue.lock();
        queue.health = Health::Failed(WalError::Closed);
        queue.closed.drain(..).for_each(|done| {
            let _ = done.send(());
        });
    }
}

impl Wal for DiskWal {
    fn accepting(&self) -> Result<(), WalError> {
        match &self.shared.queue.lock().health {
            Health::Good => Ok(()),
            Health::Full => Err(WalError::Full),
            Health::Closing => Err(WalError::Closed),
            Health::Failed(error) => Err(error.clone()),
        }
    }

    fn queued_bytes(&self) -> usize {
        self.shared.queue.lock().bytes
    }

    fn append(&self, record: WalRecord) -> u64 {
        let mut queue = self.shared.queue.lock();
        let sequence = queue.next_sequence;
        if let Health::Failed(error) = &queue.health {
            let error = error.clone();
            drop(queue);
            // Not from here: the owner holds its own lock while it appends.
            let owner = record.owner;
            std::thread::spawn(move || owner.failed(&error));
            return sequence;
        }
        queue.next_sequence += 1;
        queue.bytes += record.size_bytes();
        let was_empty = queue.records.is_empty();
        queue.records.push_back(record);
        drop(queue);
        if was_empty {
            self.shared.wake.notify_one();
        }
        sequence
    }

    fn next_sequence(&self) -> u64 {
        self.shared.queue.lock().next_sequence
    }

    fn durable(&self) -> watch::Receiver<u64> {
        self.shared.durable_below.subscribe()
    }

    fn trim(&self, below: u64) {
        let mut queue = self.shared.queue.lock();
        queue.trim_below = queue.trim_below.max(below);
        drop(queue);
        self.shared.wake.notify_one();
    }

    fn failed(&self) -> BoxFuture<'static, WalError> {
        let mut failure = self.shared.failure.subscribe();
        async move {
            let failed = failure.wait_for(Option::is_some).await;
            // The sender lives as long as the WAL; without it there is nothing left to fail.
            failed.ok().and_then(|error| error.clone()).unwrap_or(WalError::Closed)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (done, closed) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if !matches!(queue.health, Health::Failed(_)) {
            queue.health = Health::Closing;
            queue.closed.push(done);
        }
        drop(queue);
        self.shared.wake.notify_one();
        async move {
            let _ = closed.await;
        }
        .boxed()
    }
}

impl Drop for DiskWal {
    fn drop(&mut self) {
        drop(self.close());
    }
}
