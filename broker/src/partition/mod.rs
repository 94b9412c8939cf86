//! Partitions: append, read, high watermark.
