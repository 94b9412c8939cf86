//! The map against a naive model that holds every pair, both directions, over random histories.

use proptest::prelude::*;

use crate::*;

const IDS: Incarnation = Incarnation { source: TopicId([1; 16]), target: TopicId([2; 16]) };

/// Every mapped pair, and the bounds. As simple as the rules of DESIGN §7 read.
#[derive(Clone, Debug)]
struct Naive {
    pairs: Vec<(i64, i64)>,
    start: (i64, i64),
    end: (i64, i64),
}

#[derive(Clone, Debug)]
enum Act {
    Append { source_gap: i64, target_gap: i64, length: u64 },
    Replay { back: usize },
    End { source_gap: i64, target_gap: i64 },
    Start { source_by: i64, target_by: i64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0..4i64, 0..4i64, 1..6u64)
            .prop_map(|(source_gap, target_gap, length)| Act::Append { source_gap, target_gap, length }),
        1 => (0..12usize).prop_map(|back| Act::Replay { back }),
        1 => (0..4i64, 0..4i64).prop_map(|(source_gap, target_gap)| Act::End { source_gap, target_gap }),
        1 => (0..9i64, 0..9i64).prop_map(|(source_by, target_by)| Act::Start { source_by, target_by }),
    ]
}

impl Naive {
    fn apply(&mut self, act: &Act, map: &mut PartitionMap) {
        match *act {
            Act::Append { source_gap, target_gap, length } => {
                let (source, target) = (self.end.0 + source_gap, self.end.1 + target_gap);
                let run = Run { source: SourceOffset(source), target: TargetOffset(target), length };
                assert_ne!(map.append(run).unwrap(), Appended::AlreadyHeld);
                self.pairs.extend((0..length as i64).map(|i| (source + i, target + i)));
                self.end = (source + length as i64, target + length as i64);
            }
            Act::Replay { back } => {
                let Some(first) = self.pairs.len().checked_sub(back + 1) else { return };
                let (source, target) = self.pairs[first];
                let run = Run { source: SourceOffset(source), target: TargetOffset(target), length: 1 };
                assert_eq!(map.append(run), Ok(Appended::AlreadyHeld));
            }
            Act::End { source_gap, target_gap } => {
                self.end = (self.end.0 + source_gap, self.end.1 + target_gap);
                map.advance_end(SourceOffset(self.end.0), TargetOffset(self.end.1)).unwrap();
            }
            Act::Start { source_by, target_by } => {
                let mut start = (self.start.0 + source_by, self.start.1 + target_by);
                map.advance_start(SourceOffset(start.0), TargetOffset(start.1));
                let gone = |pair: &(i64, i64)| pair.0 < start.0 || pair.1 < start.1;
                let dropped: Vec<_> = self.pairs.iter().copied().filter(gone).collect();
                self.pairs.retain(|pair| !gone(pair));
                if let Some(last) = dropped.last() {
                    start = (start.0.max(last.0 + 1), start.1.max(last.1 + 1));
                }
                self.start = start;
                self.end = (self.end.0.max(start.0), self.end.1.max(start.1));
            }
        }
    }

    /// The other way round.
    fn flipped(&self) -> Self {
        Self {
            pairs: self.pairs.iter().map(|(s, t)| (*t, *s)).collect(),
            start: (self.start.1, self.start.0),
            end: (self.end.1, self.end.0),
        }
    }

    fn next_mapped(&self, offset: i64) -> i64 {
        self.pairs.iter().find(|(here, _)| *here >= offset).map_or(self.end.1, |(_, there)| *there)
    }

    fn record(&self, offset: i64) -> Lookup<i64, i64> {
        if offset < self.start.0 {
            return Lookup::Unmappable { because: Because::BeforeStart { start: self.start.0 } };
        }
        if offset >= self.end.0 {
            return Lookup::Unmappable { because: Because::PastEnd { end: self.end.0 } };
        }
        match self.pairs.iter().find(|(here, _)| *here == offset) {
            Some((_, there)) => Lookup::Exact(*there),
            None => Lookup::Unmappable { because: Because::InGap { next_mapped: self.next_mapped(offset) } },
        }
    }

    fn position(&self, offset: i64) -> Lookup<i64, i64> {
        let behind_a_record = self.pairs.iter().any(|(here, _)| *here == offset - 1);
        let known = behind_a_record || offset == self.start.0 || offset == self.end.0;
        match self.record(offset) {
            Lookup::Unmappable { because: Because::BeforeStart { start } } => {
                Lookup::Unmappable { because: Because::BeforeStart { start } }
            }
            Lookup::Unmappable { because: Because::PastEnd { .. } } if offset == self.end.0 => {
                Lookup::Exact(self.end.1)
            }
            Lookup::Unmappable { because: Because::InGap { next_mapped } } if known => {
                Lookup::Exact(next_mapped)
            }
            other => other,
        }
    }
}

fn raw<Here, There>(
    lookup: Lookup<Here, There>,
    here: impl Fn(Here) -> i64,
    there: impl Fn(There) -> i64,
) -> Lookup<i64, i64> {
    match lookup {
        Lookup::Exact(at) => Lookup::Exact(there(at)),
        Lookup::Unmappable { because } => Lookup::Unmappable {
            because: match because {
                Because::BeforeStart { start } => Because::BeforeStart { start: here(start) },
                Because::InGap { next_mapped } => Because::InGap { next_mapped: there(next_mapped) },
                Because::PastEnd { end } => Because::PastEnd { end: here(end) },
                Because::OtherIncarnation { mapped } => Because::OtherIncarnation { mapped },
            },
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_lookup_answers_as_the_naive_model_in_both_directions(
        start in (0..5i64, 0..5i64),
        acts in prop::collection::vec(act(), 0..14),
    ) {
        let mut naive = Naive { pairs: Vec::new(), start, end: start };
        let mut map = PartitionMap::new(IDS, SourceOffset(start.0), TargetOffset(start.1));
        for act in &acts {
            naive.apply(act, &mut map);
        }
        let flipped = naive.flipped();
        for offset in -1..naive.end.0 + 3 {
            let at = SourceOffset(offset);
            let record = raw(map.target_record(IDS.source, at), |s| s.0, |t| t.0);
            prop_assert_eq!(record, naive.record(offset), "record at source {}", offset);
            let position = raw(map.target_position(IDS.source, at), |s| s.0, |t| t.0);
            prop_assert_eq!(position, naive.position(offset), "position at source {}", offset);
        }
        for offset in -1..naive.end.1 + 3 {
            let at = TargetOffset(offset);
            let record = raw(map.source_record(IDS.target, at), |t| t.0, |s| s.0);
            prop_assert_eq!(record, flipped.record(offset), "record at target {}", offset);
            let position = raw(map.source_position(IDS.target, at), |t| t.0, |s| s.0);
            prop_assert_eq!(position, flipped.position(offset), "position at target {}", offset);
        }
        prop_assert_eq!(PartitionMap::from_bytes(&map.to_bytes()), Ok(map));
    }

    #[test]
    fn a_position_and_its_way_back_read_the_same_next_record(
        acts in prop::collection::vec(act(), 0..14),
    ) {
        let mut naive = Naive { pairs: Vec::new(), start: (0, 0), end: (0, 0) };
        let mut map = PartitionMap::new(IDS, SourceOffset(0), TargetOffset(0));
        for act in &acts {
            naive.apply(act, &mut map);
        }
        let next = |pairs: &[(i64, i64)], offset: i64| pairs.iter().find(|(s, _)| *s >= offset).copied();
        for offset in naive.start.0..=naive.end.0 {
            let Some(there) = map.target_position(IDS.source, SourceOffset(offset)).exact() else { continue };
            let Some(back) = map.source_position(IDS.target, there).exact() else {
                return Err(TestCaseError::fail(format!("{offset} went to {there:?} and not back")));
            };
            prop_assert_eq!(next(&naive.pairs, offset), next(&naive.pairs, back.0));
        }
    }

    #[test]
    fn damaged_bytes_never_decode_to_a_map_that_breaks_a_rule(
        acts in prop::collection::vec(act(), 0..6), at in any::<usize>(), byte in any::<u8>(),
    ) {
        let mut naive = Naive { pairs: Vec::new(), start: (0, 0), end: (0, 0) };
        let mut map = PartitionMap::new(IDS, SourceOffset(0), TargetOffset(0));
        for act in &acts {
            naive.apply(act, &mut map);
        }
        let mut bytes = map.to_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(decoded) = PartitionMap::from_bytes(&bytes) {
            for pair in decoded.runs().windows(2) {
                prop_assert!(pair[0].source_end() <= pair[1].source);
                prop_assert!(pair[0].target_end() <= pair[1].target);
            }
        }
        prop_assert!(PartitionMap::from_bytes(&bytes[..at % length]).is_err());
    }
}

#[test]
fn an_identity_mirror_costs_one_run_for_ever() {
    let mut map = PartitionMap::identity(IDS, 1_000, 1_000).unwrap();
    assert!(map.runs().is_empty());
    for end in (1_000..50_000).step_by(7) {
        map.identity_through(end).unwrap();
    }
    map.identity_through(3).unwrap();
    map.advance_start(SourceOffset(20_000), TargetOffset(20_000));
    assert_eq!(map.runs().len(), 1);
    assert!(map.to_bytes().len() < 60, "{}", map.to_bytes().len());
    assert_eq!(map.target_position(IDS.source, SourceOffset(33_333)), Lookup::Exact(TargetOffset(33_333)));
}

#[test]
fn an_empty_and_a_fully_expired_partition_have_exact_positions() {
    let empty = PartitionMap::new(IDS, SourceOffset(0), TargetOffset(0));
    assert_eq!(empty.target_position(IDS.source, SourceOffset(0)), Lookup::Exact(TargetOffset(0)));

    let mut expired = PartitionMap::identity(IDS, 0, 500).unwrap();
    expired.advance_start(SourceOffset(500), TargetOffset(120));
    assert!(expired.runs().is_empty());
    assert_eq!(expired.target_position(IDS.source, SourceOffset(500)), Lookup::Exact(TargetOffset(500)));
    assert_eq!(expired.source_position(IDS.target, TargetOffset(500)), Lookup::Exact(SourceOffset(500)));
    let before = Lookup::Unmappable { because: Because::BeforeStart { start: TargetOffset(500) } };
    assert_eq!(expired.source_position(IDS.target, TargetOffset(130)), before);
}

#[test]
fn a_topic_that_was_created_again_is_never_translated() {
    let map = PartitionMap::identity(IDS, 0, 10).unwrap();
    let other = Lookup::Unmappable { because: Because::OtherIncarnation { mapped: IDS.source } };
    assert_eq!(map.target_position(TopicId([9; 16]), SourceOffset(5)), other);
    let other = Lookup::Unmappable { because: Because::OtherIncarnation { mapped: IDS.target } };
    assert_eq!(map.source_record(IDS.source, TargetOffset(5)), other);
}

#[test]
fn an_append_that_contradicts_the_map_is_refused_and_changes_nothing() {
    let mut map = PartitionMap::identity(IDS, 0, 10).unwrap();
    let before = map.clone();
    for (source, target, length) in
        [(5, 6, 1), (5, 5, 0), (9, 10, 3), (-1, 0, 1), (10, 9, 1), (0, 0, u64::MAX)]
    {
        let run = Run { source: SourceOffset(source), target: TargetOffset(target), length };
        assert!(map.append(run).is_err(), "{run:?}");
    }
    assert!(map.advance_end(SourceOffset(9), TargetOffset(10)).is_err());
    assert_eq!(map, before);
    // Half held, half new: the new half is appended.
    let run = Run { source: SourceOffset(8), target: TargetOffset(8), length: 4 };
    assert_eq!(map.append(run), Ok(Appended::Extended));
    assert_eq!(map.end(), (SourceOffset(12), TargetOffset(12)));
}
