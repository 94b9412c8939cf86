//! Persistent state: the journal's entries, and what replaying them gives. Nothing else survives a crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use towpath_plans::transition::{GroupMove, GroupState, LinkRecord, LinkState, Position, Route};
use towpath_plans::{Plan, PlanHash};

use crate::operation::Request;

/// One thing that was decided. Written before anything is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A service began to write this journal; whoever wrote it before is superseded.
    Opened {
        /// When, ms since the epoch.
        at_ms: i64,
        /// Which service, for whoever it supersedes.
        #[serde(default)]
        who: String,
    },
    /// A plan was linked, or replaced by a newer version of the same family.
    Linked(Box<Linked>),
    /// A link's state.
    Link(LinkRecord),
    /// A group's state.
    Group(Box<GroupMove>),
    /// What the fence member is about to commit at the source while the route is `target`.
    SourcePositions {
        /// The signal family.
        family: String,
        /// The group.
        group: String,
        /// Source offsets, sorted by topic and partition.
        positions: Vec<Position>,
    },
}

/// A plan in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linked {
    /// The plan, defaults filled in.
    pub plan: Plan,
    /// Its hash.
    pub plan_hash: PlanHash,
    /// Cluster id of the source when the plan was linked.
    pub source_cluster_id: String,
    /// Cluster id of the target when the plan was linked.
    pub target_cluster_id: String,
    /// Who linked it.
    pub actor: String,
    /// Who asked, and how, for evidence that a crash kept from being written. Absent in journals of before.
    #[serde(default)]
    pub request: Option<Request>,
    /// When, ms since the epoch.
    pub at_ms: i64,
}

#[cfg(test)]
impl Linked {
    /// A plan that ann linked at 1 ms, from cluster `s` to cluster `t`.
    pub(crate) fn of(plan: Plan) -> Linked {
        Linked {
            plan_hash: plan.hash(),
            plan,
            source_cluster_id: "s".into(),
            target_cluster_id: "t".into(),
            actor: "ann".into(),
            request: None,
            at_ms: 1,
        }
    }
}

/// What the journal says of one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// The plan in force.
    pub linked: Linked,
    /// The link's state.
    pub link: LinkRecord,
    /// The groups by name.
    pub groups: BTreeMap<String, GroupMove>,
    /// By group: the positions that were committed at the source last, and those before, for a crash between
    /// the entry and the commit.
    pub source_positions: BTreeMap<String, [Vec<Position>; 2]>,
}

impl FamilyRecord {
    /// Whether nothing is mirrored any more: given up, or ended.
    pub fn is_over(&self) -> bool {
        self.link.state.is_over()
    }

    /// Whether its link carries `topic` from one cluster to the other, both by id.
    pub fn carries(&self, topic: &str, source_cluster_id: &str, target_cluster_id: &str) -> bool {
        let linked = &self.linked;
        !self.is_over()
            && linked.plan.mirrors(topic)
            && linked.source_cluster_id == source_cluster_id
            && linked.target_cluster_id == target_cluster_id
    }

    /// The first group that was declared at the target, was not let go, and is not in `plan`.
    pub fn left_behind(&self, plan: &Plan) -> Option<&str> {
        // A link that never ran has declared no group.
        if self.link.state == LinkState::Created {
            return None;
        }
        let is_held = |name: &str| self.groups.get(name).is_none_or(|group| !group.state.is_over());
        let mut declared = self.linked.plan.groups.iter().map(|group| group.name.as_str());
        declared.find(|name| plan.group(name).is_none() && is_held(name))
    }

    /// A newer plan takes the place of the one in force. After a cancelled link everything begins anew, except
    /// that attempts keep counting: the target's coordinator refuses lower ones.
    fn relink(&mut self, linked: &Linked) {
        if self.is_over() {
            self.link = LinkRecord::new(linked.plan.family.as_str());
            for group in self.groups.values_mut() {
                let fresh = GroupMove::new(group.family.as_str(), group.group.as_str(), linked.at_ms);
                *group = GroupMove { attempt: group.attempt, ..fresh };
            }
            self.source_positions.clear();
        }
        self.groups.retain(|name, _| linked.plan.group(name).is_some());
        self.linked = linked.clone();
    }
}

/// What replaying the journal gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Families by name; cancelled and completed ones stay.
    pub families: BTreeMap<String, FamilyRecord>,
}

impl Recorded {
    /// The family other than `family` whose link carries `topic` from one cluster to the other, both by id.
    pub fn carrier_of(
        &self,
        topic: &str,
        family: &str,
        source_cluster_id: &str,
        target_cluster_id: &str,
    ) -> Option<&str> {
        let carries = |record: &FamilyRecord| record.carries(topic, source_cluster_id, target_cluster_id);
        let mut others = self.families.iter().filter(|(name, _)| *name != family);
        others.find(|(_, record)| carries(record)).map(|(name, _)| name.as_str())
    }

    /// Groups that are not on the source and rest on this family's link: its own, and those of families that use its
    /// topics, which are named with their family.
    pub fn groups_away(&self, family: &str) -> Vec<String> {
        let Some(carrier) = self.families.get(family) else { return Vec::new() };
        let rests_on = |other: &FamilyRecord| {
            let linked = &other.linked;
            let (source, target) = (&linked.source_cluster_id, &linked.target_cluster_id);
            linked.plan.uses.iter().any(|topic| carrier.carries(topic, source, target))
        };
        let mut names = Vec::new();
        for (name, other) in &self.families {
            if name != family && (other.is_over() || !rests_on(other)) {
                continue;
            }
            // A fence that is being set will hold members of the source.
            let away =
                |group: &GroupMove| group.route() != Route::Source || group.state == GroupState::Fencing;
            for (group, _) in other.groups.iter().filter(|(_, group)| away(group)) {
                names.push(if name == family { group.clone() } else { format!("{group} of family {name}") });
            }
        }
        names
    }

    /// Takes in the next entry. An entry about a family that was never linked is ignored: it cannot be written.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { .. } => {}
            Entry::Linked(linked) => {
                let name = linked.plan.family.clone();
                match self.families.get_mut(&name) {
                    Some(family) => family.relink(linked),
                    None => {
                        let link = LinkRecord::new(name.as_str());
                        let (groups, source_positions) = Default::default();
                        let linked = (**linked).clone();
                        self.families.insert(name, FamilyRecord { linked, link, groups, source_positions });
                    }
                }
            }
            Entry::Link(link) => {
                if let Some(family) = self.families.get_mut(&link.family) {
                    family.link = link.clone();
                }
            }
            Entry::Group(group) => {
                if let Some(family) = self.families.get_mut(&group.family) {
                    family.groups.insert(group.group.clone(), (**group).clone());
                }
            }
            Entry::SourcePositions { family, group, positions } => {
                if let Some(family) = self.families.get_mut(family) {
                    let [last, before] = family.source_positions.entry(group.clone()).or_default();
                    // An entry whose outcome was unknown is written again: the same is no other commit.
                    if last != positions {
                        *before = std::mem::replace(last, positions.clone());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_plans::model::TopicSelector;
    use towpath_plans::transition::Verb;

    use super::*;

    fn linked(family: &str, topic: &str, uses: &[&str]) -> Entry {
        let mut plan = Plan::new(family, "legacy", "towpath");
        plan.topics = vec![TopicSelector::Name(topic.into())];
        plan.uses = uses.iter().map(|topic| topic.to_string()).collect();
        Entry::Linked(Box::new(Linked::of(plan)))
    }

    #[test]
    fn a_link_is_needed_by_every_group_away_that_reads_what_it_carries() {
        let mut recorded = Recorded::default();
        recorded.apply(&linked("pricing", "prices", &[]));
        recorded.apply(&linked("inventory", "stock", &["prices"]));
        recorded.apply(&linked("views", "views", &[]));
        assert!(recorded.groups_away("pricing").is_empty());
        for (family, group) in [("pricing", "audit"), ("inventory", "cache"), ("views", "ranker")] {
            let moved = GroupMove { state: GroupState::OnTarget, ..GroupMove::new(family, group, 1) };
            recorded.apply(&Entry::Group(Box::new(moved)));
        }
        assert_eq!(recorded.groups_away("pricing"), ["cache of family inventory", "audit"]);
        assert_eq!(recorded.groups_away("inventory"), ["cache"]);
        let verb = Some(Verb::Cutover);
        let begun = GroupMove { state: GroupState::Fencing, verb, ..GroupMove::new("inventory", "cache", 1) };
        recorded.apply(&Entry::Group(Box::new(begun)));
        assert_eq!(recorded.groups_away("inventory"), ["cache"]);
    }

    #[test]
    fn a_topic_is_carried_by_another_familys_link_as_long_as_it_is_not_over() {
        let mut recorded = Recorded::default();
        recorded.apply(&linked("pricing", "prices", &[]));
        assert_eq!(recorded.carrier_of("prices", "inventory", "s", "t"), Some("pricing"));
        assert_eq!(recorded.carrier_of("carts", "inventory", "s", "t"), None);
        assert_eq!(recorded.carrier_of("prices", "pricing", "s", "t"), None, "it is no other");
        assert_eq!(recorded.carrier_of("prices", "inventory", "s", "elsewhere"), None);
        for state in [LinkState::Cancelled, LinkState::Completed] {
            recorded.apply(&Entry::Link(LinkRecord { state, ..LinkRecord::new("pricing") }));
            assert_eq!(recorded.carrier_of("prices", "inventory", "s", "t"), None);
        }
    }
}
