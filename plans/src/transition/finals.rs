//! The positions that a group resumes at, from what it committed behind the fence (DESIGN §8, step 4).

use serde::{Deserialize, Serialize};

use super::record::{FinalPosition, Origin, Position, Verb};
use crate::model::Uncommitted;

/// Bounds of one partition on the side that is left, taken **before** the fence: what was written since then is
/// not skipped by `uncommitted: latest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionBounds {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The log start offset.
    pub log_start: i64,
    /// The high watermark.
    pub high_watermark: i64,
}

/// A position without an exact counterpart: the move cannot be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untranslated {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The position on the side that is left.
    pub offset: i64,
    /// Why there is no counterpart.
    pub reason: String,
}

impl std::fmt::Display for Untranslated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} at offset {}: {}", self.topic, self.partition, self.offset, self.reason)
    }
}

/// Translates every partition of every topic that the group reads. `committed` and `bounds` are of the side that
/// is left; `translate` answers the exact offset on the other side, or why there is none (the offset map's
/// answer). A partition without a commit (absent, or offset -1) gets the one that the plan's `uncommitted` says.
/// Commits on partitions that are not in `bounds` are left alone: they are not of topics that move.
///
/// All or nothing: every partition that has no exact position is named.
pub fn final_positions(
    verb: Verb,
    uncommitted: Uncommitted,
    bounds: &[PartitionBounds],
    committed: &[Position],
    translate: impl Fn(&str, i32, i64) -> Result<i64, String>,
) -> Result<Vec<FinalPosition>, Vec<Untranslated>> {
    let mut finals = Vec::with_capacity(bounds.len());
    let mut failed = Vec::new();
    for bound in bounds {
        let found = committed.iter().find(|position| {
            position.topic == bound.topic && position.partition == bound.partition && position.offset >= 0
        });
        let (offset, origin, metadata) = match (found, uncommitted) {
            (Some(position), _) => (position.offset, Origin::Committed, position.metadata.clone()),
            (None, Uncommitted::Earliest) => (bound.log_start, Origin::Earliest, None),
            (None, Uncommitted::Latest) => (bound.high_watermark, Origin::Latest, None),
        };
        let (topic, partition) = (bound.topic.clone(), bound.partition);
        match translate(&topic, partition, offset) {
            Ok(there) => {
                let (source_offset, target_offset) = match verb {
                    Verb::Cutover => (offset, there),
                    Verb::Rollback => (there, offset),
                };
                finals.push(FinalPosition {
                    topic,
                    partition,
                    source_offset,
                    target_offset,
                    origin,
                    metadata,
                });
            }
            Err(reason) => failed.push(Untranslated { topic, partition, offset, reason }),
        }
    }
    if failed.is_empty() { Ok(finals) } else { Err(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(partition: i32) -> PartitionBounds {
        PartitionBounds { topic: "views".into(), partition, log_start: 10, high_watermark: 90 }
    }

    fn position(partition: i32, offset: i64) -> Position {
        Position { topic: "views".into(), partition, offset, metadata: Some("m".into()) }
    }

    fn add_thousand(_: &str, _: i32, offset: i64) -> Result<i64, String> {
        Ok(offset + 1_000)
    }

    #[test]
    fn every_partition_gets_a_position_on_both_sides() {
        let bounds = [bounds(0), bounds(1), bounds(2)];
        let committed = [position(0, 42), position(1, -1), position(7, 5)];
        let offsets = |verb, uncommitted| -> Vec<(i64, i64, Origin)> {
            let finals = final_positions(verb, uncommitted, &bounds, &committed, add_thousand).unwrap();
            finals.iter().map(|f| (f.source_offset, f.target_offset, f.origin)).collect()
        };
        assert_eq!(
            offsets(Verb::Cutover, Uncommitted::Earliest),
            [(42, 1_042, Origin::Committed), (10, 1_010, Origin::Earliest), (10, 1_010, Origin::Earliest)]
        );
        assert_eq!(
            offsets(Verb::Rollback, Uncommitted::Latest),
            [(1_042, 42, Origin::Committed), (1_090, 90, Origin::Latest), (1_090, 90, Origin::Latest)]
        );
        let finals = final_positions(Verb::Cutover, Uncommitted::Latest, &bounds, &committed, add_thousand);
        assert_eq!(finals.unwrap()[0].metadata.as_deref(), Some("m"));
    }

    #[test]
    fn a_position_without_a_counterpart_stops_the_move_and_names_every_partition() {
        let none = |_: &str, partition: i32, offset: i64| match partition {
            0 => Ok(offset),
            _ => Err("before the start".to_string()),
        };
        let bounds = [bounds(0), bounds(1), bounds(2)];
        let failed = final_positions(Verb::Cutover, Uncommitted::Earliest, &bounds, &[position(2, 3)], none);
        let failed: Vec<String> = failed.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            failed,
            ["views-1 at offset 10: before the start", "views-2 at offset 3: before the start"]
        );
    }
}
