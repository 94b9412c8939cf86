//! Notes in journal and evidence which partitions halt and which run again, and keeps the link's gauges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use towpath_plans::evidence::Body;
use towpath_plans::transition::{Halt, LinkEvent, LinkRecord, LinkRefused, link_transition};

use super::Running;
use crate::error::LinkerError;
use crate::link::Link;
use crate::state::Entry;

/// How often halts are looked for: soon enough for a person, cheap enough to be nothing.
const EVERY: Duration = Duration::from_millis(500);

/// Until `stop`.
pub(super) async fn run(running: Arc<Running>, stop: CancellationToken) {
    let env = running.link.env.clone();
    while !stop.is_cancelled() {
        if let Err(error) = look(&running).await {
            tracing::info!(family = running.link.family(), %error, "halts not noted; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = env.sleep(EVERY) => {}
        }
    }
}

async fn look(running: &Running) -> Result<(), LinkerError> {
    let link = &running.link;
    let mut halted: BTreeMap<(String, i32), Halt> = BTreeMap::new();
    for placed in link.mirror.partitions() {
        let id = &placed.replicator.id;
        if let Some(halt) = placed.replicator.halted() {
            let key = (id.topic.clone(), id.partition);
            let (topic, partition) = key.clone();
            let halt = Halt { topic, partition, reason: halt.reason, fix: halt.fix, since_ms: halt.since_ms };
            halted.insert(key, halt);
        }
    }
    link.mirror.observe();
    let record = running.record();
    if record.state.is_over() {
        return Ok(());
    }
    for halt in halted.values() {
        let known = record.halts.iter().find(|known| {
            (&known.topic, known.partition, &known.reason) == (&halt.topic, halt.partition, &halt.reason)
        });
        if known.is_none() {
            change(link, &running.record(), LinkEvent::Halted(halt.clone())).await?;
            let Halt { topic, partition, reason, fix, .. } = halt.clone();
            link.ledger
                .record_signed(None, vec![Body::PartitionHalted { topic, partition, reason, fix }])
                .await?;
        }
    }
    for known in &record.halts {
        if !halted.contains_key(&(known.topic.clone(), known.partition)) {
            let (topic, partition) = (known.topic.clone(), known.partition);
            change(link, &running.record(), LinkEvent::Cleared { topic, partition }).await?;
        }
    }
    Ok(())
}

/// Journals what follows from `event`, and says so in evidence when the state changed.
pub(super) async fn change(link: &Link, before: &LinkRecord, event: LinkEvent) -> Result<(), LinkerError> {
    let after = decide(link, before, &event).await?;
    tell(link, before, &after, &event).await
}

/// Journals what follows from `event`: from here on it is so, whatever becomes of the evidence.
pub(super) async fn decide(
    link: &Link,
    before: &LinkRecord,
    event: &LinkEvent,
) -> Result<LinkRecord, LinkerError> {
    let after = link_transition(before, event, link.env.now_ms()).map_err(|why| refused(&why))?;
    if after != *before {
        link.journal.append(Entry::Link(after.clone())).await?;
    }
    Ok(after)
}

/// Says in evidence what was decided, when the state changed.
pub(super) async fn tell(
    link: &Link,
    before: &LinkRecord,
    after: &LinkRecord,
    event: &LinkEvent,
) -> Result<(), LinkerError> {
    if after.state == before.state {
        return Ok(());
    }
    link.ledger.record_signed(None, vec![changed(before, after, event)]).await
}

/// What evidence says of a link's change.
pub(super) fn changed(before: &LinkRecord, after: &LinkRecord, event: &LinkEvent) -> Body {
    Body::LinkChanged { from: before.state.clone(), to: after.state.clone(), reason: event.to_string() }
}

/// What a link cannot do in its state, its fix apart.
pub(super) fn refused(why: &LinkRefused) -> LinkerError {
    let text = why.to_string();
    match text.split_once("; fix: ") {
        Some((problem, fix)) => LinkerError::refused(problem, fix),
        None => LinkerError::refused(text, "see `towpath status`"),
    }
}
