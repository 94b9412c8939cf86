//! Kafka frames, request guard, record-batch views, raw client.

#![forbid(unsafe_code)]

pub mod client;
