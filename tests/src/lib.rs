//! End-to-end harness, scenarios, tidy.
