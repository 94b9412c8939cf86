//! What survives a crash of one partition: the snapshot holds it, the WAL brings it up to date.

use towpath_wire::batch::{Batch, ControlKind};

use super::epochs::LeaderEpochs;
use super::producers::Producers;
use crate::mirror::Halt;
use crate::transaction::TransactionIndex;

/// The persistent state of one partition. Appending, mirroring and replaying all go through [`LogState::append`],
/// so that a restart ends in the same state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    /// First offset available.
    pub log_start: i64,
    /// The next offset to give.
    pub log_end: i64,
    /// One past the last batch; less than `log_end` when the log ends in a gap.
    pub batches_end: i64,
    /// WAL records below this sequence number are contained here.
    pub applied_below: u64,
    pub epochs: LeaderEpochs,
    pub producers: Producers,
    pub transactions: TransactionIndex,
    /// Why this mirror takes no more batches.
    pub halted: Option<Halt>,
}

impl LogState {
    /// Takes note of a batch at its final offset. The caller has checked that it does not go back.
    pub fn append(&mut self, batch: &Batch) {
        debug_assert!(batch.next_offset() > self.log_end, "{batch:?} goes back behind {}", self.log_end);
        self.epochs.written(batch.leader_epoch(), batch.base_offset());
        let producer_id = batch.producer_id();
        if producer_id >= 0 {
            if batch.is_control() {
                self.end_transaction(batch);
            } else {
                self.producers.written(batch);
                if batch.is_transactional() {
                    self.transactions.written(producer_id, batch.base_offset());
                }
            }
        }
        self.log_end = batch.next_offset();
        self.batches_end = self.log_end;
    }

    fn end_transaction(&mut self, batch: &Batch) {
        // A control batch that lost its record to the source's cleaner no longer says anything.
        let Some(kind @ (ControlKind::Commit | ControlKind::Abort)) = batch.control_kind() else { return };
        self.producers.marked(batch);
        self.transactions.ended(batch.producer_id(), batch.last_offset(), kind == ControlKind::Abort);
    }

    /// Moves the end forward over a gap.
    pub fn advance_end(&mut self, log_end: i64) {
        self.log_end = self.log_end.max(log_end);
    }

    /// Gives up what lies before `log_start`.
    pub fn advance_start(&mut self, log_start: i64) {
        if log_start > self.log_start {
            self.log_start = log_start;
            self.epochs.drop_before(log_start);
            self.transactions.drop_before(log_start);
        }
    }
}
