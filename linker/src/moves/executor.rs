//! Carries out transitions: the journal first, then the effects in order, then the event that they lead to.

use std::time::Duration;

use towpath_env::retry::RetryPolicy;
use towpath_plans::evidence::Body;
use towpath_plans::transition::{Effect, Event, GroupMove, GroupState, Next, Verb, transition};

use super::failpoint::{self, Edge, Point};
use super::mover::Mover;
use super::run::Run;
use crate::error::LinkerError;
use crate::state::Entry;

/// Between two tries of what must succeed: short at first, the group may be waiting.
const TRY_AGAIN: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(100),
    delay_max: Duration::from_secs(5),
    total_max: None,
};

impl Mover {
    /// From `next` to rest. Before the record step a failure goes back, after it the same effects are tried until
    /// they succeed.
    ///
    /// # Errors
    /// Another service writes the journal, or this one is stopping: the move goes on when it is started again.
    pub(super) async fn carry_out(&self, run: &mut Run<'_>, mut next: Next) -> Result<(), LinkerError> {
        let mut delays = TRY_AGAIN.delays(&self.link.env);
        loop {
            if self.stop.is_cancelled() {
                // Whoever goes on reads the journal: it must not change any more.
                return Err(stopping());
            }
            let entered = self.enter(run, &next.record).await?;
            let event = match entered {
                Some(event) => Ok(Some(event)),
                None => self.effects(run, &next).await,
            };
            let event = match event {
                Ok(event) => event,
                Err(error) if self.stop.is_cancelled() => return Err(error),
                Err(error @ LinkerError::Superseded { .. }) => return Err(error),
                Err(error) => Some(Event::StepFailed { reason: error.one_line() }),
            };
            let record = self.record();
            let event = match event {
                Some(event) => event,
                None => match done(&record, run) {
                    Some(event) => event,
                    None => return Ok(()),
                },
            };
            if let Event::StepFailed { reason } = &event {
                run.step(format!("{}: {reason}", state_name(record.state)));
                if !record.state.is_before_record() {
                    self.wait_to_try_again(&mut delays).await?;
                }
            } else {
                delays = TRY_AGAIN.delays(&self.link.env);
            }
            let adopting = matches!(event, Event::FenceAdopted { .. } | Event::FenceLapsed { .. });
            let mut following = transition(&record, &event, self.link.env.now_ms())
                .map_err(|refused| LinkerError::Bug(refused.to_string()))?;
            if adopting && following.record.state == record.state && only_alarms(&following.effects) {
                // Adopting beside other effects reports by itself and the others go on.
                let rest =
                    next.effects.into_iter().skip_while(|effect| *effect != Effect::AdoptFence).skip(1);
                following.effects.extend(rest);
            }
            next = following;
        }
    }

    /// Writes the record to the journal, unless it says so already, and to the evidence outside the pause.
    /// `Some`: the state cannot be acted on.
    async fn enter(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<Option<Event>, LinkerError> {
        let before = self.record();
        if before != *record {
            let verb = record.verb.or(before.verb);
            failpoint::pass(verb, Edge::Before, Point::Journal(record.state));
            self.journal(Entry::Group(Box::new(record.clone()))).await?;
            failpoint::pass(verb, Edge::After, Point::Journal(record.state));
            run.bodies.extend(Body::of_change(&before, record));
            if before.state != record.state {
                let because = match record.because.as_str() {
                    "" => String::new(),
                    because => format!(": {because}"),
                };
                run.step(format!("{}{because}", state_name(record.state)));
            }
            if record.state.is_at_rest() && !before.state.is_at_rest() {
                run.result = record.last.as_ref().map(|last| last.result.clone());
            }
        }
        use GroupState as S;
        match record.state {
            // Nobody can deliver: evidence waits, the journal has what it needs.
            S::Draining | S::FinalOffsets | S::Recorded | S::Committed | S::Undoing => {}
            // A move without evidence is refused, as long as nothing has changed.
            S::Fencing => {
                let written = self.write_evidence(run).await;
                return Ok(written.err().map(|error| Event::StepFailed { reason: error.one_line() }));
            }
            _ => {
                if let Err(error) = self.write_evidence(run).await {
                    tracing::info!(group = self.group.name, %error, "evidence waits for the store");
                }
            }
        }
        Ok(None)
    }

    /// Appends until the entry stands.
    pub(super) async fn journal(&self, entry: Entry) -> Result<(), LinkerError> {
        let mut delays = TRY_AGAIN.delays(&self.link.env);
        loop {
            match self.link.journal.append(entry.clone()).await {
                Ok(()) => return Ok(()),
                Err(error @ LinkerError::Superseded { .. }) => return Err(error),
                Err(error) => tracing::info!(group = self.group.name, %error, "journal; trying again"),
            }
            self.wait_to_try_again(&mut delays).await?;
        }
    }

    async fn wait_to_try_again(&self, delays: &mut towpath_env::retry::Delays) -> Result<(), LinkerError> {
        let delay = delays.next_delay().unwrap_or(TRY_AGAIN.delay_max);
        tokio::select! {
            () = self.link.env.sleep(delay) => Ok(()),
            () = self.stop.cancelled() => Err(stopping()),
        }
    }

    /// The effects of `next`, in order; the event that one of them reports by itself, if any.
    async fn effects(&self, run: &mut Run<'_>, next: &Next) -> Result<Option<Event>, LinkerError> {
        let record = &next.record;
        for effect in &next.effects {
            if self.stop.is_cancelled() {
                return Err(stopping());
            }
            if let Some(interrupt) = run.interrupt(record.state) {
                return Ok(Some(interrupt.event()));
            }
            failpoint::pass(record.verb, Edge::Before, Point::Effect(*effect));
            let performed = match waits(*effect) {
                true => {
                    let interrupted = self.unless_refencing(run.interrupted(record.state));
                    let stopped = self.unless_refencing(self.stop.cancelled());
                    tokio::select! {
                        performed = self.perform(run, record, *effect) => performed,
                        interrupt = interrupted => Ok(Some(interrupt.event())),
                        () = stopped => Err(stopping()),
                    }
                }
                false => self.perform(run, record, *effect).await,
            };
            let event = match performed {
                Err(error) if *effect == Effect::AdoptFence => self.adopt_later(run, record, error).await?,
                performed => performed?,
            };
            failpoint::pass(record.verb, Edge::After, Point::Effect(*effect));
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// What ends a step that waits, but not while the step sets the fence again: a membership that the journal does
    /// not have would be one more lapse.
    async fn unless_refencing<T>(&self, ending: impl Future<Output = T>) -> T {
        let ended = ending.await;
        drop(self.refencing.lock().await);
        ended
    }

    /// The fence could not be looked at. Nothing that rests on it is done before it is: the source may have moved on.
    async fn adopt_later(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
        error: LinkerError,
    ) -> Result<Option<Event>, LinkerError> {
        if record.state == GroupState::Undoing {
            // The way to the source must not keep the target closed; duties look after the fence.
            run.step(format!("the fence at the source is looked at later: {}", error.one_line()));
            return Ok(None);
        }
        let mut delays = TRY_AGAIN.delays(&self.link.env);
        let mut error = error;
        loop {
            run.step(format!("the fence at the source cannot be looked at: {}", error.one_line()));
            self.wait_to_try_again(&mut delays).await?;
            match self.perform(run, record, Effect::AdoptFence).await {
                Ok(event) => return Ok(event),
                Err(error @ LinkerError::Superseded { .. }) => return Err(error),
                Err(again) => error = again,
            }
        }
    }
}

/// Effects that look and wait: they may be dropped half-way, though not while they set the fence again.
fn waits(effect: Effect) -> bool {
    matches!(
        effect,
        Effect::EvaluateGates
            | Effect::QuietTarget
            | Effect::AwaitDrain
            | Effect::ReadFinalOffsets
            | Effect::Verify
    )
}

fn only_alarms(effects: &[Effect]) -> bool {
    effects.iter().all(|effect| *effect == Effect::AlarmLapse)
}

/// The event of a state whose effects are done; `None` at rest.
fn done(record: &GroupMove, run: &mut Run<'_>) -> Option<Event> {
    use GroupState as S;
    let cutover = record.verb == Some(Verb::Cutover);
    Some(match record.state {
        S::Fencing => Event::Fenced { hold: run.hold.clone().filter(|_| cutover) },
        S::Draining => Event::Drained,
        S::Recorded if cutover => Event::Switched,
        S::Recorded => Event::PositionsCommitted,
        S::Committed | S::Completing => Event::Released,
        S::Verifying => Event::Verified { alarms: std::mem::take(&mut run.alarms) },
        S::Undoing => Event::Undone,
        S::Cancelling => Event::Forgotten,
        // These report their event themselves: it carries what they read.
        S::Preflight | S::FinalOffsets => {
            Event::StepFailed { reason: "bug: the step reported nothing".into() }
        }
        S::OnSource | S::OnTarget | S::Completed | S::Cancelled => return None,
    })
}

pub(super) fn stopping() -> LinkerError {
    LinkerError::refused(
        "the service stops, or another plan of the family comes into force",
        "the move goes on from the journal when the family runs again: see `towpath status`",
    )
}

/// A state's name for people.
pub(super) fn state_name(state: GroupState) -> &'static str {
    use GroupState as S;
    match state {
        S::OnSource => "on source",
        S::Preflight => "preflight",
        S::Fencing => "fence",
        S::Draining => "drain",
        S::FinalOffsets => "final offsets",
        S::Recorded => "recorded",
        S::Committed => "committed",
        S::Verifying => "verify",
        S::OnTarget => "on target",
        S::Undoing => "undo",
        S::Completing => "complete",
        S::Completed => "completed",
        S::Cancelling => "cancel",
        S::Cancelled => "cancelled",
    }
}
