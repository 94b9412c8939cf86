//! Exact two-way maps between source and target offsets.
