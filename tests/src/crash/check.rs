//! The outside checker: every acknowledgement against what is read back. Pure: it knows no client and no broker, only
//! what producers noted and what a reader gave.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::ledger::{Digest, Fate, Ledger, Name};

/// So many findings are told in words.
const TOLD_MAX: usize = 20;

/// A record as a reader got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// The name that its value begins with.
    pub name: Option<Name>,
    /// Its content.
    pub digest: Digest,
}

/// What a reader got of one partition.
#[derive(Clone, Debug, Default)]
pub struct ReadBack {
    /// Where it began to read.
    pub from: i64,
    /// The end of the log when it began.
    pub end: i64,
    /// In the order in which they came.
    pub records: Vec<Seen>,
}

/// What does not hold, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Acknowledged records that are nowhere.
    pub lost: usize,
    /// Acknowledged records that are not at the offset that was acknowledged.
    pub misplaced: usize,
    /// Records of an idempotent producer beyond their first.
    pub duplicated: usize,
    /// Records with another content than was sent.
    pub altered: usize,
    /// Records that nobody sent, or not there.
    pub unsent: usize,
    /// Records of an idempotent producer behind one that was sent later to the same partition.
    pub disordered: usize,
    /// Offsets that are missing, come twice, or lie beyond the end.
    pub holes: usize,
    /// Offsets at which two readers saw different records.
    pub unstable: usize,
    /// What clients could not mend.
    pub client_errors: usize,
    /// Records of a producer without an id beyond their first: allowed, and counted.
    pub repeated: usize,
    /// The first findings in words.
    pub told: Vec<String>,
}

impl Findings {
    /// Whether everything holds.
    pub fn none(&self) -> bool {
        let Findings { lost, misplaced, duplicated, altered, unsent, disordered, holes, unstable, .. } = self;
        let all = [lost, misplaced, duplicated, altered, unsent, disordered, holes, unstable];
        all.into_iter().all(|count| *count == 0) && self.client_errors == 0
    }

    /// Adds those of another check.
    pub fn add(&mut self, other: Findings) {
        let Findings { lost, misplaced, duplicated, altered, unsent, disordered, holes, unstable, .. } =
            other;
        self.lost += lost;
        self.misplaced += misplaced;
        self.duplicated += duplicated;
        self.altered += altered;
        self.unsent += unsent;
        self.disordered += disordered;
        self.holes += holes;
        self.unstable += unstable;
        // Each check counts these from the beginning.
        self.client_errors = self.client_errors.max(other.client_errors);
        self.repeated = self.repeated.max(other.repeated);
        other.told.into_iter().for_each(|words| self.tell(words));
    }

    /// Adds one finding in words; its count is the caller's.
    pub fn tell(&mut self, words: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(words);
        }
    }
}

/// Holds the ledgers against what was read. A read that began behind offset 0 is held to what it covers.
pub fn check(ledgers: &[Ledger], read: &BTreeMap<i32, ReadBack>) -> Findings {
    let mut findings = Findings::default();
    // Where each record was read, the first time.
    let mut found: HashMap<Name, (i32, i64)> = HashMap::new();
    for (&partition, back) in read {
        without_holes(partition, back, &mut findings);
        let mut last: HashMap<usize, usize> = HashMap::new();
        for seen in &back.records {
            let Some(name) = sent_as_read(ledgers, partition, seen, &mut findings) else { continue };
            if let Some(first) = found.get(&name) {
                if ledgers[name.producer].idempotent {
                    findings.duplicated += 1;
                    findings.tell(format!("{name:?} at {first:?} and again at {partition}@{}", seen.offset));
                } else {
                    findings.repeated += 1;
                }
                continue;
            }
            found.insert(name, (partition, seen.offset));
            // A client that has no sequence numbers and sends again may overtake itself.
            let ordered = ledgers[name.producer].idempotent;
            let before = last.insert(name.producer, name.number);
            if ordered && before.is_some_and(|before| before > name.number) {
                findings.disordered += 1;
                findings.tell(format!("{name:?} at {partition}@{} behind a later one", seen.offset));
            }
        }
    }
    all_acked_are_there(ledgers, read, &found, &mut findings);
    for (producer, ledger) in ledgers.iter().enumerate() {
        findings.client_errors += ledger.errors.len();
        ledger.errors.iter().for_each(|error| findings.tell(format!("producer {producer}: {error}")));
    }
    findings
}

/// Every offset from the first asked for to the end, once.
fn without_holes(partition: i32, back: &ReadBack, findings: &mut Findings) {
    let mut next = back.from;
    for seen in &back.records {
        if seen.offset != next {
            findings.holes += 1;
            findings.tell(format!("{partition}@{} comes where {next} was to come", seen.offset));
        }
        next = seen.offset + 1;
    }
    if next < back.end {
        findings.holes += 1;
        findings.tell(format!("partition {partition} was read to {next} and ends at {}", back.end));
    }
}

/// Whose a record is, if it is what was sent.
fn sent_as_read(ledgers: &[Ledger], partition: i32, seen: &Seen, findings: &mut Findings) -> Option<Name> {
    let sent = |name: &Name| ledgers.get(name.producer)?.sent.get(name.number);
    let place = || format!("{partition}@{}", seen.offset);
    match seen.name.and_then(|name| Some((name, sent(&name)?))) {
        Some((name, sent)) if sent.digest != seen.digest => {
            findings.altered += 1;
            findings.tell(format!("{name:?} at {} has another content than was sent", place()));
            None
        }
        Some((name, sent)) if sent.partition == partition => Some(name),
        _ => {
            findings.unsent += 1;
            findings.tell(format!("nobody sent what is at {}: {:?}", place(), seen.name));
            None
        }
    }
}

fn all_acked_are_there(
    ledgers: &[Ledger],
    read: &BTreeMap<i32, ReadBack>,
    found: &HashMap<Name, (i32, i64)>,
    findings: &mut Findings,
) {
    let at: HashMap<(i32, i64), Option<Name>> = read
        .iter()
        .flat_map(|(&partition, back)| {
            back.records.iter().map(move |seen| ((partition, seen.offset), seen.name))
        })
        .collect();
    for (producer, ledger) in ledgers.iter().enumerate() {
        for (number, sent) in ledger.sent.iter().enumerate() {
            let name = Name { producer, number };
            let Some(back) = read.get(&sent.partition) else { continue };
            let offset = match sent.fate {
                Fate::Acked(offset) if offset >= back.from => Some(offset),
                Fate::AckedSomewhere if back.from == 0 => None,
                _ => continue,
            };
            if offset.is_some_and(|offset| at.get(&(sent.partition, offset)) == Some(&Some(name))) {
                continue;
            }
            match (found.get(&name), offset) {
                (Some(_), None) => {}
                (Some(place), Some(offset)) => {
                    findings.misplaced += 1;
                    findings.tell(format!(
                        "{name:?} acknowledged at {}@{offset} is at {place:?}",
                        sent.partition
                    ));
                }
                (None, _) => {
                    findings.lost += 1;
                    findings.tell(format!("{name:?} acknowledged at {}@{offset:?} is lost", sent.partition));
                }
            }
        }
    }
}

/// Holds what a reader saw while the broker came and went against what is read at the end.
pub fn check_stable(tail: &BTreeMap<i32, ReadBack>, read: &BTreeMap<i32, ReadBack>, findings: &mut Findings) {
    for (&partition, back) in tail {
        without_holes(partition, back, findings);
        let Some(end) = read.get(&partition) else { continue };
        let last: HashMap<i64, &Seen> = end.records.iter().map(|seen| (seen.offset, seen)).collect();
        for seen in back.records.iter().filter(|seen| seen.offset >= end.from) {
            if last.get(&seen.offset) != Some(&seen) {
                findings.unstable += 1;
                findings.tell(format!(
                    "a reader saw {:?} at {partition}@{}; it is not there now",
                    seen.name, seen.offset
                ));
            }
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
