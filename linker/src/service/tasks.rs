//! Tasks that end when they are told to: asked first, and dropped where they stand when that takes too long. To be
//! dropped at an await is to be killed there: what it was about goes on from the journal. A task that panics is told: the
//! service must stop, as if it had been killed there.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_env::Env;
use towpath_env::panic::caught;

/// How long tasks may take to end by themselves. What they wait for may be a cluster that does not answer.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The tasks of a service, or of one family of it.
pub(super) struct Tasks {
    stop: CancellationToken,
    cut: CancellationToken,
    tracker: TaskTracker,
    panicked: watch::Sender<Option<String>>,
}

impl Tasks {
    /// No task yet.
    pub(super) fn new() -> Tasks {
        Tasks {
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tracker: TaskTracker::new(),
            panicked: watch::Sender::new(None),
        }
    }

    /// Tasks that end with these, or before them.
    pub(super) fn child(&self) -> Tasks {
        Tasks {
            stop: self.stop.child_token(),
            cut: self.cut.child_token(),
            tracker: TaskTracker::new(),
            panicked: self.panicked.clone(),
        }
    }

    /// Cancelled when they are asked to end.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Adds a task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_or(task, || ());
    }

    /// Resolves when one of these tasks, or of their children, has panicked: with what the panic says.
    pub(super) async fn panicked(&self) -> String {
        let mut panicked = self.panicked.subscribe();
        let seen = panicked.wait_for(Option::is_some).await.ok().and_then(|first| first.clone());
        match seen {
            Some(why) => why,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Adds a task; when it is dropped half-way, or panics, `cut_short` follows.
    pub(super) fn spawn_or(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        cut_short: impl FnOnce() + Send + 'static,
    ) {
        let (cut, panicked) = (self.cut.clone(), self.panicked.clone());
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => cut_short(),
                ended = caught(task) => if let Err(why) = ended {
                    tracing::error!(why, "a task of the linking service panicked");
                    panicked.send_if_modified(|first| first.is_none() && first.replace(why).is_none());
                    cut_short();
                }
            }
        });
    }

    /// Asks all to end, and drops those that still run after `grace`.
    pub(super) async fn end(&self, env: &Env, grace: Duration) {
        self.stop.cancel();
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return,
            () = env.sleep(grace) => {}
        }
        self.cut.cancel();
        self.tracker.wait().await;
    }

    /// Drops all at once.
    pub(super) fn cut(&self) {
        self.stop.cancel();
        self.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_when_asked_is_dropped_after_the_grace() {
        let env = Env::seeded(1, 0);
        let service = Tasks::new();
        let family = service.child();
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let stop = family.stop().clone();
        let willing = told.clone();
        family.spawn_or(
            async move {
                stop.cancelled().await;
                willing.send("ended by itself").unwrap();
            },
            || panic!("it was not dropped"),
        );
        family.spawn_or(std::future::pending(), move || told.send("dropped").unwrap());
        family.end(&env, GRACE).await;
        assert_eq!((heard.recv().await, heard.recv().await), (Some("ended by itself"), Some("dropped")));
        assert_eq!(env.elapsed(), GRACE);
        // The other families' tasks go on.
        assert!(!service.stop().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_any_familys_task_is_told_to_the_service() {
        let service = Tasks::new();
        let family = service.child();
        let (told, heard) = tokio::sync::oneshot::channel();
        family.spawn_or(async { panic!("on purpose") }, move || told.send(()).unwrap());
        assert_eq!(service.panicked().await, "on purpose");
        heard.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn cutting_drops_the_tasks_of_every_family_at_once() {
        let env = Env::seeded(1, 0);
        let service = Tasks::new();
        let family = service.child();
        family.spawn(std::future::pending());
        service.cut();
        family.end(&env, GRACE).await;
        assert_eq!(env.elapsed(), Duration::ZERO);
    }
}
