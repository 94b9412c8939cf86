//! The states of a link.

use serde::{Deserialize, Serialize};

use crate::ErrorKind;

/// A partition whose mirror has stopped, with the reason and the fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What happened (re-created topic, truncation, mismatching replay, ...).
    pub reason: String,
    /// What to do.
    pub fix: String,
    /// Since when, ms since the epoch.
    pub since_ms: i64,
}

/// Where a link stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The plan is accepted, mirror topics are being created.
    Created,
    /// Every partition is mirrored.
    Mirroring,
    /// A person stopped it. Groups keep their routes, fences are held.
    Paused {
        /// Why.
        reason: String,
        /// Since when, ms since the epoch.
        since_ms: i64,
    },
    /// At least one partition has halted; the others are mirrored.
    Halted,
    /// Given up; no group was on the target.
    Cancelled,
    /// Every group has given up its way back; the mirror topics are ordinary topics.
    Completed,
}

impl LinkState {
    /// Whether the link has ended for good.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed)
    }
}

/// As it stands behind "link NAME is".
impl std::fmt::Display for LinkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "being created",
            Self::Mirroring => "mirroring",
            Self::Paused { .. } => "paused",
            Self::Halted => "halted in part",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
        })
    }
}

/// What can happen to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkEvent {
    /// Mirror topics exist, replicators run.
    Started,
    /// A person pauses it.
    Pause {
        /// Why.
        reason: String,
    },
    /// A person resumes it.
    Resume,
    /// A partition stopped; a partition that had stopped has a new reason.
    Halted(Halt),
    /// A partition runs again.
    Cleared {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A person gives the link up.
    Cancel {
        /// Groups whose route is not `source`.
        groups_away: Vec<String>,
    },
    /// A person ends the link, everything has moved.
    Complete {
        /// Groups that are not `Completed`.
        groups_open: Vec<String>,
    },
}

/// As evidence tells it.
impl std::fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started => f.write_str("its mirror topics stand, and it runs"),
            Self::Pause { reason } if reason.is_empty() => f.write_str("it was paused"),
            Self::Pause { reason } => write!(f, "it was paused: {reason}"),
            Self::Resume => f.write_str("it was resumed"),
            Self::Halted(Halt { topic, partition, reason, .. }) => {
                write!(f, "{topic}-{partition} halted: {reason}")
            }
            Self::Cleared { topic, partition } => write!(f, "{topic}-{partition} runs again"),
            Self::Cancel { .. } => f.write_str("it was given up"),
            Self::Complete { .. } => f.write_str("every group has given up its way back"),
        }
    }
}

/// A link, as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The signal family.
    pub family: String,
    /// Where it stands.
    pub state: LinkState,
    /// Partitions that have halted, by topic and partition. Kept through a pause.
    pub halts: Vec<Halt>,
}

impl LinkRecord {
    /// A new link.
    pub fn new(family: impl Into<String>) -> Self {
        Self { family: family.into(), state: LinkState::Created, halts: Vec::new() }
    }
}

/// What a link cannot do in its state; the caller's, with a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct LinkRefused(String);

impl LinkRefused {
    /// Whoever asked.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Caller
    }
}

/// What follows when `event` happens to a link.
///
/// ```text
/// Created            --Started--> Mirroring
/// Created, Mirroring, Halted --Halted--> Halted      Paused --Halted--> Paused (remembered)
/// Halted             --Cleared(the last)--> Mirroring
/// Created, Mirroring, Halted --Pause--> Paused       Paused --Resume--> Mirroring, or Halted
/// any but the ends   --Cancel--> Cancelled           refused while a group is not on the source
/// any but the ends   --Complete--> Completed         refused while a group has a way back
/// ```
pub fn link_transition(
    record: &LinkRecord,
    event: &LinkEvent,
    at_ms: i64,
) -> Result<LinkRecord, LinkRefused> {
    let mut next = record.clone();
    if record.state.is_over() {
        return Err(refused(format!(
            "link {} is {}; fix: link the family anew",
            record.family, record.state
        )));
    }
    let paused = matches!(record.state, LinkState::Paused { .. });
    match event {
        LinkEvent::Started if paused => {}
        LinkEvent::Started => next.state = next.running(),
        LinkEvent::Pause { .. } if paused => {
            return Err(refused(format!("link {} is paused already; fix: nothing", record.family)));
        }
        LinkEvent::Pause { reason } => {
            next.state = LinkState::Paused { reason: reason.clone(), since_ms: at_ms };
        }
        LinkEvent::Resume if paused => next.state = next.running(),
        LinkEvent::Resume => {
            return Err(refused(format!("link {} is not paused; fix: nothing", record.family)));
        }
        LinkEvent::Halted(halt) => {
            next.halts.retain(|old| (&old.topic, old.partition) != (&halt.topic, halt.partition));
            next.halts.push(halt.clone());
            next.halts.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        }
        LinkEvent::Cleared { topic, partition } => {
            next.halts.retain(|old| (&old.topic, old.partition) != (topic, *partition));
        }
        LinkEvent::Cancel { groups_away } if groups_away.is_empty() => next.state = LinkState::Cancelled,
        LinkEvent::Cancel { groups_away } => {
            let groups = groups_away.join(", ");
            return Err(refused(format!("not on the source: {groups}; fix: roll them back, then cancel")));
        }
        LinkEvent::Complete { groups_open } if groups_open.is_empty() => next.state = LinkState::Completed,
        LinkEvent::Complete { groups_open } => {
            let groups = groups_open.join(", ");
            return Err(refused(format!("these groups have a way back: {groups}; fix: complete them first")));
        }
    }
    let started = matches!(next.state, LinkState::Mirroring | LinkState::Halted);
    if started || (matches!(event, LinkEvent::Halted(_)) && next.state == LinkState::Created) {
        next.state = next.running();
    }
    Ok(next)
}

impl LinkRecord {
    fn running(&self) -> LinkState {
        if self.halts.is_empty() { LinkState::Mirroring } else { LinkState::Halted }
    }
}

fn refused(sentence: String) -> LinkRefused {
    LinkRefused(sentence)
}
