//! LeaveGroup.

use kafka_protocol::ResponseError;

use super::{ClassicGroup, Effects, LeaveInput, Now, State};

impl ClassicGroup {
    /// Members leave, by member id or (static ones) by instance id; one result each, in their order.
    pub fn leave(
        &mut self,
        now: Now,
        leaving: &[LeaveInput],
        fx: &mut Effects,
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        if self.state == State::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let members_before = self.members.len();
        let results: Vec<_> = leaving.iter().map(|member| self.leave_one(member, fx)).collect();
        if results.iter().any(Result::is_ok) {
            self.after_removal(now, self.members.len() < members_before, fx);
        }
        Ok(results)
    }

    fn leave_one(&mut self, leaving: &LeaveInput, fx: &mut Effects) -> Result<(), ResponseError> {
        if self.pending.remove(&leaving.member_id).is_some() {
            return Ok(());
        }
        let id = match (&leaving.instance_id, leaving.member_id.is_empty()) {
            (Some(instance), true) => {
                self.statics.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            (instance, _) => {
                self.check_identity(&leaving.member_id, instance.as_deref())?;
                leaving.member_id.clone()
            }
        };
        if !self.members.contains_key(&id) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove_member(&id, fx);
        Ok(())
    }

    /// Ids were removed: of members, or only of those that had yet to come.
    pub(super) fn after_removal(&mut self, now: Now, lost_members: bool, fx: &mut Effects) {
        match self.state {
            State::Stable | State::CompletingRebalance if lost_members => self.prepare_rebalance(now, fx),
            State::PreparingRebalance => self.try_complete_join(now, fx),
            State::Empty | State::Stable | State::CompletingRebalance | State::Dead => {}
        }
    }
}
