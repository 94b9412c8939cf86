//! The diff: both sides read independently through librdkafka and compared (DESIGN §10).
//!
//! [`Diff`] runs over a link; [`Comparison`] is its core, over any two clusters. The deciding half (digests,
//! classification, verdicts) is `towpath_plans::diff`.

mod bounds;
mod client;
mod closer;
mod comparison;
mod gap;
mod jobs;
mod metrics;
mod places;
mod reader;
mod record;
mod round;
mod run;
mod session;
mod state;
mod verify;

pub use comparison::{Compared, Comparison, ComparisonSpec, Contents, Found, Terms};
pub use metrics::DiffMetrics;
pub use reader::Stretch;
pub use run::{Diff, DiffReport, TailReport};
