//! Waiting on conditions: every wait has a deadline and says what it waited for.

use std::time::Duration;

use anyhow::{Result, bail};
use towpath_env::Env;

/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);

/// Looks until `check` gives a value.
///
/// # Errors
/// When `check` fails, or when `limit` is over: then the error says `what` was waited for.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let env = Env::real();
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if env.elapsed() >= limit {
            bail!("waited {} ms in vain for {what}", limit.as_millis());
        }
        env.sleep(POLL).await;
    }
}
