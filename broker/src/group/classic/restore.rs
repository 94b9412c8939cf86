//! Between a group in memory and what is written of it.

use super::{ClassicGroup, Event, Member, Now, Protocol, State, Timing};
use crate::group::records::{GroupRecord, MemberRecord};

impl ClassicGroup {
    /// What to write: members only once they have an assignment, as Kafka does, because a generation without
    /// one means nothing after a restart. `None`: there is nothing worth writing in this state.
    pub fn to_record(&self) -> Option<GroupRecord> {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = match self.state {
            State::Stable => self.members.values().map(|member| member_record(member, &protocol)).collect(),
            State::Empty => Vec::new(),
            State::PreparingRebalance | State::CompletingRebalance | State::Dead => return None,
        };
        Some(GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members,
        })
    }

    /// What to write together with a route that closes: the group as it will be without members.
    pub fn evicted_record(&self, now: Now) -> GroupRecord {
        GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation.checked_add(1).unwrap_or(1),
            protocol: None,
            leader: None,
            state_since_ms: now.wall_ms,
            members: Vec::new(),
        }
    }

    /// The group as it was written; sessions start anew, because nobody could reach the coordinator.
    pub fn from_record(timing: Timing, now: Now, record: GroupRecord) -> ClassicGroup {
        let mut group = ClassicGroup::new(timing, now);
        group.generation = record.generation;
        group.protocol_type = Some(record.protocol_type).filter(|name| !name.is_empty());
        group.protocol = record.protocol;
        if record.state_since_ms >= 0 {
            group.state_since_ms = record.state_since_ms;
        }
        if record.members.is_empty() {
            group.protocol = None;
            return group;
        }
        let state_since_ms = group.state_since_ms;
        let protocol = group.protocol.clone().unwrap_or_default();
        for record in record.members {
            let member = member_from(now, &protocol, record);
            if let Some(instance) = &member.instance_id {
                group.statics.insert(instance.clone(), member.id.clone());
            }
            group.members.insert(member.id.clone(), member);
        }
        let known_leader = record.leader.filter(|id| group.members.contains_key(id));
        group.leader = known_leader.or_else(|| group.members.keys().next().cloned());
        group.compute_subscribed();
        // The way a living group gets to Stable.
        group.go(Event::RebalanceNeeded, now);
        group.go(Event::JoinPhaseDone, now);
        group.go(Event::AssignmentReceived, now);
        group.state_since_ms = state_since_ms;
        group
    }
}

fn member_record(member: &Member, protocol: &str) -> MemberRecord {
    MemberRecord {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout_ms,
        subscription: member.metadata(protocol),
        assignment: member.assignment.clone(),
    }
}

fn member_from(now: Now, protocol: &str, record: MemberRecord) -> Member {
    Member {
        id: record.member_id,
        instance_id: record.instance_id,
        client_id: record.client_id,
        client_host: record.client_host,
        rebalance_timeout_ms: record.rebalance_timeout_ms,
        session_timeout_ms: record.session_timeout_ms,
        protocols: vec![Protocol { name: protocol.to_owned(), metadata: record.subscription }],
        assignment: record.assignment,
        since_ms: now.wall_ms,
        join_version: 0,
        connection_id: 0,
        is_new: false,
        has_synced: true,
        session_deadline_ms: now.mono_ms + record.session_timeout_ms.max(0) as u64,
        join: None,
        sync: None,
    }
}
