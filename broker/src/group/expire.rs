//! What ends by itself: offsets past their retention (KIP-211), offsets of deleted topics, groups without either
//! members or offsets.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::admin;
use super::backing::topic_ids;
use super::cell::Cell;
use super::classic::State;
use super::commits::remove;
use super::coordinator::Inner;
use crate::metadata::Metadata;

/// Looks at every group in the configured interval.
pub(super) async fn expire_in_time(inner: Arc<Inner>) {
    loop {
        inner.env.sleep(Duration::from_millis(inner.config.offsets_retention_check_ms)).await;
        expire_all(&inner);
    }
}

pub(super) fn expire_all(inner: &Inner) {
    for cell in inner.all() {
        inner.change(&cell, |cell, now, fx| {
            if cell.is_dead() {
                return;
            }
            let gone = expired(cell, inner.config.offsets_retention_ms, now.wall_ms);
            if let Err(error) = remove(cell, inner, &gone) {
                tracing::info!(group = cell.name, %error, "offsets are not expired now; trying again later");
                return;
            }
            inner.metrics.expired.inc_by(gone.len() as u64);
            if cell.offsets.is_empty() && cell.route.is_none() && cell.classic.state() == State::Empty {
                // Refused only while somebody is about to join.
                let _ = admin::delete(cell, inner, now, fx);
            }
        });
        let (name, is_dead) = {
            let cell = cell.lock();
            (cell.name.clone(), cell.is_dead())
        };
        if is_dead {
            // Looked up, a dead group is forgotten.
            let _ = inner.find(&name);
        }
    }
}

/// Positions past their time. A group's clock starts when its last member leaves; one that never had members, or
/// no longer reads a topic, is judged by the commit. Positions of a held group are the link's: they stay.
fn expired(cell: &Cell, retention_ms: i64, now_ms: i64) -> Vec<(String, i32)> {
    if cell.is_held() {
        return Vec::new();
    }
    let classic = &cell.classic;
    let empty_since_ms = match classic.state() {
        State::Empty => classic.protocol_type().map(|_| classic.state_since_ms()),
        _ => None,
    };
    let mut gone = Vec::new();
    for (topic, partitions) in &cell.offsets {
        if classic.state() != State::Empty && (!classic.is_consumer() || classic.is_subscribed(topic)) {
            continue;
        }
        for (index, value) in partitions {
            let since_ms = empty_since_ms.unwrap_or(value.commit_ms).max(value.commit_ms);
            let ends_ms = value.expire_ms.unwrap_or(since_ms.saturating_add(retention_ms));
            if ends_ms <= now_ms {
                gone.push((topic.clone(), *index));
            }
        }
    }
    gone
}

/// Removes the positions of topics that are deleted: a topic made anew under the same name begins anew.
pub(super) async fn follow_topics(inner: Arc<Inner>, metadata: Metadata) {
    let mut changes = metadata.changes();
    let mut known = topic_ids(&metadata.image());
    loop {
        let changed = changes.changed().await;
        if changed.is_err() {
            return;
        }
        let now = topic_ids(&metadata.image());
        let gone: HashSet<String> = known
            .iter()
            .filter(|(name, id)| now.get(*name) != Some(*id))
            .map(|(name, _)| name.clone())
            .collect();
        known = now;
        if !gone.is_empty() {
            forget_topics(&inner, &gone);
        }
    }
}

pub(super) fn forget_topics(inner: &Inner, gone: &HashSet<String>) {
    for cell in inner.all() {
        inner.change(&cell, |cell, _, _| {
            if cell.is_dead() {
                return;
            }
            let of_topic = |topic: &String| {
                let partitions = cell.offsets.get(topic).into_iter().flat_map(|partitions| partitions.keys());
                partitions.map(|index| (topic.clone(), *index)).collect::<Vec<_>>()
            };
            let positions: Vec<_> = gone.iter().flat_map(of_topic).collect();
            match remove(cell, inner, &positions) {
                Ok(()) => inner.metrics.expired.inc_by(positions.len() as u64),
                Err(error) => {
                    tracing::info!(group = cell.name, %error, "positions of a deleted topic are left behind");
                }
            }
        });
    }
}
