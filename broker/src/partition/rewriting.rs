//! Who rewrites which partitions: merging and compaction leave each other's alone, and go on with all others.
//!
//! Compaction has the say, as it reads for minutes what merging would replace in seconds: it announces its partition,
//! which no merge takes from then on, and waits for the one under way. Without this nothing would be lost either (what a
//! replacement no longer fits is skipped), but read and written in vain.

use std::collections::HashSet;

use tokio::sync::watch;
use uuid::Uuid;

/// A topic's id and a partition's index.
pub(super) type PartitionId = (Uuid, i32);

/// Who rewrites what now.
#[derive(Default)]
pub(crate) struct Rewriting {
    who: watch::Sender<Who>,
}

/// What is being rewritten.
#[derive(Default)]
pub(super) struct Who {
    /// The partition of the pass that runs, or waits for a merge.
    compacting: Option<PartitionId>,
    /// The partitions of the merge that runs.
    merging: HashSet<PartitionId>,
}

/// A right that ends when it is dropped.
pub(super) struct Turn<'a> {
    of: &'a Rewriting,
    end: fn(&mut Who),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.who.send_modify(self.end);
    }
}

impl Rewriting {
    /// The right to compact a partition: no merge takes it from now on, and the one under way is waited for. One pass
    /// at a time.
    pub(super) async fn compact(&self, partition: PartitionId) -> Turn<'_> {
        self.who.send_modify(|who| who.compacting = Some(partition));
        let turn = Turn { of: self, end: |who| who.compacting = None };
        // Never an error: the sender is `self`.
        let _ = self.who.subscribe().wait_for(|who| !who.merging.contains(&partition)).await;
        turn
    }

    /// What a merge must leave alone now.
    pub(super) fn compacting(&self) -> Option<PartitionId> {
        self.who.borrow().compacting
    }

    /// The right to merge these partitions; `None` when one of them is being compacted. One merge at a time.
    pub(super) fn merge(&self, partitions: HashSet<PartitionId>) -> Option<Turn<'_>> {
        let free = |who: &mut Who| {
            let free = who.compacting.is_none_or(|partition| !partitions.contains(&partition));
            if free {
                who.merging = partitions;
            }
            free
        };
        self.who.send_if_modified(free).then(|| Turn { of: self, end: |who| who.merging.clear() })
    }

    /// Changes whenever somebody begins or ends.
    pub(super) fn changes(&self) -> watch::Receiver<Who> {
        self.who.subscribe()
    }
}
