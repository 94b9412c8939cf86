//! Compaction: the rules against a naive model, and the task through partitions with uploads, crashes and restarts.

mod groups;
mod model;
mod rules;
mod world;
