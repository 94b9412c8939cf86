//! Fences at the source: which stand, and releasing one that no group needs.

use std::sync::Arc;

use serde_json::json;
use towpath_plans::transition::{GroupMove, GroupState};

use super::{Running, Service};
use crate::error::LinkerError;
use crate::groups::fence::Fence;
use crate::operation::{Ending, Operation, Request};

impl Running {
    /// The fence of a group, to look at or to release.
    pub fn fence_of(&self, record: &GroupMove) -> Fence {
        let link = &self.link;
        Fence::new(link.source.client.clone(), link.env.clone(), &record.group, record.fence_instance_id())
    }
}

impl Service {
    /// Makes a fence member leave that was left behind at the source. A fence that a group on the target needs is
    /// not released: nothing else keeps a forgotten consumer on the source from reading on.
    ///
    /// # Errors
    /// The family or group is not known, or the group is under way or on the target; nothing has changed.
    pub async fn release_fence(
        self: &Arc<Self>,
        family: &str,
        group: &str,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        let mover = running.movers.get(group).ok_or_else(|| {
            LinkerError::refused(
                format!("family {family} has no group {group}"),
                format!("see which it has: `towpath fence list {family}`"),
            )
        })?;
        let record = mover.record();
        if !matches!(record.state, GroupState::OnSource | GroupState::Completed | GroupState::Cancelled) {
            return Err(LinkerError::refused(
                format!("group {group} needs its fence: {}", record.because),
                format!("`towpath rollback {family} --group {group}`, or `towpath complete` it"),
            ));
        }
        let (work, dry_run) = (running.clone(), request.dry_run);
        self.spawn("fence-release", &running, Some(group), request.clone(), move |operation| async move {
            match release(&work, &record, dry_run, &operation).await {
                Ok(ending) => ending,
                Err(error) => Ending::failed(&error),
            }
        })
        .await
    }
}

async fn release(
    running: &Running,
    record: &GroupMove,
    dry_run: bool,
    operation: &Operation,
) -> Result<Ending, LinkerError> {
    let fence = running.fence_of(record);
    let found = fence.look().await?.fence.map(|member| member.member_id);
    let done = match (&found, dry_run) {
        (None, _) => "there is no fence at the source".to_owned(),
        (Some(member), true) => format!("would make the fence member {member} leave"),
        (Some(member), false) => {
            fence.leave(None, "released by a person").await?;
            format!("the fence member {member} has left")
        }
    };
    operation.step(Some(&record.group), &done);
    Ok(Ending::done(json!({
        "family": record.family, "group": record.group, "dry_run": dry_run, "member_id": found, "would": done,
    })))
}
