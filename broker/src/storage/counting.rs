//! Every request of this process to the object store, counted: what it was for, what it did, how long it took.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use prometheus::{Gauge, HistogramVec, IntCounterVec, Registry};
use towpath_env::Env;

use super::metrics::Names;

/// S3 deletes so many objects with one request; other stores are counted as if they did.
const BULK_DELETE_MAX: usize = 1_000;
const GIB: f64 = (1_u64 << 30) as f64;

/// Requests to the object store, by `kind` (what for) and `verb`.
#[derive(Clone)]
pub struct ObjectMetrics {
    /// Requests begun.
    pub requests: IntCounterVec,
    /// Requests that failed. What is not there, or is there already, is an answer and no failure.
    pub failures: IntCounterVec,
    /// Bytes of objects sent and received.
    pub bytes: IntCounterVec,
    /// Until the answer: of a put the whole of it, of a get its beginning.
    pub seconds: HistogramVec,
    /// Requests per GiB that clients and links have written.
    pub per_gib_written: Gauge,
    total: Arc<AtomicU64>,
}

impl ObjectMetrics {
    /// Registers all of them.
    pub fn register(registry: &Registry) -> std::result::Result<ObjectMetrics, prometheus::Error> {
        let names = Names(registry);
        let labels = &["kind", "verb"];
        Ok(ObjectMetrics {
            requests: names.counters("object_requests_total", "Object store requests", labels)?,
            failures: names.counters("object_failures_total", "Failed object store requests", labels)?,
            bytes: names.counters("object_bytes_total", "Object store bytes", labels)?,
            seconds: names.seconds_by("object_request_seconds", "Object store requests", labels)?,
            per_gib_written: names
                .float("object_requests_per_gib_written", "Object store requests per GiB appended")?,
            total: Arc::default(),
        })
    }

    /// Works out [`ObjectMetrics::per_gib_written`]; called at each scrape.
    pub fn refresh(&self, appended_bytes: u64) {
        if appended_bytes > 0 {
            let requests = self.total.load(Ordering::Relaxed) as f64;
            self.per_gib_written.set(requests / (appended_bytes as f64 / GIB));
        }
    }

    /// The same store, counted.
    pub fn counted(&self, store: Arc<dyn ObjectStore>, env: Env) -> Arc<dyn ObjectStore> {
        Arc::new(CountingStore { inner: store, env, metrics: self.clone() })
    }

    fn asked(&self, labels: [&str; 2], requests: u64) {
        self.requests.with_label_values(&labels).inc_by(requests);
        self.total.fetch_add(requests, Ordering::Relaxed);
    }

    fn answered<T>(&self, labels: [&str; 2], result: &Result<T>, took: Duration, bytes: u64) {
        self.seconds.with_label_values(&labels).observe(took.as_secs_f64());
        match result {
            Ok(_) => self.bytes.with_label_values(&labels).inc_by(bytes),
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::NotModified { .. }) => {}
            Err(_) => self.failures.with_label_values(&labels).inc(),
        }
    }
}

struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    env: Env,
    metrics: ObjectMetrics,
}

/// What an object is for, by its folder.
fn kind_of(path: Option<&Path>) -> &'static str {
    match path.and_then(|path| path.as_ref().split('/').next()) {
        Some("segments") => "segment",
        Some("snapshots") => "snapshot",
        Some("metadata") => "metadata",
        Some("wal") => "wal",
        _ => "other",
    }
}

impl CountingStore {
    async fn timed<T>(&self, labels: [&str; 2], bytes: u64, request: BoxFuture<'_, Result<T>>) -> Result<T> {
        self.metrics.asked(labels, 1);
        let began = self.env.elapsed();
        let result = request.await;
        self.metrics.answered(labels, &result, self.env.elapsed() - began, bytes);
        result
    }

    fn counted_list(
        &self,
        prefix: Option<&Path>,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        // S3 gives a thousand names with one request.
        let (kind, metrics, mut seen) = (kind_of(prefix), self.metrics.clone(), 0_usize);
        metrics.asked([kind, "list"], 1);
        let counted = listed.map(move |result| {
            seen += 1;
            if seen > 1 && seen % BULK_DELETE_MAX == 1 {
                metrics.asked([kind, "list"], 1);
            }
            if result.is_err() {
                metrics.failures.with_label_values(&[kind, "list"]).inc();
            }
            result
        });
        counted.boxed()
    }
}

#[async_trait::async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.inner.put_opts(location, payload, options);
        self.timed([kind_of(Some(location)), "put"], bytes, put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = self.inner.put_multipart_opts(location, options);
        self.timed([kind_of(Some(location)), "put"], 0, begin).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let labels = [kind_of(Some(location)), if options.head { "head" } else { "get" }];
        let body = !options.head;
        let result = self.timed(labels, 0, self.inner.get_opts(location, options)).await?;
        if body {
            let bytes = result.range.end - result.range.start;
            self.metrics.bytes.with_label_values(&labels).inc_by(bytes);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        let get = self.inner.get_ranges(location, ranges);
        self.timed([kind_of(Some(location)), "get"], bytes, get).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (metrics, mut seen) = (self.metrics.clone(), 0_usize);
        // Answers come in the order of what was asked, and one that failed does not always say for which object.
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let asking = asked.clone();
        let counted = locations.map(move |location| {
            let kind = kind_of(location.as_ref().ok());
            if seen.is_multiple_of(BULK_DELETE_MAX) {
                metrics.asked([kind, "delete"], 1);
            }
            seen += 1;
            asking.lock().push_back(kind);
            location
        });
        let (metrics, env, began) = (self.metrics.clone(), self.env.clone(), self.env.elapsed());
        let deleted = self.inner.delete_stream(counted.boxed()).map(move |result| {
            let kind = asked.lock().pop_front().unwrap_or_else(|| kind_of(result.as_ref().ok()));
            metrics.answered([kind, "delete"], &result, env.elapsed() - began, 0);
            result
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.timed([kind_of(prefix), "list"], 0, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.timed([kind_of(Some(to)), "copy"], 0, self.inner.copy_opts(from, to, options)).await
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountingStore({})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_by_kind_and_verb_and_per_gib() {
        let metrics = ObjectMetrics::register(&Registry::new()).unwrap();
        let store = metrics.counted(Arc::new(InMemory::new()), Env::real());
        let at = |name: &str| Path::from(name);
        store.put(&at("segments/a"), "12345".into()).await.unwrap();
        store.put(&at("metadata/0"), "1".into()).await.unwrap();
        store.get(&at("segments/a")).await.unwrap().bytes().await.unwrap();
        store.get_range(&at("segments/a"), 1..3).await.unwrap();
        store.head(&at("segments/a")).await.unwrap();
        store.get(&at("snapshots/1/x")).await.unwrap_err();
        store.list(Some(&at("segments"))).try_collect::<Vec<_>>().await.unwrap();
        let behind = store.list_with_offset(Some(&at("wal")), &at("wal/1"));
        behind.try_collect::<Vec<_>>().await.unwrap();
        let gone = futures::stream::iter([Ok(at("segments/a")), Ok(at("segments/b"))]).boxed();
        store.delete_stream(gone).collect::<Vec<_>>().await;
        let count = |kind, verb| metrics.requests.with_label_values(&[kind, verb]).get();
        let counts = [
            count("segment", "put"),
            count("metadata", "put"),
            count("segment", "get"),
            count("segment", "head"),
            count("snapshot", "get"),
            count("segment", "list"),
            count("wal", "list"),
            count("segment", "delete"),
        ];
        assert_eq!(counts, [1, 1, 2, 1, 1, 1, 1, 1]);
        let bytes = |verb| metrics.bytes.with_label_values(&["segment", verb]).get();
        assert_eq!((bytes("put"), bytes("get")), (5, 7));
        assert_eq!(metrics.failures.with_label_values(&["snapshot", "get"]).get(), 0, "an answer");
        metrics.refresh(1 << 29);
        assert_eq!(metrics.per_gib_written.get(), 18.0);
    }
    #[tokio::test]
    async fn a_deletion_that_fails_is_booked_under_what_was_to_be_deleted() {
        let metrics = ObjectMetrics::register(&Registry::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let store = metrics.counted(Arc::new(files), Env::real());
        // A folder is no file that could be removed.
        std::fs::create_dir_all(folder.path().join("segments/folder")).unwrap();
        store.put(&Path::from("snapshots/1"), "x".into()).await.unwrap();
        let gone = ["snapshots/1", "segments/folder"].map(|name| Ok(Path::from(name)));
        let results = store.delete_stream(futures::stream::iter(gone).boxed()).collect::<Vec<_>>().await;
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
        let failures = |kind| metrics.failures.with_label_values(&[kind, "delete"]).get();
        assert_eq!(["snapshot", "segment", "other"].map(failures), [0, 1, 0]);
    }
}
