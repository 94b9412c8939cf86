//! The growing end of a chain as this service knows it: what replaying the stored lines gives.

use std::collections::BTreeMap;

use towpath_plans::PlanHash;
use towpath_plans::evidence::{Body, Chain, ChainError, ChainHead, EntryHash, Line, PublicKey};
use towpath_plans::transition::{GroupState, LinkState};

use super::SOFTWARE;

/// Everything that a writer must know of the lines before the next one.
pub(super) struct Tail {
    family: String,
    chain: Chain,
    /// The key that may sign now; `None` before the first entry.
    key: Option<PublicKey>,
    /// Entries behind the last signature.
    unsigned: u64,
    /// Lines of this service that may stand in the next slot: sent, and the answer never seen. 32 bytes for each
    /// append that failed since the last one that succeeded.
    in_doubt: Vec<EntryHash>,
    groups: BTreeMap<String, GroupState>,
    plan: Option<(PlanHash, i64)>,
}

impl Tail {
    pub(super) fn new(family: &str) -> Tail {
        Tail {
            family: family.to_owned(),
            chain: Chain::new(family, SOFTWARE),
            key: None,
            unsigned: 0,
            in_doubt: Vec::new(),
            groups: BTreeMap::new(),
            plan: None,
        }
    }

    pub(super) fn head(&self) -> ChainHead {
        self.chain.head()
    }

    pub(super) fn key(&self) -> Option<PublicKey> {
        self.key
    }

    pub(super) fn unsigned(&self) -> u64 {
        self.unsigned
    }

    pub(super) fn group(&self, group: &str) -> Option<GroupState> {
        self.groups.get(group).copied()
    }

    /// The plan that was adopted last, unless it was given up since, and when it was, ms since the epoch.
    pub(super) fn plan(&self) -> Option<(PlanHash, i64)> {
        self.plan
    }

    /// Makes the next line without taking it: it may or may not come to stand. From here on it is recognised as
    /// this service's own.
    pub(super) fn draft(&mut self, make: impl FnOnce(&mut Chain) -> Line) -> Line {
        let line = make(&mut self.chain.clone());
        self.in_doubt.push(line.hash);
        line
    }

    /// Whether this service made the line for the next slot.
    pub(super) fn is_mine(&self, line: &Line) -> bool {
        self.in_doubt.contains(&line.hash)
    }

    /// Takes a stored line as the next one.
    pub(super) fn take(&mut self, line: &Line) -> Result<(), ChainError> {
        let entry = self.chain.follow(line)?;
        self.in_doubt.clear();
        self.unsigned += 1;
        let at_ms = entry.at_ms().unwrap_or_default();
        match entry.body {
            Body::Opened { key, .. } | Body::KeyReplaced { key, .. } => self.key = Some(key),
            Body::KeyRotated { key, .. } => {
                self.key = Some(key);
                self.unsigned = 1;
            }
            // It does not sign itself, but nothing rests on it either.
            Body::Checkpoint { .. } => self.unsigned = 0,
            Body::GroupChanged { group, to, .. } => {
                self.groups.insert(group, to);
            }
            Body::PlanAdopted { plan_hash, .. } => self.plan = Some((plan_hash, at_ms)),
            Body::LinkChanged { to: LinkState::Cancelled | LinkState::Completed, .. } => self.plan = None,
            _ => {}
        }
        Ok(())
    }

    /// The line in a slot's payload.
    pub(super) fn parse(&self, sequence: u64, payload: &[u8]) -> Result<Line, ChainError> {
        let text = std::str::from_utf8(payload).map_err(|_| "the line is not UTF-8".to_owned());
        text.and_then(Line::parse).map_err(|why| ChainError { family: self.family.clone(), sequence, why })
    }
}
