//! Keeping the fence member's membership: heartbeats, commits, and rebalances.
//!
//! A rebalance that leaves it in its group is no lapse: while it is a member, nobody else can be. Kafka 4 begins one
//! when an evicted client that had asked for a new member id goes away. The fence then joins again with the member
//! id that it has, and goes on with the new generation.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::HeartbeatRequest;
use towpath_plans::transition::FenceHold;
use towpath_wire::client::To;
use towpath_wire::client::admin::{CommitAs, offset_commit};

use super::{Fence, Membership, text};
use crate::error::LinkerError;
use crate::groups::positions::Committed;

impl Fence {
    /// Whether the coordinator still knows exactly this membership; keeps its session alive, and goes along with a
    /// rebalance.
    ///
    /// # Errors
    /// The coordinator cannot be asked.
    pub async fn heartbeat(&self, hold: &FenceHold) -> Result<Membership, LinkerError> {
        let generation = self.generation(hold);
        let request = HeartbeatRequest::default()
            .with_group_id(self.id())
            .with_generation_id(generation)
            .with_member_id(text(&hold.member_id))
            .with_group_instance_id(Some(text(&hold.instance_id)));
        let answer = self.client.send(To::Coordinator(self.group.clone()), request).await;
        let answer = answer.map_err(|error| self.failed("heartbeat", error))?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(Membership::Stands),
            Some(code) if is_another_generation(code) => self.renew(hold, generation).await,
            Some(code) => self.judge("Heartbeat", code),
        }
    }

    /// Commits as the fence member, with its own generation.
    ///
    /// # Errors
    /// The coordinator cannot be asked, or refuses a partition for another reason than the membership.
    pub async fn commit(&self, hold: &FenceHold, offsets: &Committed) -> Result<Membership, LinkerError> {
        if offsets.is_empty() {
            return self.heartbeat(hold).await;
        }
        let generation = self.generation(hold);
        let Some(code) = self.try_commit(hold, generation, offsets).await? else {
            return Ok(Membership::Stands);
        };
        if !is_another_generation(code) {
            return self.judge("OffsetCommit", code);
        }
        if let gone @ Membership::Gone(_) = self.renew(hold, generation).await? {
            return Ok(gone);
        }
        match self.try_commit(hold, self.generation(hold), offsets).await? {
            None => Ok(Membership::Stands),
            // Yet another rebalance: the next round commits.
            Some(code) => Err(self.failed("commit", self.kafka("OffsetCommit", code))),
        }
    }

    /// `Some`: what the coordinator says against the membership.
    async fn try_commit(
        &self,
        hold: &FenceHold,
        generation: i32,
        offsets: &Committed,
    ) -> Result<Option<ResponseError>, LinkerError> {
        let member = CommitAs::Member {
            generation,
            member_id: hold.member_id.clone(),
            instance_id: Some(hold.instance_id.clone()),
        };
        let outcomes = offset_commit(&self.client, &self.group, &member, offsets).await;
        let outcomes: BTreeMap<_, _> = outcomes.map_err(|error| self.failed("commit", error))?;
        for outcome in outcomes.into_values() {
            let Err(error) = outcome else { continue };
            match error.code().filter(|code| is_lost(*code)) {
                Some(code) => return Ok(Some(code)),
                None => return Err(self.failed("commit", error)),
            }
        }
        Ok(None)
    }

    /// The generation of a membership now: a renewal began a later one than the journal has.
    fn generation(&self, hold: &FenceHold) -> i32 {
        let renewed = self.renewed.lock();
        match renewed.as_ref().filter(|renewed| renewed.member_id == hold.member_id) {
            Some(renewed) => renewed.generation,
            None => hold.generation,
        }
    }

    /// Joins again with the member id of `hold`, which only a member that never left may do.
    async fn renew(&self, hold: &FenceHold, generation: i32) -> Result<Membership, LinkerError> {
        let _renewing = self.renewing.lock().await;
        if self.generation(hold) != generation {
            return Ok(Membership::Stands);
        }
        let to = To::Coordinator(self.group.clone());
        let failed = |error| self.failed("go along with a rebalance", error);
        let connection = self.connection(&to).await.map_err(failed)?;
        let answer = match self.ask_to_join(&connection, &hold.member_id).await {
            Ok(answer) => answer,
            Err(error) => {
                self.drop_connection(&to);
                return Err(failed(error));
            }
        };
        if let Some(code) = ResponseError::try_from_code(answer.error_code) {
            return match is_another_generation(code) {
                true => Err(failed(self.kafka("JoinGroup", code))),
                false => self.judge("JoinGroup", code),
            };
        }
        let renewed = FenceHold { generation: answer.generation_id, ..hold.clone() };
        if let Some(code) = self.sync(&connection, &renewed).await? {
            return match is_another_generation(code) {
                true => Err(failed(self.kafka("SyncGroup", code))),
                false => self.judge("SyncGroup", code),
            };
        }
        let generation = renewed.generation;
        tracing::info!(group = self.group, generation, "the fence went along with a rebalance");
        *self.renewed.lock() = Some(renewed);
        Ok(Membership::Stands)
    }

    fn judge(&self, api: &'static str, code: ResponseError) -> Result<Membership, LinkerError> {
        if is_lost(code) {
            return Ok(Membership::Gone(towpath_wire::client::code_name(code)));
        }
        Err(self.failed("keep its membership", self.kafka(api, code)))
    }
}

/// The membership may go on with another generation.
fn is_another_generation(code: ResponseError) -> bool {
    matches!(code, ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration)
}

/// The coordinator does not know this membership, or another generation has begun.
fn is_lost(code: ResponseError) -> bool {
    use ResponseError as E;
    matches!(
        code,
        E::UnknownMemberId
            | E::IllegalGeneration
            | E::FencedInstanceId
            | E::RebalanceInProgress
            | E::GroupIdNotFound
            | E::StaleMemberEpoch
            | E::FencedMemberEpoch
    )
}
