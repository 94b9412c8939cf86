//! The demo's books: what producers were promised, what each group was given, what was lost or given twice.
//!
//! Pure: producers and consumers enter what they saw, [`Books::totals`] judges. A group's life is a row of
//! *stints*, one for each time that it ran on one side; a move begins the next. A record that is delivered again
//! is *duplicated* when the group had committed past it (in an earlier stint, or before in the same one), and
//! *redelivered* when it had not: that is Kafka's at-least-once, with or without a migration.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a group runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The cluster that is left.
    Source,
    /// The cluster that is moved to.
    Target,
}

/// Where a record stands. Offsets are the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the topic in [`Books`].
    pub topic: usize,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// One record as a consumer received it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// The number that the producer wrote into it.
    pub number: u64,
    /// Where it stood.
    pub place: Place,
    /// Digest of key and value.
    pub digest: u64,
    /// The side that delivered it.
    pub side: Side,
    /// When, on the demo's clock.
    pub at: Duration,
}

/// What one group has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTotals {
    /// The group.
    pub group: String,
    /// Records of its topics that producers were promised.
    pub produced: u64,
    /// Records that it received, each counted once.
    pub delivered: u64,
    /// Records that it never received.
    pub lost: u64,
    /// Deliveries of records that it had committed past.
    pub duplicated: u64,
    /// Deliveries beyond the first of records that it had not committed past.
    pub redelivered_uncommitted: u64,
    /// Deliveries whose key, value or place is not what was produced.
    pub altered: u64,
    /// Deliveries by a side that the group had never been moved to.
    pub stray: u64,
}

/// How a move looked from the consumers' side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// From the last delivery on the side that was left, of a record that was not delivered again, to the first on
    /// the other side.
    pub pause: Duration,
    /// How long evicted consumers read on after the first delivery on the other side.
    pub overlap: Duration,
}

#[derive(Clone, Copy)]
struct Produced {
    place: Place,
    digest: u64,
}

struct Seen {
    place: Place,
    digest: u64,
    last_stint: usize,
    last_at: Duration,
}

/// Next offset to read, by topic and partition.
type Positions = HashMap<(usize, i32), i64>;

struct Stint {
    side: Side,
    first_at: Option<Duration>,
    last_at: Option<Duration>,
    committed: Positions,
}

struct Redelivery {
    place: Place,
    stint: usize,
    committed_before: bool,
}

struct Group {
    name: String,
    topics: Vec<usize>,
    stints: Vec<Stint>,
    seen: HashMap<u64, Seen>,
    redeliveries: Vec<Redelivery>,
    altered: u64,
    stray: u64,
}

/// Everything that was counted.
pub struct Books {
    produced: HashMap<u64, Produced>,
    groups: Vec<Group>,
}

impl Books {
    /// Books of groups with the topics that each reads. Every group starts on the source.
    pub fn new(groups: &[(&str, &[usize])]) -> Books {
        let first = || Stint { side: Side::Source, first_at: None, last_at: None, committed: HashMap::new() };
        let groups = groups.iter().map(|(name, topics)| Group {
            name: (*name).to_owned(),
            topics: topics.to_vec(),
            stints: vec![first()],
            seen: HashMap::new(),
            redeliveries: Vec::new(),
            altered: 0,
            stray: 0,
        });
        Books { produced: HashMap::new(), groups: groups.collect() }
    }

    /// The cluster acknowledged a record.
    pub fn acknowledged(&mut self, number: u64, place: Place, digest: u64) {
        self.produced.insert(number, Produced { place, digest });
    }

    /// How many records were acknowledged.
    pub fn records(&self) -> u64 {
        self.produced.len() as u64
    }

    /// From here on, deliveries on `to` belong to the group's next stint.
    pub fn move_begins(&mut self, group: usize, to: Side) {
        let stint = Stint { side: to, first_at: None, last_at: None, committed: HashMap::new() };
        self.groups[group].stints.push(stint);
    }

    /// A member of a group received a record.
    pub fn delivered(&mut self, group: usize, delivery: Delivery) {
        let group = &mut self.groups[group];
        let Some(stint) = group.stint_on(delivery.side) else {
            group.stray += 1;
            return;
        };
        let Delivery { place, digest, at, .. } = delivery;
        let current = &mut group.stints[stint];
        current.first_at.get_or_insert(at);
        current.last_at = Some(at);
        let committed_before = current.has_committed(place);
        let Some(seen) = group.seen.get_mut(&delivery.number) else {
            group.seen.insert(delivery.number, Seen { place, digest, last_stint: stint, last_at: at });
            return;
        };
        if (seen.place, seen.digest) != (place, digest) {
            group.altered += 1;
        }
        (seen.last_stint, seen.last_at) = (stint, at);
        group.redeliveries.push(Redelivery { place, stint, committed_before });
    }

    /// A member received something that the demo's producers can not have written.
    pub fn unreadable(&mut self, group: usize) {
        self.groups[group].altered += 1;
    }

    /// A member's commit was acknowledged: `position` is the next offset to read.
    pub fn committed(&mut self, group: usize, side: Side, (topic, partition): (usize, i32), position: i64) {
        let group = &mut self.groups[group];
        // Without a stint there was no delivery either, and nothing to commit.
        let Some(stint) = group.stint_on(side) else { return };
        let held = group.stints[stint].committed.entry((topic, partition)).or_insert(position);
        *held = position.max(*held);
    }

    /// Whether `group` has received every record of its topics that was acknowledged.
    pub fn is_complete(&self, group: usize) -> bool {
        let group = &self.groups[group];
        self.of_topics(group).all(|(number, _)| group.seen.contains_key(number))
    }

    /// How a move of the group looked, the first with number 0; `None` while nothing was delivered behind it. Final
    /// once the books are closed: what was delivered again, and who read on, shows later.
    pub fn pause(&self, group: usize, number: usize) -> Option<Pause> {
        let group = &self.groups[group];
        let (left, entered) = (group.stints.get(number)?, group.stints.get(number + 1)?);
        let first = entered.first_at?;
        let kept = group.seen.values().filter(|seen| seen.last_stint == number).map(|seen| seen.last_at);
        let last_kept = kept.filter(|at| *at <= first).max().unwrap_or(first);
        let overlap = left.last_at.map_or(Duration::ZERO, |last| last.saturating_sub(first));
        Some(Pause { pause: first.saturating_sub(last_kept), overlap })
    }

    /// The judgement over one group.
    pub fn totals(&self, group: usize) -> GroupTotals {
        let group = &self.groups[group];
        let mut totals = GroupTotals {
            group: group.name.clone(),
            delivered: group.seen.len() as u64,
            altered: group.altered,
            stray: group.stray,
            ..GroupTotals::default()
        };
        for (number, produced) in self.of_topics(group) {
            totals.produced += 1;
            match group.seen.get(number) {
                None => totals.lost += 1,
                Some(seen) if (seen.place, seen.digest) != (produced.place, produced.digest) => {
                    totals.altered += 1;
                }
                Some(_) => {}
            }
        }
        for again in &group.redeliveries {
            let earlier = &group.stints[..again.stint];
            if again.committed_before || earlier.iter().any(|stint| stint.has_committed(again.place)) {
                totals.duplicated += 1;
            } else {
                totals.redelivered_uncommitted += 1;
            }
        }
        totals
    }

    /// How many moves of a group have begun.
    pub fn moves(&self, group: usize) -> usize {
        self.groups[group].stints.len() - 1
    }

    fn of_topics<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a u64, &'a Produced)> {
        self.produced.iter().filter(|(_, produced)| group.topics.contains(&produced.place.topic))
    }
}

impl Group {
    /// The latest stint on `side`. Evicted consumers that read on belong to the stint that they were in.
    fn stint_on(&self, side: Side) -> Option<usize> {
        self.stints.iter().rposition(|stint| stint.side == side)
    }
}

impl Stint {
    fn has_committed(&self, place: Place) -> bool {
        self.committed.get(&(place.topic, place.partition)).is_some_and(|next| *next > place.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: usize = 0;

    fn place(offset: i64) -> Place {
        Place { topic: 0, partition: 3, offset }
    }

    /// Books in which `records` were acknowledged, each at the offset of its number.
    fn books(records: u64) -> Books {
        let mut books = Books::new(&[("ranker", &[0])]);
        for number in 0..records {
            books.acknowledged(number, place(number as i64), 7);
        }
        books
    }

    fn deliver(books: &mut Books, number: u64, side: Side, at_ms: u64) {
        let at = Duration::from_millis(at_ms);
        books.delivered(GROUP, Delivery { number, place: place(number as i64), digest: 7, side, at });
    }

    fn commit(books: &mut Books, side: Side, position: i64) {
        books.committed(GROUP, side, (0, 3), position);
    }

    #[test]
    fn a_record_that_was_never_delivered_is_lost() {
        let mut books = books(3);
        deliver(&mut books, 0, Side::Source, 1);
        deliver(&mut books, 2, Side::Source, 2);
        assert!(!books.is_complete(GROUP));
        let totals = books.totals(GROUP);
        assert_eq!((totals.produced, totals.delivered, totals.lost), (3, 2, 1));
        deliver(&mut books, 1, Side::Source, 3);
        assert!(books.is_complete(GROUP));
        assert_eq!(books.totals(GROUP).lost, 0);
    }

    #[test]
    fn a_record_of_a_topic_that_the_group_does_not_read_is_not_missed() {
        let mut books = books(0);
        books.acknowledged(0, Place { topic: 1, ..place(0) }, 7);
        assert!(books.is_complete(GROUP));
        assert_eq!(books.totals(GROUP), GroupTotals { group: "ranker".into(), ..GroupTotals::default() });
    }

    #[test]
    fn what_was_committed_before_a_move_must_not_come_again() {
        let mut books = books(2);
        deliver(&mut books, 0, Side::Source, 1);
        deliver(&mut books, 1, Side::Source, 2);
        commit(&mut books, Side::Source, 1);
        books.move_begins(GROUP, Side::Target);
        deliver(&mut books, 1, Side::Target, 5);
        let totals = books.totals(GROUP);
        assert_eq!((totals.duplicated, totals.redelivered_uncommitted), (0, 1));
        deliver(&mut books, 0, Side::Target, 6);
        assert_eq!(books.totals(GROUP).duplicated, 1);
    }

    #[test]
    fn a_commit_that_was_heard_of_late_counts_for_the_stint_it_was_made_in() {
        let mut books = books(1);
        deliver(&mut books, 0, Side::Source, 1);
        books.move_begins(GROUP, Side::Target);
        deliver(&mut books, 0, Side::Target, 5);
        commit(&mut books, Side::Target, 1);
        assert_eq!(books.totals(GROUP).duplicated, 0);
        commit(&mut books, Side::Source, 1);
        assert_eq!(books.totals(GROUP).duplicated, 1);
    }

    #[test]
    fn on_one_side_only_what_was_committed_before_counts() {
        let mut books = books(1);
        deliver(&mut books, 0, Side::Source, 1);
        deliver(&mut books, 0, Side::Source, 2);
        commit(&mut books, Side::Source, 1);
        assert_eq!(books.totals(GROUP).redelivered_uncommitted, 1);
        deliver(&mut books, 0, Side::Source, 3);
        let totals = books.totals(GROUP);
        assert_eq!((totals.duplicated, totals.redelivered_uncommitted), (1, 1));
    }

    #[test]
    fn a_group_moved_on_and_set_back_is_seen() {
        let mut books = books(3);
        for number in 0..3 {
            deliver(&mut books, number, Side::Source, number);
        }
        books.move_begins(GROUP, Side::Target);
        commit(&mut books, Side::Target, 3);
        books.move_begins(GROUP, Side::Source);
        deliver(&mut books, 2, Side::Source, 9);
        assert_eq!(books.totals(GROUP).duplicated, 1);
    }

    #[test]
    fn other_contents_or_another_place_is_altered() {
        let mut books = books(2);
        let at = Duration::ZERO;
        let delivery = Delivery { number: 0, place: place(0), digest: 8, side: Side::Source, at };
        books.delivered(GROUP, delivery);
        books.delivered(GROUP, Delivery { number: 1, place: place(0), digest: 7, ..delivery });
        books.unreadable(GROUP);
        assert_eq!(books.totals(GROUP).altered, 3);
    }

    #[test]
    fn a_held_member_that_is_given_a_record_is_seen() {
        let mut books = books(1);
        deliver(&mut books, 0, Side::Target, 1);
        assert_eq!((books.totals(GROUP).stray, books.totals(GROUP).lost), (1, 1));
    }

    #[test]
    fn a_pause_runs_from_the_last_delivery_that_counted_to_the_first_behind_the_move() {
        let mut books = books(4);
        deliver(&mut books, 0, Side::Source, 100);
        deliver(&mut books, 1, Side::Source, 200);
        books.move_begins(GROUP, Side::Target);
        assert_eq!(books.pause(GROUP, 0), None);
        // Record 1 was not committed; an evicted consumer reads on until its next heartbeat.
        deliver(&mut books, 1, Side::Target, 450);
        deliver(&mut books, 2, Side::Source, 480);
        deliver(&mut books, 2, Side::Target, 500);
        let expected = Pause { pause: Duration::from_millis(350), overlap: Duration::from_millis(30) };
        assert_eq!((books.pause(GROUP, 0), books.pause(GROUP, 1)), (Some(expected), None));
    }
}
