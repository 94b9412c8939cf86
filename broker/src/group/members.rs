//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;

use super::cell::Cell;
use super::classic::{JoinAnswer, JoinInput, LeaveInput, SyncAnswer, SyncInput, Token};
use super::coordinator::{Groups, Inner};
use crate::server::ClientContext;

/// A member id is made of the client's own name, cut to this many bytes, and a UUID.
const CLIENT_ID_BYTES_MAX: usize = 255;

impl Groups {
    /// One JoinGroup. May wait for as long as the group's rebalance takes, or as the client can stand when the
    /// group is held.
    pub async fn join(&self, ctx: &ClientContext, group: &str, mut input: JoinInput) -> JoinAnswer {
        let asked_as = input.member_id.clone();
        let refuse = |error| JoinAnswer::error(error, &asked_as);
        if group.is_empty() {
            return refuse(ResponseError::InvalidGroupId);
        }
        let config = &self.inner.config;
        let session_bounds = config.session_timeout_min_ms..=config.session_timeout_max_ms;
        if !session_bounds.contains(&input.session_timeout_ms) {
            return refuse(ResponseError::InvalidSessionTimeout);
        }
        let partition = match self.inner.writable(group).await {
            Ok(partition) => partition,
            Err(error) => return refuse(error),
        };
        // Named by an id that this coordinator never gave out: no group is made for it.
        let found = if input.member_id.is_empty() {
            self.inner.find_or_create(group, partition)
        } else {
            self.inner.find(group).ok_or(ResponseError::UnknownMemberId)
        };
        let cell = match found {
            Ok(cell) => cell,
            Err(error) => return refuse(error),
        };
        input.new_member_id = self.new_member_id(&input);
        let (token, answer) = self.inner.change(&cell, |cell, now, fx| {
            let (token, answer) = cell.await_join();
            cell.classic.join(now, input, token, fx);
            (token, answer)
        });
        let mut parked = Parked::new(&self.inner, &cell, token);
        let reply = tokio::select! {
            biased;
            reply = answer => reply,
            () = ctx.closed.cancelled() => return refuse(ResponseError::CoordinatorNotAvailable),
            () = self.inner.stopping.cancelled() => return refuse(ResponseError::CoordinatorNotAvailable),
        };
        parked.answered = true;
        // The sender goes only with the group.
        let Ok((answer, write)) = reply else { return refuse(ResponseError::CoordinatorNotAvailable) };
        match self.inner.durable(write).await {
            Ok(()) => answer,
            Err(error) => refuse(error),
        }
    }

    fn new_member_id(&self, input: &JoinInput) -> String {
        let name = input.instance_id.as_deref().unwrap_or(&input.client_id);
        let mut end = name.len().min(CLIENT_ID_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}-{}", &name[..end], self.inner.env.uuid())
    }

    /// One SyncGroup. Waits for the leader's assignment.
    pub async fn sync(&self, ctx: &ClientContext, group: &str, input: SyncInput) -> SyncAnswer {
        if group.is_empty() {
            return SyncAnswer::error(ResponseError::InvalidGroupId);
        }
        let cell = match self.inner.loaded(group) {
            Ok(_) => self.inner.find(group),
            // A client that is told to wait here would wait for nothing: its generation may be gone by then.
            Err(ResponseError::CoordinatorLoadInProgress) => {
                return SyncAnswer::error(ResponseError::RebalanceInProgress);
            }
            Err(error) => return SyncAnswer::error(error),
        };
        let Some(cell) = cell else { return SyncAnswer::error(ResponseError::UnknownMemberId) };
        let answer = self.inner.change(&cell, |cell, now, fx| {
            let (token, answer) = cell.await_sync();
            cell.classic.sync(now, input, token, fx);
            answer
        });
        let reply = tokio::select! {
            biased;
            reply = answer => reply,
            () = ctx.closed.cancelled() => return SyncAnswer::error(ResponseError::CoordinatorNotAvailable),
            () = self.inner.stopping.cancelled() => {
                return SyncAnswer::error(ResponseError::CoordinatorNotAvailable);
            }
        };
        let Ok((answer, write)) = reply else {
            return SyncAnswer::error(ResponseError::CoordinatorNotAvailable);
        };
        match self.inner.durable(write).await {
            Ok(()) => answer,
            Err(error) => SyncAnswer::error(error),
        }
    }

    /// One Heartbeat.
    pub async fn heartbeat(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.inner.loaded(group) {
            Ok(_) => {}
            // All is well, as far as anybody knows: the sessions begin anew once the group is loaded.
            Err(ResponseError::CoordinatorLoadInProgress) => return Ok(()),
            Err(error) => return Err(error),
        }
        let cell = self.inner.find(group).ok_or(ResponseError::UnknownMemberId)?;
        self.inner
            .change(&cell, |cell, now, _| cell.classic.heartbeat(now, member_id, instance_id, generation))
    }

    /// Members leave; one result each, in their order.
    pub async fn leave(
        &self,
        group: &str,
        leaving: &[LeaveInput],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.inner.loaded(group)?;
        let Some(cell) = self.inner.find(group) else {
            return Ok(vec![Err(ResponseError::UnknownMemberId); leaving.len()]);
        };
        let results = self.inner.change(&cell, |cell, now, fx| cell.classic.leave(now, leaving, fx))?;
        let write = cell.lock().pending_write();
        self.inner.durable(write).await?;
        Ok(results)
    }
}

/// A join that waits. Dropped without an answer (its client went away), it tells the group.
struct Parked {
    inner: Arc<Inner>,
    cell: Arc<Mutex<Cell>>,
    token: Token,
    answered: bool,
}

impl Parked {
    fn new(inner: &Arc<Inner>, cell: &Arc<Mutex<Cell>>, token: Token) -> Parked {
        inner.metrics.joins_parked.inc();
        Parked { inner: Arc::clone(inner), cell: Arc::clone(cell), token, answered: false }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.inner.metrics.joins_parked.dec();
        if self.answered || self.inner.stopping.is_cancelled() {
            return;
        }
        self.inner.change(&self.cell, |cell, now, fx| {
            cell.forget_join(self.token);
            cell.classic.join_abandoned(now, self.token, fx);
        });
    }
}
