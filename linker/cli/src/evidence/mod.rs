//! `towpath evidence`: what was observed and decided, listed, exported, checked and made readable.

mod moves;
mod report;
mod sentence;
#[cfg(test)]
mod tests;
pub mod verify;

pub use report::report;
