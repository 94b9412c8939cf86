//! The linking service: mirrors, compares, moves consumer groups.
