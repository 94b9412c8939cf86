//! OffsetCommit, OffsetFetch, OffsetDelete.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;

use super::cell::Cell;
use super::classic::State;
use super::coordinator::{Groups, Inner};
use super::records::{OffsetRecord, Record};
use crate::server::ClientContext;

/// One OffsetCommit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The member id; empty for a group without members.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// The generation; −1 for a group without members.
    pub generation: i32,
    /// Expiry of its own in ms (versions 2 to 4); −1 for the broker's retention.
    pub retention_ms: i64,
    /// The positions.
    pub offsets: Vec<CommittedOffset>,
}

/// One committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Next offset to read.
    pub offset: i64,
    /// Epoch of the record before it; −1 unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
}

/// Positions of one topic; `None` where nothing is committed.
pub type FetchedTopic = (String, Vec<(i32, Option<OffsetRecord>)>);

impl Groups {
    /// One OffsetCommit; one result per position, in their order. Answered once durable.
    pub async fn commit(&self, group: &str, commit: Commit) -> Vec<Result<(), ResponseError>> {
        let count = commit.offsets.len();
        match self.try_commit(group, commit).await {
            Ok(results) => results,
            Err(error) => vec![Err(error); count],
        }
    }

    async fn try_commit(
        &self,
        group: &str,
        commit: Commit,
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        let inner = &self.inner;
        let partition = inner.writable(group).await?;
        // A commit without a generation may come before anything else of the group.
        let cell = if commit.generation < 0 {
            inner.find_or_create(group, partition)?
        } else {
            inner.find(group).ok_or(ResponseError::IllegalGeneration)?
        };
        let checks: Vec<_> = commit.offsets.iter().map(|offset| self.check_offset(offset)).collect();
        let write = inner.change(&cell, |cell, now, _| {
            refuse_while_held(cell, &commit)?;
            let instance_id = commit.instance_id.as_deref();
            cell.classic.check_commit(now, &commit.member_id, instance_id, commit.generation)?;
            let accepted = commit.offsets.iter().zip(&checks).filter(|(_, check)| check.is_ok());
            let expire_ms =
                (commit.retention_ms >= 0).then(|| now.wall_ms.saturating_add(commit.retention_ms));
            let values: Vec<_> = accepted
                .map(|(offset, _)| (offset.clone(), record_of(offset, now.wall_ms, expire_ms)))
                .collect();
            store(cell, inner, values)?;
            Ok(cell.pending_write())
        })?;
        inner.durable(write).await?;
        Ok(checks)
    }

    fn check_offset(&self, offset: &CommittedOffset) -> Result<(), ResponseError> {
        if !self.inner.backing.has_partition(&offset.topic, offset.partition) {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        if offset.metadata.len() > self.inner.config.offset_metadata_bytes_max {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    /// One OffsetFetch of one group: the positions asked for, or all (`None`).
    ///
    /// While the group is held a consumer must not learn a position, or it would begin to read: it waits a
    /// moment and is then told to ask again. A request for all positions comes from a tool, never from a
    /// consumer, and is answered.
    pub async fn fetch(
        &self,
        ctx: &ClientContext,
        group: &str,
        topics: Option<Vec<(String, Vec<i32>)>>,
    ) -> Result<Vec<FetchedTopic>, ResponseError> {
        self.inner.loaded(group)?;
        let Some(cell) = self.inner.find(group) else { return Ok(absent(topics)) };
        if topics.is_some() && cell.lock().is_held() {
            self.wait_while_held(ctx, &cell).await?;
        }
        let (found, write) = {
            let mut cell = cell.lock();
            (positions(&cell, topics), cell.pending_write())
        };
        self.inner.durable(write).await?;
        Ok(found)
    }

    async fn wait_while_held(
        &self,
        ctx: &ClientContext,
        cell: &Arc<Mutex<Cell>>,
    ) -> Result<(), ResponseError> {
        let mut parked = HeldFetch::new(&self.inner, cell, ctx.connection_id);
        let opened = Arc::clone(&cell.lock().opened);
        let patience = Duration::from_millis(self.inner.config.fetch_park_max_ms);
        let until_open = async {
            loop {
                let notified = opened.notified();
                tokio::pin!(notified);
                // Registered before the look, so that a switch in between is not missed.
                notified.as_mut().enable();
                if !cell.lock().is_held() {
                    return;
                }
                notified.await;
            }
        };
        tokio::select! {
            opened = tokio::time::timeout(patience, until_open) => {
                parked.is_coming_back = true;
                opened.map_err(|_| ResponseError::CoordinatorLoadInProgress)
            }
            () = ctx.closed.cancelled() => Err(ResponseError::CoordinatorNotAvailable),
            () = self.inner.stopping.cancelled() => Err(ResponseError::CoordinatorNotAvailable),
        }
    }

    /// One OffsetDelete; one result per position, in their order.
    pub async fn delete_offsets(
        &self,
        group: &str,
        positions: &[(String, i32)],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        let inner = &self.inner;
        inner.loaded(group)?;
        let cell = inner.find(group).ok_or(ResponseError::GroupIdNotFound)?;
        let (results, write) = inner.change(&cell, |cell, _, _| {
            if cell.is_dead() {
                return Err(ResponseError::GroupIdNotFound);
            }
            // Held positions are the link's.
            let may_delete_some = cell.classic.state() == State::Empty || cell.classic.is_consumer();
            if cell.is_held() || !may_delete_some {
                return Err(ResponseError::NonEmptyGroup);
            }
            let check = |(topic, partition): &(String, i32)| {
                if !inner.backing.has_partition(topic, *partition) && !cell.offsets.contains_key(topic) {
                    Err(ResponseError::UnknownTopicOrPartition)
                } else if cell.classic.is_subscribed(topic) {
                    Err(ResponseError::GroupSubscribedToTopic)
                } else {
                    Ok(())
                }
            };
            let results: Vec<_> = positions.iter().map(check).collect();
            let gone = positions.iter().zip(&results).filter(|(_, result)| result.is_ok());
            let gone: Vec<_> = gone.map(|(position, _)| position.clone()).collect();
            remove(cell, inner, &gone)?;
            Ok((results, cell.pending_write()))
        })?;
        inner.durable(write).await?;
        Ok(results)
    }
}

/// While the route is closed only the link may move positions. A member's commit fails as after any eviction, so
/// that its client joins again; one without membership waits, like its OffsetFetch.
fn refuse_while_held(cell: &Cell, commit: &Commit) -> Result<(), ResponseError> {
    match (cell.is_held(), commit.member_id.is_empty() && commit.generation < 0) {
        (false, _) => Ok(()),
        (true, true) => Err(ResponseError::CoordinatorLoadInProgress),
        (true, false) => Err(ResponseError::UnknownMemberId),
    }
}

fn record_of(offset: &CommittedOffset, commit_ms: i64, expire_ms: Option<i64>) -> OffsetRecord {
    OffsetRecord {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        commit_ms,
        expire_ms,
    }
}

/// Writes positions, then remembers them.
fn store(
    cell: &mut Cell,
    inner: &Inner,
    values: Vec<(CommittedOffset, OffsetRecord)>,
) -> Result<(), ResponseError> {
    if values.is_empty() {
        return Ok(());
    }
    let record = |(at, value): &(CommittedOffset, OffsetRecord)| {
        Record::offset(&cell.name, &at.topic, at.partition, Some(value))
    };
    let records: Vec<_> = values.iter().map(record).collect();
    cell.append(&*inner.backing, &records)?;
    inner.metrics.commits.inc_by(values.len() as u64);
    for (at, value) in values {
        cell.offsets.entry(at.topic).or_default().insert(at.partition, value);
    }
    Ok(())
}

/// Removes positions from the log, then from memory.
pub(super) fn remove(cell: &mut Cell, inner: &Inner, gone: &[(String, i32)]) -> Result<(), ResponseError> {
    let held = |(topic, partition): &&(String, i32)| {
        cell.offsets.get(topic).is_some_and(|partitions| partitions.contains_key(partition))
    };
    let gone: Vec<_> = gone.iter().filter(held).cloned().collect();
    if gone.is_empty() {
        return Ok(());
    }
    let tombstone = |(topic, partition): &(String, i32)| Record::offset(&cell.name, topic, *partition, None);
    let records: Vec<_> = gone.iter().map(tombstone).collect();
    cell.append(&*inner.backing, &records)?;
    for (topic, partition) in gone {
        if let Some(partitions) = cell.offsets.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                cell.offsets.remove(&topic);
            }
        }
    }
    Ok(())
}

fn absent(topics: Option<Vec<(String, Vec<i32>)>>) -> Vec<FetchedTopic> {
    let none = |(topic, partitions): (String, Vec<i32>)| {
        (topic, partitions.into_iter().map(|partition| (partition, None)).collect())
    };
    topics.unwrap_or_default().into_iter().map(none).collect()
}

fn positions(cell: &Cell, topics: Option<Vec<(String, Vec<i32>)>>) -> Vec<FetchedTopic> {
    let Some(topics) = topics else {
        let all = cell.offsets.iter().map(|(topic, partitions)| {
            (topic.clone(), partitions.iter().map(|(index, value)| (*index, Some(value.clone()))).collect())
        });
        return all.collect();
    };
    let find = |topic: &str, index: i32| {
        cell.offsets.get(topic).and_then(|partitions| partitions.get(&index)).cloned()
    };
    let found = topics.into_iter().map(|(topic, indexes)| {
        let found = indexes.into_iter().map(|index| (index, find(&topic, index))).collect();
        (topic, found)
    });
    found.collect()
}

/// An OffsetFetch that waits for the switch; its connection counts as one waiting `assign()` consumer.
struct HeldFetch {
    inner: Arc<Inner>,
    cell: Arc<Mutex<Cell>>,
    connection_id: u64,
    /// It was answered; otherwise its client went away.
    is_coming_back: bool,
}

impl HeldFetch {
    fn new(inner: &Arc<Inner>, cell: &Arc<Mutex<Cell>>, connection_id: u64) -> HeldFetch {
        inner.metrics.fetches_parked.inc();
        let now_ms = inner.now().mono_ms;
        cell.lock().fetchers.insert(connection_id, now_ms);
        HeldFetch { inner: Arc::clone(inner), cell: Arc::clone(cell), connection_id, is_coming_back: false }
    }
}

impl Drop for HeldFetch {
    fn drop(&mut self) {
        self.inner.metrics.fetches_parked.dec();
        let now_ms = self.inner.now().mono_ms;
        let mut cell = self.cell.lock();
        // After the switch it reads: it no longer waits.
        if self.is_coming_back && cell.is_held() {
            cell.fetchers.insert(self.connection_id, now_ms);
        } else {
            cell.fetchers.remove(&self.connection_id);
        }
    }
}
