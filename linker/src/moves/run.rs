//! What one run of a verb knows beside the journal: who asked, what was measured, when it must give up. Lost in a
//! crash, and nothing of it is needed to end the move.

use std::time::Duration;

use tokio::sync::watch;
use towpath_env::Env;
use towpath_plans::evidence::{Actor, Body};
use towpath_plans::gates::GateReport;
use towpath_plans::transition::{Event, FenceHold, GroupState, PartitionBounds, VerbResult};
use towpath_wire::client::admin::GroupMember;
use towpath_wire::private::LinkGroupMember;

use crate::operation::{Operation, Request};

/// One run of a verb, or of recovery.
pub(super) struct Run<'a> {
    pub(super) env: Env,
    pub(super) operation: Option<&'a Operation>,
    pub(super) group: String,
    pub(super) accept_outage: bool,
    /// The group's longest allowed pause.
    pub(super) pause_max: Duration,
    pub(super) abort: Option<watch::Receiver<Option<String>>>,
    pub(super) actor: Option<Actor>,
    /// The gates as they were evaluated.
    pub(super) report: Option<GateReport>,
    /// Topics that the group reads, as preflight saw them.
    pub(super) topics: Vec<String>,
    /// Partitions of these topics on the side that is left, before the fence.
    pub(super) bounds: Vec<PartitionBounds>,
    /// A fence that stands and is not in the journal yet.
    pub(super) hold: Option<FenceHold>,
    /// Who was put out of the group.
    pub(super) evicted: Vec<GroupMember>,
    /// Who was held at the target when a rollback set the route to draining.
    pub(super) evicted_at_target: Vec<LinkGroupMember>,
    pub(super) pause: Pause,
    /// When the target's positions are due at the source again, on the monotonic clock; `None`: now.
    pub(super) commit_back_at: Option<Duration>,
    /// A lapse that was found and not told yet.
    pub(super) lapse: Option<Lapse>,
    /// What is out of order and did not stop the move.
    pub(super) alarms: Vec<String>,
    /// Evidence that is not written yet: it waits while nobody can deliver.
    pub(super) bodies: Vec<Body>,
    /// How the verb ended.
    pub(super) result: Option<VerbResult>,
}

/// When delivery stopped on one side and began on the other, on the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pause {
    /// From here on nothing could be committed on the side that is left.
    pub(super) left: Option<Duration>,
    /// From here on the other side may deliver.
    pub(super) opened: Option<Duration>,
    /// The first sign of life on the other side.
    pub(super) delivered: Option<Duration>,
}

/// A time in which the fence at the source was down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lapse {
    /// Last known to stand, ms since the epoch.
    pub(super) from_ms: i64,
    /// Stands again, ms since the epoch.
    pub(super) to_ms: i64,
    /// Whether somebody committed meanwhile.
    pub(super) moved: bool,
    /// Most records that may have been delivered twice.
    pub(super) repeated_max: u64,
}

/// Why a step is not waited for any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// A person takes the verb back.
    Aborted(String),
    /// The group's `pause_max` is over.
    PauseTooLong(Duration),
}

impl<'a> Run<'a> {
    /// A run that a person asked for.
    pub(super) fn asked(env: &Env, request: &Request, operation: &'a Operation) -> Run<'a> {
        let mut run = Run::resumed(env);
        run.operation = Some(operation);
        run.accept_outage = request.accept_outage;
        run.abort = Some(operation.aborted());
        run.actor = Some(request.actor.clone());
        run
    }

    /// A run that goes on with what a crash left half done.
    pub(super) fn resumed(env: &Env) -> Run<'a> {
        Run {
            env: env.clone(),
            operation: None,
            group: String::new(),
            accept_outage: false,
            pause_max: Duration::MAX,
            abort: None,
            actor: None,
            report: None,
            topics: Vec::new(),
            bounds: Vec::new(),
            hold: None,
            evicted: Vec::new(),
            evicted_at_target: Vec::new(),
            pause: Pause::default(),
            commit_back_at: None,
            lapse: None,
            alarms: Vec::new(),
            bodies: Vec::new(),
            result: None,
        }
    }

    /// The same for this group.
    pub(super) fn of(self, group: &str, pause_max_ms: u64) -> Run<'a> {
        Run { group: group.into(), pause_max: Duration::from_millis(pause_max_ms), ..self }
    }

    /// Tells a step to whoever watches.
    pub(super) fn step(&self, text: impl Into<String>) {
        match self.operation {
            Some(operation) => operation.step(Some(&self.group), text),
            None => tracing::info!(group = self.group, "{}", text.into()),
        }
    }

    /// These are put out of the group. One that came back under another member id is the same one.
    pub(super) fn evicted(&mut self, members: &[GroupMember]) {
        for member in members {
            let same = |known: &GroupMember| {
                (&known.client_id, &known.client_host, &known.instance_id)
                    == (&member.client_id, &member.client_host, &member.instance_id)
            };
            // Several members may share a client id: no more are the same than are there at once.
            let at_once = members.iter().filter(|other| same(other)).count();
            if self.evicted.iter().filter(|known| same(known)).count() < at_once {
                self.evicted.push(member.clone());
            }
        }
    }

    /// From now on nobody commits on the side that is left.
    pub(super) fn left(&mut self) {
        self.pause.left.get_or_insert(self.env.elapsed());
    }

    /// From now on the other side may deliver.
    pub(super) fn opened(&mut self) {
        self.pause.opened.get_or_insert(self.env.elapsed());
    }

    /// The other side shows a first sign of life.
    pub(super) fn delivered(&mut self) {
        self.pause.delivered.get_or_insert(self.env.elapsed());
    }

    /// Why to stop waiting in `state`, if there is a reason. After the record step there is none.
    pub(super) fn interrupt(&self, state: GroupState) -> Option<Interrupt> {
        if !state.is_before_record() {
            return None;
        }
        let aborted = self.abort.as_ref().and_then(|abort| abort.borrow().clone());
        let over = || self.deadline().filter(|deadline| self.env.elapsed() >= *deadline);
        aborted.map(Interrupt::Aborted).or_else(|| over().map(|_| Interrupt::PauseTooLong(self.pause_max)))
    }

    /// Resolves when [`Run::interrupt`] has a reason; owns what it waits for.
    pub(super) fn interrupted(&self, state: GroupState) -> impl Future<Output = Interrupt> + Send + use<> {
        let before_record = state.is_before_record();
        let (env, abort, pause_max) = (self.env.clone(), self.abort.clone(), self.pause_max);
        let deadline = self.deadline().filter(|_| before_record);
        async move {
            let aborted = async {
                if let Some(mut abort) = abort.filter(|_| before_record) {
                    let reason = abort.wait_for(Option::is_some).await.map(|reason| reason.clone());
                    if let Ok(reason) = reason {
                        return reason.unwrap_or_default();
                    }
                }
                std::future::pending().await
            };
            let over = async {
                match deadline {
                    Some(deadline) => env.sleep(deadline.saturating_sub(env.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = aborted => Interrupt::Aborted(reason),
                () = over => Interrupt::PauseTooLong(pause_max),
            }
        }
    }

    /// When the pause becomes too long, on the monotonic clock.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.pause.left.and_then(|left| left.checked_add(self.pause_max))
    }
}

impl Interrupt {
    /// The event that it is.
    pub(super) fn event(&self) -> Event {
        match self {
            Interrupt::Aborted(reason) => Event::Abort { reason: format!("aborted: {reason}") },
            Interrupt::PauseTooLong(limit) => Event::StepFailed {
                reason: format!(
                    "the pause would have become longer than pause_max, {} ms",
                    limit.as_millis()
                ),
            },
        }
    }
}

impl Pause {
    /// Last possible delivery on one side to first possible one on the other, ms.
    pub(super) fn possible_ms(&self) -> Option<u64> {
        between(self.left?, self.opened?)
    }

    /// Last possible delivery on one side to the first sign of life on the other, ms.
    pub(super) fn delivered_ms(&self) -> Option<u64> {
        between(self.left?, self.delivered?)
    }
}

fn between(from: Duration, to: Duration) -> Option<u64> {
    u64::try_from(to.saturating_sub(from).as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(member_id: &str, client_id: &str) -> GroupMember {
        GroupMember {
            member_id: member_id.into(),
            instance_id: None,
            client_id: client_id.into(),
            client_host: "/10.0.0.1".into(),
            subscribed: Vec::new(),
            assigned: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_member_that_comes_back_before_the_fence_is_evicted_again_and_named_once() {
        let mut run = Run::resumed(&Env::seeded(1, 0));
        // Two processes share a client id.
        run.evicted(&[member("a-1", "a"), member("a-2", "a"), member("b-1", "b")]);
        run.evicted(&[member("a-3", "a"), member("c-1", "c")]);
        let names: Vec<&str> = run.evicted.iter().map(|member| member.client_id.as_str()).collect();
        assert_eq!(names, ["a", "a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_counts_from_the_first_eviction_and_only_before_the_record_step() {
        let env = Env::seeded(1, 0);
        let mut run = Run::resumed(&env).of("ranker", 5_000);
        assert_eq!(run.interrupt(GroupState::Draining), None);
        run.left();
        env.sleep(Duration::from_secs(3)).await;
        run.left();
        let waiting = run.interrupted(GroupState::Draining);
        assert_eq!(run.interrupt(GroupState::Draining), None);
        assert_eq!(waiting.await, Interrupt::PauseTooLong(Duration::from_secs(5)));
        assert_eq!(env.elapsed(), Duration::from_secs(5));
        assert!(run.interrupt(GroupState::Draining).is_some());
        assert_eq!(run.interrupt(GroupState::Recorded), None);
        run.opened();
        assert_eq!((run.pause.possible_ms(), run.pause.delivered_ms()), (Some(5_000), None));
    }
}
