//! A broker has stopped and its write-ahead log is not needed any more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::Image;

/// Says that nothing lies behind the WAL's boundary and that the broker that wrote it has ended: at the next
/// start a WAL of another kind may take its place without a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalSealed {
    /// The broker.
    pub node_id: i32,
    /// Its registration.
    pub epoch: i64,
    /// The WAL's end; it must be its boundary too.
    pub end: u64,
}

impl WalSealed {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        image.check_epoch(self.node_id, self.epoch)?;
        let wals = Arc::make_mut(&mut image.wals);
        let Some(wal) = wals.get_mut(&self.node_id) else {
            return Err(Rejection::NoWal(self.node_id));
        };
        if wal.trimmed_to != self.end {
            let (node_id, held, asked) = (self.node_id, wal.trimmed_to, self.end);
            return Err(Rejection::WalBackward { node_id, held, asked });
        }
        wal.sealed_by = Some(self.epoch);
        Ok(())
    }
}
