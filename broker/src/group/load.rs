//! Reading `__consumer_offsets` back after a start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::cell::Cell;
use super::classic::{ClassicGroup, Timing};
use super::coordinator::Inner;
use super::records::{Entry, GroupRecord, Key, OffsetRecord, Record, RouteRecord};

/// After a failed read of the log.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Which partitions of `__consumer_offsets` have been read.
pub(super) struct Loading {
    loaded: RwLock<Vec<bool>>,
}

impl Loading {
    /// Nothing is loaded of a topic that exists.
    pub fn new(partitions: i32) -> Loading {
        Loading { loaded: RwLock::new(vec![false; partitions.max(0) as usize]) }
    }

    /// The topic was made just now: there is nothing to read.
    pub fn created(&self, partitions: i32) {
        let mut loaded = self.loaded.write();
        if loaded.is_empty() {
            *loaded = vec![true; partitions.max(0) as usize];
        }
    }

    pub fn is_loaded(&self, partition: i32) -> bool {
        self.loaded.read().get(partition as usize).copied().unwrap_or(false)
    }

    pub fn is_complete(&self) -> bool {
        self.loaded.read().iter().all(|loaded| *loaded)
    }

    fn done(&self, partition: i32) {
        if let Some(loaded) = self.loaded.write().get_mut(partition as usize) {
            *loaded = true;
        }
    }
}

/// A group as the log has it.
#[derive(Default)]
struct Stored {
    group: Option<GroupRecord>,
    offsets: BTreeMap<String, BTreeMap<i32, OffsetRecord>>,
    route: Option<RouteRecord>,
}

/// Loads the partitions that were there at the start, one after the other: the log is short, and clients of those
/// loaded first go first. Those of a topic made later are empty, and already in use.
pub(super) async fn load_all(inner: Arc<Inner>, partitions: i32) {
    for partition in 0..partitions {
        while let Err(reason) = load(&inner, partition).await {
            tracing::warn!(partition, reason, "__consumer_offsets could not be read; trying again");
            inner.env.sleep(RETRY_DELAY).await;
        }
        inner.loading.done(partition);
    }
}

async fn load(inner: &Inner, partition: i32) -> Result<(), String> {
    let mut stored: HashMap<String, Stored> = HashMap::new();
    let mut unreadable = 0u64;
    let mut each = |record: Record| match Record::decode(&record.key, record.value.as_ref()) {
        Ok(Some(entry)) => apply(&mut stored, entry),
        Ok(None) => {}
        Err(_) => unreadable += 1,
    };
    inner.backing.replay(partition, &mut each).await?;
    if unreadable > 0 {
        tracing::warn!(partition, unreadable, "__consumer_offsets has records that can't be read; skipped");
    }
    for (name, stored) in stored {
        if stored.group.is_none() && stored.route.is_none() && stored.offsets.is_empty() {
            continue;
        }
        inner.install(restore(inner, &name, partition, stored));
    }
    Ok(())
}

fn apply(stored: &mut HashMap<String, Stored>, entry: Entry) {
    match entry {
        Entry::Group(name, group) => stored.entry(name).or_default().group = group,
        Entry::Route(name, route) => stored.entry(name).or_default().route = route,
        Entry::Offset(Key::Offset { group, topic, partition }, value) => {
            let offsets = &mut stored.entry(group).or_default().offsets;
            match value {
                Some(value) => {
                    offsets.entry(topic).or_default().insert(partition, value);
                }
                None => {
                    let emptied = offsets.get_mut(&topic).is_some_and(|partitions| {
                        partitions.remove(&partition);
                        partitions.is_empty()
                    });
                    if emptied {
                        offsets.remove(&topic);
                    }
                }
            }
        }
        // `Record::decode` pairs offsets with offset keys only.
        Entry::Offset(Key::Group(_) | Key::Route(_), _) => {}
    }
}

fn restore(inner: &Inner, name: &str, partition: i32, stored: Stored) -> Cell {
    let now = inner.now();
    let timing = Timing::from(&inner.config);
    let is_written = stored.group.is_some();
    let classic = match stored.group {
        Some(record) => ClassicGroup::from_record(timing, now, record),
        None => ClassicGroup::new(timing, now),
    };
    let mut cell = Cell::new(name, partition, classic);
    (cell.is_written, cell.offsets, cell.route) = (is_written, stored.offsets, stored.route);
    if cell.is_held() {
        // Nobody waits yet, so there is nothing to answer and nothing to write: the route was written with the
        // group as it is without members.
        cell.classic.hold(now, &mut Vec::new());
    }
    cell
}
