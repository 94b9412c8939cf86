//! The linking service: mirrors, compares, moves consumer groups.

#![forbid(unsafe_code)]
