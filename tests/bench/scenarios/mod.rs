//! What is compared. A scenario is data (what it is called, who takes part, which figures it gives) and a function
//! that measures one contender once; rounds, order and sums are not its business.

mod acks;
mod bulk;
mod catch_up;
mod end_to_end;
mod fan_out;
mod large_records;
mod librdkafka;
mod many_partitions;
mod produce;
mod replay;
mod small_records;
mod start;
mod start_large;
mod tail;

use anyhow::Result;
use futures::future::LocalBoxFuture;

use super::results::{Metric, Values, Who};
use super::turn::Turn;

pub use tail::replay_until;

/// One comparison.
pub struct Scenario {
    /// For `--only`, and in the results.
    pub name: &'static str,
    pub title: &'static str,
    /// What is done, so that somebody else could do it.
    pub about: &'static str,
    pub who: &'static [Who],
    pub metrics: &'static [Metric],
    pub run: for<'a, 'b> fn(&'a mut Turn<'b>) -> LocalBoxFuture<'a, Result<Values>>,
}

/// In the order in which they run.
pub const ALL: &[Scenario] = &[
    produce::SCENARIO,
    librdkafka::SCENARIO,
    small_records::SCENARIO,
    large_records::SCENARIO,
    acks::AT_1,
    acks::AT_10,
    acks::AT_50,
    end_to_end::SCENARIO,
    fan_out::SCENARIO,
    catch_up::SCENARIO,
    replay::SCENARIO,
    many_partitions::SCENARIO,
    start::SCENARIO,
    start_large::SCENARIO,
];

/// Both brokers.
const BROKERS: &[Who] = &[Who::Towpath, Who::Kafka];
/// Both, and Kafka with an `fsync` before each acknowledgement.
const WRITERS: &[Who] = &[Who::Towpath, Who::Kafka, Who::KafkaFsync];

/// Six, as in the figures that Towpath was held against from the beginning.
const PARTITIONS: i32 = 6;
const RECORD_BYTES: usize = 500;
/// Of a load that is about throughput.
const BATCH_BYTES: usize = 128 << 10;
/// Of a load that is about latency: `batch.size` of Kafka's producer.
const SMALL_BATCH_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_keys_are_unique_and_towpath_takes_part_everywhere() {
        let names: BTreeSet<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
        for scenario in ALL {
            let keys: BTreeSet<&str> = scenario.metrics.iter().map(|metric| metric.key.as_ref()).collect();
            assert_eq!(keys.len(), scenario.metrics.len(), "{}", scenario.name);
            assert!(scenario.who.contains(&Who::Towpath));
        }
    }
}
