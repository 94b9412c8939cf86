//! What stands behind a slot that is not there or does not read: whether the WAL ends here, or goes on elsewhere.
//!
//! Slots are created in any order, and those behind the first gap were never acknowledged. But a gap that somebody
//! made by deleting a slot looks the same. So a walk believes in it only if nothing behind it says otherwise:
//!
//! - a slot of the same epoch that knows of records as durable which the walk has not seen, or a fence that was put
//!   behind the last slot,
//! - slots of a later epoch, whose broker has come through here and left a fence. A fence ahead is none of them: who put
//!   it did not know whether anybody would ever come there.

use std::collections::BTreeMap;
use std::ops::Bound::Excluded;

use towpath_env::retry::RetryPolicy;

use super::recover::PATIENCE;
use super::slot::{Content, Place};
use super::slots::{ReadError, Slots};
use crate::metadata::WalPosition;
use crate::storage::wal::{StoreTrouble, WalOpenError};

/// Which slots there are beyond one, as the store lists them.
pub(super) struct Behind {
    /// Of the same epoch, ascending; those that a later epoch voids are left out.
    pub slots: Vec<u64>,
    /// The next epoch that wrote anything, and its first slot, fences ahead left out.
    pub later: Option<(i64, u64)>,
}

/// Where a walk goes on behind what was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// At a slot of the same epoch.
    Slot(u64),
    /// In a later epoch, at its first slot.
    Epoch(i64, u64),
    /// Nowhere: nothing is behind it.
    End,
}

impl Behind {
    /// Lists what there is behind `at`, of epochs before `own`. One listing; where a later epoch has slots, its first is
    /// read.
    pub async fn list(slots: &Slots, at: WalPosition, own: i64) -> Result<Behind, WalOpenError> {
        let behind = slots.place(at.epoch, at.slot);
        let listed = slots.list_surely(behind, RetryPolicy::within(PATIENCE)).await;
        let listed = listed.map_err(|trouble| WalOpenError::Store(trouble.into()))?;
        let mut epochs: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (epoch, slot, _) in listed {
            epochs.entry(epoch).or_default().push(slot);
        }
        epochs.values_mut().for_each(|slots| slots.sort_unstable());
        let epochs_after = epochs.range((Excluded(at.epoch), Excluded(own.max(at.epoch + 1))));
        let after = epochs_after.flat_map(|(epoch, slots)| slots.iter().map(move |slot| (*epoch, *slot)));
        let later = first_in_passing(slots, &after.collect::<Vec<_>>()).await?;
        let void_from = later.map_or(u64::MAX, |(_, first)| first);
        let same = epochs.remove(&at.epoch).unwrap_or_default().into_iter();
        let slots = same.filter(|slot| *slot > at.slot && *slot < void_from).collect();
        Ok(Behind { slots, later })
    }

    /// Where the WAL goes on, if the slot before these is lost.
    pub fn resume(&self) -> Resume {
        match (self.slots.first(), self.later) {
            (Some(slot), _) => Resume::Slot(*slot),
            (None, Some((epoch, first))) => Resume::Epoch(epoch, first),
            (None, None) => Resume::End,
        }
    }

    /// Whether the slot at `place` was the fence that led to the later epoch.
    pub fn was_fence(&self, place: Place) -> Option<(i64, u64)> {
        self.later.filter(|(_, first)| *first == place.slot + 1)
    }

    /// What says that the slot at `gap` was there once; `expected`: the first record that the walk has not seen.
    pub async fn denies(
        &self,
        slots: &Slots,
        gap: Place,
        expected: u64,
    ) -> Result<Option<String>, WalOpenError> {
        if let Some((epoch, slot)) = self.later {
            let later = Place { epoch, slot, ..gap }.path();
            return Ok(Some(format!("{later} is there, whose broker came after a fence in this epoch")));
        }
        for slot in &self.slots {
            let place = Place { slot: *slot, ..gap };
            let path = place.path();
            let found = match slots.read_surely(place, RetryPolicy::within(PATIENCE)).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(ReadError::Damaged(why)) => {
                    return Ok(Some(format!("{path} behind it can't deny that, for it is damaged: {why}")));
                }
                Err(ReadError::Store(trouble)) => return Err(WalOpenError::Store(trouble.into())),
            };
            let says = match found.content {
                Content::Fence(fence) if !fence.ahead => "a fence, put behind the last slot".to_owned(),
                _ if found.synced_below > expected => {
                    format!("records {expected} to {} were acknowledged before it", found.synced_below - 1)
                }
                _ => continue,
            };
            return Ok(Some(format!("{path} behind it says so ({says})")));
        }
        Ok(None)
    }
}

/// The first of these slots that shows that its epoch's broker has come through: all but fences ahead.
async fn first_in_passing(slots: &Slots, listed: &[(i64, u64)]) -> Result<Option<(i64, u64)>, WalOpenError> {
    for &(epoch, slot) in listed {
        match slots.read_surely(slots.place(epoch, slot), RetryPolicy::within(PATIENCE)).await {
            Ok(None) => {}
            Ok(Some(found)) if found.is_fence_ahead() => {}
            Ok(Some(_)) | Err(ReadError::Damaged(_)) => return Ok(Some((epoch, slot))),
            Err(ReadError::Store(trouble)) => return Err(WalOpenError::Store(trouble.into())),
        }
    }
    Ok(None)
}

impl Slots {
    /// As [`Slots::list`], repeated for a while when the store fails.
    async fn list_surely(
        &self,
        behind: Place,
        policy: RetryPolicy,
    ) -> Result<Vec<(i64, u64, u64)>, StoreTrouble> {
        let mut delays = policy.delays(&self.env);
        loop {
            match (self.list(Some(behind)).await, delays.next_delay()) {
                (Err(_), Some(delay)) => self.env.sleep(delay).await,
                (listed, _) => return listed,
            }
        }
    }
}
