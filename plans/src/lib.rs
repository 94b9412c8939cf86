//! Plan model, validation, steps, transitions, gates, evidence: pure, no I/O.
