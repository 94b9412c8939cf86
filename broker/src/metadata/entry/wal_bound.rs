//! The store learns which write-ahead log belongs to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::{Image, WalImage, WalPosition};

/// Binds a broker's WAL to the store (DESIGN §5.1): a broker that comes up with another one is refused, unless
/// the entry names the one it replaces: because that one is sealed, or because the loss of what it alone held is
/// accepted. A sealed WAL that is written again is bound again before its first record; until then it is sealed,
/// whoever registers and dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalBound {
    /// The broker.
    pub node_id: i32,
    /// The registration of the broker that binds it.
    pub epoch: i64,
    /// The WAL's id.
    pub wal_id: Uuid,
    /// Where an object WAL begins; `None`: it is a disk WAL.
    #[serde(default)]
    pub position: Option<WalPosition>,
    /// The WAL given up, when one is.
    #[serde(default)]
    pub replaces: Option<Uuid>,
}

impl WalBound {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        image.check_epoch(self.node_id, self.epoch)?;
        let bound = image.wals.get(&self.node_id).map_or(Uuid::nil(), |wal| wal.wal_id);
        if bound == self.wal_id {
            // The same WAL is written again.
            if let Some(wal) = Arc::make_mut(&mut image.wals).get_mut(&self.node_id) {
                wal.sealed_by = None;
            }
            return Ok(());
        }
        if !bound.is_nil() && self.replaces != Some(bound) {
            return Err(Rejection::OtherWalBound { node_id: self.node_id, bound, offered: self.wal_id });
        }
        // A new WAL counts from zero. The snapshot stays: it is the producer state of what the store holds.
        let wals = Arc::make_mut(&mut image.wals);
        let before = wals.remove(&self.node_id).unwrap_or_default();
        let sealed = before.sealed_by.is_some();
        let bound = WalImage {
            wal_id: self.wal_id,
            position: self.position,
            replaced: sealed.then_some(before.wal_id),
            snapshot: before.snapshot,
            former: before.former,
            ..WalImage::default()
        };
        wals.insert(self.node_id, bound);
        Ok(())
    }
}
