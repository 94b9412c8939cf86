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
        loop {
            if self.stop.is_cancelled() {
                return Err(stopping());
            }
            if let Some(interrupt) = run.interrupt(record.state) {
                return Ok(Err(interrupt));
            }
            let seen = self.fence.look().await?;
            if !seen.live.is_empty() {
                match mode {
                    FenceMode::Wait => {
                        run.pause.left = None;
                        if waiting_for != Some(seen.live.len()) {
                            waiting_for = Some(seen.live.len());
                            let names = self.names(&seen.live);
                            run.step(format!(
                                "waiting for {} to leave the source{names}",
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
                interrupt = interrupted => {
                    self.fence.give_up();
                    return Ok(Err(interrupt));
                }
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
