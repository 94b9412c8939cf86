//! The secret behind a family's pseudonyms: 32 random bytes in an object of their own, `evidence-secrets/FAMILY`.
//!
//! In the store and not in the service's folder, because the folder may be lost and the same key must keep its name
//! for years. Beside the chains and not in them, because chains are for ever and the secret must be destroyable:
//! when the object is deleted, the pseudonyms in all bundles mean nothing any more.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use towpath_env::Env;
use towpath_env::retry::{Failure, RetryPolicy, retry};
use towpath_plans::evidence::Pseudonyms;

use crate::error::LinkerError;

/// Folder of the secrets in the store.
const FOLDER: &str = "evidence-secrets";
/// For so long failed requests are repeated.
const PATIENCE: Duration = Duration::from_secs(30);
/// No single request takes longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The pseudonyms of a family, and whether their secret was made just now.
pub(super) async fn pseudonyms(
    store: &dyn ObjectStore,
    family: &str,
    env: &Env,
) -> Result<(Pseudonyms, bool), LinkerError> {
    let path = Path::from(format!("{FOLDER}/{family}"));
    let mut made = [0; 32];
    env.fill(&mut made);
    let made = Bytes::copy_from_slice(&made);
    let found = retry(env, RetryPolicy::within(PATIENCE), || read_or_create(store, &path, &made)).await;
    let secret = found.map_err(|problem| LinkerError::Config {
        place: format!("object {path} in the store"),
        problem,
        fix: "make the store answer and writable for this service; restore the object if it was damaged"
            .into(),
    })?;
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&secret);
    Ok((Pseudonyms::new(bytes), secret == made))
}

/// Whatever a put led to, what stands in the object is the secret.
async fn read_or_create(
    store: &dyn ObjectStore,
    path: &Path,
    made: &Bytes,
) -> Result<Bytes, Failure<String>> {
    let transient = |error: Error| Failure::Transient(error.to_string());
    let silent = |_| Failure::Transient(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
    let read = async { store.get(path).await?.bytes().await };
    match tokio::time::timeout(REQUEST_TIMEOUT, read).await.map_err(silent)? {
        Ok(secret) if secret.len() == 32 => return Ok(secret),
        Ok(other) => return Err(Failure::Permanent(format!("it holds {} bytes and not 32", other.len()))),
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(transient(error)),
    }
    let put = store.put_opts(path, made.clone().into(), PutMode::Create.into());
    match tokio::time::timeout(REQUEST_TIMEOUT, put).await.map_err(silent)? {
        Ok(_) => Ok(made.clone()),
        // Someone else's, or one's own whose answer was lost: the next attempt reads it.
        Err(error) => Err(transient(error)),
    }
}
