//! Who mirrors what a group reads: its family's own link, and those of the families whose topics its plan uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use towpath_wire::client::TopicPartition;

use super::mover::Mover;
use crate::diff::Diff;
use crate::error::{LinkerError, Side};
use crate::link::Link;
use crate::link::mirror::Placed;
use crate::link::translate::Untranslatable;

/// Ends that are to be reached, by partition.
pub(super) type Ends = BTreeMap<TopicPartition, i64>;

/// A running link and its diff.
#[derive(Clone)]
pub struct Carrier {
    pub(super) link: Arc<Link>,
    pub(super) diff: Arc<Diff>,
}

/// Every running link of a service, by family. They come and go while groups of others move: nobody keeps one.
#[derive(Clone, Default)]
pub struct Carriers(Arc<RwLock<BTreeMap<String, Carrier>>>);

impl Carriers {
    /// A link runs.
    pub fn add(&self, link: Arc<Link>, diff: Arc<Diff>) {
        self.0.write().insert(link.family().to_owned(), Carrier { link, diff });
    }

    /// The link of `family` no longer runs.
    pub fn remove(&self, family: &str) {
        self.0.write().remove(family);
    }
}

impl Mover {
    /// The running links that may carry what this group reads: its family's own, then those of other families.
    pub(super) fn carriers(&self) -> Vec<Carrier> {
        let own = Carrier { link: self.link.clone(), diff: self.diff.clone() };
        let mut carriers = vec![own];
        if self.link.plan.uses.is_empty() {
            return carriers;
        }
        let running = self.carriers.0.read();
        let others = running.values().filter(|other| {
            other.link.family() != self.link.family()
                && other.link.source.id == self.link.source.id
                && other.link.target.id == self.link.target.id
        });
        carriers.extend(others.cloned());
        carriers
    }

    /// Every mirrored topic that the plan has under `topics:` or `uses:`, with the family whose link carries it,
    /// whether that link runs now or not.
    pub(super) fn mirrored(&self) -> BTreeMap<String, String> {
        let link = &self.link;
        let own = link.mirror.partitions().into_iter();
        let own = own.map(|placed| (placed.replicator.id.topic.clone(), link.family().to_owned()));
        let mut mirrored: BTreeMap<String, String> = own.collect();
        link.journal.with(|recorded| {
            for topic in &link.plan.uses {
                let found = recorded.carrier_of(topic, link.family(), &link.source.id, &link.target.id);
                mirrored.extend(found.map(|family| (topic.clone(), family.to_owned())));
            }
        });
        mirrored
    }

    /// What the links that run now mirror of these topics.
    pub(super) fn placed_of(&self, topics: &[String]) -> Vec<Placed> {
        let carriers = self.carriers();
        let placed = carriers.iter().flat_map(|carrier| carrier.link.mirror.partitions());
        let read = |topic: &String| topics.contains(topic) && self.may_read(topic);
        placed.filter(|placed| read(&placed.replicator.id.topic)).collect()
    }

    /// Every partition of these topics.
    ///
    /// # Errors
    /// No link that runs now mirrors one of the topics: a group is not moved without it.
    pub(super) fn partitions_of(&self, topics: &[String]) -> Result<Vec<TopicPartition>, LinkerError> {
        let placed = self.placed_of(topics);
        for topic in topics {
            if !placed.iter().any(|placed| placed.replicator.id.topic == *topic) {
                return Err(self.not_carried(topic));
            }
        }
        Ok(placed.iter().map(|placed| placed.replicator.id.clone()).collect())
    }

    /// The link that mirrors a partition now.
    pub(super) fn carrier_of(&self, id: &TopicPartition) -> Option<(Carrier, Placed)> {
        if !self.may_read(&id.topic) {
            return None;
        }
        let mut carriers = self.carriers().into_iter();
        carriers.find_map(|carrier| {
            let placed = carrier.link.mirror.partition(id)?;
            Some((carrier, placed))
        })
    }

    /// A partition that is mirrored now.
    pub(super) fn placed(&self, id: &TopicPartition) -> Option<Placed> {
        self.carrier_of(id).map(|(_, placed)| placed)
    }

    /// A committed offset of one side as the other side numbers it, by the map of the link that carries it.
    ///
    /// # Errors
    /// [`Untranslatable`] with the reason.
    pub(super) fn translate(
        &self,
        side: Side,
        id: &TopicPartition,
        offset: i64,
    ) -> Result<i64, Untranslatable> {
        match self.carrier_of(id) {
            Some((carrier, _)) => carrier.link.translator.position(side, id, offset),
            None => self.link.translator.position(side, id, offset),
        }
    }

    /// These partitions by the link that carries them.
    ///
    /// # Errors
    /// One is not mirrored now.
    pub(super) fn by_carrier(&self, ends: &Ends) -> Result<Vec<(Carrier, Ends)>, LinkerError> {
        let mut by_family: BTreeMap<String, (Carrier, Ends)> = BTreeMap::new();
        for (id, end) in ends {
            let (carrier, _) = self.carrier_of(id).ok_or_else(|| self.not_carried(&id.topic))?;
            let family = carrier.link.family().to_owned();
            by_family.entry(family).or_insert((carrier, Ends::new())).1.insert(id.clone(), *end);
        }
        Ok(by_family.into_values().collect())
    }

    /// Whether a topic is carried by another family, whose link does not run now: its positions wait.
    pub(super) fn waits_for_carrier(&self, id: &TopicPartition) -> bool {
        self.link.plan.uses.contains(&id.topic) && self.placed(id).is_none()
    }

    pub(super) fn not_carried(&self, topic: &str) -> LinkerError {
        let (problem, family) = match self.mirrored().remove(topic) {
            Some(family) => {
                (format!("{topic} is mirrored by family {family}, which does not run now"), family)
            }
            None => (format!("{topic} is not mirrored"), self.link.family().to_owned()),
        };
        LinkerError::refused(problem, format!("look at `towpath status {family}`"))
    }

    fn may_read(&self, topic: &str) -> bool {
        self.link.plan.mirrors(topic) || self.link.plan.uses.iter().any(|used| used == topic)
    }
}
