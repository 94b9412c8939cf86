//! What a link will take, before anything starts.

use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// What one source broker leads of the plan's topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerLoad {
    /// The broker's id.
    pub broker_id: i32,
    /// Bytes that its partitions hold now (DescribeLogDirs, leaders only).
    pub held_bytes: u64,
    /// Bytes per second that producers add to them.
    pub incoming_bytes_per_s: u64,
}

/// What catching up will take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes that the sources hold: what is read and stored until the mirror has caught up, growth not counted.
    pub held_bytes: u64,
    /// How long until the slowest broker's partitions have caught up, ms; `None` when producers add more than the
    /// link may read.
    pub catch_up_ms: Option<u64>,
    /// Bytes that leave the source's network until then, growth included: what egress is paid for. The diff reads
    /// them once more.
    pub egress_bytes: Option<u64>,
    /// The broker that takes longest.
    pub slowest_broker_id: Option<i32>,
}

impl Plan {
    /// Estimates the catch-up under the plan's bandwidth limit.
    pub fn estimate(&self, brokers: &[BrokerLoad]) -> Estimate {
        let limit = u128::from(self.link.bandwidth_bytes_per_s_max);
        let mut estimate =
            Estimate { held_bytes: 0, catch_up_ms: Some(0), egress_bytes: Some(0), slowest_broker_id: None };
        for broker in brokers {
            estimate.held_bytes = estimate.held_bytes.saturating_add(broker.held_bytes);
            let spare = limit.saturating_sub(u128::from(broker.incoming_bytes_per_s));
            let ms = (u128::from(broker.held_bytes) * 1_000)
                .checked_div(spare)
                .and_then(|ms| u64::try_from(ms).ok());
            let grown = ms.map(|ms| u128::from(ms) * u128::from(broker.incoming_bytes_per_s) / 1_000);
            let egress = grown.and_then(|grown| u64::try_from(grown + u128::from(broker.held_bytes)).ok());
            let slower = match (estimate.catch_up_ms, ms) {
                (Some(slowest), Some(ms)) => ms > slowest,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if slower {
                (estimate.catch_up_ms, estimate.slowest_broker_id) = (ms, Some(broker.broker_id));
            }
            estimate.egress_bytes =
                estimate.egress_bytes.zip(egress).map(|(all, more)| all.saturating_add(more));
        }
        estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(broker_id: i32, held_bytes: u64, incoming_bytes_per_s: u64) -> BrokerLoad {
        BrokerLoad { broker_id, held_bytes, incoming_bytes_per_s }
    }

    #[test]
    fn the_slowest_broker_sets_the_time_and_growth_is_paid_for() {
        let mut plan = Plan::new("views", "legacy", "towpath");
        plan.link.bandwidth_bytes_per_s_max = 50;
        let estimate = plan.estimate(&[load(1, 4_000, 10), load(2, 1_000, 0)]);
        assert_eq!((estimate.held_bytes, estimate.slowest_broker_id), (5_000, Some(1)));
        assert_eq!((estimate.catch_up_ms, estimate.egress_bytes), (Some(100_000), Some(6_000)));
    }

    #[test]
    fn a_mirror_that_can_never_catch_up_says_so() {
        let mut plan = Plan::new("views", "legacy", "towpath");
        plan.link.bandwidth_bytes_per_s_max = 50;
        let estimate = plan.estimate(&[load(1, 10, 0), load(2, 1, 50), load(3, 10, 0)]);
        assert_eq!((estimate.catch_up_ms, estimate.slowest_broker_id), (None, Some(2)));
        assert_eq!(estimate.egress_bytes, None);
        assert_eq!(plan.estimate(&[]).catch_up_ms, Some(0));
    }
}
