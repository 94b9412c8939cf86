//! JoinGroup.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::member::{Member, ParkedJoin, Token};
use super::{ClassicGroup, Effect, Effects, JoinAnswer, JoinInput, JoinedMember, Now, Protocol, State};

/// From this version on a dynamic member must come back with the id it was given (KIP-394).
pub(super) const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// From this version on a static leader that comes back is told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
/// A member that has never been in a generation may wait this long for one (Kafka's
/// `NewMemberJoinTimeoutMs`): it can't send heartbeats yet.
const NEW_MEMBER_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

impl ClassicGroup {
    /// One JoinGroup; answered through `fx`, now or later.
    pub fn join(&mut self, now: Now, input: JoinInput, token: Token, fx: &mut Effects) {
        let member_id = input.member_id.clone();
        let refused = match self.join_or_refuse(now, input, token, fx) {
            Ok(()) => return,
            Err(refused) => refused,
        };
        fx.push(Effect::Join(token, JoinAnswer::error(refused, &member_id)));
    }

    fn join_or_refuse(
        &mut self,
        now: Now,
        mut input: JoinInput,
        token: Token,
        fx: &mut Effects,
    ) -> Result<(), ResponseError> {
        if self.state == State::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if input.member_id.is_empty()
            && let Some(id) = self.held_member_without_id(&input)
        {
            input.member_id = id;
        }
        if !self.has_room_for(&input.member_id) {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        let old_static = match &input.instance_id {
            Some(instance) if input.member_id.is_empty() => self.statics.get(instance).cloned(),
            _ => None,
        };
        let replaced = old_static.as_deref().unwrap_or(&input.member_id);
        if !self.supports(&input.protocol_type, &input.protocols, replaced) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match (input.member_id.is_empty(), old_static) {
            (true, Some(old_id)) => self.replace_static(now, input, &old_id, token, fx),
            (true, None) if input.instance_id.is_none() && input.version >= MEMBER_ID_REQUIRED_SINCE => {
                let session_ms = input.session_timeout_ms.max(0) as u64;
                self.pending.insert(input.new_member_id.clone(), now.mono_ms + session_ms);
                let answer = JoinAnswer::error(ResponseError::MemberIdRequired, &input.new_member_id);
                fx.push(Effect::Join(token, answer));
            }
            (true, None) => self.add_member(now, input, token, fx),
            (false, _) if self.pending.remove(&input.member_id).is_some() => {
                input.new_member_id = input.member_id.clone();
                self.add_member(now, input, token, fx);
            }
            (false, _) => {
                self.check_identity(&input.member_id, input.instance_id.as_deref())?;
                if !self.members.contains_key(&input.member_id) {
                    return Err(ResponseError::UnknownMemberId);
                }
                self.rejoin(now, input, token, fx);
            }
        }
        Ok(())
    }

    /// Before version 4 a client does not learn its id from an error: while held it is known by its connection.
    fn held_member_without_id(&self, input: &JoinInput) -> Option<String> {
        if !self.held || input.version >= MEMBER_ID_REQUIRED_SINCE || input.instance_id.is_some() {
            return None;
        }
        let same = |member: &&Member| {
            member.connection_id == input.connection_id
                && member.join_version < MEMBER_ID_REQUIRED_SINCE
                && member.client_id == input.client_id
                && member.join.is_none()
                && member.is_new
        };
        self.members.values().find(same).map(|member| member.id.clone())
    }

    fn has_room_for(&self, member_id: &str) -> bool {
        let known = self.members.contains_key(member_id);
        match self.state {
            State::Empty | State::Dead => self.timing.members_max > 0,
            // While a generation is being formed, those who are already here come first.
            State::PreparingRebalance => {
                let joining = self.members.values().filter(|member| member.is_joining()).count();
                self.members.get(member_id).is_some_and(Member::is_joining)
                    || joining < self.timing.members_max
            }
            State::CompletingRebalance | State::Stable => {
                known || self.members.len() < self.timing.members_max
            }
        }
    }

    /// Whether all members but `replaced` and the newcomer have a protocol in common.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol], replaced: &str) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        let others = || self.members.values().filter(|member| member.id != replaced);
        if others().next().is_none() {
            return true;
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| others().all(|member| member.supports(&protocol.name)))
    }

    fn add_member(&mut self, now: Now, input: JoinInput, token: Token, fx: &mut Effects) {
        let member = Member {
            id: input.new_member_id,
            instance_id: input.instance_id,
            client_id: input.client_id,
            client_host: input.client_host,
            rebalance_timeout_ms: input.rebalance_timeout_ms,
            session_timeout_ms: input.session_timeout_ms,
            protocols: input.protocols,
            assignment: Bytes::new(),
            since_ms: now.wall_ms,
            join_version: input.version,
            connection_id: input.connection_id,
            is_new: true,
            has_synced: false,
            session_deadline_ms: now.mono_ms + NEW_MEMBER_TIMEOUT_MS,
            join: None,
            sync: None,
        };
        let id = member.id.clone();
        if self.members.is_empty() {
            self.protocol_type = Some(input.protocol_type);
        }
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id.clone(), member);
        if let Some(initial) = self.join_phase.as_mut().and_then(|phase| phase.initial.as_mut()) {
            initial.member_added = true;
        }
        self.park(now, &id, token, fx);
        self.membership_changed(now, fx);
    }

    /// A known member joins again: with news it starts a rebalance, otherwise its answer was lost and is
    /// repeated.
    fn rejoin(&mut self, now: Now, input: JoinInput, token: Token, fx: &mut Effects) {
        let id = input.member_id.clone();
        // Checked by the caller: the member exists.
        let Some(member) = self.members.get(&id) else { return };
        let unchanged = member.protocols == input.protocols;
        let leads = self.leader.as_deref() == Some(&id);
        let repeat = match self.state {
            State::CompletingRebalance => unchanged,
            // The leader re-joins to ask for a new assignment, for example because partitions were added.
            State::Stable => unchanged && !leads,
            State::Empty | State::PreparingRebalance | State::Dead => false,
        };
        self.update_member(&id, input);
        if repeat {
            let answer = self.join_answer(&id);
            self.keep_alive(now, &id);
            fx.push(Effect::Join(token, answer));
            return;
        }
        self.park(now, &id, token, fx);
        self.membership_changed(now, fx);
    }

    fn update_member(&mut self, id: &str, input: JoinInput) {
        let only = self.members.len() == 1;
        let Some(member) = self.members.get_mut(id) else { return };
        if only {
            self.protocol_type = Some(input.protocol_type);
        }
        member.protocols = input.protocols;
        member.rebalance_timeout_ms = input.rebalance_timeout_ms;
        member.session_timeout_ms = input.session_timeout_ms;
        member.client_id = input.client_id;
        member.client_host = input.client_host;
        member.join_version = input.version;
        member.connection_id = input.connection_id;
    }

    /// A static member came back under a new id (KIP-345). In a stable group whose protocol stays the same it
    /// gets its old part back without a rebalance.
    fn replace_static(&mut self, now: Now, input: JoinInput, old_id: &str, token: Token, fx: &mut Effects) {
        let new_id = input.new_member_id.clone();
        let version = input.version;
        let was_leader = self.leader.as_deref() == Some(old_id);
        // Its place in the order is kept, so that it stays the leader if it was.
        let Some(index) = self.members.get_index_of(old_id) else { return };
        let Some(mut member) = self.members.swap_remove(old_id) else { return };
        if let Some(join) = member.join.take() {
            fx.push(Effect::Join(join.token, JoinAnswer::error(ResponseError::FencedInstanceId, old_id)));
        }
        if let Some(sync) = member.sync.take() {
            fx.push(Effect::Sync(sync, super::SyncAnswer::error(ResponseError::FencedInstanceId)));
        }
        member.id = new_id.clone();
        self.members.insert(new_id.clone(), member);
        self.members.swap_indices(index, self.members.len() - 1);
        if let Some(instance) = &input.instance_id {
            self.statics.insert(instance.clone(), new_id.clone());
        }
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        self.update_member(&new_id, input);
        self.keep_alive(now, &new_id);
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            let mut answer = self.join_answer(&new_id);
            if was_leader && version >= SKIP_ASSIGNMENT_SINCE {
                answer.skip_assignment = true;
            } else if was_leader {
                // Older clients can't skip: they must not believe that they lead.
                answer.leader = old_id.to_owned();
                answer.members.clear();
            }
            fx.push(Effect::Persist);
            fx.push(Effect::Join(token, answer));
            return;
        }
        self.park(now, &new_id, token, fx);
        self.membership_changed(now, fx);
    }

    fn park(&mut self, now: Now, id: &str, token: Token, fx: &mut Effects) {
        let (held, park_max_ms) = (self.held, self.timing.park_max_ms);
        let Some(member) = self.members.get_mut(id) else { return };
        let answer_by_ms = held.then(|| now.mono_ms + park_ms(member, park_max_ms));
        if let Some(earlier) = member.join.replace(ParkedJoin { token, answer_by_ms }) {
            // The client gave up on it, or it would not have sent another.
            let answer = JoinAnswer::error(ResponseError::RebalanceInProgress, id);
            fx.push(Effect::Join(earlier.token, answer));
        }
    }

    /// The current generation as an answer to member `id`.
    pub(super) fn join_answer(&self, id: &str) -> JoinAnswer {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if leader == id { self.joined_members(&protocol) } else { Vec::new() };
        JoinAnswer {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment: false,
            member_id: id.to_owned(),
            members,
        }
    }

    fn joined_members(&self, protocol: &str) -> Vec<JoinedMember> {
        let joined = self.members.values().map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        joined.collect()
    }
}

/// How long a held member's join is parked: well within the time its client waits for the answer.
pub(super) fn park_ms(member: &Member, park_max_ms: u64) -> u64 {
    (member.rebalance_timeout_ms.max(0) as u64 * 8 / 10).clamp(1, park_max_ms.max(1))
}
