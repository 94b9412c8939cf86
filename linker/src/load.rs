//! What the source holds of a plan's topics, and how fast it grows: what an estimate rests on.
//!
//! Asks each source broker for the sizes of the partitions that it leads (DescribeLogDirs), twice: the difference is
//! what producers add, batches as they lie on disk, so compressed ones count as what they cost to fetch.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResponse;
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;
use towpath_plans::model::BrokerLoad;
use towpath_plans::{Plan, Side};
use towpath_wire::client::To;

use crate::cluster::Cluster;
use crate::error::LinkerError;

/// By broker: by topic, the partitions that it leads.
type Led = BTreeMap<i32, BTreeMap<String, Vec<i32>>>;

/// Measures over `time`, which this takes.
///
/// # Errors
/// The source cannot be asked, or may not be asked by this principal.
pub async fn measure(
    source: &Cluster,
    plan: &Plan,
    time: Duration,
    env: &Env,
) -> Result<Vec<BrokerLoad>, LinkerError> {
    let led = led(source, plan).await?;
    let began = env.elapsed();
    let before = sizes(source, &led).await?;
    env.sleep(time).await;
    let after = sizes(source, &led).await?;
    let elapsed_ms = (env.elapsed() - began).as_millis().max(1);
    let load = |(&broker_id, &held_bytes): (&i32, &u64)| {
        // Retention may have deleted more than producers added.
        let grown = held_bytes.saturating_sub(before.get(&broker_id).copied().unwrap_or(held_bytes));
        let per_second = u128::from(grown) * 1_000 / elapsed_ms;
        let incoming_bytes_per_s = u64::try_from(per_second).unwrap_or(u64::MAX);
        BrokerLoad { broker_id, held_bytes, incoming_bytes_per_s }
    };
    Ok(after.iter().map(load).collect())
}

async fn led(source: &Cluster, plan: &Plan) -> Result<Led, LinkerError> {
    let all =
        source.client.metadata_all().await.map_err(LinkerError::cluster(Side::Source, "list topics"))?;
    let mut led = Led::new();
    for (name, topic) in all.topics.iter().filter(|(name, topic)| plan.mirrors(name) && !topic.internal) {
        for partition in &topic.partitions {
            if let Some(leader) = partition.leader {
                led.entry(leader).or_default().entry(name.clone()).or_default().push(partition.index);
            }
        }
    }
    match led.is_empty() {
        true => Err(LinkerError::refused(
            format!("{} has none of the plan's topics", source.name),
            "correct `topics:` of the plan, or `source:`",
        )),
        false => Ok(led),
    }
}

async fn sizes(source: &Cluster, led: &Led) -> Result<BTreeMap<i32, u64>, LinkerError> {
    let mut sizes = BTreeMap::new();
    for (&broker_id, topics) in led {
        let topic = |(name, partitions): (&String, &Vec<i32>)| {
            let name = TopicName(StrBytes::from_string(name.clone()));
            DescribableLogDirTopic::default().with_topic(name).with_partitions(partitions.clone())
        };
        let request = DescribeLogDirsRequest::default().with_topics(Some(topics.iter().map(topic).collect()));
        let what = format!("ask broker {broker_id} for the sizes of its logs");
        let answer = source.client.send(To::Broker(broker_id), request).await;
        let answer = answer.map_err(LinkerError::cluster(Side::Source, what.clone()))?;
        sizes.insert(broker_id, size(&answer).map_err(|code| refused(code, &what))?);
    }
    Ok(sizes)
}

/// The bytes of all partitions in an answer; replicas that are only being moved here do not count twice.
fn size(answer: &DescribeLogDirsResponse) -> Result<u64, i16> {
    let folders = answer.results.iter();
    let codes = std::iter::once(answer.error_code).chain(folders.clone().map(|folder| folder.error_code));
    if let Some(code) = codes.into_iter().find(|code| *code != 0) {
        return Err(code);
    }
    let partitions = folders.flat_map(|folder| &folder.topics).flat_map(|topic| &topic.partitions);
    let held = partitions.filter(|partition| !partition.is_future_key);
    Ok(held.map(|partition| u64::try_from(partition.partition_size).unwrap_or(0)).sum())
}

fn refused(code: i16, what: &str) -> LinkerError {
    let name = ResponseError::try_from_code(code)
        .map_or_else(|| format!("error {code}"), |error| format!("{error:?}"));
    let fix = match ResponseError::try_from_code(code) {
        Some(ResponseError::ClusterAuthorizationFailed) => {
            "grant Describe on the cluster to the service's principal at the source"
        }
        _ => "see the broker's log; a log folder may be offline",
    };
    LinkerError::Answer { side: Side::Source, problem: format!("{what}: {name}"), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };

    use super::*;

    fn answer(error_code: i16, sizes: &[(i64, bool)]) -> DescribeLogDirsResponse {
        let partition = |&(size, future): &(i64, bool)| {
            DescribeLogDirsPartition::default().with_partition_size(size).with_is_future_key(future)
        };
        let topic = DescribeLogDirsTopic::default().with_partitions(sizes.iter().map(partition).collect());
        let folder = DescribeLogDirsResult::default().with_error_code(error_code).with_topics(vec![topic]);
        DescribeLogDirsResponse::default().with_results(vec![folder])
    }

    #[test]
    fn a_replica_that_is_being_moved_does_not_count_twice() {
        assert_eq!(size(&answer(0, &[(100, false), (7, false), (60, true)])), Ok(107));
    }

    #[test]
    fn what_may_not_be_asked_says_which_grant_is_missing() {
        let code = size(&answer(31, &[])).unwrap_err();
        let told = refused(code, "ask broker 1").to_string();
        assert!(told.contains("ClusterAuthorizationFailed") && told.contains("grant Describe"), "{told}");
    }
}
