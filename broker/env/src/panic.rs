//! Panics, told instead of lost: a task that nobody waits for ends in silence.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs `task` to its end; what it shared with others and left half done is the caller's to give up.
///
/// # Errors
/// It panicked: what the panic says.
pub async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    let mut task = Box::pin(task);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(words(&*panic))),
        }
    })
    .await
}

/// What a panic says.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it does not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_ends_with_its_value_or_with_what_its_panic_says() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("{} bytes missing", 7)
        };
        assert_eq!(caught::<()>(late).await, Err("7 bytes missing".to_owned()));
        assert_eq!(caught::<()>(async { panic!("no") }).await, Err("no".to_owned()));
    }
}
