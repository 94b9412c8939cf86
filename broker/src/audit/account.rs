//! What each object of the listing is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};
use towpath_env::Env;

use super::{Account, AuditError, Finding, FindingKind};
use crate::metadata::{Image, ObjectId, SnapshotAt, WalImage};
use crate::partition::segment_of_snapshot;

/// Folders of Towpath's linking service in the same store.
const OTHERS: [(&str, &str); 2] = [("linker", "journal of the linking service"), ("evidence", "evidence")];

/// What was found unreferenced, and was not any more, or not there, when it was asked for again.
const SETTLED: &str = "objects deleted meanwhile";
const ORPHANS: &str = "orphans";
const YOUNG: &str = "orphans within the grace";

/// All objects of a store.
pub(super) struct Listing {
    segments: HashMap<ObjectId, Listed>,
    rest: Vec<(String, Listed)>,
    /// Those of the rest that nothing refers to.
    orphans: HashMap<String, Listed>,
    accounts: BTreeMap<&'static str, (u64, u64)>,
}

/// What the listing says of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub size_bytes: u64,
    /// So old that a sweep should have seen to it: one comes at each start of the broker and a grace later.
    pub old: bool,
}

impl Listing {
    pub async fn read(
        store: &Arc<dyn ObjectStore>,
        env: &Env,
        grace: Duration,
    ) -> Result<Listing, AuditError> {
        let oldest_ms = env.now_ms() - 2 * grace.as_millis() as i64;
        let mut listing = Listing {
            segments: HashMap::new(),
            rest: Vec::new(),
            orphans: HashMap::new(),
            accounts: BTreeMap::new(),
        };
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
                None if listed.old => (ORPHANS, true),
                None => (YOUNG, false),
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
            if what == ORPHANS {
                self.orphans.insert(name, listed);
            }
            findings.extend(finding);
        }
        findings
    }

    /// An orphan is none: it went, or came to be known.
    pub fn settle(&mut self, name: &str) {
        let id = name.strip_prefix("segments/").and_then(|id| id.parse().ok());
        let listed = match id.and_then(|id| self.segment(ObjectId(id))) {
            Some(listed) => Some(listed),
            None => self.orphans.get(name).copied(),
        };
        let Some(Listed { size_bytes, .. }) = listed else { return };
        let orphans = self.accounts.entry(ORPHANS).or_default();
        *orphans = (orphans.0.saturating_sub(1), orphans.1.saturating_sub(size_bytes));
        self.accounts.retain(|_, (objects, _)| *objects > 0);
        let settled = self.accounts.entry(SETTLED).or_default();
        *settled = (settled.0 + 1, settled.1 + size_bytes);
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

fn orphan(name: &str, listed: Listed) -> (&'static str, Option<Finding>) {
    if listed.old { (ORPHANS, Some(orphan_finding(name))) } else { (YOUNG, None) }
}

/// How long a slot has been needless its name does not say, and a broker that starts begins its grace anew; so none
/// is called an orphan. Fences stay for ever.
fn slot_of(image: &Image, node_id: i32, slot: (i64, u64)) -> &'static str {
    let position = image.wal(node_id).and_then(|wal| wal.position);
    match position.is_some_and(|position| slot >= (position.epoch, position.slot)) {
        true => "WAL slots",
        false => "WAL slots that wait for their deletion, and fences",
    }
}

fn orphan_finding(name: &str) -> Finding {
    let what = "nothing refers to it, for longer than two graces: the next sweep of a broker should take it";
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
        ["wal", node_id, epoch, slot] => match (node_id.parse(), epoch.parse(), number(slot)) {
            (Ok(node_id), Ok(epoch), Some(slot)) => (slot_of(image, node_id, (epoch, slot)), None),
            _ => unknown(name),
        },
        ["snapshots", ..] if segment_of_snapshot(name).is_none() => unknown(name),
        ["snapshots", ..] => match wal_of_snapshot(image, name) {
            Some(wal) if wal.former.as_deref() == Some(name) => {
                ("producer state that waits for its deletion", None)
            }
            Some(_) => ("producer state", None),
            None => orphan(name, listed),
        },
        ["probe", _, ..] if listed.old => orphan(name, listed),
        ["probe", _, ..] => ("start-up probes", None),
        [folder, _, ..] => match OTHERS.iter().find(|(known, _)| known == folder) {
            Some((_, what)) => (*what, None),
            None => unknown(name),
        },
        _ => unknown(name),
    }
}

/// Whose producer state an object is, or was until the last commit.
pub(super) fn wal_of_snapshot<'a>(image: &'a Image, name: &str) -> Option<&'a WalImage> {
    let is_it = |at: &SnapshotAt| at.key() == Some(name);
    let mut wals = image.wals.values();
    wals.find(|wal| wal.snapshot.as_ref().is_some_and(is_it) || wal.former.as_deref() == Some(name))
}

fn unknown(name: &str) -> (&'static str, Option<Finding>) {
    let what = "no part of Towpath gives such a name";
    ("unknown objects", Some(Finding::of(FindingKind::Unknown, name, what)))
}
