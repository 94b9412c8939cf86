//! The audit: accounts for every object in a store, without writing anything.
//!
//! Owns what counts as sound. Reads the metadata as a starting broker would, lists the store once, and compares.
//! The broker may run meanwhile: the listing comes first, so that whatever is newer is seen as such. What seems to be
//! wrong with an object is told only if the metadata still refers to it at the end, and what seems to be an orphan only if
//! it is there still and they do not.

mod account;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use serde::Serialize;
use thiserror::Error;
use towpath_env::Env;

use self::account::Listing;
use crate::metadata::{Image, Metadata, ObjectId, OpenError, SegmentRange, SnapshotAt};
use crate::partition::is_snapshot;
use crate::storage::SegmentStore;

/// How thorough an audit is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Reads every byte of every segment and checks it; otherwise the indexes only.
    pub checksums: bool,
    /// The broker's `delete_grace_ms`: an object that nothing refers to may be there for twice as long.
    pub grace: Duration,
}

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// The cluster whose store it is.
    pub cluster_id: String,
    /// How many slots of the metadata log it rests on.
    pub metadata_version: u64,
    /// Whether every byte was read.
    pub checksums: bool,
    /// Partitions, and ranges of the index.
    pub partitions: u64,
    /// Ranges of the index.
    pub ranges: u64,
    /// Every object of the store, by what it is.
    pub accounts: Vec<Account>,
    /// What is wrong, by object.
    pub findings: Vec<Finding>,
}

/// Objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// What they are.
    pub what: &'static str,
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Nothing refers to the object, for longer than two graces.
    Orphan,
    /// The object's name means nothing.
    Unknown,
    /// The metadata refers to an object that is not there.
    Missing,
    /// The object has another size than the metadata says.
    Size,
    /// The object's trailer or footer does not read.
    Footer,
    /// The object's footer and the metadata do not say the same of a range.
    Index,
    /// Bytes do not check, or are no batches of the offsets they should be.
    Checksum,
    /// Ranges of one partition overlap or are out of order.
    Overlap,
    /// The metadata counts the ranges of an object wrongly, or does not know it.
    Count,
    /// The producer state at a WAL's boundary does not read.
    Snapshot,
    /// The metadata log goes on behind its end.
    LogHole,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// The object's name in the store.
    pub object: String,
    /// The topic, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The partition's index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// First and last offset concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offsets: Option<(i64, i64)>,
    /// What is wrong, in words.
    pub what: String,
}

impl Finding {
    fn of(kind: FindingKind, object: impl Into<String>, what: impl Into<String>) -> Finding {
        let (object, what) = (object.into(), what.into());
        Finding { kind, object, topic: None, partition: None, offsets: None, what }
    }
}

/// Why an audit could not be done.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The metadata does not read.
    #[error(transparent)]
    Metadata(#[from] OpenError),
    /// There is no cluster.
    #[error(
        "this store holds no metadata of a broker; fix: name the URL that the broker was started with (--store)"
    )]
    NoCluster,
    /// The store failed.
    #[error("the store could not be read: {0}; fix: see that it is up and lets you in, then try again")]
    Store(String),
}

/// Audits the store.
pub async fn audit(store: Arc<dyn ObjectStore>, env: Env, options: Options) -> Result<Audit, AuditError> {
    let listing = Listing::read(&store, &env, options.grace).await?;
    audit_of(listing, (store, env), options).await
}

/// Audits what was listed a moment ago.
async fn audit_of(
    mut listing: Listing,
    (store, env): (Arc<dyn ObjectStore>, Env),
    options: Options,
) -> Result<Audit, AuditError> {
    let image = Metadata::replay(store.clone(), env.clone()).await?;
    if image.cluster_id.is_empty() {
        return Err(AuditError::NoCluster);
    }
    let accounted = listing.account(&image).into_iter();
    let (orphans, mut findings): (Vec<_>, Vec<_>) =
        accounted.partition(|finding| finding.kind == FindingKind::Orphan);
    findings.extend(image_findings(&image));
    let mut suspects = missing(&store, &image, &listing).await?;
    suspects.extend(segments::check(&store, &env, &image, (&listing, options.checksums)).await?);
    suspects.extend(snapshots(&store, &image).await?);
    if !suspects.is_empty() || !orphans.is_empty() {
        // A broker that runs may have merged, expired or deleted them meanwhile.
        let newer = Metadata::replay(store.clone(), env).await?;
        suspects.retain(|(subject, _)| subject.is_referred_to(&newer));
        for orphan in orphans {
            match is_orphan(&store, &newer, &orphan.object).await? {
                true => findings.push(orphan),
                false => listing.settle(&orphan.object),
            }
        }
    }
    findings.extend(suspects.into_iter().map(|(_, finding)| finding));
    findings.sort_by(|a, b| {
        (a.kind, &a.object, &a.topic, a.offsets).cmp(&(b.kind, &b.object, &b.topic, b.offsets))
    });
    let ranges = image.partitions_in_order().iter().map(|(_, _, held)| held.ranges().len() as u64).sum();
    Ok(Audit {
        cluster_id: image.cluster_id.clone(),
        metadata_version: image.version,
        checksums: options.checksums,
        partitions: image.topics_by_id.values().map(|topic| topic.partitions.len() as u64).sum(),
        ranges,
        accounts: listing.accounts(),
        findings,
    })
}

/// Whether an object that nothing referred to is there still, and nothing does.
async fn is_orphan(store: &Arc<dyn ObjectStore>, newer: &Image, name: &str) -> Result<bool, AuditError> {
    let segment = name.strip_prefix("segments/").and_then(|id| id.parse().ok()).map(ObjectId);
    if segment.is_some_and(|id| newer.objects.contains_key(&id) || newer.barred.contains_key(&id)) {
        return Ok(false);
    }
    // Its commit came behind what the accounts rest on.
    if account::wal_of_snapshot(newer, name).is_some() {
        return Ok(false);
    }
    match store.head(&Path::from(name)).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(AuditError::Store(error.to_string())),
    }
}

/// What a finding is about, to ask again whether it still counts.
#[derive(Clone, Debug)]
enum Subject {
    Object(ObjectId),
    Snapshot(SnapshotAt),
}

impl Subject {
    fn is_referred_to(&self, image: &Image) -> bool {
        match self {
            Subject::Object(object) => image.objects.get(object).is_some_and(|held| held.live_ranges > 0),
            Subject::Snapshot(at) => image.wals.values().any(|wal| wal.snapshot.as_ref() == Some(at)),
        }
    }
}

type Suspect = (Subject, Finding);

/// What the metadata says of itself.
fn image_findings(image: &Image) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut counts = BTreeMap::<ObjectId, u32>::new();
    for (topic_id, partition, held) in image.partitions_in_order() {
        let topic = image.topic_by_id(topic_id).map(|topic| topic.name.clone());
        for range in held.ranges() {
            *counts.entry(range.object).or_default() += 1;
        }
        for range in misplaced(held.ranges()) {
            let object = SegmentStore::segment_key(range.object);
            findings.push(Finding {
                topic: topic.clone(),
                partition: Some(partition),
                offsets: Some((range.base_offset, range.last_offset)),
                ..Finding::of(FindingKind::Overlap, object, "its offsets do not follow those before it")
            });
        }
    }
    for (object, count) in &counts {
        let known = image.objects.get(object).map_or(0, |held| held.live_ranges);
        if known != *count {
            let what = format!("{count} ranges point to it, and the metadata counts {known}");
            findings.push(Finding::of(FindingKind::Count, SegmentStore::segment_key(*object), what));
        }
    }
    let in_use = image.objects.iter().filter(|(_, held)| held.live_ranges > 0);
    for (object, held) in in_use.filter(|(object, _)| !counts.contains_key(object)) {
        let what = format!(
            "no range points to it, and the metadata counts {}: it would stay for ever",
            held.live_ranges
        );
        findings.push(Finding::of(FindingKind::Count, SegmentStore::segment_key(*object), what));
    }
    findings
}

/// Ranges that run backward or do not follow the one before.
fn misplaced(ranges: &[SegmentRange]) -> impl Iterator<Item = &SegmentRange> {
    let backward = ranges.iter().filter(|range| range.base_offset > range.last_offset);
    let pairs = ranges.windows(2).filter(|pair| pair[0].last_offset >= pair[1].base_offset);
    backward.chain(pairs.map(|pair| &pair[1]))
}

/// Objects that the metadata refers to and that the listing did not have: asked for one by one, as they may be
/// younger than the listing.
async fn missing(
    store: &Arc<dyn ObjectStore>,
    image: &Image,
    listing: &Listing,
) -> Result<Vec<Suspect>, AuditError> {
    let mut suspects = Vec::new();
    for (object, held) in image.objects.iter().filter(|(_, held)| held.live_ranges > 0) {
        if listing.segment(*object).is_some() {
            continue;
        }
        let key = SegmentStore::segment_key(*object);
        match store.head(&Path::from(key.as_str())).await {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => suspects.extend(segments::lost(image, *object, held)),
            Err(error) => return Err(AuditError::Store(error.to_string())),
        }
    }
    Ok(suspects)
}

async fn snapshots(store: &Arc<dyn ObjectStore>, image: &Image) -> Result<Vec<Suspect>, AuditError> {
    let mut suspects = Vec::new();
    for (node_id, wal) in image.wals.iter() {
        let Some(at) = &wal.snapshot else { continue };
        let (key, content) = match at {
            SnapshotAt::Inline(content) => (format!("metadata (broker {node_id})"), Ok(content.clone())),
            SnapshotAt::Object(key) => {
                let path = Path::from(key.as_str());
                (key.clone(), async { store.get(&path).await?.bytes().await }.await)
            }
        };
        let suspect = |kind, what: &str| {
            let what = format!("the producer state of broker {node_id} {what}");
            (Subject::Snapshot(at.clone()), Finding::of(kind, key.clone(), what))
        };
        match content {
            Ok(content) if is_snapshot(&content) => {}
            Ok(_) => suspects.push(suspect(FindingKind::Snapshot, "does not check")),
            Err(StoreError::NotFound { .. }) => suspects.push(suspect(FindingKind::Missing, "is not there")),
            Err(error) => return Err(AuditError::Store(error.to_string())),
        }
    }
    Ok(suspects)
}
