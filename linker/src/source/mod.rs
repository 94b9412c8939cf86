//! Reading the source: raw batches from partition leaders, at a guest's pace.

pub mod fetcher;
pub mod pace;
