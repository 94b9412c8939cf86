//! One timer for all groups: a heap of (when, group) and the task that serves it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// With nothing to wait for, look again this late.
const IDLE: Duration = Duration::from_secs(3_600);

/// Which groups want to be looked at when. An entry may be out of date: whoever is woken asks the group.
#[derive(Default)]
pub(super) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(u64, String)>>>,
    earlier: Notify,
}

impl Timers {
    /// Wakes `group` at `at_ms` (monotonic ms).
    pub fn schedule(&self, at_ms: u64, group: &str) {
        let mut heap = self.heap.lock();
        let is_first = heap.peek().is_none_or(|Reverse((first_ms, _))| at_ms < *first_ms);
        heap.push(Reverse((at_ms, group.to_owned())));
        drop(heap);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// The groups whose time has come.
    pub fn due(&self, now_ms: u64) -> Vec<String> {
        let mut heap = self.heap.lock();
        let mut due = Vec::new();
        while heap.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms) {
            due.extend(heap.pop().map(|Reverse((_, group))| group));
        }
        due
    }

    /// Resolves when [`Timers::due`] may have something.
    pub async fn wait(&self, now_ms: u64) {
        let next = self.heap.lock().peek().map(|Reverse((at_ms, _))| *at_ms);
        // Rounded up, so that it is not early.
        let wait = next.map_or(IDLE, |at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms).max(1)));
        let _ = tokio::time::timeout(wait, self.earlier.notified()).await;
    }
}
