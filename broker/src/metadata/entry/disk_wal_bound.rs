//! The store learns which disk WAL belongs to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::{Image, WalImage};

/// Binds a broker's disk WAL to the store (DESIGN §5.1): a broker that comes up with another one is refused,
/// unless the entry names the one it replaces, which accepts the loss of what that one alone held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskWalBound {
    /// The broker.
    pub node_id: i32,
    /// Its WAL's id.
    pub wal_id: Uuid,
    /// The WAL given up, when one is.
    #[serde(default)]
    pub replaces: Option<Uuid>,
}

impl DiskWalBound {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let bound = image.wals.get(&self.node_id).map_or(Uuid::nil(), |wal| wal.wal_id);
        if bound == self.wal_id {
            return Ok(());
        }
        if !bound.is_nil() && self.replaces != Some(bound) {
            return Err(Rejection::OtherWalBound { node_id: self.node_id, bound, offered: self.wal_id });
        }
        // A new WAL counts from zero. The snapshot stays: it is the producer state of what the store holds.
        let wals = Arc::make_mut(&mut image.wals);
        let snapshot = wals.remove(&self.node_id).and_then(|wal| wal.snapshot);
        wals.insert(self.node_id, WalImage { wal_id: self.wal_id, trimmed_to: 0, snapshot });
        Ok(())
    }
}
