//! The start-up probe: does the store keep the promises that Towpath's data rests on?

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error as ObjectError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use towpath_env::Env;
use towpath_env::retry::{Failure, RetryPolicy, retry};

use crate::{StoreError, advice};

/// So many creators race for one object,
const RACERS: usize = 8;
/// so many times: a store that looks before it writes lets two of them win only now and then.
const RACES: usize = 4;
/// A request of the probe moves a few bytes: a store that takes longer is none to acknowledge records with.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For so long a store that is busy, or not up yet, is asked again.
const RETRY_TOTAL: Duration = Duration::from_secs(10);
/// What is put, and read back whole and in parts.
const BODY: &str = "towpath probe";

/// Checks that the store enforces put-if-absent (one after the other, and in races), that it gives ranges of an
/// object, that it shows at once what was written and what was deleted, and that its listing does. Leaves nothing
/// behind. A store that does not answer is asked again for ten seconds.
///
/// `s3rver`, for one, answers success to every put whatever its condition: it is refused here.
///
/// # Errors
/// The rule that the store breaks, or the request that it does not answer.
pub async fn probe(store: &Arc<dyn ObjectStore>, env: &Env) -> Result<(), StoreError> {
    retry(env, RetryPolicy::within(RETRY_TOTAL), || async {
        probe_once(store, env).await.map_err(|error| match &error {
            StoreError::Request { answer, .. } if advice::may_pass(answer) => Failure::Transient(error),
            _ => Failure::Permanent(error),
        })
    })
    .await
}

/// Under names of its own: nothing of an attempt before can be in the way.
async fn probe_once(store: &Arc<dyn ObjectStore>, env: &Env) -> Result<(), StoreError> {
    let folder = Path::from(format!("probe/{}", env.uuid().simple()));
    let single = folder.clone().join("single");
    let raced = (0..RACES).map(|race| folder.clone().join(format!("raced-{race}"))).collect::<Vec<_>>();
    let verdict = async {
        creates_once(store, &single).await?;
        shows_at_once(store, &folder, &single).await?;
        gives_ranges(store, &single).await?;
        // All at once: a store that takes long to decide a race makes a start wait for one.
        let races = raced.iter().map(|path| has_one_winner(store, path));
        let decided = futures::future::try_join_all(races).await?.contains(&true);
        if !decided {
            return Err(ignores(&format!(
                "in {RACES} races for one object none of {RACERS} puts-if-absent won"
            )));
        }
        forgets_at_once(store, &folder, &single).await
    }
    .await;
    for path in raced.iter().chain([&single]) {
        // Best effort: what is left of a probe is under `probe/` and means nothing.
        let _ = within("delete", path, store.delete(path)).await;
    }
    verdict
}

async fn creates_once(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(), StoreError> {
    match create(store, path, BODY).await {
        Ok(true) => {}
        Ok(false) => {
            let source = "it says of a name just made that it exists".into();
            return Err(failed(
                "create",
                path,
                ObjectError::AlreadyExists { path: path.to_string(), source },
            ));
        }
        Err(StoreError::Request {
            answer: ObjectError::NotImplemented { .. } | ObjectError::NotSupported { .. },
            ..
        }) => return Err(ignores("it does not know put-if-absent")),
        Err(error) => return Err(error),
    }
    if create(store, path, "another body").await? {
        return Err(ignores("it let a put-if-absent replace an object that exists"));
    }
    if read(store, path).await? != BODY {
        return Err(ignores("it refused a put-if-absent and replaced the object all the same"));
    }
    Ok(())
}

async fn shows_at_once(store: &Arc<dyn ObjectStore>, folder: &Path, path: &Path) -> Result<(), StoreError> {
    if !list(store, folder).await?.contains(path) {
        return Err(lags("its listing does not show an object that was just written"));
    }
    let head = within("look for", path, store.head(path)).await?;
    if head.size != BODY.len() as u64 {
        return Err(lags("it reports another size than was written"));
    }
    let missing = folder.clone().join("never-written");
    match within("read the missing", &missing, store.get(&missing)).await {
        Err(StoreError::Request { answer: ObjectError::NotFound { .. }, .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(lags("it gives an object that was never written")),
    }
}

/// The footer of a segment is found by its distance from the end, and its pages by their places.
async fn gives_ranges(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(), StoreError> {
    let end = BODY.len() as u64;
    let asked: [(GetRange, Range<usize>); 3] = [
        (GetRange::Bounded(8..11), 8..11),
        (GetRange::Suffix(5), BODY.len() - 5..BODY.len()),
        // More than there is: the whole of a small segment.
        (GetRange::Suffix(end * 2), 0..BODY.len()),
    ];
    for (range, expected) in asked {
        let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
        let get = async { store.get_opts(path, options).await?.bytes().await };
        match within("read a range of", path, get).await {
            Ok(bytes) if bytes == BODY[expected] => {}
            Ok(bytes) => {
                return Err(misplaces(&format!("{range} of an object gave {} other bytes", bytes.len())));
            }
            Err(StoreError::Request { answer, .. }) if !advice::may_pass(&answer) => {
                return Err(misplaces(&format!("{range} of an object: {}", advice::words(&answer))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the race was decided: where several puts meet, a store may tell all of them to try again.
async fn has_one_winner(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<bool, StoreError> {
    let names = (0..RACERS).map(|racer| format!("racer {racer}")).collect::<Vec<_>>();
    let puts = names.iter().map(|name| create(store, path, name));
    let outcomes = futures::future::try_join_all(puts).await?;
    let winners =
        names.iter().zip(outcomes).filter(|(_, won)| *won).map(|(name, _)| name).collect::<Vec<_>>();
    match winners[..] {
        [] => Ok(false),
        [winner] if read(store, path).await? == winner.as_str() => Ok(true),
        [_] => Err(ignores("of several puts-if-absent it kept another than the one that succeeded")),
        _ => {
            let rule = format!("of {RACERS} puts-if-absent of one object {} succeeded", winners.len());
            Err(ignores(&rule))
        }
    }
}

async fn forgets_at_once(store: &Arc<dyn ObjectStore>, folder: &Path, path: &Path) -> Result<(), StoreError> {
    within("delete", path, store.delete(path)).await?;
    match within("read the deleted", path, store.get(path)).await {
        Err(StoreError::Request { answer: ObjectError::NotFound { .. }, .. }) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(lags("it gives an object that was just deleted")),
    }
    if list(store, folder).await?.contains(path) {
        return Err(lags("its listing shows an object that was just deleted"));
    }
    Ok(())
}

/// Whether the put-if-absent created the object.
async fn create(store: &Arc<dyn ObjectStore>, path: &Path, body: &str) -> Result<bool, StoreError> {
    let payload = PutPayload::from_bytes(Bytes::copy_from_slice(body.as_bytes()));
    match within("create", path, store.put_opts(path, payload, PutMode::Create.into())).await {
        Ok(_) => Ok(true),
        Err(StoreError::Request {
            answer: ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. },
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Bytes, StoreError> {
    within("read", path, async { store.get(path).await?.bytes().await }).await
}

async fn list(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<Vec<Path>, StoreError> {
    let listed = store.list(Some(folder)).map_ok(|object| object.location).try_collect();
    within("list", folder, listed).await
}

/// One request, in its time.
async fn within<T>(
    action: &'static str,
    path: &Path,
    request: impl Future<Output = Result<T, ObjectError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|answer| failed(action, path, answer)),
        Err(_) => {
            let timeout_ms = REQUEST_TIMEOUT.as_millis() as u64;
            Err(StoreError::Silent { action, path: path.to_string(), timeout_ms })
        }
    }
}

fn failed(action: &'static str, path: &Path, answer: ObjectError) -> StoreError {
    StoreError::Request { action, path: path.to_string(), answer }
}

fn ignores(rule: &str) -> StoreError {
    StoreError::Unfit {
        rule: rule.to_owned(),
        need: "enforces put-if-absent (If-None-Match: *), as Amazon S3, MinIO, SeaweedFS and file:// do",
    }
}

fn misplaces(rule: &str) -> StoreError {
    StoreError::Unfit {
        rule: rule.to_owned(),
        need: "gives ranges of an object by place and by distance from the end (Range: bytes=-N), as Amazon S3 does",
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

    #[tokio::test(start_paused = true)]
    async fn a_store_that_looks_before_it_writes_is_refused() {
        let delay_max = Duration::from_millis(5);
        let faults = Faults { looks_before_it_writes: true, delay_max, ..Faults::NONE };
        let env = Env::seeded(3, 0);
        let store: Arc<dyn ObjectStore> = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), faults);
        let error = probe(&store, &env).await.unwrap_err();
        assert!(error.to_string().contains("puts-if-absent of one object"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_ignores_ranges_is_refused() {
        let faults = Faults { ignores_ranges: true, ..Faults::NONE };
        let store: Arc<dyn ObjectStore> = FaultyStore::new(Arc::new(InMemory::new()), Env::real(), faults);
        let error = probe(&store, &Env::real()).await.unwrap_err();
        assert!(error.to_string().contains("gives ranges of an object"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_busy_for_a_while_passes() {
        let env = Env::seeded(3, 0);
        let store = FaultyStore::new(
            Arc::new(InMemory::new()),
            env.clone(),
            Faults { refusals: 1_000, ..Faults::NONE },
        );
        let calm = async {
            env.sleep(Duration::from_secs(3)).await;
            store.set_faults(Faults::NONE);
        };
        let asked: Arc<dyn ObjectStore> = store.clone();
        let (verdict, ()) = tokio::join!(probe(&asked, &env), calm);
        verdict.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_is_told_after_its_time() {
        let env = Env::seeded(3, 0);
        let store: Arc<dyn ObjectStore> = FaultyStore::new(
            Arc::new(InMemory::new()),
            env.clone(),
            Faults { silences: 1_000, ..Faults::NONE },
        );
        let error = probe(&store, &env).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 10000 ms"), "{error}");
        // The question and the clean-up, each within its time.
        assert!(env.elapsed() < REQUEST_TIMEOUT * (2 + RACES as u32) + Duration::from_secs(1));
    }
}
