//! One group with everything that belongs to it, and the way from the machine's wishes to the log and to the
//! waiting requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use tokio::sync::{Notify, oneshot};
use towpath_wire::private::Route;

use super::backing::{Backing, Write};
use super::classic::{ClassicGroup, Effect, Effects, JoinAnswer, Now, State, SyncAnswer, Token};
use super::records::{OffsetRecord, Record, RouteRecord};

/// An answer, and the write that must be durable before it leaves.
pub(super) type Reply<T> = (T, Option<Write>);

/// One group. What survives a crash of it: `offsets`, `route`, and the record of `classic`.
pub(super) struct Cell {
    pub name: String,
    /// Partition of `__consumer_offsets`.
    pub partition: i32,
    pub classic: ClassicGroup,
    /// topic → partition → position.
    pub offsets: BTreeMap<String, BTreeMap<i32, OffsetRecord>>,
    pub route: Option<RouteRecord>,
    /// Its metadata was written once, so that its end must be too.
    pub is_written: bool,
    /// Connection → monotonic ms at which its OffsetFetch was last held.
    pub fetchers: HashMap<u64, u64>,
    /// Wakes parked OffsetFetches when the route opens.
    pub opened: Arc<Notify>,
    /// The group's newest write: whatever is said about the group waits for it.
    pub last_write: Option<Write>,
    /// When the timer will look at it.
    pub timer_ms: Option<u64>,
    joins: HashMap<Token, oneshot::Sender<Reply<JoinAnswer>>>,
    syncs: HashMap<Token, oneshot::Sender<Reply<SyncAnswer>>>,
    tokens: u64,
}

impl Cell {
    pub fn new(name: &str, partition: i32, classic: ClassicGroup) -> Cell {
        Cell {
            name: name.to_owned(),
            partition,
            classic,
            offsets: BTreeMap::new(),
            route: None,
            is_written: false,
            fetchers: HashMap::new(),
            opened: Arc::new(Notify::new()),
            last_write: None,
            timer_ms: None,
            joins: HashMap::new(),
            syncs: HashMap::new(),
            tokens: 0,
        }
    }

    /// Deleted; look the name up again.
    pub fn is_dead(&self) -> bool {
        self.classic.state() == State::Dead
    }

    /// Whether the route keeps consumers out.
    pub fn is_held(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.route != Route::Target)
    }

    pub fn await_join(&mut self) -> (Token, oneshot::Receiver<Reply<JoinAnswer>>) {
        let (tx, rx) = oneshot::channel();
        let token = self.token();
        self.joins.insert(token, tx);
        (token, rx)
    }

    pub fn await_sync(&mut self) -> (Token, oneshot::Receiver<Reply<SyncAnswer>>) {
        let (tx, rx) = oneshot::channel();
        let token = self.token();
        self.syncs.insert(token, tx);
        (token, rx)
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Nobody waits for this join any more.
    pub fn forget_join(&mut self, token: Token) {
        self.joins.remove(&token);
    }

    /// Queues records as one batch.
    pub fn append(&mut self, backing: &dyn Backing, records: &[Record]) -> Result<(), ResponseError> {
        self.last_write = Some(backing.append(self.partition, records)?);
        Ok(())
    }

    /// The newest write, if it is still on its way.
    pub fn pending_write(&mut self) -> Option<Write> {
        if self.last_write.as_ref().is_some_and(|write| matches!(write.peek(), Some(Ok(())))) {
            self.last_write = None;
        }
        self.last_write.clone()
    }

    /// Carries out what the machine wished for.
    pub fn carry_out(&mut self, backing: &dyn Backing, now: Now, fx: Effects) {
        if fx.contains(&Effect::Persist)
            && let Err(error) = self.persist(backing)
        {
            let mut after = Vec::new();
            self.classic.persist_failed(now, &mut after);
            // Nobody may act on a generation that is not written.
            let refused = fx.into_iter().map(|effect| refuse(effect, error));
            self.answer(refused.chain(after).collect());
            return;
        }
        self.answer(fx);
    }

    fn persist(&mut self, backing: &dyn Backing) -> Result<(), ResponseError> {
        let Some(record) = self.classic.to_record() else { return Ok(()) };
        let record = Record::group(&self.name, Some(&record));
        self.append(backing, &[record])?;
        self.is_written = true;
        Ok(())
    }

    fn answer(&mut self, fx: Effects) {
        if fx.is_empty() {
            return;
        }
        let write = self.pending_write();
        for effect in fx {
            // A receiver that is gone belongs to a client that is gone.
            match effect {
                Effect::Persist => {}
                Effect::Join(token, answer) => {
                    if let Some(waiter) = self.joins.remove(&token) {
                        let _ = waiter.send((answer, write.clone()));
                    }
                }
                Effect::Sync(token, answer) => {
                    if let Some(waiter) = self.syncs.remove(&token) {
                        let _ = waiter.send((answer, write.clone()));
                    }
                }
            }
        }
    }
}

fn refuse(effect: Effect, error: ResponseError) -> Effect {
    match effect {
        Effect::Join(token, answer) if answer.error.is_none() => {
            Effect::Join(token, JoinAnswer::error(error, &answer.member_id))
        }
        Effect::Sync(token, answer) if answer.error.is_none() => {
            Effect::Sync(token, SyncAnswer::error(error))
        }
        other => other,
    }
}
