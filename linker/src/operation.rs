//! Operations: verbs under way, their steps as they happen, and how they ended. A terminal that dies does not
//! end one; `towpath watch ID` finds it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use towpath_env::Env;
use towpath_plans::evidence::Actor;

use crate::error::{Kind, LinkerError};

/// Exit codes of verbs (DESIGN §12).
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed, and nothing was changed.
    pub const FAILED: u8 = 1;
    /// A gate failed.
    pub const GATE_FAILED: u8 = 3;
    /// A gate is inconclusive.
    pub const GATE_INCONCLUSIVE: u8 = 4;
    /// Differences were found.
    pub const DIFFERENCES: u8 = 5;
    /// Still running.
    pub const RUNNING: u8 = 6;
    /// The outcome is not known.
    pub const UNKNOWN: u8 = 7;
}

/// Who asked for a verb, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who, as the API knows them.
    pub actor: Actor,
    /// `--reason`.
    #[serde(default)]
    pub reason: String,
    /// `--dry-run`: say what would be done, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// `--accept-outage`: do not wait for members to be held at the target.
    #[serde(default)]
    pub accept_outage: bool,
    /// What else the person accepts, in words: `--accept-loss`, `--accept-no-stop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
}

impl Request {
    /// A plain request by `actor`.
    pub fn by(actor: Actor) -> Request {
        Request { actor, reason: String::new(), dry_run: false, accept_outage: false, accepts: Vec::new() }
    }

    /// The same, accepting `what`.
    pub fn accepting(mut self, what: impl Into<String>) -> Request {
        self.accepts.push(what.into());
        self
    }

    /// Everything that the person accepts, for the evidence.
    pub fn accepted(&self) -> Vec<String> {
        let outage =
            self.accept_outage.then(|| "an outage: members need not be ready (--accept-outage)".into());
        outage.into_iter().chain(self.accepts.iter().cloned()).collect()
    }
}

/// One line of an operation's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSeen {
    /// When, ms since the epoch.
    pub at_ms: i64,
    /// The group, where it is about one.
    pub group: Option<String>,
    /// What happened, in a sentence.
    pub text: String,
}

/// How far a long part has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is counted, as `records compared`.
    pub what: String,
    /// So many are done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Under way.
    Running,
    /// It ended; `exit_code` says how.
    Ended,
}

/// An operation as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// The verb.
    pub verb: String,
    /// The family.
    pub family: String,
    /// Who asked, and how.
    pub request: Request,
    /// When it began, ms since the epoch.
    pub started_ms: i64,
    /// When it ended, ms since the epoch.
    pub ended_ms: Option<i64>,
    /// Where it stands.
    pub state: OperationState,
    /// What happened so far, in order: the first [`STEPS_FIRST_KEPT`] steps and the latest.
    pub steps: Vec<StepSeen>,
    /// Steps between these that are no longer kept.
    #[serde(default)]
    pub steps_dropped: u64,
    /// How far the present part has come.
    pub progress: Option<Progress>,
    /// The exit code of the verb, once it ended.
    pub exit_code: Option<u8>,
    /// What failed and what to do, when it failed.
    pub problem: Option<String>,
    /// The verb's result document.
    pub outcome: Value,
}

impl OperationView {
    /// The steps that are kept, each with its number from 0 on.
    pub fn numbered_steps(&self) -> impl Iterator<Item = (u64, &StepSeen)> {
        self.steps.iter().enumerate().map(|(index, step)| match index < STEPS_FIRST_KEPT {
            true => (index as u64, step),
            false => (index as u64 + self.steps_dropped, step),
        })
    }
}

/// How an operation ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// One of [`exit`].
    pub exit_code: u8,
    /// What failed and what to do.
    pub problem: Option<String>,
    /// The verb's result document.
    pub outcome: Value,
}

impl Ending {
    /// Done, with a result.
    pub fn done(outcome: Value) -> Ending {
        Ending { exit_code: exit::DONE, problem: None, outcome }
    }

    /// The same, with `outcome` as its result document.
    pub fn with(self, outcome: Value) -> Ending {
        Ending { outcome, ..self }
    }

    /// What work ended with; an error changed nothing.
    pub fn of(ended: Result<Ending, LinkerError>) -> Ending {
        ended.unwrap_or_else(|error| Ending::failed(&error))
    }

    /// An error; nothing was changed.
    pub fn failed(error: &LinkerError) -> Ending {
        let exit_code = if error.kind() == Kind::Bug { exit::UNKNOWN } else { exit::FAILED };
        Ending { exit_code, problem: Some(error.to_string()), outcome: Value::Null }
    }
}

/// A verb under way. Shared between the task that runs it and those who watch.
pub struct Operation {
    env: Env,
    view: watch::Sender<OperationView>,
    abort: watch::Sender<Option<String>>,
}

impl Operation {
    /// Tells a step.
    pub fn step(&self, group: Option<&str>, text: impl Into<String>) {
        let step = StepSeen { at_ms: self.env.now_ms(), group: group.map(str::to_owned), text: text.into() };
        tracing::info!(operation = %self.view.borrow().id, group = step.group.as_deref().unwrap_or("-"), "{}", step.text);
        self.view.send_modify(|view| {
            view.steps.push(step);
            if view.steps.len() > STEPS_KEPT_MAX {
                view.steps.remove(STEPS_FIRST_KEPT);
                view.steps_dropped += 1;
            }
        });
    }

    /// Tells how far it has come.
    pub fn progress(&self, progress: Option<Progress>) {
        self.view.send_modify(|view| view.progress = progress);
    }

    /// Ends it; later endings are ignored.
    pub fn end(&self, ending: Ending) {
        let now_ms = self.env.now_ms();
        self.view.send_if_modified(|view| {
            if view.state == OperationState::Ended {
                return false;
            }
            view.state = OperationState::Ended;
            view.ended_ms = Some(now_ms);
            view.exit_code = Some(ending.exit_code);
            view.problem = ending.problem;
            view.outcome = ending.outcome;
            view.progress = None;
            true
        });
    }

    /// What there is to see now.
    pub fn view(&self) -> OperationView {
        self.view.borrow().clone()
    }

    /// Changes whenever there is more to see.
    pub fn watch(&self) -> watch::Receiver<OperationView> {
        self.view.subscribe()
    }

    /// Asks it to stop; obeyed until the record step.
    pub fn abort(&self, reason: impl Into<String>) {
        self.abort.send_replace(Some(reason.into()));
    }

    /// Why it should stop, once somebody asked.
    pub fn aborted(&self) -> watch::Receiver<Option<String>> {
        self.abort.subscribe()
    }

    /// Does what may be given up half-way.
    ///
    /// # Errors
    /// Why it was given up: somebody asked the operation to stop meanwhile.
    pub async fn unless_aborted<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let mut asked = self.abort.subscribe();
        tokio::select! {
            biased;
            // The sender lives as long as `self`.
            Ok(reason) = asked.wait_for(Option::is_some) => Err(reason.clone().unwrap_or_default()),
            done = work => Ok(done),
        }
    }

    /// Waits for the end.
    pub async fn ended(&self) -> OperationView {
        let mut seen = self.view.subscribe();
        // The sender lives as long as `self`.
        let _ = seen.wait_for(|view| view.state == OperationState::Ended).await;
        self.view()
    }
}

/// All operations of a service process. They are memory: what must survive is in the journal and the evidence.
pub struct Operations {
    env: Env,
    kept_max: usize,
    all: Mutex<BTreeMap<u64, Arc<Operation>>>,
}

impl Operations {
    /// Keeps `kept_max` operations that have ended.
    pub fn new(env: Env, kept_max: usize) -> Operations {
        Operations { env, kept_max, all: Mutex::default() }
    }

    /// A new operation.
    pub fn begin(&self, verb: &str, family: &str, request: &Request) -> Arc<Operation> {
        let id = format!("{verb}-{}", &self.env.uuid().simple().to_string()[..ID_DIGITS]);
        let view = OperationView {
            id,
            verb: verb.into(),
            family: family.into(),
            request: request.clone(),
            started_ms: self.env.now_ms(),
            ended_ms: None,
            state: OperationState::Running,
            steps: Vec::new(),
            steps_dropped: 0,
            progress: None,
            exit_code: None,
            problem: None,
            outcome: Value::Null,
        };
        let operation = Arc::new(Operation {
            env: self.env.clone(),
            view: watch::Sender::new(view),
            abort: watch::Sender::new(None),
        });
        let mut all = self.all.lock();
        let next = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(next, operation.clone());
        let ended: Vec<u64> = all
            .iter()
            .filter(|(_, operation)| operation.view.borrow().state == OperationState::Ended)
            .map(|(index, _)| *index)
            .collect();
        for index in ended.iter().take(ended.len().saturating_sub(self.kept_max)) {
            all.remove(index);
        }
        operation
    }

    /// The operation of this id.
    pub fn get(&self, id: &str) -> Option<Arc<Operation>> {
        self.all.lock().values().find(|operation| operation.view.borrow().id == id).cloned()
    }

    /// All of them, oldest first.
    pub fn views(&self) -> Vec<OperationView> {
        self.all.lock().values().map(|operation| operation.view()).collect()
    }
}

/// Steps that an operation keeps: one that waits for days must not grow for days.
pub const STEPS_KEPT_MAX: usize = 1_000;
/// Of these, the first, which say how it began; the rest are the latest.
pub const STEPS_FIRST_KEPT: usize = 100;
/// Hex digits of an operation's id: enough that two never meet in one service's memory.
const ID_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request::by(Actor { name: "lead".into(), authenticated: false, role: "unauthenticated".into() })
    }

    #[tokio::test]
    async fn a_watcher_that_comes_late_sees_the_whole_story() {
        let operations = Operations::new(Env::seeded(1, 0), 10);
        let operation = operations.begin("cutover", "views", &request());
        operation.step(Some("ranker"), "fenced");
        operation.end(Ending::done(Value::from(1)));
        operation.end(Ending::done(Value::from(2)));
        let id = operation.view().id;
        let seen = operations.get(&id).unwrap().ended().await;
        assert_eq!((seen.exit_code, &seen.outcome), (Some(exit::DONE), &Value::from(1)));
        assert_eq!(seen.steps[0].text, "fenced");
    }

    #[test]
    fn an_operation_keeps_its_first_steps_and_its_latest_and_counts_the_others() {
        let operation = Operations::new(Env::seeded(1, 0), 10).begin("cutover", "views", &request());
        let told = STEPS_KEPT_MAX + 7;
        (0..told).for_each(|number| operation.step(None, number.to_string()));
        let view = operation.view();
        assert_eq!((view.steps.len(), view.steps_dropped), (STEPS_KEPT_MAX, 7));
        assert_eq!(view.steps[STEPS_FIRST_KEPT - 1].text, (STEPS_FIRST_KEPT - 1).to_string());
        assert_eq!(view.steps[STEPS_FIRST_KEPT].text, (STEPS_FIRST_KEPT + 7).to_string());
        assert!(view.numbered_steps().all(|(number, step)| step.text == number.to_string()));
    }

    #[tokio::test]
    async fn what_waits_is_given_up_when_somebody_asks_and_what_is_done_is_done() {
        let operation = Operations::new(Env::seeded(1, 0), 10).begin("cutover", "views", &request());
        assert_eq!(operation.unless_aborted(async { 7 }).await, Ok(7));
        let waiting = operation.unless_aborted(std::future::pending::<()>());
        operation.abort("wrong day");
        assert_eq!(waiting.await, Err("wrong day".into()));
    }

    #[test]
    fn ended_operations_are_forgotten_beyond_the_bound_and_running_ones_never() {
        let operations = Operations::new(Env::seeded(1, 0), 2);
        let running = operations.begin("diff", "views", &request());
        for _ in 0..5 {
            operations.begin("status", "views", &request()).end(Ending::done(Value::Null));
        }
        operations.begin("status", "views", &request());
        assert_eq!(operations.views().len(), 1 + 2 + 1);
        assert!(operations.get(&running.view().id).is_some());
    }
}
