//! A fence that was left behind at the source: a person asks for it to go.

use serde_json::json;
use towpath_plans::evidence::Body;
use towpath_plans::transition::GroupState;

use super::mover::Mover;
use crate::error::LinkerError;
use crate::operation::{Ending, Operation, Request};

impl Mover {
    /// Makes the fence member leave that stands at the source, unless the group needs it: nothing else keeps a
    /// forgotten consumer on the source from reading on. No verb can begin meanwhile.
    pub async fn release_left_behind(&self, request: &Request, operation: &Operation) -> Ending {
        let Ok(_verb) = self.verbs.try_lock() else { return self.busy() };
        let _acting = match self.turn(operation).await {
            Ok(acting) => acting,
            Err(aborted) => return Ending::failed(&aborted),
        };
        Ending::of(self.release_unneeded(request, operation).await)
    }

    /// Whether no fence is needed where the group stands now.
    ///
    /// # Errors
    /// It is under way, or on the target.
    pub fn check_unneeded(&self) -> Result<(), LinkerError> {
        let record = self.record();
        if record.state == GroupState::OnSource || record.state.is_over() {
            return Ok(());
        }
        let (family, group) = (&record.family, &record.group);
        Err(LinkerError::refused(
            format!("group {group} needs its fence: {}", record.because),
            format!("`towpath rollback {family} --group {group}`, or `towpath complete` it"),
        ))
    }

    async fn release_unneeded(
        &self,
        request: &Request,
        operation: &Operation,
    ) -> Result<Ending, LinkerError> {
        self.check_unneeded()?;
        let group = self.group.name.clone();
        let found = self.fence.look().await?.fence;
        let member_id = found.as_ref().map(|member| member.member_id.clone());
        let done = match &found {
            None => "there is no fence at the source".to_owned(),
            Some(member) if request.dry_run => {
                format!("would make the fence member {} leave", member.member_id)
            }
            Some(member) => {
                self.prove_journal(&self.record()).await?;
                let reason = format!("{} asked for it", request.actor.name);
                let other = self.fence.leave(Some(&self.fence.seen(member)), &reason).await?;
                let body = Body::FenceReleased { group: group.clone(), reason };
                let actor = Some(request.actor.clone());
                if self.link.ledger.record(actor.clone(), body.clone()).await.is_err() {
                    self.memory.lock().keep_evidence(actor, vec![body]);
                }
                match other {
                    None => format!("the fence member {} has left", member.member_id),
                    Some(other) => {
                        format!("another fence member, {}, has taken its place", other.member_id)
                    }
                }
            }
        };
        operation.step(Some(&group), &done);
        Ok(Ending::done(json!({
            "family": self.link.family(), "group": group, "dry_run": request.dry_run,
            "member_id": member_id, "would": done,
        })))
    }
}
