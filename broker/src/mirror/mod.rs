//! The rules of mirror topics.
