//! Tasks that end when they are told to: asked first, and dropped where they stand when that takes too long. To be
//! dropped at an await is to be killed there: what it was about goes on from the journal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_env::Env;

/// How long tasks may take to end by themselves. What they wait for may be a cluster that does not answer.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The tasks of a service, or of one family of it.
pub(super) struct Tasks {
    stop: CancellationToken,
    cut: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// No task yet.
    pub(super) fn new() -> Tasks {
        Tasks { stop: CancellationToken::new(), cut: CancellationToken::new(), tracker: TaskTracker::new() }
    }

    /// Tasks that end with these, or before them.
    pub(super) fn child(&self) -> Tasks {
        Tasks { stop: self.stop.child_token(), cut: self.cut.child_token(), tracker: TaskTracker::new() }
    }

    /// Cancelled when they are asked to end.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Adds a task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_or(task, || ());
    }

    /// Adds a task; when it is dropped half-way, `cut_short` follows.
    pub(super) fn spawn_or(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        cut_short: impl FnOnce() + Send + 'static,
    ) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => cut_short(),
                () = task => {}
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
