//! What is shown on a real Apache Kafka: one binary, so that its tests share the clusters that run.

mod apache_kafka;
mod clients;
mod compaction;
mod diff_of_a_link;
mod diff_of_real_clusters;
mod estate;
mod group_moves;
mod mirror_of_old_formats;
mod mirror_of_real_kafka;
mod mirror_survives;
mod mirror_under_changes;
mod pair;
mod raw_client;
