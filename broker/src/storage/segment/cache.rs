//! The block cache: pages and indexes of segments, least recently used first out, within a budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntGauge;

use super::format::ObjectIndex;
use crate::metadata::ObjectId;

/// What the cache holds.
#[derive(Clone)]
pub(super) enum Block {
    Page(Bytes),
    Index(Arc<ObjectIndex>),
}

/// A page by its position, or an object's index.
pub(super) type BlockKey = (ObjectId, Option<u64>);

/// A cache with a budget of its own, so that a replay from the beginning can't push out the tail (DESIGN §5.4).
pub(super) struct BlockCache {
    state: Mutex<State>,
    bytes_max: usize,
    bytes_metric: IntGauge,
}

#[derive(Default)]
struct State {
    blocks: HashMap<BlockKey, (Block, usize, u64)>,
    by_use: BTreeMap<u64, BlockKey>,
    next_use: u64,
    bytes: usize,
}

impl BlockCache {
    pub fn new(bytes_max: usize, bytes_metric: IntGauge) -> BlockCache {
        BlockCache { state: Mutex::default(), bytes_max, bytes_metric }
    }

    /// A block, which counts as used.
    pub fn get(&self, key: &BlockKey) -> Option<Block> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let (block, _, used) = state.blocks.get_mut(key)?;
        state.by_use.remove(used);
        *used = state.next_use;
        state.by_use.insert(state.next_use, *key);
        state.next_use += 1;
        Some(block.clone())
    }

    /// Whether a block is there, without using it.
    pub fn holds(&self, key: &BlockKey) -> bool {
        self.state.lock().blocks.contains_key(key)
    }

    /// Adds a block and drops those unused for longest until the budget holds. A block larger than the whole
    /// budget is not kept.
    pub fn put(&self, key: BlockKey, block: Block, bytes: usize) {
        let mut state = self.state.lock();
        if bytes > self.bytes_max || state.blocks.contains_key(&key) {
            return;
        }
        let used = state.next_use;
        state.next_use += 1;
        state.blocks.insert(key, (block, bytes, used));
        state.by_use.insert(used, key);
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            state.bytes -= state.blocks.remove(&oldest).map_or(0, |(_, bytes, _)| bytes);
        }
        self.bytes_metric.set(state.bytes as i64);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let metric = IntGauge::new("bytes", "test").unwrap();
        let cache = BlockCache::new(30, metric.clone());
        let key = |position| (ObjectId(Uuid::nil()), Some(position));
        for position in 0..3 {
            cache.put(key(position), Block::Page(Bytes::from_static(b"0123456789")), 10);
        }
        assert!(cache.get(&key(0)).is_some());
        cache.put(key(3), Block::Page(Bytes::new()), 10);
        let held: Vec<bool> = (0..4).map(|position| cache.holds(&key(position))).collect();
        assert_eq!(held, [true, false, true, true]);
        assert_eq!(metric.get(), 30);
        cache.put(key(4), Block::Page(Bytes::new()), 31);
        assert!(!cache.holds(&key(4)), "larger than the budget");
    }
}
