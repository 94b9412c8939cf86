//! Why the WAL takes no records.

/// Why a record is not durable, or can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk is full. Recovers by itself once there is room.
    #[error("the WAL's disk is full; fix: free space in the data directory")]
    Full,
    /// Writing failed for good; the broker must restart. Nothing that was not durable was acknowledged.
    #[error("the WAL failed: {0}; fix: look at the disk, then restart the broker")]
    Failed(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Closed,
}
