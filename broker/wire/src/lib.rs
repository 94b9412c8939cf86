//! Kafka frames, request guard, record-batch views, raw client.
