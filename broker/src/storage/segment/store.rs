//! Segment objects, snapshots and their requests to the object store.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
};
use towpath_env::Env;
use towpath_env::retry::{Failure, RetryPolicy, retry};
use towpath_wire::batch::views;

use super::cache::{Block, BlockCache, BlockKey};
use super::content::content;
use super::format::{ObjectIndex, PageInfo, Segment, TRAILER_BYTES, Trailer, disagreement};
use super::stretch::{cut, place, stretches};
use crate::metadata::{ObjectId, SegmentRange};
use crate::partition::ReadLimits;
use crate::storage::{StorageConfig, StorageMetrics};

/// How many bytes of an object's end are asked for to find trailer and footer in one request.
const FOOTER_GUESS_BYTES: u64 = 32 * 1024;
/// Reads of a partition's segments wait for each other in so many lanes, so that a page is fetched once.
const FETCH_LANES: usize = 64;

/// For so long a read is repeated while the store is busy or cannot be reached. Clients wait for their fetch longer.
const READ_RETRIES: RetryPolicy = RetryPolicy::within(Duration::from_secs(10));

/// Why a segment could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The object is not there: deleted or merged away, or lost.
    #[error("object {object} is missing")]
    Gone {
        /// The object.
        object: String,
    },
    /// The store failed.
    #[error("object {object}: {reason}")]
    Store {
        /// The object.
        object: String,
        /// What the store said.
        reason: String,
    },
    /// The object does not hold what it must.
    #[error("object {object} is damaged: {reason}")]
    Damaged {
        /// The object.
        object: String,
        /// What does not hold.
        reason: String,
    },
}

/// Batches read from one range.
#[derive(Clone, Debug, Default)]
pub struct SegmentRead {
    /// Runs of whole batches, in order.
    pub batches: Vec<Bytes>,
    /// Reading stopped at a limit or at the end asked for, not at the end of the range.
    pub limited: bool,
}

/// The store's segments, with their cache.
pub struct SegmentStore {
    store: Arc<dyn ObjectStore>,
    env: Env,
    cache: BlockCache,
    read_ahead_bytes: u64,
    lanes: Vec<tokio::sync::Mutex<()>>,
    metrics: StorageMetrics,
}

impl SegmentStore {
    /// Segments in `store`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        config: &StorageConfig,
        env: Env,
        metrics: StorageMetrics,
    ) -> SegmentStore {
        SegmentStore {
            store,
            env,
            cache: BlockCache::new(config.block_cache_bytes_max, metrics.block_cache_bytes.clone()),
            read_ahead_bytes: config.read_ahead_bytes as u64,
            lanes: (0..FETCH_LANES).map(|_| tokio::sync::Mutex::new(())).collect(),
            metrics,
        }
    }

    /// Where a segment lives.
    pub fn segment_key(object: ObjectId) -> String {
        format!("segments/{object}")
    }

    /// Puts a segment, trying until it is there, and remembers its index.
    pub(crate) async fn put_segment(&self, segment: Segment) {
        let Segment { object, chunks, index, footer_bytes, .. } = segment;
        self.put(&SegmentStore::segment_key(object), chunks).await;
        self.cache.put((object, None), Block::Index(Arc::new(index)), footer_bytes * 2);
    }

    /// Puts an object under a name of its own, trying until it is there. A put whose outcome is unknown is
    /// repeated: the name is nobody else's, so putting the same again changes nothing. (Put-if-absent would: S3
    /// answers "already exists" also where two puts met and none won.)
    pub async fn put(&self, key: &str, chunks: Vec<Bytes>) {
        let payload = PutPayload::from_iter(chunks);
        let result = retry(&self.env, RetryPolicy::FOREVER, || async {
            let put = self.store.put(&Path::from(key), payload.clone()).await;
            match put {
                Ok(_) => Ok(()),
                Err(error) => {
                    tracing::warn!(key, %error, "a put failed and is repeated");
                    Err(Failure::Transient(error))
                }
            }
        });
        // Without a limit in time it ends with success only.
        let _ = result.await;
    }

    /// A whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes, SegmentError> {
        let path = Path::from(key);
        let got = self.patiently(|| async { self.store.get(&path).await?.bytes().await }).await;
        got.map_err(|error| failed(key, error))
    }

    /// Removes an object; that it is gone already is no error.
    pub async fn delete(&self, key: &str) -> Result<(), SegmentError> {
        let deleted = self.store.delete(&Path::from(key)).await;
        match deleted {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(key, error)),
        }
    }

    /// Removes objects, as many as the store takes with one request; those that are gone now.
    pub(crate) async fn delete_all(&self, keys: Vec<String>) -> HashSet<String> {
        if keys.is_empty() {
            return HashSet::new();
        }
        let paths = keys.iter().map(|key| Ok(Path::from(key.as_str()))).collect::<Vec<_>>();
        let mut results = self.store.delete_stream(futures::stream::iter(paths).boxed());
        let mut gone = HashSet::new();
        while let Some(result) = results.next().await {
            match result {
                Ok(path) => drop(gone.insert(path.to_string())),
                // The path is the store's own, with its prefix.
                Err(StoreError::NotFound { path, .. }) => {
                    gone.extend(keys.iter().find(|key| path.ends_with(key.as_str())).cloned());
                }
                Err(error) => tracing::info!(%error, "objects could not be deleted yet"),
            }
        }
        gone
    }

    /// Everything in a folder. A listing: never on a hot path.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(Some(&Path::from(folder)))
    }

    /// The pages of one range, in order.
    pub async fn pages(&self, range: &SegmentRange) -> Result<Arc<[PageInfo]>, SegmentError> {
        let index = self.index(range.object).await?;
        index.get(&(range.topic_id, range.partition)).cloned().ok_or_else(|| {
            damaged(range.object, format!("no batches of {}-{}", range.topic_id, range.partition))
        })
    }

    /// The bytes of one page; pages behind it are read ahead with the same request.
    pub async fn page(
        &self,
        range: &SegmentRange,
        pages: &[PageInfo],
        index: usize,
    ) -> Result<Bytes, SegmentError> {
        let page = &pages[index];
        let key = (range.object, Some(page.position));
        if let Some(bytes) = self.cached_page(&key) {
            return Ok(bytes);
        }
        let lane = (range.topic_id.as_u128() as usize).wrapping_add(range.partition as usize) % FETCH_LANES;
        let _fetching = self.lanes[lane].lock().await;
        if let Some(Block::Page(bytes)) = self.cache.get(&key) {
            return Ok(bytes);
        }
        let ahead = stretches(&pages[index..], self.read_ahead_bytes).next().unwrap_or_default();
        let is_held = |next: &PageInfo| self.cache.holds(&(range.object, Some(next.position)));
        let missing = ahead.iter().skip(1).take_while(|next| !is_held(next)).count();
        let fetched = &ahead[..ahead.len().min(1 + missing)];
        let contents = self.pages_uncached(range, fetched).await?;
        for (next, bytes) in fetched.iter().zip(&contents) {
            self.cache.put((range.object, Some(next.position)), Block::Page(bytes.clone()), bytes.len());
        }
        Ok(contents.into_iter().next().unwrap_or_default())
    }

    /// The bytes of consecutive pages with one request, past the cache: for work that reads all of it once.
    pub async fn pages_uncached(
        &self,
        range: &SegmentRange,
        pages: &[PageInfo],
    ) -> Result<Vec<Bytes>, SegmentError> {
        let content = self.area(range.object, place(pages)).await?;
        // An object may have been cut behind the store's back.
        let checked = cut(pages, &content).map(|(page, bytes)| {
            let bytes = bytes.filter(|bytes| page.checks(bytes));
            let wrong = || damaged(range.object, format!("page at byte {} does not check", page.position));
            bytes.ok_or_else(wrong)
        });
        checked.collect()
    }

    /// Batches of a range from the one that holds `from` (or the next) on, that lie wholly below `end`.
    pub async fn read(
        &self,
        range: &SegmentRange,
        from: i64,
        end: i64,
        limits: ReadLimits,
    ) -> Result<SegmentRead, SegmentError> {
        let pages = self.pages(range).await?;
        let mut read = SegmentRead::default();
        let mut bytes_left = limits.bytes_max;
        let first = pages.partition_point(|page| page.last_offset < from);
        for index in first..pages.len() {
            let content = self.page(range, &pages, index).await?;
            let at_least_one = limits.at_least_one && read.batches.is_empty();
            let taken = take(&content, (from, end), (bytes_left, at_least_one));
            let (start, stop) =
                taken.ok_or_else(|| damaged(range.object, "a page is no batches".to_owned()))?;
            if stop > start {
                read.batches.push(content.slice(start..stop));
                bytes_left = bytes_left.saturating_sub(stop - start);
            }
            if stop < content.len() {
                read.limited = true;
                break;
            }
        }
        Ok(read)
    }

    fn cached_page(&self, key: &BlockKey) -> Option<Bytes> {
        let found = self.cache.get(key);
        let result = if found.is_some() { "hit" } else { "miss" };
        self.metrics.block_cache_lookups.with_label_values(&[result]).inc();
        match found? {
            Block::Page(bytes) => Some(bytes),
            Block::Index(_) => None,
        }
    }

    /// A stretch of an object, past the cache: what is merged is not read again soon.
    pub(crate) async fn area(&self, object: ObjectId, bytes: Range<u64>) -> Result<Bytes, SegmentError> {
        if bytes.is_empty() {
            return Ok(Bytes::new());
        }
        self.get_range(object, GetRange::Bounded(bytes)).await
    }

    /// The pages of a range out of a stretch that begins at byte `start` of its object, each checked, and together
    /// what the metadata says.
    pub(crate) fn verified(
        &self,
        range: &SegmentRange,
        index: &ObjectIndex,
        (start, bytes): (u64, &Bytes),
    ) -> Result<Vec<(PageInfo, Bytes)>, SegmentError> {
        let wrong = |what: &str| {
            let SegmentRange { topic_id, partition, base_offset, last_offset, .. } = range;
            damaged(
                range.object,
                format!("{topic_id}-{partition}, offsets {base_offset} to {last_offset}: {what}"),
            )
        };
        let pages = index.get(&(range.topic_id, range.partition));
        let pages = pages.ok_or_else(|| wrong("its footer does not have them"))?;
        if let Some(what) = disagreement(range, pages) {
            return Err(wrong(what));
        }
        let mut verified = Vec::with_capacity(pages.len());
        for page in pages.iter() {
            let from =
                page.position.checked_sub(start).ok_or_else(|| wrong("it begins before them"))? as usize;
            let content = bytes.get(from..from + page.length as usize).map(|found| bytes.slice_ref(found));
            let content = content.ok_or_else(|| wrong("it ends before them"))?;
            if !page.checks(&content) {
                return Err(wrong(&format!("the page at byte {} does not check", page.position)));
            }
            verified.push((*page, content));
        }
        Ok(verified)
    }

    /// Where everything is in an object.
    pub(crate) async fn index(&self, object: ObjectId) -> Result<Arc<ObjectIndex>, SegmentError> {
        let key = (object, None);
        if let Some(Block::Index(index)) = self.cache.get(&key) {
            return Ok(index);
        }
        let tail = self.get_range(object, GetRange::Suffix(FOOTER_GUESS_BYTES)).await?;
        let trailer = tail.len().checked_sub(TRAILER_BYTES).and_then(|at| Trailer::decode(&tail[at..]));
        let trailer = trailer.ok_or_else(|| damaged(object, "its trailer does not read".to_owned()))?;
        let length = trailer.footer_length as usize;
        let footer = match tail.len().checked_sub(TRAILER_BYTES + length) {
            Some(start) => tail.slice(start..start + length),
            None => {
                let start = trailer.footer_position;
                self.get_range(object, GetRange::Bounded(start..start + length as u64)).await?
            }
        };
        let index = trailer.decode_footer(&footer);
        let index = Arc::new(index.ok_or_else(|| damaged(object, "its footer does not check".to_owned()))?);
        self.cache.put(key, Block::Index(index.clone()), footer.len() * 2);
        Ok(index)
    }

    async fn get_range(&self, object: ObjectId, range: GetRange) -> Result<Bytes, SegmentError> {
        let key = SegmentStore::segment_key(object);
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let path = Path::from(key.as_str());
        let get = || async { content(self.store.get_opts(&path, options.clone()).await?).await };
        self.patiently(get).await.map_err(|error| failed(&key, error))
    }

    /// Reads until the store answers, or says that it won't, or [`READ_RETRIES`] is over.
    async fn patiently<F, Fut>(&self, mut read: F) -> Result<Bytes, StoreError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Bytes, StoreError>>,
    {
        retry(&self.env, READ_RETRIES, || {
            let attempt = read();
            async {
                attempt.await.map_err(|error| match error {
                    StoreError::Generic { .. } => Failure::Transient(error),
                    _ => Failure::Permanent(error),
                })
            }
        })
        .await
    }
}

/// Which bytes of a page hold the batches that end at or behind `from`, lie below `end` and fit the limit.
fn take(
    page: &[u8],
    (from, end): (i64, i64),
    (bytes_max, at_least_one): (usize, bool),
) -> Option<(usize, usize)> {
    let (mut start, mut stop) = (0, 0);
    for batch in views(page) {
        let batch = batch.ok()?;
        let next = stop + batch.size_bytes();
        if batch.last_offset() < from {
            (start, stop) = (next, next);
            continue;
        }
        let fits = next - start <= bytes_max || (at_least_one && stop == start);
        if batch.next_offset() > end || !fits {
            break;
        }
        stop = next;
    }
    Some((start, stop))
}

fn failed(key: &str, error: StoreError) -> SegmentError {
    match error {
        StoreError::NotFound { .. } => SegmentError::Gone { object: key.to_owned() },
        error => SegmentError::Store { object: key.to_owned(), reason: error.to_string() },
    }
}

fn damaged(object: ObjectId, reason: String) -> SegmentError {
    SegmentError::Damaged { object: SegmentStore::segment_key(object), reason }
}

#[cfg(test)]
mod tests;
