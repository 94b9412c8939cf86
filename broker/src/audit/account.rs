//! What each object of the listing is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};
use towpath_env::Env;

use super::{Account, AuditError, Finding, FindingKind};
use crate::metadata::{Image, ObjectId, SnapshotAt};

/// Folders of Towpath's linking service in the same store, and of the probe at start-up.
const OTHERS: [(&str, &str); 3] =
    [("linker", "journal of the linking service"), ("evidence", "evidence"), ("probe", "start-up probes")];

/// All objects of a store.
pub(super) struct Listing {
    segments: HashMap<ObjectId, Listed>,
    rest: Vec<(String, Listed)>,
    accounts: BTreeMap<&'static str, (u64, u64)>,
}

/// What the listing says of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub size_bytes: u64,
    /// Older than the grace.
    pub old: bool,
}

impl Listing {
    pub async fn read(
        store: &Arc<dyn ObjectStore>,
        env: &Env,
        grace: Duration,
    ) -> Result<Listing, AuditError> {
        let oldest_ms = env.now_ms() - grace.as_millis() as i64;
        let mut listing = Listing { segments: HashMap::new(), rest: Vec::new(), accounts: BTreeMap::new() };
        let mut objects = store.list(None);
        let failed = |error: object_store::Error| AuditError::Store(error.to_string());
        while let Some(found) = objects.try_next().await.map_err(failed)? {
            let old = found.last_modified.timestamp_millis() < oldest_ms;
            listing.add(&found, Listed { size_bytes: found.size, old });
        }
        Ok(listing)
    }

    fn add(&mut self, found: &ObjectMeta, listed: Listed) {
        let name = found.location.as_ref();
        let segment = name.strip_prefix("segments/").and_then(|id| id.parse().ok());
        match segment {
            Some(id) => drop(self.segments.insert(ObjectId(id), listed)),
            None => self.rest.push((name.to_owned(), listed)),
        }
    }

    /// The object of a segment, if it was listed.
    pub fn segment(&self, object: ObjectId) -> Option<Listed> {
        self.segments.get(&object).copied()
    }

    /// Says of each object what it is; gives what nobody refers to or knows.
    pub fn account(&mut self, image: &Image) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (object, listed) in std::mem::take(&mut self.segments) {
            let (what, orphan) = match image.objects.get(&object) {
                Some(held) if held.live_ranges > 0 => ("segments", false),
                Some(_) => ("segments that wait for their bar", false),
                None if image.barred.contains_key(&object) => {
                    ("segments that wait for their deletion", false)
                }
                None if listed.old => ("orphans", true),
                None => ("orphans within the grace", false),
            };
            self.count(what, listed);
            if orphan {
                let key = crate::storage::SegmentStore::segment_key(object);
                findings.push(orphan_finding(&key));
            }
            self.segments.insert(object, listed);
        }
        let boundary =
            self.rest.iter().filter_map(|(name, _)| name.strip_prefix("metadata/trim/")?.parse().ok());
        let boundary: u64 = boundary.max().unwrap_or(0);
        for (name, listed) in std::mem::take(&mut self.rest) {
            let (what, finding) = rest(&name, listed, image, boundary);
            self.count(what, listed);
            findings.extend(finding);
        }
        findings
    }

    fn count(&mut self, what: &'static str, listed: Listed) {
        let account = self.accounts.entry(what).or_default();
        *account = (account.0 + 1, account.1 + listed.size_bytes);
    }

    /// All of them, by what they are.
    pub fn accounts(&self) -> Vec<Account> {
        let account = |(what, (objects, bytes)): (&&'static str, &(u64, u64))| Account {
            what,
            objects: *objects,
            bytes: *bytes,
        };
        self.accounts.iter().map(account).collect()
    }
}

fn orphan_finding(name: &str) -> Finding {
    let what = "nothing refers to it, for longer than the grace: the next orphan sweep should take it";
    Finding::of(FindingKind::Orphan, name, what)
}

/// What an object is that is no segment.
fn rest(name: &str, listed: Listed, image: &Image, boundary: u64) -> (&'static str, Option<Finding>) {
    let parts: Vec<&str> = name.split('/').collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match parts.as_slice() {
        ["metadata", index] if number(index).is_some() => {
            let index = number(index).unwrap_or_default();
            if index >= image.version {
                let what =
                    format!("it lies behind the end of the log, {}: one before it is lost", image.version);
                return ("metadata log", Some(Finding::of(FindingKind::LogHole, name, what)));
            }
            (if index < boundary { "metadata log, given up" } else { "metadata log" }, None)
        }
        ["metadata", "checkpoint" | "trim", upto] if number(upto).is_some() => ("metadata checkpoints", None),
        ["wal", node_id, epoch, slot]
            if [node_id, slot].iter().all(|part| number(part).is_some()) && epoch.parse::<i64>().is_ok() =>
        {
            ("WAL slots and fences", None)
        }
        ["snapshots", ..] => {
            let refers = |at: &SnapshotAt| at.key() == Some(name);
            match image.wals.values().any(|wal| wal.snapshot.as_ref().is_some_and(refers)) {
                true => ("producer state", None),
                false if listed.old => ("orphans", Some(orphan_finding(name))),
                false => ("orphans within the grace", None),
            }
        }
        [folder, _, ..] => match OTHERS.iter().find(|(known, _)| known == folder) {
            Some((_, what)) => (*what, None),
            None => unknown(name),
        },
        _ => unknown(name),
    }
}

fn unknown(name: &str) -> (&'static str, Option<Finding>) {
    let what = "no part of Towpath gives such a name";
    ("unknown objects", Some(Finding::of(FindingKind::Unknown, name, what)))
}
