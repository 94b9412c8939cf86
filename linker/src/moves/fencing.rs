//! Setting the fence at the source: wait or evict, join, confirm; and naming who was there.

use std::time::Duration;

use towpath_plans::evidence::{MemberTrace, PseudonymKind};
use towpath_plans::model::{FenceMode, format_count};
use towpath_plans::transition::{FenceHold, GroupMove};
use towpath_wire::client::admin::GroupMember;

use super::executor::stopping;
use super::mover::Mover;
use super::run::{Interrupt, Run};
use crate::error::LinkerError;
use crate::groups::fence::Joined;
use crate::state::Entry;

/// How a step begins that waits for people to stop their consumers.
pub const WAITING_FOR: &str = "waiting for ";
/// Between two looks at a group that is waited for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// After a coordinator asked for another try.
const JOIN_AGAIN: Duration = Duration::from_millis(20);

impl Mover {
    /// Joins the source group as the fence member, after its members have left or were evicted. Whoever was put
    /// out is added to the run. The pause begins when nobody can commit any more.
    pub(super) async fn fence(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
        mode: FenceMode,
    ) -> Result<Result<FenceHold, Interrupt>, LinkerError> {
        let mut waiting_for = None;
        let mut tried = false;
        loop {
            if self.stop.is_cancelled() {
                return Err(stopping());
            }
            if let Some(interrupt) = run.interrupt(record.state) {
                return Ok(Err(interrupt));
            }
            let seen = self.fence.look().await?;
            if let (false, Some(other)) = (tried, &seen.fence)
                && !self.fence.is_own(record.fence.as_ref(), other)
            {
                self.tell_other_fence(run, other, "it is taken over");
            }
            tried = true;
            if !seen.live.is_empty() {
                match mode {
                    FenceMode::Wait => {
                        run.pause.left = None;
                        if waiting_for != Some(seen.live.len()) {
                            waiting_for = Some(seen.live.len());
                            let names = self.names(&seen.live);
                            run.step(format!(
                                "{WAITING_FOR}{} to leave the source{names}",
                                format_count(seen.live.len(), "member")
                            ));
                        }
                        self.link.env.sleep(LOOK_AGAIN).await;
                        continue;
                    }
                    // One that came back with a new member id is the same one.
                    FenceMode::Evict => run.evicted(&seen.live),
                }
            }
            run.left();
            // Coordinators may hold a join for seconds (`group.initial.rebalance.delay.ms`).
            let interrupted = run.interrupted(record.state);
            let joined = tokio::select! {
                joined = self.fence.join(&seen.live) => joined?,
                interrupt = interrupted => return Ok(Err(interrupt)),
            };
            match joined {
                Joined::Holds(hold) => {
                    if mode == FenceMode::Evict && self.group.overlap_wait_ms > 0 && !run.evicted.is_empty() {
                        self.link.env.sleep(Duration::from_millis(self.group.overlap_wait_ms)).await;
                    }
                    return Ok(Ok(hold));
                }
                Joined::Occupied => {}
                Joined::Again => self.link.env.sleep(JOIN_AGAIN).await,
            }
        }
    }

    /// Somebody else carries the fence's instance id: another service for a family of this name, or this one just
    /// before it stopped.
    pub(super) fn tell_other_fence(&self, run: &mut Run<'_>, other: &GroupMember, what: &str) {
        let text = format!(
            "a fence member that this service did not set stands at the source, {} at {}: {what}; see whether \
             another service runs a family of this name",
            other.member_id, other.client_host
        );
        run.step(text.clone());
        self.memory.lock().alarm("other-fence", text.clone());
        run.alarms.push(text);
    }

    /// Before somebody is put out of the source whom this service does not know by id: says the record again, which
    /// the journal takes from nobody but the service that acts now.
    pub(super) async fn prove_journal(&self, record: &GroupMove) -> Result<(), LinkerError> {
        self.journal(Entry::Group(Box::new(record.clone()))).await
    }

    /// Members as evidence names them: hosts only as pseudonyms.
    pub(super) fn trace(&self, member: &GroupMember) -> MemberTrace {
        MemberTrace {
            client_id: member.client_id.clone(),
            host: self.link.ledger.pseudonym(PseudonymKind::Host, member.client_host.as_bytes()),
            instance_id: member.instance_id.clone(),
        }
    }

    /// Members as people know them, for an operation's steps: they must tell their owners.
    pub(super) fn names(&self, members: &[GroupMember]) -> String {
        if members.is_empty() {
            return String::new();
        }
        let name = |member: &GroupMember| match &member.instance_id {
            Some(instance) => format!("{} ({instance}) at {}", member.client_id, member.client_host),
            None => format!("{} at {}", member.client_id, member.client_host),
        };
        format!(": {}", members.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}
