//! Loads: producers that feed messages and remember what became of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use towpath_env::Env;

use super::model::{AwaitAcked, Finish, Produce, TransactionEnd};
use super::records::{Messages, messages};
use super::world::World;
use crate::clients::protocol::{Command, Event, ProduceSettings, Settings, Verb};
use crate::clients::{Client, ClientKind};
use crate::record::Message;
use crate::wait;

/// Messages told to a client and not yet acknowledged.
const WINDOW: usize = 2_000;
/// For a flush behind a broker that was just killed.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not known yet.
    Pending,
    /// Acknowledged.
    Acked {
        /// Where it is.
        partition: i32,
        /// Below 0 where the client isn't told.
        offset: i64,
    },
    /// The client gave it up: it may be there or not.
    Failed(String),
}

/// Everything a load has done.
#[derive(Debug, Default)]
pub(super) struct LoadState {
    /// In order; a message's number is its place.
    pub(super) sent: Vec<(Message, Fate)>,
    /// Messages of aborted transactions.
    pub(super) aborted: BTreeSet<u64>,
    pub(super) acked: usize,
    pub(super) failed: usize,
}

/// A running or ended load.
pub(super) struct Load {
    pub(super) state: Arc<Mutex<LoadState>>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The part of a load that talks to its client.
struct Feeder {
    client: Client,
    messages: Messages,
    state: Arc<Mutex<LoadState>>,
    stop: watch::Receiver<bool>,
    transactions: Option<(u64, Vec<TransactionEnd>)>,
    rate: Option<f64>,
    env: Env,
}

impl Feeder {
    async fn run(mut self) -> Result<()> {
        let started = self.env.elapsed();
        let mut in_transaction = false;
        while !*self.stop.borrow() {
            self.hear().await?;
            if self.outstanding() >= WINDOW || self.ahead_of_rate(started) {
                // An acknowledgement, or the time for the next message.
                tokio::select! {
                    event = self.client.listen() => self.heard(event?)?,
                    () = self.env.sleep(Duration::from_millis(5)) => {}
                    _ = self.stop.changed() => {}
                }
                continue;
            }
            let Some(message) = self.messages.next() else { break };
            if let Some((size, _)) = &self.transactions
                && message.n % size == 0
            {
                if in_transaction {
                    self.end_transaction(message.n).await?;
                }
                self.act(Verb::Begin).await?;
                in_transaction = true;
            }
            self.state.lock().sent.push((message.clone(), Fate::Pending));
            self.client.tell(&Command::Send(message)).await?;
        }
        if in_transaction {
            let next = self.state.lock().sent.len() as u64;
            self.end_transaction(next).await?;
        }
        self.act(Verb::Flush).await?;
        self.client.close_input();
        let status = self.client.process().ended(FLUSH_MAX).await?;
        if !status.success() {
            bail!("the client ended with {status}");
        }
        Ok(())
    }

    /// Ends the transaction whose last message is the one before `next`.
    async fn end_transaction(&mut self, next: u64) -> Result<()> {
        let Some((size, ends)) = self.transactions.clone() else { return Ok(()) };
        let number = (next - 1) / size;
        let end = ends.get(number as usize % ends.len().max(1)).copied().unwrap_or(TransactionEnd::Commit);
        if end == TransactionEnd::Abort {
            self.state.lock().aborted.extend(number * size..next);
            return self.act(Verb::Abort).await;
        }
        self.act(Verb::Commit).await
    }

    async fn act(&mut self, verb: Verb) -> Result<()> {
        let state = Arc::clone(&self.state);
        let mut outcome = Ok(());
        let done = self.client.finish(verb, FLUSH_MAX, |event| {
            if let Err(error) = note(&state, event) {
                outcome = Err(error);
            }
        });
        done.await?;
        outcome
    }

    /// Takes what the client has already said.
    async fn hear(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                event = self.client.listen() => self.heard(event?)?,
                () = std::future::ready(()) => return Ok(()),
            }
        }
    }

    fn heard(&self, event: Option<Event>) -> Result<()> {
        note(&self.state, event.context("the client ended by itself")?)
    }

    fn outstanding(&self) -> usize {
        let state = self.state.lock();
        state.sent.len() - state.acked - state.failed
    }

    fn ahead_of_rate(&self, started: Duration) -> bool {
        let due = self.rate.map(|rate| (self.env.elapsed() - started).as_secs_f64() * rate);
        due.is_some_and(|due| self.state.lock().sent.len() as f64 > due)
    }
}

fn note(state: &Mutex<LoadState>, event: Event) -> Result<()> {
    let mut state = state.lock();
    let (n, fate) = match event {
        Event::Acked { n, partition, offset } => (n, Fate::Acked { partition, offset }),
        Event::Failed { n, error } => (n, Fate::Failed(error)),
        Event::Error { message, fatal: true } => bail!("the client: {message}"),
        _ => return Ok(()),
    };
    match fate {
        Fate::Acked { .. } => state.acked += 1,
        _ => state.failed += 1,
    }
    let (_, known) =
        state.sent.get_mut(n as usize).with_context(|| format!("an outcome of {n}, never sent"))?;
    if *known != Fate::Pending {
        bail!("message {n} has two outcomes: {known:?} and {fate:?}");
    }
    *known = fate;
    Ok(())
}

impl World<'_> {
    /// Produces, to the end or in the background.
    pub(super) async fn produce(&mut self, step: &Produce) -> Result<()> {
        let kind: ClientKind = step.client.parse()?;
        let (messages, said) = messages(&step.name, &step.topic, &step.records)?;
        if let Some(said) = said {
            self.note(said);
        }
        if step.records.count.is_none() && !step.background {
            bail!("a load without a count must be in the background");
        }
        let settings = ProduceSettings {
            client_id: step.name.clone(),
            codec: step.codec.clone(),
            acks: step.acks.clone(),
            idempotent: step.idempotent,
            transactional_id: step.transactions.as_ref().map(|_| format!("transactions-of-{}", step.name)),
            properties: step.properties.clone(),
            ..ProduceSettings::new(&self.bootstrap(&step.on)?)
        };
        let client = Client::start(&kind, &step.name, &Settings::Produce(settings), self.folder()).await?;
        let (stop, stopped) = watch::channel(false);
        let state = Arc::<Mutex<LoadState>>::default();
        let feeder = Feeder {
            client,
            messages,
            state: Arc::clone(&state),
            stop: stopped,
            transactions: step.transactions.as_ref().map(|all| (all.size.max(1), all.ends.clone())),
            rate: step.rate,
            env: Env::real(),
        };
        let task = Some(tokio::spawn(feeder.run()));
        self.loads.insert(step.name.clone(), Load { state, stop, task });
        if step.background {
            return Ok(());
        }
        let finish = Finish { load: step.name.clone(), failed_max: 0, within_s: u64::MAX / 2_000 };
        self.finish_by(&finish, false).await
    }

    /// Waits for more acknowledgements.
    pub(super) async fn await_acked(&mut self, step: &AwaitAcked) -> Result<()> {
        let load = self.loads.get_mut(&step.load).with_context(|| format!("no load {:?}", step.load))?;
        let start = load.state.lock().acked;
        let what = format!("{} more acknowledgements of {}", step.more, step.load);
        let outcome = wait::until(&what, Duration::from_secs(step.within_s), async || {
            if load.state.lock().acked >= start + step.more {
                return Ok(Some(()));
            }
            match &mut load.task {
                Some(task) if task.is_finished() => task.await?.and_then(|()| bail!("the load has ended")),
                _ => Ok(None),
            }
        });
        outcome.await
    }

    /// Ends a load.
    pub(super) async fn finish(&mut self, step: &Finish) -> Result<()> {
        self.finish_by(step, true).await
    }

    /// `stop`: not to the end of its messages, but now.
    async fn finish_by(&mut self, step: &Finish, stop: bool) -> Result<()> {
        let load = self.loads.get_mut(&step.load).with_context(|| format!("no load {:?}", step.load))?;
        // A load with a count has more to send only until then.
        if stop {
            load.stop.send_replace(true);
        }
        let task = load.task.as_mut().context("the load has ended before")?;
        let ended = tokio::time::timeout(Duration::from_secs(step.within_s), task).await;
        ended.with_context(|| format!("{} doesn't end", step.load))???;
        load.task = None;
        let state = load.state.lock();
        if state.failed > step.failed_max {
            let first = state.sent.iter().find_map(|(message, fate)| match fate {
                Fate::Failed(error) => Some(format!("message {}: {error}", message.n)),
                _ => None,
            });
            bail!("{} messages of {} failed, first {}", state.failed, step.load, first.unwrap_or_default());
        }
        Ok(())
    }
}
