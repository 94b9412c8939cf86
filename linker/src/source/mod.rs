//! Reading the source: raw batches from partition leaders, at a guest's pace.

mod batches;
pub mod fetcher;
pub mod pace;
