//! One side's reader: a librdkafka consumer on a thread of its own that does one job after the other.
//!
//! The consumer stays connected between jobs, with nothing assigned: an idle reader costs nothing, and a job begins
//! with a fetch on an open connection. The thread keeps hashing away from the tasks that move the mirror.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;
use towpath_env::Env;
use towpath_wire::client::TopicPartition;

use super::client::{self, Quiet};
use super::session::Session;
use crate::cluster::Cluster;
use crate::error::{LinkerError, Side};

/// How often an idle reader looks whether librdkafka has something to say.
const IDLE_LOOK: Duration = Duration::from_secs(5);

/// Offsets `[from, to)` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which partition.
    pub id: TopicPartition,
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
}

/// Why a job did not get to its end.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It was asked to stop.
    Stopped,
    /// The side no longer holds an offset that was asked for.
    OutOfRange,
    /// A cluster failed, or answered what no retry mends.
    Failed(LinkerError),
}

impl ReadError {
    pub(super) fn into_error(self, side: Side) -> LinkerError {
        match self {
            ReadError::Failed(error) => error,
            ReadError::Stopped => LinkerError::refused("the diff was stopped", "start it again"),
            ReadError::OutOfRange => LinkerError::Answer {
                side,
                problem: "an offset was deleted while the diff read it".into(),
                fix: "try again: what expired is left out then".into(),
            },
        }
    }
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// One side's reader.
pub(super) struct Reader {
    pub(super) side: Side,
    jobs: mpsc::Sender<Job>,
}

impl Reader {
    /// Makes the consumer and its thread; connects in the background. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// librdkafka refuses the configuration, or the machine gives no thread.
    pub(super) fn open(cluster: &Cluster, side: Side, env: &Env) -> Result<Reader, LinkerError> {
        let consumer: BaseConsumer<Quiet> = client::settings(&cluster.config, side)?
            .create_with_context(Quiet::new(side))
            .map_err(|error| LinkerError::Config {
                place: format!("cluster {}", cluster.name),
                problem: format!("librdkafka refuses its settings: {error}"),
                fix: "correct the cluster's `security:` in the service's file".into(),
            })?;
        let mut session = Session {
            side,
            env: env.clone(),
            runtime: tokio::runtime::Handle::current(),
            client: cluster.client.clone(),
            consumer,
            paused: RefCell::default(),
        };
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = move || {
            loop {
                match queue.recv_timeout(IDLE_LOOK) {
                    Ok(job) => job(&mut session),
                    Err(mpsc::RecvTimeoutError::Timeout) => session.listen(),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new()
            .name(format!("diff-{side}"))
            .spawn(thread)
            .map_err(|error| LinkerError::Bug(format!("no thread for the diff's {side} reader: {error}")))?;
        Ok(Reader { side, jobs })
    }

    /// Does `job` on the reader's thread, after those before it.
    ///
    /// # Errors
    /// What the job says; a bug when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, answered) = oneshot::channel();
        let side = self.side;
        let guarded = move |session: &mut Session| {
            // librdkafka's bindings panic over what they cannot represent, a header name that is not UTF-8.
            let result = catch_unwind(AssertUnwindSafe(|| job(session))).unwrap_or_else(|_| {
                Err(ReadError::Failed(LinkerError::Answer {
                    side,
                    problem: "a record cannot be represented by the diff's reader (a header name that is not UTF-8?)"
                        .into(),
                    fix: "look at the record behind the offset that `towpath diff` has compared through".into(),
                }))
            });
            // An error says that nobody waits any more: the job was given up.
            let _ = answer.send(result);
            session.release();
        };
        let gone = || ReadError::Failed(LinkerError::Bug(format!("the diff's {side} reader is gone")));
        self.jobs.send(Box::new(guarded)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl From<LinkerError> for ReadError {
    fn from(error: LinkerError) -> ReadError {
        ReadError::Failed(error)
    }
}
