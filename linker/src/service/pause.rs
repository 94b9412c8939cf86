//! The verbs `pause` and `resume`: mirroring stops for a while. What is so already is done, and said.

use std::sync::Arc;

use towpath_plans::transition::{LinkEvent, LinkState};
use towpath_wire::client::TopicPartition;

use super::verbs::{dry, state_ending, without_evidence};
use super::{Running, Service, watch};
use crate::error::LinkerError;
use crate::operation::{Ending, Operation, Request};

impl Service {
    /// Stops mirroring; groups keep their routes, fences are held.
    ///
    /// # Errors
    /// The family is not known.
    pub async fn pause(
        self: &Arc<Self>,
        family: &str,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        let (dry_run, reason) = (request.dry_run, request.reason.clone());
        self.spawn("pause", &running.clone(), None, request.clone(), move |operation| async move {
            match (running.is_paused(), dry_run) {
                (true, _) => running.nothing_to_do("it is paused already", &operation),
                (false, true) => dry(&operation, "would stop mirroring; routes and fences stay"),
                (false, false) => Ending::of(running.hold_still(reason, &operation).await),
            }
        })
        .await
    }

    /// Mirrors again. `accept_loss` names halted partitions that go on behind records that are lost to the mirror.
    ///
    /// # Errors
    /// The family is not known.
    pub async fn resume(
        self: &Arc<Self>,
        family: &str,
        accept_loss: Vec<TopicPartition>,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        let dry_run = request.dry_run;
        let request = accept_loss.iter().fold(request.clone(), |request, id| {
            request.accepting(format!("what is lost to the mirror of {id} (--accept-loss)"))
        });
        self.spawn("resume", &running.clone(), None, request, move |operation| async move {
            match (running.is_paused() || !accept_loss.is_empty(), dry_run) {
                (false, _) => running.nothing_to_do("it is not paused", &operation),
                (true, true) => dry(&operation, "would mirror again"),
                (true, false) => Ending::of(running.go_on(&accept_loss, &operation).await),
            }
        })
        .await
    }
}

impl Running {
    fn is_paused(&self) -> bool {
        matches!(self.record().state, LinkState::Paused { .. })
    }

    fn nothing_to_do(&self, why: &str, operation: &Operation) -> Ending {
        operation.step(None, format!("nothing to do: {why}"));
        state_ending(self)
    }

    async fn hold_still(&self, reason: String, operation: &Operation) -> Result<Ending, LinkerError> {
        let (before, event) = (self.record(), LinkEvent::Pause { reason });
        let after = watch::decide(&self.link, &before, &event).await?;
        self.link.mirror.pause().await;
        operation.step(None, "mirroring has stopped; routes and fences stay");
        let told = watch::tell(&self.link, &before, &after, &event).await;
        Ok(without_evidence("mirroring has stopped", told, state_ending(self)))
    }

    /// Clears the partitions whose loss is accepted and mirrors again.
    async fn go_on(
        &self,
        accept_loss: &[TopicPartition],
        operation: &Operation,
    ) -> Result<Ending, LinkerError> {
        for id in accept_loss {
            self.link.mirror.accept_loss(id).await?;
            operation.step(None, format!("{id} goes on behind what is lost"));
        }
        if !self.is_paused() {
            return Ok(state_ending(self));
        }
        let (before, event) = (self.record(), LinkEvent::Resume);
        let after = watch::decide(&self.link, &before, &event).await?;
        self.link.mirror.resume();
        operation.step(None, "mirroring again");
        let told = watch::tell(&self.link, &before, &after, &event).await;
        Ok(without_evidence("it is mirrored again", told, state_ending(self)))
    }
}
