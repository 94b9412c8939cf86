//! LinkGroup: what a link asks of a group that it moves (DESIGN §5.6).

use kafka_protocol::ResponseError;
use towpath_wire::private::{
    GroupOffset, GroupOp, LinkGroupError, LinkGroupMember, LinkGroupRequest, LinkGroupResponse,
    LinkGroupState, Route, code,
};

use super::cell::Cell;
use super::classic::{Effects, Now, State};
use super::coordinator::{Groups, Inner};
use super::records::{OffsetRecord, Record, RouteRecord};
use super::route::{RouteChange, decide};

/// A connection whose OffsetFetch was held counts as a waiting consumer for so long after.
const FETCHER_SEEN_MS: u64 = 30_000;

impl Groups {
    /// One operation of a link on a group, answered with the state after it, once durable.
    pub async fn link_group(&self, request: LinkGroupRequest) -> LinkGroupResponse {
        match self.try_link_group(&request).await {
            Ok(response) => response,
            Err(error) => {
                let message = format!("group {:?}: {error}; fix: retry", request.group);
                let error = LinkGroupError { code: error.code(), message };
                LinkGroupResponse { error: Some(error), state: None }
            }
        }
    }

    async fn try_link_group(&self, request: &LinkGroupRequest) -> Result<LinkGroupResponse, ResponseError> {
        let inner = &self.inner;
        if request.group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let found = if request.op == GroupOp::Declare {
            let partition = inner.writable(&request.group).await?;
            Some(inner.find_or_create(&request.group, partition)?)
        } else {
            inner.loaded(&request.group)?;
            inner.find(&request.group)
        };
        let Some(cell) = found else { return Ok(unknown(request)) };
        let (refused, state, write) = inner.change(&cell, |cell, now, fx| {
            if cell.is_dead() {
                return Err(ResponseError::CoordinatorNotAvailable);
            }
            let refused = match decide(cell.route.as_ref(), &request.link, &request.op, now.wall_ms) {
                Ok(change) => {
                    let offsets = match &request.op {
                        GroupOp::Sync { offsets } | GroupOp::Route { offsets, .. } => offsets.as_slice(),
                        GroupOp::Declare | GroupOp::Forget | GroupOp::Describe => &[],
                    };
                    inner.carry_out(cell, change, offsets, now, fx)?;
                    None
                }
                Err(refused) => Some(refused),
            };
            Ok((refused, state_of(cell, now), cell.pending_write()))
        })?;
        inner.durable(write).await?;
        let error = refused.map(|error| LinkGroupError {
            message: format!("group {:?}: {}", request.group, error.message),
            ..error
        });
        Ok(LinkGroupResponse { error, state: Some(state) })
    }
}

/// The group does not exist: that is a state too.
fn unknown(request: &LinkGroupRequest) -> LinkGroupResponse {
    let state = LinkGroupState {
        group: request.group.clone(),
        classic_state: State::Dead.name().to_owned(),
        ..LinkGroupState::default()
    };
    let error = match request.op {
        GroupOp::Describe | GroupOp::Forget => None,
        _ => Some(LinkGroupError {
            code: code::ROUTE_CONFLICT,
            message: format!("group {:?} does not exist; fix: declare it first", request.group),
        }),
    };
    LinkGroupResponse { error, state: Some(state) }
}

impl Inner {
    /// Writes the change as one batch, then makes it so.
    fn carry_out(
        &self,
        cell: &mut Cell,
        change: RouteChange,
        offsets: &[GroupOffset],
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), ResponseError> {
        let (route, refreshes) = match change {
            RouteChange::None => return Ok(()),
            RouteChange::OffsetsOnly => (cell.route.clone(), false),
            // Offsets set by a move count as committed at the move, so that their retention begins with it.
            RouteChange::To(record) => (Some(record), true),
            RouteChange::Forget => (None, false),
        };
        let values = new_values(cell, offsets, refreshes, now.wall_ms);
        let mut records: Vec<_> = values
            .iter()
            .map(|(at, value)| Record::offset(&cell.name, &at.topic, at.partition, Some(value)))
            .collect();
        if route != cell.route {
            records.push(Record::route(&cell.name, route.as_ref()));
        }
        let opens = !is_closed(route.as_ref()) && cell.is_held();
        let closes = is_closed(route.as_ref()) && !cell.is_held();
        if closes && cell.classic.state() != State::Empty {
            records.push(Record::group(&cell.name, Some(&cell.classic.evicted_record(now))));
            cell.is_written = true;
        }
        if !records.is_empty() {
            cell.append(&*self.backing, &records)?;
        }
        self.metrics.commits.inc_by(values.len() as u64);
        for (at, value) in values {
            cell.offsets.entry(at.topic.clone()).or_default().insert(at.partition, value);
        }
        cell.route = route;
        if closes {
            cell.classic.hold(now, fx);
        }
        if opens {
            cell.fetchers.clear();
            cell.classic.release(now, fx);
            cell.opened.notify_waiters();
        }
        Ok(())
    }
}

fn is_closed(route: Option<&RouteRecord>) -> bool {
    route.is_some_and(|route| route.route != Route::Target)
}

/// The positions to write: of a sync only those that moved.
fn new_values<'a>(
    cell: &Cell,
    offsets: &'a [GroupOffset],
    refreshes: bool,
    now_ms: i64,
) -> Vec<(&'a GroupOffset, OffsetRecord)> {
    let mut values = Vec::with_capacity(offsets.len());
    for at in offsets {
        let value = OffsetRecord {
            offset: at.offset,
            leader_epoch: at.leader_epoch,
            metadata: at.metadata.clone().unwrap_or_default(),
            commit_ms: now_ms,
            expire_ms: None,
        };
        let held = cell.offsets.get(&at.topic).and_then(|partitions| partitions.get(&at.partition));
        let same = held.is_some_and(|held| {
            (held.offset, held.leader_epoch, &held.metadata)
                == (value.offset, value.leader_epoch, &value.metadata)
        });
        if refreshes || !same {
            values.push((at, value));
        }
    }
    values
}

fn state_of(cell: &mut Cell, now: Now) -> LinkGroupState {
    let recent = now.mono_ms.saturating_sub(FETCHER_SEEN_MS);
    cell.fetchers.retain(|_, seen_ms| *seen_ms >= recent);
    let held = cell.is_held();
    let members = cell.classic.members().map(|member| LinkGroupMember {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        held,
        since_ms: member.since_ms,
    });
    let mut offsets = Vec::new();
    let mut commit_times_ms = Vec::new();
    for (topic, partitions) in &cell.offsets {
        for (index, value) in partitions {
            offsets.push(GroupOffset {
                topic: topic.clone(),
                partition: *index,
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: (!value.metadata.is_empty()).then(|| value.metadata.clone()),
            });
            commit_times_ms.push(value.commit_ms);
        }
    }
    LinkGroupState {
        group: cell.name.clone(),
        link: cell.route.as_ref().map(|route| route.link.clone()),
        route: cell.route.as_ref().map(|route| route.route),
        attempt: cell.route.as_ref().map_or(0, |route| route.attempt),
        classic_state: cell.classic.state().name().to_owned(),
        generation: cell.classic.generation(),
        members: members.collect(),
        held_fetchers: cell.fetchers.len() as u32,
        offsets,
        commit_times_ms,
        now_ms: now.wall_ms,
    }
}
