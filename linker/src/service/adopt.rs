//! What every plan that came into force leaves behind: evidence of it, and the link's first state.

use std::collections::BTreeMap;

use towpath_plans::evidence::Body;
use towpath_plans::transition::{LinkEvent, LinkState};

use super::link::requested;
use super::watch;
use crate::error::LinkerError;
use crate::link::Link;
use crate::state::FamilyRecord;

/// Writes what is missing. Part of every start, because a crash or a store that failed may have come between the
/// journal's entry and this.
///
/// # Errors
/// The store fails, or the target cannot be asked; the link may not run yet.
pub(super) async fn settle(link: &Link, record: &FamilyRecord) -> Result<(), LinkerError> {
    // The same plan may have been given up and linked again since: the journal's time tells.
    let told = |(plan_hash, at_ms)| plan_hash == link.plan_hash && at_ms >= record.linked.at_ms;
    if !link.ledger.plan_in_force().is_some_and(told) {
        let request = record.linked.request.as_ref();
        let mut bodies: Vec<Body> = Vec::new();
        bodies.extend(request.map(|request| requested("link", None, request, link.plan_hash)));
        bodies.push(Body::PlanAdopted { plan_hash: link.plan_hash, plan: link.plan.canonical() });
        bodies.extend(topics(link).await?);
        link.ledger.record_signed(request.map(|request| request.actor.clone()), bodies).await?;
    }
    if record.link.state == LinkState::Created {
        watch::change(link, &record.link, LinkEvent::Started).await?;
    }
    Ok(())
}

/// Every mirrored topic, with its identity on both sides.
async fn topics(link: &Link) -> Result<Vec<Body>, LinkerError> {
    let differences = link.follow.differences();
    let mut topics = BTreeMap::<String, (String, i32)>::new();
    for placed in link.mirror.partitions() {
        let id = &placed.replicator.id;
        let source_topic_id = placed.replicator.source_topic_id.to_string();
        topics.entry(id.topic.clone()).or_insert((source_topic_id, 0)).1 += 1;
    }
    let mut bodies = Vec::new();
    for (topic, (source_topic_id, partitions)) in topics {
        let config_differences = differences
            .iter()
            .filter(|difference| difference.topic == topic)
            .map(|difference| format!("{}: {}", difference.what, difference.outcome))
            .collect();
        let target_topic_id = link.target_topic_id(&topic).await?;
        bodies.push(Body::TopicLinked {
            topic,
            source_topic_id,
            target_topic_id,
            partitions,
            config_differences,
        });
    }
    Ok(bodies)
}
