//! The start-up probe: does the store keep the promises that Towpath's data rests on?

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use towpath_env::Env;

use crate::StoreError;

/// So many creators race for one object.
const RACERS: usize = 8;

/// Checks that the store enforces put-if-absent (one after the other, and in a race), that it shows at once what
/// was written and what was deleted, and that its listing does. Leaves nothing behind.
///
/// `s3rver`, for one, answers success to every put whatever its condition: it is refused here.
pub async fn probe(store: &Arc<dyn ObjectStore>, env: &Env) -> Result<(), StoreError> {
    let folder = Path::from(format!("probe/{}", env.uuid().simple()));
    let (single, raced) = (folder.clone().join("single"), folder.clone().join("raced"));
    let verdict = async {
        creates_once(store, &single).await?;
        shows_at_once(store, &folder, &single).await?;
        has_one_winner(store, &raced).await?;
        forgets_at_once(store, &folder, &single).await
    }
    .await;
    for path in [single, raced] {
        // Best effort: what is left of a probe is under `probe/` and means nothing.
        let _ = store.delete(&path).await;
    }
    verdict
}

async fn creates_once(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(), StoreError> {
    match create(store, path, "first").await {
        Ok(()) => {}
        Err(ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. }) => {
            return Err(ignores("it does not know put-if-absent"));
        }
        Err(source) => return Err(failed("create", path, source)),
    }
    match create(store, path, "second").await {
        Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => {}
        Err(source) => return Err(failed("create again", path, source)),
        Ok(()) => return Err(ignores("it let a put-if-absent replace an object that exists")),
    }
    if read(store, path).await? != "first" {
        return Err(ignores("it refused a put-if-absent and replaced the object all the same"));
    }
    Ok(())
}

async fn shows_at_once(store: &Arc<dyn ObjectStore>, folder: &Path, path: &Path) -> Result<(), StoreError> {
    if !list(store, folder).await?.contains(path) {
        return Err(lags("its listing does not show an object that was just written"));
    }
    let head = store.head(path).await.map_err(|source| failed("look for", path, source))?;
    if head.size != 5 {
        return Err(lags("it reports another size than was written"));
    }
    let missing = folder.clone().join("never-written");
    match store.get(&missing).await {
        Err(ObjectError::NotFound { .. }) => Ok(()),
        Err(source) => Err(failed("read the missing", &missing, source)),
        Ok(_) => Err(lags("it gives an object that was never written")),
    }
}

async fn has_one_winner(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(), StoreError> {
    let names = (0..RACERS).map(|racer| format!("racer {racer}")).collect::<Vec<_>>();
    let puts = names.iter().map(|name| create(store, path, name));
    let outcomes = futures::future::join_all(puts).await;
    let mut winners = Vec::new();
    for (name, outcome) in names.iter().zip(outcomes) {
        match outcome {
            Ok(()) => winners.push(name),
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => {}
            Err(source) => return Err(failed("create in a race", path, source)),
        }
    }
    let [winner] = winners[..] else {
        return Err(ignores(&format!(
            "of {RACERS} puts-if-absent of one object {} succeeded",
            winners.len()
        )));
    };
    if read(store, path).await? != winner.as_str() {
        return Err(ignores("of several puts-if-absent it kept another than the one that succeeded"));
    }
    Ok(())
}

async fn forgets_at_once(store: &Arc<dyn ObjectStore>, folder: &Path, path: &Path) -> Result<(), StoreError> {
    store.delete(path).await.map_err(|source| failed("delete", path, source))?;
    match store.get(path).await {
        Err(ObjectError::NotFound { .. }) => {}
        Err(source) => return Err(failed("read the deleted", path, source)),
        Ok(_) => return Err(lags("it gives an object that was just deleted")),
    }
    if list(store, folder).await?.contains(path) {
        return Err(lags("its listing shows an object that was just deleted"));
    }
    Ok(())
}

async fn create(store: &Arc<dyn ObjectStore>, path: &Path, body: &str) -> Result<(), ObjectError> {
    let payload = PutPayload::from_bytes(Bytes::copy_from_slice(body.as_bytes()));
    store.put_opts(path, payload, PutMode::Create.into()).await.map(drop)
}

async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Bytes, StoreError> {
    let read = async { store.get(path).await?.bytes().await };
    read.await.map_err(|source| failed("read", path, source))
}

async fn list(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<Vec<Path>, StoreError> {
    let listed = store.list(Some(folder)).map_ok(|object| object.location).try_collect().await;
    listed.map_err(|source| failed("list", folder, source))
}

fn failed(action: &'static str, path: &Path, source: ObjectError) -> StoreError {
    StoreError::Request { action, path: path.to_string(), source }
}

fn ignores(rule: &str) -> StoreError {
    StoreError::Unfit {
        rule: rule.to_owned(),
        need: "enforces put-if-absent (If-None-Match: *), as Amazon S3, MinIO, SeaweedFS and file:// do",
    }
}

fn lags(rule: &str) -> StoreError {
    StoreError::Unfit {
        rule: rule.to_owned(),
        need: "shows every write and delete at once, in reads and in listings, as Amazon S3 does",
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::fault::{Faults, FaultyStore};

    #[tokio::test]
    async fn memory_and_folder_stores_pass_and_keep_no_trace_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["memory://".to_owned(), format!("file://{}", folder.path().display())] {
            let store = crate::open_store(&url).await.unwrap();
            probe(&store, &Env::real()).await.unwrap();
            assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn a_store_that_ignores_put_if_absent_is_refused_in_clear_words() {
        let faults = Faults { ignores_conditions: true, ..Faults::NONE };
        let store: Arc<dyn ObjectStore> = FaultyStore::new(Arc::new(InMemory::new()), Env::real(), faults);
        let error = probe(&store, &Env::real()).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Store);
        assert!(error.to_string().contains("put-if-absent"), "{error}");
    }

    #[tokio::test]
    async fn a_store_whose_listing_lags_is_refused() {
        let faults = Faults { hides_from_listings: true, ..Faults::NONE };
        let store: Arc<dyn ObjectStore> = FaultyStore::new(Arc::new(InMemory::new()), Env::real(), faults);
        let error = probe(&store, &Env::real()).await.unwrap_err();
        assert!(error.to_string().contains("listing"), "{error}");
    }

    /// Runs against any store: `TOWPATH_TEST_STORE=s3://bucket/prefix` with the usual AWS environment.
    #[tokio::test]
    async fn the_store_named_in_the_environment_passes_and_holds_a_log() {
        let Ok(url) = std::env::var("TOWPATH_TEST_STORE") else { return };
        let (store, env) = (crate::open_store(&url).await.unwrap(), Env::real());
        probe(&store, &env).await.unwrap();
        let prefix = format!("log-{}", env.uuid().simple());
        let one = crate::SharedLog::open(store.clone(), &prefix, env.clone()).await.unwrap();
        let two = crate::SharedLog::open(store, &prefix, env).await.unwrap();
        for number in 0..20_u64 {
            let log = if number.is_multiple_of(2) { &one } else { &two };
            assert_eq!(log.append(Bytes::from(number.to_string())).await.unwrap(), number);
        }
        assert_eq!(one.read_from(0).await.unwrap(), two.read_from(0).await.unwrap());
        one.checkpoint(10, Bytes::from_static(b"state")).await.unwrap();
        one.trim(10).await.unwrap();
        assert_eq!(two.latest_checkpoint().await.unwrap(), Some((10, Bytes::from_static(b"state"))));
    }
}
