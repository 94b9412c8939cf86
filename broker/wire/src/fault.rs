//! Whose fault an error is.

/// Whose fault an error is, and so who has to act. Every error enum at a boundary answers `kind()` with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Whoever called or connected: bad bytes, a bad argument, a limit overstepped.
    Caller,
    /// The source cluster.
    Source,
    /// The target cluster.
    Target,
    /// The object store or the local disk.
    Store,
    /// Towpath itself.
    Bug,
}
