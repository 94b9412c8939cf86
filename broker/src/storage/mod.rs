//! The write-ahead log, segments and caches.
