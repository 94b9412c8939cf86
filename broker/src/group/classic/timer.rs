//! What the passing of time does to a group.

use super::{ClassicGroup, Effects, Now, State};

impl ClassicGroup {
    /// The next moment (monotonic ms) at which [`ClassicGroup::on_time`] may have something to do. Heartbeats
    /// only move it later, so a driver may keep an earlier one.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let members = self.members.values().filter_map(|member| {
            let parked = member.join.and_then(|join| join.answer_by_ms);
            parked.or_else(|| member.may_expire(self.held).then_some(member.session_deadline_ms))
        });
        let join_phase = self.join_phase.filter(|_| !self.held).map(|phase| phase.deadline_ms);
        let pending = self.pending.values().copied();
        members.chain(pending).chain(join_phase).chain(self.sync_deadline_ms).min()
    }

    /// Ends everything whose time is up.
    pub fn on_time(&mut self, now: Now, fx: &mut Effects) {
        if self.state == State::Dead {
            return;
        }
        if self.held {
            self.answer_held(now, fx);
        }
        self.expire_sessions(now, fx);
        if self.sync_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now.mono_ms) {
            self.sync_deadline_ms = None;
            self.expire_unsynced(now, fx);
        }
        let join_due = self.join_phase.is_some_and(|phase| phase.deadline_ms <= now.mono_ms);
        if join_due && !self.held && self.state == State::PreparingRebalance {
            self.on_join_deadline(now, fx);
        }
    }

    fn expire_sessions(&mut self, now: Now, fx: &mut Effects) {
        let pending_before = self.pending.len();
        self.pending.retain(|_, deadline_ms| *deadline_ms > now.mono_ms);
        let held = self.held;
        let silent = self
            .members
            .values()
            .filter(|member| member.may_expire(held) && member.session_deadline_ms <= now.mono_ms);
        let gone: Vec<String> = silent.map(|member| member.id.clone()).collect();
        for id in &gone {
            self.remove_member(id, fx);
        }
        if !gone.is_empty() || self.pending.len() < pending_before {
            self.after_removal(now, !gone.is_empty(), fx);
        }
    }

    /// Members that joined the generation but never asked for their part of it hold back its partitions.
    fn expire_unsynced(&mut self, now: Now, fx: &mut Effects) {
        let idle = self.members.values().filter(|member| !member.has_synced);
        let gone: Vec<String> = idle.map(|member| member.id.clone()).collect();
        for id in &gone {
            self.remove_member(id, fx);
        }
        if !gone.is_empty() {
            self.after_removal(now, true, fx);
        }
    }
}
