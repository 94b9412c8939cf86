//! The running diff of one family.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use towpath_plans::diff::PartitionProgress;
use towpath_plans::gates::{DiffObserved, Verdict};
use towpath_wire::client::TopicPartition;

use crate::error::LinkerError;
use crate::link::Link;
use crate::operation::Operation;

/// What `towpath diff` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffReport {
    /// Over all partitions.
    pub verdict: Verdict,
    /// Records of the source that were compared.
    pub records: u64,
    /// Differences of all kinds.
    pub differences: u64,
    /// Each partition: how far, counts, samples.
    pub partitions: Vec<PartitionProgress>,
}

/// What closing the tail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailReport {
    /// Partitions that have differences, with how many.
    pub differing: BTreeMap<TopicPartition, u64>,
    /// Records compared in the tail.
    pub records: u64,
}

/// Compares a family while it is mirrored. One per link.
pub struct Diff {
    #[allow(dead_code)]
    link: Arc<Link>,
}

impl Diff {
    /// Takes up where the cache says that it stopped.
    ///
    /// # Errors
    /// The cache fails.
    pub fn open(link: Arc<Link>) -> Result<Arc<Diff>, LinkerError> {
        Ok(Arc::new(Diff { link }))
    }

    /// Compares what the mirror holds, again and again, within the plan's bandwidth, until `stop`.
    pub async fn run(self: Arc<Self>, _stop: CancellationToken) {
        unimplemented!("the diff's owner is at it")
    }

    /// What the gates see of `topics` now.
    pub fn observed(&self, _topics: &[String]) -> Vec<DiffObserved> {
        unimplemented!("the diff's owner is at it")
    }

    /// What has been compared so far.
    pub fn report(&self) -> DiffReport {
        unimplemented!("the diff's owner is at it")
    }

    /// `towpath diff`: compares through the source's high watermarks of now and answers; `anew` forgets what was
    /// compared and reads everything again. Tells its progress to `operation`.
    ///
    /// # Errors
    /// A side cannot be read.
    pub async fn verify(&self, _anew: bool, _operation: &Operation) -> Result<DiffReport, LinkerError> {
        unimplemented!("the diff's owner is at it")
    }

    /// Compares each partition through the given source offset (exclusive), without regard to bandwidth: the tail
    /// that a move closes behind the fence. The mirror must hold it already.
    ///
    /// # Errors
    /// A side cannot be read.
    pub async fn close_tail(&self, _ends: &BTreeMap<TopicPartition, i64>) -> Result<TailReport, LinkerError> {
        unimplemented!("the diff's owner is at it")
    }
}
