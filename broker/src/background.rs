//! The broker's background tasks. One that panics can't be gone on without (nothing would be uploaded any more, no
//! timer would ring): the broker is told to stop, and what it acknowledged is safe in its WAL.

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use towpath_env::panic::caught;

/// A background task ended in a panic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bug: {task} panicked: {why}; fix: start the broker again, and report this with its log")]
pub struct Panicked {
    /// Which task.
    pub task: &'static str,
    /// What the panic said.
    pub why: String,
}

/// Background tasks with one owner. Cheap to clone.
#[derive(Clone)]
pub struct Background {
    tasks: TaskTracker,
    panicked: watch::Sender<Option<Panicked>>,
}

impl Background {
    /// No task yet.
    pub fn new() -> Background {
        Background { tasks: TaskTracker::new(), panicked: watch::Sender::new(None) }
    }

    /// Runs a task; `name` is what is told if it panics.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let panicked = self.panicked.clone();
        self.tasks.spawn(async move {
            // Nobody looks at what it left half done: the broker stops.
            if let Err(why) = caught(task).await {
                let panic = Panicked { task: name, why };
                tracing::error!("{panic}");
                panicked.send_if_modified(|first| first.is_none() && first.replace(panic).is_none());
            }
        });
    }

    /// Resolves when a task has panicked; never, while none has.
    pub async fn panicked(&self) -> Panicked {
        let mut panicked = self.panicked.subscribe();
        let seen = panicked.wait_for(Option::is_some).await.ok().and_then(|first| first.clone());
        match seen {
            Some(panicked) => panicked,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Waits until every task has ended; it is not this that asks them to.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_panic_is_told_and_the_other_tasks_go_on() {
        let background = Background::new();
        let (done, told) = tokio::sync::oneshot::channel();
        background.spawn("the uploader", async { panic!("{} bytes missing", 7) });
        assert_eq!(background.panicked().await.why, "7 bytes missing");
        background.spawn("another", async { panic!("too late") });
        background.spawn("a third", async move { done.send(()).unwrap() });
        told.await.unwrap();
        background.ended().await;
        let told = background.panicked().await.to_string();
        assert!(told.starts_with("bug: the uploader panicked: 7 bytes missing; fix: "), "{told}");
    }
}
