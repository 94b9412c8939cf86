//! Whether this service may act. It may until another one opens the journal; then never again.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::LinkerError;

/// A service's right to act. Cheap to clone; lost once, for good.
#[derive(Clone, Default)]
pub struct Standing {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    lost: CancellationToken,
    successor: OnceLock<String>,
    suspected: Notify,
}

impl Standing {
    /// Whether this service may still act.
    ///
    /// # Errors
    /// [`LinkerError::Superseded`], naming who acts now.
    pub fn check(&self) -> Result<(), LinkerError> {
        match self.inner.successor.get() {
            Some(by) => Err(LinkerError::Superseded { by: by.clone() }),
            None => Ok(()),
        }
    }

    /// Resolves when the right is lost; never, while it is not.
    pub async fn lost(&self) {
        self.inner.lost.cancelled().await;
    }

    /// `by` acts from now on. Whoever was named first stays named.
    pub(super) fn lose(&self, by: String) -> LinkerError {
        let by = self.inner.successor.get_or_init(|| by).clone();
        self.inner.lost.cancel();
        LinkerError::Superseded { by }
    }

    /// Something looks as if another service acted: the journal is to be looked at now.
    pub fn suspect(&self) {
        self.inner.suspected.notify_one();
    }

    /// Resolves when somebody suspects so.
    pub async fn suspected(&self) {
        self.inner.suspected.notified().await;
    }
}
