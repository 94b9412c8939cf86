//! The linking service.
