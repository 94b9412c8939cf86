//! The diff: both sides read independently through librdkafka and compared (DESIGN §10).

mod run;

pub use run::{Diff, DiffReport, TailReport};
