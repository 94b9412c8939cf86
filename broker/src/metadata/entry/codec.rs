//! How entries are written.
