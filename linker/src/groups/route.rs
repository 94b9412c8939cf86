//! A group of the target: its route, and what its coordinator knows of it (the private LinkGroup API).

use towpath_plans::transition::{FinalPosition, Position, Route};
use towpath_wire::client::Client;
use towpath_wire::private::{self, GroupOffset, GroupOp, LinkGroupRequest, LinkGroupState};

use crate::error::{LinkerError, Side};

/// One group at the target, spoken to as its link.
#[derive(Clone)]
pub struct TargetGroup {
    client: Client,
    link: String,
    group: String,
}

impl TargetGroup {
    /// `group` as `link` asks for it.
    pub fn new(client: Client, link: &str, group: &str) -> TargetGroup {
        TargetGroup { client, link: link.into(), group: group.into() }
    }

    /// Makes the group this link's: members that are there already are held from now on.
    ///
    /// # Errors
    /// The group is another link's, or the target cannot be asked.
    pub async fn declare(&self) -> Result<LinkGroupState, LinkerError> {
        self.ask(GroupOp::Declare).await
    }

    /// The group now.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn describe(&self) -> Result<LinkGroupState, LinkerError> {
        self.ask(GroupOp::Describe).await
    }

    /// Replaces positions while the route is not `target`.
    ///
    /// # Errors
    /// The route is `target`, or the target cannot be asked.
    pub async fn sync(&self, offsets: Vec<GroupOffset>) -> Result<LinkGroupState, LinkerError> {
        self.ask(GroupOp::Sync { offsets }).await
    }

    /// Positions, route and attempt in one conditional operation.
    ///
    /// # Errors
    /// The route is not `from`, the attempt is of the past, or the target cannot be asked.
    pub async fn switch(
        &self,
        attempt: u64,
        (from, to): (Route, Route),
        offsets: Vec<GroupOffset>,
    ) -> Result<LinkGroupState, LinkerError> {
        self.ask(GroupOp::Route { attempt, from: to_wire(from), to: to_wire(to), offsets }).await
    }

    /// Drops the route.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn forget(&self) -> Result<LinkGroupState, LinkerError> {
        self.ask(GroupOp::Forget).await
    }

    async fn ask(&self, op: GroupOp) -> Result<LinkGroupState, LinkerError> {
        let request = LinkGroupRequest { link: self.link.clone(), group: self.group.clone(), op };
        let what = format!("route of group {}", self.group);
        let answer = self.client.link_group(&request).await;
        let answer = answer.map_err(LinkerError::cluster(Side::Target, what))?;
        if let Some(refused) = answer.error {
            let (problem, fix) = match refused.message.split_once("; fix: ") {
                Some((problem, fix)) => (problem.to_owned(), fix.to_owned()),
                None => (refused.message, "look at the target's log, then try again".to_owned()),
            };
            return Err(LinkerError::Answer { side: Side::Target, problem, fix });
        }
        answer.state.ok_or_else(|| LinkerError::Answer {
            side: Side::Target,
            problem: format!("group {}: the answer has no state", self.group),
            fix: "upgrade the target's broker".into(),
        })
    }
}

fn to_wire(route: Route) -> private::Route {
    match route {
        Route::Source => private::Route::Source,
        Route::Draining => private::Route::Draining,
        Route::Target => private::Route::Target,
    }
}

/// The route as decisions name it.
pub fn from_wire(route: private::Route) -> Route {
    match route {
        private::Route::Source => Route::Source,
        private::Route::Draining => Route::Draining,
        private::Route::Target => Route::Target,
    }
}

/// Final positions as the target commits them; without a leader epoch, because epochs belong to one side.
pub fn target_offsets(finals: &[FinalPosition]) -> Vec<GroupOffset> {
    let offset = |position: &FinalPosition| GroupOffset {
        topic: position.topic.clone(),
        partition: position.partition,
        offset: position.target_offset,
        leader_epoch: -1,
        metadata: position.metadata.clone(),
    };
    finals.iter().map(offset).collect()
}

/// What the group has committed at the target.
pub fn positions_of(state: &LinkGroupState) -> Vec<Position> {
    let position = |offset: &GroupOffset| Position {
        topic: offset.topic.clone(),
        partition: offset.partition,
        offset: offset.offset,
        metadata: offset.metadata.clone(),
    };
    state.offsets.iter().map(position).collect()
}

/// Members that are held, and consumers held without membership.
pub fn held(state: &LinkGroupState) -> u32 {
    state.members.iter().filter(|member| member.held).count() as u32 + state.held_fetchers
}
