//! The broker's own metrics.
