//! The object WAL: slots in the store, each created by put-if-absent (DESIGN §5.1).
//!
//! ```text
//! wal/NODE/EPOCH/SLOT     records … records  fence ─▶ wal/NODE/NEXT EPOCH/SLOT+1  records …
//! ```
//!
//! - **Order.** Several puts may be in flight; acknowledged is strictly in the order of slots.
//! - **Losses.** A slot says which records were durable when it was put. So a slot that somebody deleted is not taken
//!   for the end: the start is refused, or, if the loss is accepted, says what is lost and goes on behind it (`behind`).
//! - **Unknown outcomes.** A put that was not answered well is read back: the nonce tells whose slot it is. Nothing
//!   there is no failure; the same bytes are put again.
//! - **Fencing.** A broker that comes up under the same id registers itself first, which voids what its predecessor
//!   writes to the metadata from then on. Then it walks the slots, and at the first gap creates a fence that names
//!   its own epoch. Slots beyond a fence are void. So the predecessor's next put fails, and a crash at any point of
//!   the walk changes nothing.
//! - **Lease.** Answers from state need a proof that nobody had taken over: a put in order, or a slot not there yet.
//!   A successor waits until the last possible one has run out.
//! - **Collecting.** Put-if-absent protects only slots that still exist. So fences are never deleted, slots only a
//!   grace after the metadata gave them up, and a proof counts only within half a grace after the one before;
//!   otherwise the metadata is asked whether this registration is still the newest.
//!
//! Slots are not merged into larger objects: segments go up from memory, which needs no GET.

mod behind;
mod collect;
mod guard;
mod held;
mod recover;
mod slot;
mod slots;
mod writer;

#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_env::panic::caught;
use uuid::Uuid;

use self::collect::{Chain, Collector};
use self::guard::Guard;
pub(super) use self::held::Held;
use self::recover::walk;
use self::slots::Slots;
use self::writer::Writer;
use super::lease::Lease;
use super::queue::Shared;
use super::{Replayed, Wal, WalError, WalOpenError};
use crate::background::Background;
use crate::metadata::WalPosition;
use crate::storage::metrics::WalMetrics;

/// Under which registration a broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its epoch, raised by every registration of the same broker id.
    pub epoch: i64,
    /// Where it tells clients to connect to.
    pub address: String,
}

/// Asks the metadata, to the end of its log, for the newest registration of this broker's id.
pub type AskNewest = Arc<dyn Fn() -> BoxFuture<'static, Result<Registration, String>> + Send + Sync>;

/// What an object WAL is opened with.
pub struct ObjectWalSettings {
    /// Whose WAL.
    pub node_id: i32,
    /// Its id, as the store names it.
    pub wal_id: Uuid,
    /// Where it begins, as the store says.
    pub position: WalPosition,
    /// Records below this sequence number are in segments.
    pub trimmed_to: u64,
    /// Records below this sequence number were durable when the last upload was committed.
    pub known_below: u64,
    /// Goes on behind a slot that is damaged or gone, giving up what it held.
    pub accept_loss: bool,
    /// The registration of this broker.
    pub own: Registration,
    /// Says whether it is still the newest.
    pub newest: AskNewest,
    /// The bounds.
    pub bounds: ObjectWalBounds,
}

/// The bounds of an object WAL, as in [`crate::storage::StorageConfig`].
#[derive(Clone, Copy, Debug)]
pub struct ObjectWalBounds {
    /// Most bytes of records in one slot.
    pub group_bytes_max: usize,
    /// Slots in flight.
    pub puts_inflight_max: usize,
    /// While puts are in flight, the next begins no sooner after the one before, unless a group is full.
    pub flush_interval: Duration,
    /// One request takes no longer.
    pub request_timeout: Duration,
    /// How long answers may be given after a proof.
    pub lease: Duration,
    /// How long slots stay that nobody needs any more.
    pub delete_grace: Duration,
}

/// What an object WAL has besides its queue.
pub(super) struct Object {
    held: Arc<Mutex<Held>>,
    /// The lease of a predecessor that did not close has run out then.
    serve_from: Duration,
    #[cfg_attr(not(test), expect(dead_code, reason = "only a test kills it"))]
    writer: AbortHandle,
    /// Ends what runs beside the writer.
    ended: CancellationToken,
}

impl Wal {
    /// Opens the WAL of a broker in the store: fences whoever wrote it before, and gives its records from
    /// `trimmed_to` on, in order.
    pub async fn open_object(
        store: Arc<dyn ObjectStore>,
        settings: ObjectWalSettings,
        env: Env,
        metrics: WalMetrics,
    ) -> Result<(Wal, Vec<Replayed>), WalOpenError> {
        let ObjectWalSettings { wal_id, bounds, node_id, .. } = settings;
        let slots =
            Slots::new(store, (node_id, wal_id), bounds.request_timeout, (env.clone(), metrics.clone()));
        let slots = Arc::new(slots);
        let walked = walk(&slots, &settings).await?;
        let lease = Lease::new(bounds.lease, env.clone(), metrics.clone());
        let shared = Arc::new(Shared::new(walked.next_sequence, env, metrics));
        let first_slot = walked.first_slot;
        let guard = Guard::new((slots.clone(), shared.clone()), &settings, lease.clone(), first_slot);
        // The walk took its time: whoever came up meanwhile may have collected what it should have found.
        let began = slots.env.elapsed();
        let newest = tokio::time::timeout(recover::PATIENCE, guard.still_newest()).await;
        let silent = |_| slots.gave_up(began, "get", "the newest registration");
        newest.map_err(silent)?.map_err(WalOpenError::Superseded)?;
        let guard = Arc::new(guard);
        let own = WalPosition { epoch: settings.own.epoch, slot: first_slot, ..guard.position() };
        let held = Arc::new(Mutex::new(Held::new(walked.held, own)));
        let (collector, trimmed) =
            Collector::new(slots.clone(), bounds.delete_grace, walked.chain, settings.position);
        let writer = Writer::new(
            (shared.clone(), slots),
            guard.clone(),
            (held.clone(), trimmed),
            &settings,
            first_slot,
        );
        let (ended, tasks) = (CancellationToken::new(), Background::new());
        let writer = tokio::spawn(run(writer, shared.clone(), lease.clone(), ended.clone()));
        let until_ended = |task| ended.clone().run_until_cancelled_owned(task).map(drop);
        tasks.spawn("the keeper of the WAL's lease", until_ended(guard.keep_lease().boxed()));
        tasks.spawn("the collector of the WAL", until_ended(collector.run().boxed()));
        let object = Object { held, serve_from: walked.serve_from, writer: writer.abort_handle(), ended };
        Ok((Wal { shared, wal_id, lease, object: Some(object), tasks }, walked.records))
    }

    /// Resolves once the lease of a predecessor that was fenced has run out: until then it may still answer.
    pub async fn ready(&self) {
        if let Some(object) = &self.object {
            let env = &self.shared.env;
            env.sleep(object.serve_from.saturating_sub(env.elapsed())).await;
        }
    }

    /// Where a reader of an object WAL begins once records below this sequence number are in segments. All of them
    /// must be durable here.
    pub fn position(&self, below: u64) -> Option<WalPosition> {
        self.object.as_ref().map(|object| object.held.lock().position(below))
    }

    /// The process dies.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        if let Some(object) = &self.object {
            object.writer.abort();
            object.ended.cancel();
        }
        self.lease.revoke();
    }
}

/// Fences whoever writes an object WAL and waits until it answers nobody; how many records it holds that are in no
/// segment. For a broker that gives the WAL up.
pub async fn fence_object_wal(
    (store, env, metrics): (Arc<dyn ObjectStore>, Env, WalMetrics),
    settings: ObjectWalSettings,
) -> Result<usize, WalOpenError> {
    let ObjectWalSettings { wal_id, bounds, node_id, .. } = settings;
    let slots = Slots::new(store, (node_id, wal_id), bounds.request_timeout, (env.clone(), metrics));
    let walked = walk(&slots, &settings).await?;
    env.sleep(walked.serve_from.saturating_sub(env.elapsed())).await;
    Ok(walked.records.len())
}

/// Deletes, a grace from now, all that is left of object WALs that this broker had before this epoch, but for fences.
/// For a broker that has a disk WAL now.
pub async fn collect_object_wal(
    (store, env, metrics): (Arc<dyn ObjectStore>, Env, WalMetrics),
    (node_id, epoch): (i32, i64),
    (request_timeout, grace): (Duration, Duration),
) {
    env.sleep(grace).await;
    let slots = Arc::new(Slots::new(store, (node_id, Uuid::nil()), request_timeout, (env, metrics)));
    // Every epoch before lies before the beginning of a WAL that there is not.
    let chain = Chain { own: (epoch, 0), ..Chain::default() };
    let (collector, _) = Collector::new(slots, Duration::ZERO, chain, WalPosition::default());
    collector.run().await;
}

impl Drop for Object {
    fn drop(&mut self) {
        // The writer ends by itself, once what is queued is durable.
        self.ended.cancel();
    }
}

/// A writer that panics leaves records that nobody will make durable: the WAL has failed for good.
async fn run(writer: Writer, shared: Arc<Shared>, lease: Lease, ended: CancellationToken) {
    if let Err(why) = caught(writer.run()).await {
        let error = WalError::bug(format!("its writer panicked: {why}"));
        shared.fail(&error, std::collections::VecDeque::new());
    }
    lease.revoke();
    ended.cancel();
}
