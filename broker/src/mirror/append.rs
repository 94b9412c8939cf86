//! Appending at source offsets: identity, replays, gaps, epochs before visibility.

use std::ops::Range;

use bytes::Bytes;
use towpath_wire::batch::Batch;
use towpath_wire::private::MirrorAppendPartition;

use super::rules::{Place, check_batches, check_identity, check_start, judge_across, judge_replay, place};
use super::{Halt, MirrorBatches, MirrorIdentity, Mirrored};
use crate::metadata::entry::{Entry, LeaderEpochRaised};
use crate::partition::{AppendError, Partition, Refusal, State, View, WalEntry};

impl Partition {
    /// Appends batches at their source's offsets (DESIGN §5.5), and moves log start and log end with the source.
    /// Returns once queued; [`Mirrored::durable`] tells when it is safe.
    pub async fn append_mirrored(
        &self,
        identity: &MirrorIdentity,
        batches: MirrorBatches,
    ) -> Result<Mirrored, AppendError> {
        self.mirror(identity, batches).await.map_err(|reason| self.refused(reason))
    }

    async fn mirror(&self, identity: &MirrorIdentity, asked: MirrorBatches) -> Result<Mirrored, Refusal> {
        let view = self.view().ok_or(Refusal::Deleted)?;
        check_identity(view.mirror(), identity)?;
        let batches = check_batches(asked.records.clone())?;
        let _one_at_a_time = self.mirror_gate.lock().await;
        let log_end = {
            let mut state = self.state.lock();
            state.usable()?;
            if asked.from_offset == MirrorAppendPartition::LIFT_HALT && batches.is_empty() {
                return Ok(self.lift_halt(&mut state));
            }
            if let Some(Halt { since_ms, offset, reason }) = &state.log.halted {
                let reason = format!("at offset {offset}: {reason}");
                return Err(Refusal::Halted { since_ms: *since_ms, reason });
            }
            if asked.from_offset == MirrorAppendPartition::STATE_ONLY && batches.is_empty() {
                return Ok(mirrored(&mut state));
            }
            state.source_high_watermark = asked.source_high_watermark;
            state.log.log_end
        };
        let (log_start, log_end) = check_start(&asked, log_end)?;
        self.shared.admit(asked.records.len())?;
        let fresh = self
            .judge(batches, log_start..log_end, (asked.from_offset, view.settings.cleanup.compact))
            .await?;
        self.raise_epoch(&view, &asked, &fresh, log_end).await?;
        let bytes = fresh.iter().map(Batch::size_bytes).sum();

        let mut state = self.state.lock();
        state.usable()?;
        state.log.advance_end(log_end);
        for batch in fresh {
            self.queue(&mut state, batch);
        }
        let log_end = log_end.max(asked.log_end).max(state.log.log_end);
        let log_start = asked.source_log_start.min(log_end).max(state.log.log_start);
        // What the last batch said already needs no record of its own.
        let ends_in_gap = log_end > state.log.batches_end && log_end > state.high_watermark;
        if ends_in_gap || log_end > state.log.log_end || log_start > state.log.log_start {
            state.log.advance_end(log_end);
            self.queue_entry(&mut state, &WalEntry::Advance { log_start, log_end }, Bytes::new());
        }
        let mirrored = mirrored(&mut state);
        // Counted before an upload can take it away again: that locks the partition first.
        self.shared.appended(bytes);
        drop(state);
        self.apply_log_start(log_start);
        Ok(Mirrored { log_start, ..mirrored })
    }

    /// Compares replays with what is held; the batches to append.
    async fn judge(
        &self,
        batches: Vec<Batch>,
        log: Range<i64>,
        (from_offset, compacted): (i64, bool),
    ) -> Result<Vec<Batch>, Refusal> {
        let log_end = log.end;
        let mut fresh = Vec::with_capacity(batches.len());
        for batch in batches {
            let at = place(&batch, log_end);
            if at == Place::Behind {
                fresh.push(batch);
                continue;
            }
            let held = self.held(batch.base_offset(), batch.last_offset()).await?;
            let log_start = self.offsets().log_start.max(log.start);
            let judged = match at {
                Place::Before => judge_replay(&batch, &held, log_start, compacted),
                _ => judge_across(&batch, &held, &(log_start..log_end), (from_offset, compacted)),
            };
            if let Err(Refusal::Mismatch { offset, what }) = &judged {
                self.halt(*offset, what);
            }
            judged?;
            if at == Place::Across {
                fresh.push(batch);
            }
        }
        Ok(fresh)
    }

    /// The batches held that overlap these offsets, durable or not.
    async fn held(&self, first: i64, last: i64) -> Result<Vec<Batch>, Refusal> {
        let mut held = Vec::new();
        let mut at = first.max(self.offsets().log_start);
        while at <= last {
            let batch = self.held_at(at).await.map_err(|error| Refusal::Store(error.to_string()))?;
            let Some(batch) = batch.filter(|batch| batch.base_offset() <= last) else { break };
            at = batch.next_offset();
            held.push(batch);
        }
        Ok(held)
    }

    /// The source contradicts what is held: nothing more is taken until somebody has looked.
    fn halt(&self, offset: i64, reason: &str) {
        let since_ms = self.shared.env.now_ms();
        tracing::error!(partition = %self.name, offset, reason, "mirror partition halted: the source contradicts it");
        self.shared.metrics.mirror_halted.inc();
        let mut state = self.state.lock();
        state.log.halted = Some(Halt { since_ms, offset, reason: reason.to_owned() });
        let body = Bytes::copy_from_slice(reason.as_bytes());
        self.queue_entry(&mut state, &WalEntry::Halt { since_ms, offset }, body);
    }

    /// A person has looked: batches are taken again, behind what is held.
    fn lift_halt(&self, state: &mut State) -> Mirrored {
        if let Some(Halt { offset, reason, .. }) = state.log.halted.take() {
            tracing::info!(partition = %self.name, offset, reason, "halt of a mirror partition lifted");
            self.shared.metrics.mirror_halted.dec();
            let since_ms = self.shared.env.now_ms();
            self.queue_entry(state, &WalEntry::HaltLifted { since_ms, offset }, Bytes::new());
        }
        mirrored(state)
    }

    /// Raises the advertised leader epoch to every epoch that the batches carry, before they are visible: a
    /// commit with an epoch above the advertised one makes a Java consumer silently read nothing.
    async fn raise_epoch(
        &self,
        view: &View,
        asked: &MirrorBatches,
        fresh: &[Batch],
        log_end: i64,
    ) -> Result<(), Refusal> {
        let epoch = fresh.iter().map(Batch::leader_epoch).fold(asked.source_leader_epoch, i32::max);
        if epoch <= view.leader_epoch {
            return Ok(());
        }
        let first = fresh.iter().find(|batch| batch.leader_epoch() == epoch);
        let start_offset = first.map_or(log_end, Batch::base_offset);
        let (topic_id, partition) = (self.name.topic_id, self.name.index);
        let raised = LeaderEpochRaised { topic_id, partition, epoch, start_offset };
        match self.shared.metadata.propose(Entry::LeaderEpochRaised(raised)).await {
            Err(_) if self.leader_epoch() >= epoch => Ok(()),
            Err(error) => {
                Err(Refusal::Store(format!("leader epoch {epoch} could not be advertised: {error}")))
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Where the mirror stands; durable once everything queued so far is.
fn mirrored(state: &mut State) -> Mirrored {
    let (log_start, log_end, high_watermark) = (state.log.log_start, state.log.log_end, state.high_watermark);
    Mirrored { log_start, log_end, high_watermark, durable: state.durable(log_end) }
}
