//! A store that misbehaves as object stores do: for simulations, here and in the rooms that build on a store.
//!
//! Wraps a well-behaved store. Which request fails, and how, is drawn from the [`Env`], so that a seed replays it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use towpath_env::Env;

/// How often (of 1,000 requests) which fault happens, and what the store breaks for good.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A put that takes effect, but whose answer is an error.
    pub lost_answers: u32,
    /// A put that is answered with an error now and takes effect after up to [`Faults::delay_max`].
    pub late_puts: u32,
    /// A request that is refused (503) without effect.
    pub refusals: u32,
    /// A put-if-absent answered with "already exists" although the object does not exist (S3's 409).
    pub conflicts: u32,
    /// A put repeated by the client below after it took effect: "already exists" upon one's own success.
    pub own_conflicts: u32,
    /// A request that is never answered; a put among them takes effect or not.
    pub silences: u32,
    /// Every other request waits up to this long before, and again after, it takes effect.
    pub delay_max: Duration,
    /// A listing takes so long; halfway it takes effect.
    pub listing: Duration,
    /// Treats every put-if-absent as a plain put.
    pub ignores_conditions: bool,
    /// Looks whether an object is there, and then writes it: two puts-if-absent that meet both succeed.
    pub looks_before_it_writes: bool,
    /// Gives the whole object, whatever range is asked for.
    pub ignores_ranges: bool,
    /// Its listings are empty.
    pub hides_from_listings: bool,
    /// Every request panics, as a bug in a store's client would.
    pub panics: bool,
}

impl Faults {
    /// A store that behaves.
    pub const NONE: Faults = Faults {
        lost_answers: 0,
        late_puts: 0,
        refusals: 0,
        conflicts: 0,
        own_conflicts: 0,
        silences: 0,
        delay_max: Duration::ZERO,
        listing: Duration::ZERO,
        ignores_conditions: false,
        looks_before_it_writes: false,
        ignores_ranges: false,
        hides_from_listings: false,
        panics: false,
    };

    /// Every fault that a conforming store may have, often.
    pub const STORMY: Faults = Faults {
        lost_answers: 50,
        late_puts: 50,
        refusals: 100,
        conflicts: 30,
        own_conflicts: 50,
        silences: 10,
        delay_max: Duration::from_millis(200),
        listing: Duration::ZERO,
        ignores_conditions: false,
        looks_before_it_writes: false,
        ignores_ranges: false,
        hides_from_listings: false,
        panics: false,
    };
}

/// The misbehaving store.
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    env: Env,
    faults: Mutex<Faults>,
    requests: Mutex<Requests>,
}

/// How many requests came, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Puts of either kind.
    pub puts: u64,
    /// Reads and heads.
    pub gets: u64,
    /// Listings.
    pub lists: u64,
    /// Deletions, of any number of objects at once.
    pub deletes: u64,
}

enum Fate {
    Fine,
    LostAnswer,
    Late,
    Refused,
    Conflict,
    OwnConflict,
    Silence,
}

impl FaultyStore {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, env: Env, faults: Faults) -> Arc<FaultyStore> {
        Arc::new(FaultyStore { inner, env, faults: Mutex::new(faults), requests: Mutex::default() })
    }

    /// Misbehaves otherwise from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    /// The requests so far.
    pub fn requests(&self) -> Requests {
        *self.requests.lock()
    }

    fn faults(&self) -> Faults {
        *self.faults.lock()
    }

    fn fate(&self) -> Fate {
        let faults = self.faults();
        assert!(!faults.panics, "the store's client has a bug");
        let mut left = (self.env.random_u64() % 1_000) as u32;
        let kinds = [
            (faults.lost_answers, Fate::LostAnswer),
            (faults.late_puts, Fate::Late),
            (faults.refusals, Fate::Refused),
            (faults.conflicts, Fate::Conflict),
            (faults.own_conflicts, Fate::OwnConflict),
            (faults.silences, Fate::Silence),
        ];
        for (share, fate) in kinds {
            if left < share {
                return fate;
            }
            left -= share;
        }
        Fate::Fine
    }

    fn some_delay(&self) -> Duration {
        let max_us = self.faults().delay_max.as_micros() as u64;
        Duration::from_micros(self.env.random_u64() % (max_us + 1))
    }

    async fn delay(&self) {
        let delay = self.some_delay();
        if !delay.is_zero() {
            self.env.sleep(delay).await;
        }
    }

    /// A listing, which takes effect when `list` is called.
    fn listing(
        &self,
        list: impl FnOnce() -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.lock().lists += 1;
        let faults = self.faults();
        if faults.hides_from_listings {
            return futures::stream::empty().boxed();
        }
        if let Fate::Refused = self.fate() {
            return futures::stream::once(async { Err(broken("503 Slow Down")) }).boxed();
        }
        let half = faults.listing / 2;
        if half.is_zero() {
            return list();
        }
        let env = self.env.clone();
        let listed = async move {
            env.sleep(half).await;
            let listed = list().collect::<Vec<_>>().await;
            env.sleep(half).await;
            futures::stream::iter(listed)
        };
        futures::stream::once(listed).flatten().boxed()
    }

    /// The fate of a request that changes nothing.
    async fn before_read(&self) -> Result<()> {
        self.delay().await;
        match self.fate() {
            Fate::Refused | Fate::LostAnswer => Err(broken("503 Slow Down")),
            Fate::Silence => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

fn broken(what: &'static str) -> Error {
    Error::Generic { store: "FaultyStore", source: what.into() }
}

fn exists(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "409 Conflict".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.requests.lock().puts += 1;
        let mut opts = opts;
        if self.faults().ignores_conditions {
            opts.mode = PutMode::Overwrite;
        }
        let conditional = matches!(opts.mode, PutMode::Create);
        if conditional && self.faults().looks_before_it_writes {
            if self.inner.head(location).await.is_ok() {
                return Err(exists(location));
            }
            opts.mode = PutMode::Overwrite;
        }
        self.delay().await;
        let fate = self.fate();
        match fate {
            Fate::Refused => return Err(broken("503 Slow Down")),
            Fate::Conflict if conditional => return Err(exists(location)),
            Fate::Late => {
                let (inner, env, delay) = (self.inner.clone(), self.env.clone(), self.some_delay() * 4);
                let location = location.clone();
                tokio::spawn(async move {
                    env.sleep(delay).await;
                    let _ = inner.put_opts(&location, payload, opts).await;
                });
                return Err(broken("connection reset before the answer"));
            }
            Fate::Silence if self.env.random_u64().is_multiple_of(2) => std::future::pending().await,
            _ => {}
        }
        let result = self.inner.put_opts(location, payload, opts).await;
        self.delay().await;
        match fate {
            Fate::LostAnswer => Err(broken("connection reset before the answer")),
            Fate::OwnConflict if conditional => Err(exists(location)),
            Fate::Silence => std::future::pending().await,
            _ => result,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.lock().gets += 1;
        self.before_read().await?;
        let mut options = options;
        if self.faults().ignores_ranges {
            options.range = None;
        }
        let result = self.inner.get_opts(location, options).await;
        self.delay().await;
        result
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.requests.lock().gets += 1;
        self.before_read().await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.requests.lock().deletes += 1;
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, prefix) = (self.inner.clone(), prefix.cloned());
        self.listing(move || inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, prefix, offset) = (self.inner.clone(), prefix.cloned(), offset.clone());
        self.listing(move || inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.lock().lists += 1;
        self.before_read().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
