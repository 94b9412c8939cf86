//! The four lookups: a record or a committed position, in either direction; one binary search for all of them.

use serde::{Deserialize, Serialize};

use crate::map::{PartitionMap, Run};
use crate::offset::{Offset, SourceOffset, TargetOffset, TopicId};

/// The answer to a lookup. `Here` is the offset that was asked about, `There` the one on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup<Here, There> {
    /// This offset, and no other.
    Exact(There),
    /// There is no exact answer, and this is why.
    Unmappable {
        /// The reason.
        because: Because<Here, There>,
    },
}

impl<Here, There> Lookup<Here, There> {
    /// The exact answer, if there is one.
    pub fn exact(self) -> Option<There> {
        match self {
            Self::Exact(there) => Some(there),
            Self::Unmappable { .. } => None,
        }
    }
}

/// Why an offset has no exact counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because<Here, There> {
    /// Before the first offset that both sides still hold.
    BeforeStart {
        /// The first offset that can be asked about.
        start: Here,
    },
    /// Between two runs (compacted records, control batches): no mapped record has this offset.
    InGap {
        /// Where the next mapped record is, or will be, on the other side.
        next_mapped: There,
    },
    /// Past what has been mapped so far.
    PastEnd {
        /// The first offset that is not mapped yet.
        end: Here,
    },
    /// The topic was deleted and created again: the map speaks of another topic of the same name.
    OtherIncarnation {
        /// The topic id that the map is about.
        mapped: TopicId,
    },
}

impl<Here: std::fmt::Display, There: std::fmt::Display> std::fmt::Display for Because<Here, There> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BeforeStart { start } => write!(f, "before the start, which is at {start}"),
            Self::InGap { next_mapped } => write!(f, "in a gap; the next mapped record is at {next_mapped}"),
            Self::PastEnd { end } => write!(f, "past the end of what is mirrored, which is at {end}"),
            Self::OtherIncarnation { mapped } => {
                write!(f, "the topic was deleted and created again; the map is about topic {mapped}")
            }
        }
    }
}

impl PartitionMap {
    /// Where the record at `offset` of the source is on the target. `source_id` is the id of the topic that
    /// the offset was seen in.
    pub fn target_record(
        &self,
        source_id: TopicId,
        offset: SourceOffset,
    ) -> Lookup<SourceOffset, TargetOffset> {
        if source_id != self.incarnation.source {
            return other(self.incarnation.source);
        }
        self.view_from_source().record(offset)
    }

    /// Where the record at `offset` of the target is on the source.
    pub fn source_record(
        &self,
        target_id: TopicId,
        offset: TargetOffset,
    ) -> Lookup<TargetOffset, SourceOffset> {
        if target_id != self.incarnation.target {
            return other(self.incarnation.target);
        }
        self.view_from_target().record(offset)
    }

    /// What a group that committed `offset` on the source has to commit on the target, so that the next record
    /// it reads there is the one it would have read next on the source. The start, the end of any run and the
    /// end of the map are exact, also when the partition is empty or fully expired.
    pub fn target_position(
        &self,
        source_id: TopicId,
        offset: SourceOffset,
    ) -> Lookup<SourceOffset, TargetOffset> {
        if source_id != self.incarnation.source {
            return other(self.incarnation.source);
        }
        self.view_from_source().position(offset)
    }

    /// What a group that committed `offset` on the target has to commit on the source; the mirror image of
    /// [`Self::target_position`].
    pub fn source_position(
        &self,
        target_id: TopicId,
        offset: TargetOffset,
    ) -> Lookup<TargetOffset, SourceOffset> {
        if target_id != self.incarnation.target {
            return other(self.incarnation.target);
        }
        self.view_from_target().position(offset)
    }

    fn view_from_source(&self) -> View<'_, SourceOffset, TargetOffset> {
        View {
            runs: &self.runs,
            here: |run| run.source,
            there: |run| run.target,
            start: self.source_start,
            end: self.source_end,
            end_there: self.target_end,
        }
    }

    fn view_from_target(&self) -> View<'_, TargetOffset, SourceOffset> {
        View {
            runs: &self.runs,
            here: |run| run.target,
            there: |run| run.source,
            start: self.target_start,
            end: self.target_end,
            end_there: self.source_end,
        }
    }
}

fn other<Here, There>(mapped: TopicId) -> Lookup<Here, There> {
    Lookup::Unmappable { because: Because::OtherIncarnation { mapped } }
}

/// The map as seen from one side; both directions share this one binary search.
struct View<'a, Here, There> {
    runs: &'a [Run],
    here: fn(&Run) -> Here,
    there: fn(&Run) -> There,
    start: Here,
    end: Here,
    end_there: There,
}

impl<Here: Offset, There: Offset> View<'_, Here, There> {
    fn record(&self, offset: Here) -> Lookup<Here, There> {
        if offset < self.start {
            return Lookup::Unmappable { because: Because::BeforeStart { start: self.start } };
        }
        if offset >= self.end {
            return Lookup::Unmappable { because: Because::PastEnd { end: self.end } };
        }
        let next = self.next_run(offset);
        match self.inside(next, offset) {
            Some(there) => Lookup::Exact(there),
            None => Lookup::Unmappable { because: Because::InGap { next_mapped: self.base_of(next) } },
        }
    }

    fn position(&self, offset: Here) -> Lookup<Here, There> {
        if offset < self.start {
            return Lookup::Unmappable { because: Because::BeforeStart { start: self.start } };
        }
        if offset > self.end {
            return Lookup::Unmappable { because: Because::PastEnd { end: self.end } };
        }
        let next = self.next_run(offset);
        if let Some(there) = self.inside(next, offset) {
            return Lookup::Exact(there);
        }
        // No record here. At a run's end, at the start and at the end, the next record to read is known to be
        // the next mapped one; anywhere else in a gap it is for the caller to decide, and to record.
        let ends_a_run = next.checked_sub(1).is_some_and(|before| {
            let run = &self.runs[before];
            (self.here)(run).raw() + run.length as i64 == offset.raw()
        });
        if ends_a_run || offset == self.start || offset == self.end {
            return Lookup::Exact(self.base_of(next));
        }
        Lookup::Unmappable { because: Because::InGap { next_mapped: self.base_of(next) } }
    }

    /// Index of the first run that begins after `offset`.
    fn next_run(&self, offset: Here) -> usize {
        self.runs.partition_point(|run| (self.here)(run) <= offset)
    }

    /// The offset's counterpart, when the run before `next` covers it.
    fn inside(&self, next: usize, offset: Here) -> Option<There> {
        let run = &self.runs[next.checked_sub(1)?];
        let into = offset.raw() - (self.here)(run).raw();
        (into < run.length as i64).then(|| There::of((self.there)(run).raw() + into))
    }

    /// Where the run begins on the other side; behind the last run, where the next record will be.
    fn base_of(&self, index: usize) -> There {
        self.runs.get(index).map_or(self.end_there, |run| (self.there)(run))
    }
}
