//! Fences at the source: which stand, and releasing one that no group needs.

use std::sync::Arc;

use towpath_plans::transition::GroupMove;

use super::{Running, Service};
use crate::error::LinkerError;
use crate::groups::fence::Fence;
use crate::operation::{Operation, Request};

impl Running {
    /// The fence of a group, to look at.
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
        mover.check_unneeded()?;
        let (mover, asked) = (mover.clone(), request.clone());
        self.spawn("fence-release", &running, Some(group), request.clone(), move |operation| async move {
            mover.release_left_behind(&asked, &operation).await
        })
        .await
    }
}
