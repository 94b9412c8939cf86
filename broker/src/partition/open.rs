//! Start-up: image, then snapshot, then WAL. Loses nothing that was acknowledged, duplicates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use prometheus::Registry;
use towpath_env::Env;
use towpath_wire::batch::Batch;
use uuid::Uuid;

use super::maintenance::successor;
use super::registry::{Inner, Partitions};
use super::snapshot::Snapshot;
use super::{Partition, Shared, State, WalEntry, WalPlace};
use crate::metadata::{Image, Metadata, SnapshotAt};
use crate::mirror::Halt;
use crate::storage::{Registration, Replayed, SegmentStore, StorageConfig, StorageMetrics, WalOpenError};

/// Why the partitions could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The WAL does not open.
    #[error(transparent)]
    Wal(#[from] WalOpenError),
    /// The producer state at the WAL's boundary could not be read.
    #[error("snapshot {key} does not read: {reason}; fix: restore the object from a backup of the store")]
    Snapshot {
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A WAL record contradicts what the store holds, or a newer version wrote it.
    #[error("WAL record {sequence} can't be replayed: {reason}; fix: report it, and keep the data directory")]
    Replay {
        /// Its sequence number.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
    /// The metadata could not be read or written.
    #[error("the partitions do not open with the metadata: {0}")]
    Metadata(String),
    /// Two storages in one process share a metrics registry.
    #[error("metrics: {0}; fix: give each broker a registry of its own")]
    Metrics(#[from] prometheus::Error),
}

type Logs = HashMap<(Uuid, i32), State>;

impl Partitions {
    /// Opens all partitions of the image with the WAL at `place`, and starts the background work: uploads,
    /// retention, following the metadata. `own` is this broker's registration.
    pub async fn open(
        place: WalPlace,
        config: StorageConfig,
        (metadata, own): (Metadata, Registration),
        (store, env, registry): (Arc<dyn ObjectStore>, Env, &Registry),
    ) -> Result<Partitions, OpenError> {
        let metrics = StorageMetrics::register(registry)?;
        let segments = SegmentStore::new(store.clone(), &config, env.clone(), metrics.clone());
        let image = metadata.image();
        let snapshot = load_snapshot(&image, config.node_id, &segments).await?;
        let outside = (store, env.clone(), metrics.wal.clone());
        let former = place.former_object_wal(&config, own.epoch, outside.clone());
        let (wal, records) = place.open(&config, (&metadata, &own), (&image, &snapshot), outside).await?;
        let wal_id = wal.id();
        // Until the fence stood a predecessor may have served: what its clients changed belongs to what it acknowledged.
        let image = image_behind_the_fence(&metadata, (config.node_id, own.epoch)).await?;

        let mut logs = restore(&image, snapshot, wal_id);
        for record in records {
            replay(&mut logs, record)?;
        }
        let shared = Shared::new((config, env), (metadata, own.epoch), wal, segments, metrics);
        let shared = Arc::new(shared);
        let partitions = logs.into_iter().filter_map(|(id, state)| {
            let topic = image.topic_by_id(id.0)?.clone();
            Some((id, opened(&shared, topic, id.1, state)))
        });
        let inner = Arc::new(Inner::new(shared.clone(), wal_id, partitions.collect()));
        shared.wal.ready().await;
        inner.sync(&image);
        inner.tasks.spawn("the follower of the metadata", inner.clone().follow_metadata());
        inner.tasks.spawn("the uploader", inner.clone().upload());
        if let Some(former) = former {
            let collected = inner.stopping.clone().run_until_cancelled_owned(former).map(drop);
            inner.tasks.spawn("the collector of a former object WAL", collected);
        }
        inner.tasks.spawn("retention", inner.clone().maintain());
        inner.tasks.spawn("compaction", inner.clone().compact());
        inner.tasks.spawn("merging", inner.clone().merge());
        Ok(Partitions { inner })
    }
}

/// The metadata at the end of their log, if this broker is still the newest of its id: then the snapshot is too.
async fn image_behind_the_fence(
    metadata: &Metadata,
    (node_id, epoch): (i32, i64),
) -> Result<Arc<Image>, OpenError> {
    let image = metadata.refresh().await.map_err(|error| OpenError::Metadata(error.to_string()))?;
    match successor(&image, node_id, epoch) {
        None => Ok(image),
        Some(by) => Err(WalOpenError::Superseded(by).into()),
    }
}

async fn load_snapshot(image: &Image, node_id: i32, segments: &SegmentStore) -> Result<Snapshot, OpenError> {
    let Some(snapshot) = image.wal(node_id).and_then(|wal| wal.snapshot.clone()) else {
        return Ok(Snapshot::default());
    };
    let key = match snapshot {
        SnapshotAt::Object(key) => key,
        SnapshotAt::Inline(content) => {
            let key = format!("in the metadata, of broker {node_id}");
            let damaged = OpenError::Snapshot { key, reason: "it is damaged".to_owned() };
            return Snapshot::decode(&content).ok_or(damaged);
        }
    };
    match segments.get(&key).await {
        Ok(bytes) => match Snapshot::decode(&bytes) {
            Some(snapshot) => Ok(snapshot),
            None => Err(OpenError::Snapshot { key, reason: "it is damaged".to_owned() }),
        },
        Err(error) => Err(OpenError::Snapshot { key, reason: error.to_string() }),
    }
}

/// Every partition of the image as the snapshot left it.
fn restore(image: &Image, mut snapshot: Snapshot, wal_id: Uuid) -> Logs {
    let same_wal = snapshot.wal_id == wal_id;
    let mut logs = Logs::new();
    for topic in image.topics_by_id.values() {
        for index in 0..topic.partitions.len() {
            let id = (topic.id, index as i32);
            let mut log = snapshot.partitions.remove(&id).unwrap_or_default();
            if !same_wal {
                log.applied_below = 0;
            }
            // A commit and its snapshot are one entry; a snapshot that fell behind would give offsets twice.
            if let Some(end) = image.segments(id.0, id.1).and_then(|held| held.end()) {
                log.log_end = log.log_end.max(end);
                log.batches_end = log.batches_end.max(end);
            }
            logs.insert(id, State::new(log));
        }
    }
    logs
}

/// Applies one WAL record, if its topic still exists and the snapshot does not contain it.
fn replay(logs: &mut Logs, record: Replayed) -> Result<(), OpenError> {
    let sequence = record.sequence;
    let refuse = |reason: String| OpenError::Replay { sequence, reason };
    let Some((id, entry)) = WalEntry::decode(&record.head) else {
        return Err(refuse("its head does not read".to_owned()));
    };
    let Some(state) = logs.get_mut(&id).filter(|state| state.log.applied_below <= sequence) else {
        return Ok(());
    };
    match entry {
        WalEntry::Batch => {
            let batch = Batch::new(record.body).map_err(|error| refuse(error.to_string()))?;
            if batch.next_offset() <= state.log.log_end {
                let (topic, index) = id;
                let log_end = state.log.log_end;
                return Err(refuse(format!("{batch:?} of {topic}-{index} lies before its end {log_end}")));
            }
            state.log.append(&batch);
            state.tail.push(batch);
        }
        WalEntry::Advance { log_start, log_end } => {
            state.log.advance_end(log_end);
            state.log.advance_start(log_start);
        }
        WalEntry::Halt { since_ms, offset } => {
            state.log.halted = Some(Halt::of_wal(since_ms, offset, &record.body));
        }
        WalEntry::HaltLifted { .. } => state.log.halted = None,
    }
    state.log.applied_below = sequence + 1;
    Ok(())
}

/// A replayed partition, ready to serve: all of it is durable.
fn opened(
    shared: &Arc<Shared>,
    topic: Arc<crate::metadata::TopicImage>,
    index: i32,
    mut state: State,
) -> Arc<Partition> {
    let log_start = topic.partitions.get(index as usize).map_or(0, |held| held.log_start);
    // Only a WAL whose loss was accepted leaves the end behind the start.
    state.log.advance_end(log_start);
    state.high_watermark = state.log.log_end;
    state.log.transactions.advance(state.high_watermark);
    state.log.advance_start(log_start);
    if state.log.halted.is_some() {
        shared.metrics.mirror_halted.inc();
    }
    let waiting: usize = state.tail.batches().map(Batch::size_bytes).sum();
    if state.log.log_end > state.uploaded_end {
        state.touched(&shared.env);
    }
    let partition = Partition::new(shared.clone(), topic, index, state);
    if waiting > 0 {
        shared.appended(waiting);
    }
    partition
}

#[cfg(test)]
mod tests {
    use super::super::log_state::LogState;
    use super::super::tests::batch;
    use super::*;

    #[test]
    fn a_record_that_the_snapshot_contains_is_not_applied_again() {
        let id = (Uuid::from_u128(1), 0);
        let log = LogState { log_end: 1, batches_end: 1, applied_below: 5, ..LogState::default() };
        let mut logs = Logs::from([(id, State::new(log))]);
        let mut second = batch(&["b"]);
        towpath_wire::batch::patch_base_offset(&mut second, 1);
        let record = |sequence, body| Replayed { sequence, head: WalEntry::Batch.encode(id.0, id.1), body };
        // Appended while the snapshot was being taken: behind the trim, and yet in the snapshot.
        replay(&mut logs, record(4, batch(&["a"]).freeze())).unwrap();
        replay(&mut logs, record(5, second.freeze())).unwrap();
        let state = &logs[&id];
        assert_eq!((state.log.log_end, state.log.applied_below, state.tail.batches().count()), (2, 6, 1));
        let again = record(6, batch(&["a"]).freeze());
        assert!(matches!(replay(&mut logs, again), Err(OpenError::Replay { sequence: 6, .. })));
    }
}
