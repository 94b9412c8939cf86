//! One partition in memory: the persistent state, and what is rebuilt around it after a restart.

use towpath_env::Env;
use towpath_wire::batch::Batch;

use super::log_state::LogState;
use super::tail::Tail;
use super::waiters::Waiters;
use super::{Durable, Isolation, Offsets, Refusal};
use crate::storage::WalError;

/// Everything of a partition that its lock protects.
pub(crate) struct State {
    /// What survives a crash.
    pub log: LogState,
    pub tail: Tail,
    /// Everything below is durable.
    pub high_watermark: i64,
    /// Everything below is in committed segments.
    pub uploaded_end: i64,
    /// When the first change came that the store does not hold yet (monotonic ms).
    pub waiting_since_ms: Option<u64>,
    pub(super) waiters: Waiters,
    /// The source's high watermark when it was last heard of.
    pub source_high_watermark: i64,
    /// How many aborted transactions compaction has forgotten: a read that began before must begin anew.
    pub aborted_forgotten: u64,
    pub deleted: bool,
    pub failed: Option<WalError>,
}

impl State {
    /// A partition as a snapshot describes it: everything below its end is in segments.
    pub fn new(log: LogState) -> State {
        State {
            tail: Tail::new(log.log_end),
            high_watermark: log.log_end,
            uploaded_end: log.log_end,
            waiting_since_ms: None,
            waiters: Waiters::default(),
            source_high_watermark: -1,
            aborted_forgotten: 0,
            deleted: false,
            failed: None,
            log,
        }
    }

    /// Whether anything may be appended.
    pub fn usable(&self) -> Result<(), Refusal> {
        match &self.failed {
            _ if self.deleted => Err(Refusal::Deleted),
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// A batch was appended.
    pub fn pushed(&mut self, batch: Batch, env: &Env) {
        self.tail.push(batch);
        self.touched(env);
    }

    /// Something changed that the store does not hold yet.
    pub fn touched(&mut self, env: &Env) {
        self.waiting_since_ms.get_or_insert_with(|| env.elapsed().as_millis() as u64);
    }

    /// Everything below `end` is in committed segments; how many bytes wait no longer for it.
    pub fn committed_to(&mut self, end: i64) -> usize {
        let end = end.min(self.log.log_end);
        let waited = self.tail.from(self.uploaded_end).take_while(|batch| batch.next_offset() <= end);
        let bytes = waited.map(Batch::size_bytes).sum();
        self.uploaded_end = self.uploaded_end.max(end);
        bytes
    }

    /// Resolves once everything below `end` is durable.
    pub fn durable(&mut self, end: i64) -> Durable {
        if end <= self.high_watermark { Durable::ready() } else { self.waiters.durable(end) }
    }

    /// The bounds now.
    pub fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.log.log_start,
            high_watermark: self.high_watermark,
            last_stable: self.log.transactions.last_stable(self.high_watermark),
            log_end: self.log.log_end,
        }
    }

    /// Where a reader's view ends.
    pub fn read_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.offsets().last_stable,
        }
    }

    /// Whether a reader at `from` would be given a batch. The log may end in a gap: then the high watermark lies
    /// above `from` and still there is nothing to read.
    pub fn readable(&self, from: i64, isolation: Isolation) -> bool {
        let end = self.read_end(isolation);
        if from >= end || from >= self.log.batches_end {
            return false;
        }
        from < self.tail.start().min(self.uploaded_end)
            || self.tail.from(from).next().is_some_and(|batch| batch.next_offset() <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::*;

    #[test]
    fn a_commit_of_which_nobody_heard_is_taken_over_once() {
        let env = Env::seeded(1, 0);
        let mut state = State::new(LogState::default());
        for offset in 0..3 {
            let mut bytes = batch(&["value"]);
            towpath_wire::batch::patch_base_offset(&mut bytes, offset);
            let batch = Batch::new(bytes.freeze()).unwrap();
            state.log.append(&batch);
            state.pushed(batch, &env);
        }
        let one = state.tail.batches().next().unwrap().size_bytes();
        assert_eq!((state.committed_to(2), state.uploaded_end), (2 * one, 2));
        assert_eq!((state.committed_to(2), state.committed_to(1), state.uploaded_end), (0, 0, 2));
        assert_eq!((state.committed_to(9), state.uploaded_end), (one, 3));
    }
}
