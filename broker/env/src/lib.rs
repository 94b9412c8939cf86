//! The one door to clock, randomness, process signals and retries.
