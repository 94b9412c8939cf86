//! The groups of this broker, where they are found, and the tasks that serve them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;

use super::backing::{Backing, BrokerBacking, Write, partition_of};
use super::cell::Cell;
use super::classic::{ClassicGroup, Effects, Now, Timing};
use super::load::Loading;
use super::metrics::GroupMetrics;
use super::timers::Timers;
use super::{GroupConfig, RouteView, expire, load, route};
use crate::background::Background;
use crate::metadata::Metadata;
use crate::partition::Partitions;

/// How long a write may take before its client is told to try again (Kafka's `offsets.commit.timeout.ms`). Its
/// outcome is then unknown, as the code says: COORDINATOR_NOT_AVAILABLE.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Names travel as strings with an INT16 length in the coordinator's keys.
const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

/// All groups that this broker coordinates. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub config: GroupConfig,
    pub env: Env,
    pub backing: Box<dyn Backing>,
    pub metrics: GroupMetrics,
    pub timers: Timers,
    pub loading: Loading,
    pub stopping: CancellationToken,
    cells: RwLock<HashMap<String, Arc<Mutex<Cell>>>>,
    creating: tokio::sync::Mutex<()>,
    tasks: Background,
}

impl Groups {
    /// Begins to load `__consumer_offsets`, if it exists; until a group's partition is loaded its clients are told
    /// to wait (COORDINATOR_LOAD_IN_PROGRESS).
    pub fn open(
        partitions: Partitions,
        metadata: Metadata,
        config: GroupConfig,
        env: Env,
        registry: &Registry,
    ) -> Result<Groups, prometheus::Error> {
        let backing = BrokerBacking { partitions, metadata: metadata.clone(), env: env.clone() };
        let groups = Groups::with_backing(Box::new(backing), config, env, registry)?;
        let follow = expire::follow_topics(Arc::clone(&groups.inner), metadata);
        groups.inner.spawn("the follower of deleted topics", follow);
        Ok(groups)
    }

    pub(super) fn with_backing(
        backing: Box<dyn Backing>,
        config: GroupConfig,
        env: Env,
        registry: &Registry,
    ) -> Result<Groups, prometheus::Error> {
        let partitions = backing.partitions().unwrap_or(0);
        let inner = Arc::new(Inner {
            config,
            env,
            metrics: GroupMetrics::new(registry)?,
            timers: Timers::default(),
            loading: Loading::new(partitions),
            backing,
            stopping: CancellationToken::new(),
            cells: RwLock::new(HashMap::new()),
            creating: tokio::sync::Mutex::new(()),
            tasks: Background::new(),
        });
        inner.spawn("the loader of groups", load::load_all(Arc::clone(&inner), partitions));
        inner.spawn("the groups' timer", serve_timers(Arc::clone(&inner)));
        inner.spawn("the expiry of offsets", expire::expire_in_time(Arc::clone(&inner)));
        Ok(Groups { inner })
    }

    /// The route of `group`; `None` when it is an ordinary group or does not exist.
    pub fn route(&self, group: &str) -> Option<RouteView> {
        let cell = self.inner.find(group)?;
        let cell = cell.lock();
        let record = cell.route.as_ref()?;
        let route = route::name(record.route);
        Some(RouteView { link: record.link.clone(), route, attempt: record.attempt })
    }

    /// Answers every parked request with a retriable error and stops the timers.
    pub async fn close(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.ended().await;
    }

    /// Timers, expiry, loading.
    pub(crate) fn tasks(&self) -> &Background {
        &self.inner.tasks
    }
}

impl Inner {
    pub fn now(&self) -> Now {
        Now { mono_ms: self.env.elapsed().as_millis() as u64, wall_ms: self.env.now_ms() }
    }

    /// Runs a task until the broker stops.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// The partition of a group whose state is known; an error tells the client to wait or go away. Without
    /// `__consumer_offsets` there are no groups, which is known too.
    pub fn loaded(&self, group: &str) -> Result<i32, ResponseError> {
        if group.len() > GROUP_ID_BYTES_MAX {
            return Err(ResponseError::InvalidGroupId);
        }
        if self.stopping.is_cancelled() {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let Some(partitions) = self.backing.partitions() else { return Ok(0) };
        let partition = partition_of(group, partitions);
        if self.loading.is_loaded(partition) {
            Ok(partition)
        } else {
            Err(ResponseError::CoordinatorLoadInProgress)
        }
    }

    /// As [`Inner::loaded`], for those who will write: creates the topic on first use.
    pub async fn writable(&self, group: &str) -> Result<i32, ResponseError> {
        if self.backing.partitions().is_none() {
            let _one_at_a_time = self.creating.lock().await;
            let partitions = self.backing.create(self.config.offsets_partitions).await?;
            self.loading.created(partitions);
        }
        self.loaded(group)
    }

    /// The group, if it exists.
    pub fn find(&self, group: &str) -> Option<Arc<Mutex<Cell>>> {
        let cell = self.cells.read().get(group).cloned()?;
        if cell.lock().is_dead() {
            self.forget(group, &cell);
            return None;
        }
        Some(cell)
    }

    /// The group, made if it does not exist.
    pub fn find_or_create(&self, group: &str, partition: i32) -> Result<Arc<Mutex<Cell>>, ResponseError> {
        if let Some(cell) = self.find(group) {
            return Ok(cell);
        }
        let mut cells = self.cells.write();
        if let Some(cell) = cells.get(group).filter(|cell| !cell.lock().is_dead()) {
            return Ok(Arc::clone(cell));
        }
        if cells.len() >= self.config.groups_max {
            tracing::warn!(
                group,
                limit = self.config.groups_max,
                "too many groups; fix: raise groups.groups_max"
            );
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let classic = ClassicGroup::new(Timing::from(&self.config), self.now());
        let cell = Arc::new(Mutex::new(Cell::new(group, partition, classic)));
        cells.insert(group.to_owned(), Arc::clone(&cell));
        self.metrics.groups.set(cells.len() as i64);
        Ok(cell)
    }

    /// Takes in a group as it was loaded.
    pub fn install(&self, cell: Cell) {
        let (name, next_ms) = (cell.name.clone(), cell.classic.next_deadline_ms());
        let mut cells = self.cells.write();
        cells.insert(name.clone(), Arc::new(Mutex::new(cell)));
        self.metrics.groups.set(cells.len() as i64);
        drop(cells);
        if let Some(next_ms) = next_ms {
            self.timers.schedule(next_ms, &name);
        }
    }

    fn forget(&self, group: &str, dead: &Arc<Mutex<Cell>>) {
        let mut cells = self.cells.write();
        if cells.get(group).is_some_and(|cell| Arc::ptr_eq(cell, dead)) {
            cells.remove(group);
        }
        self.metrics.groups.set(cells.len() as i64);
    }

    /// All groups now.
    pub fn all(&self) -> Vec<Arc<Mutex<Cell>>> {
        self.cells.read().values().cloned().collect()
    }

    /// Changes a group under its lock and carries out what its machine wishes.
    pub fn change<T>(&self, cell: &Mutex<Cell>, change: impl FnOnce(&mut Cell, Now, &mut Effects) -> T) -> T {
        let now = self.now();
        let mut cell = cell.lock();
        let mut fx = Vec::new();
        let result = change(&mut cell, now, &mut fx);
        cell.carry_out(&*self.backing, now, fx);
        self.reschedule(&mut cell);
        result
    }

    fn reschedule(&self, cell: &mut Cell) {
        let Some(next_ms) = cell.classic.next_deadline_ms() else { return };
        if cell.timer_ms.is_none_or(|timer_ms| next_ms < timer_ms) {
            cell.timer_ms = Some(next_ms);
            self.timers.schedule(next_ms, &cell.name);
        }
    }

    /// Waits until what an answer rests on is durable.
    pub async fn durable(&self, write: Option<Write>) -> Result<(), ResponseError> {
        match write {
            None => Ok(()),
            Some(write) => {
                timeout(WRITE_TIMEOUT, write).await.unwrap_or(Err(ResponseError::CoordinatorNotAvailable))
            }
        }
    }
}

async fn serve_timers(inner: Arc<Inner>) {
    loop {
        let now_ms = inner.now().mono_ms;
        for group in inner.timers.due(now_ms) {
            let Some(cell) = inner.find(&group) else { continue };
            inner.change(&cell, |cell, now, fx| {
                cell.timer_ms = None;
                cell.classic.on_time(now, fx);
            });
        }
        inner.timers.wait(inner.now().mono_ms).await;
    }
}
