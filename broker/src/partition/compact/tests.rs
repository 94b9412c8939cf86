//! Compaction: the rules against a naive model, and the task through partitions with uploads, crashes and restarts.

mod bench;
mod beside_merging;
mod groups;
mod mirrored;
mod model;
mod rules;
mod task;
mod world;
