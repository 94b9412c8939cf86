//! From the entries of a bundle to what the report says.

use std::collections::BTreeSet;

use towpath_dashboards::quantity::{At, Count};
use towpath_dashboards::report::{
    Alarm, Chain, Cluster, Compared, Group, Key, Note, Partition, PlanInForce, ReportModel, Request, Sample,
    Tile, Tone, Topic, Verdict as Whole,
};
use towpath_plans::diff::DifferenceCounts;
use towpath_plans::evidence::{
    Actor, Body, ClusterIdentity, DifferenceSample, Entry, Line, PartitionCompared, RangeCompared,
    Signatures, Verified,
};
use towpath_plans::gates::Verdict;
use towpath_plans::transition::GroupState;

use super::moves::Moves;
use super::sentence::{self, plural};

/// The report of a bundle that was verified, as one HTML page.
pub fn report(bundle: &str, verified: &Verified) -> String {
    let mut story = Story::default();
    // The first line is the header, and what was verified parses.
    for entry in bundle.lines().skip(1).filter_map(|line| Line::parse(line).ok()?.entry().ok()) {
        story.take(&entry);
    }
    towpath_dashboards::render(&story.told(verified))
}

/// What has been read so far.
#[derive(Default)]
struct Story {
    model: ReportModel,
    moves: Moves,
    /// The diff's last words: a later one stands for those whose partitions it names all.
    verdicts: Vec<DiffWord>,
    begun: bool,
}

/// One verdict of the diff.
struct DiffWord {
    partitions: BTreeSet<(String, i32)>,
    verdict: Verdict,
    counts: DifferenceCounts,
    samples: Vec<Sample>,
}

impl Story {
    fn take(&mut self, entry: &Entry) {
        let at = At(entry.at_ms().unwrap_or_default());
        if !std::mem::replace(&mut self.begun, true) {
            self.model.from = at;
        }
        self.model.to = at;
        self.moves.take(entry, at);
        self.alarm(entry, at);
        match &entry.body {
            Body::Opened { key, clusters } => {
                self.key(entry, key.to_string(), "since the chain began", Tone::Plain);
                self.clusters(clusters, entry, at);
            }
            Body::ClustersSeen { clusters } => {
                self.clusters(clusters, entry, at);
                self.note(entry, at);
            }
            Body::KeyRotated { key, .. } => {
                self.key(entry, key.to_string(), "the key before signed the hand-over", Tone::Plain);
            }
            Body::KeyReplaced { key, .. } => {
                self.key(
                    entry,
                    key.to_string(),
                    "the key before did not sign for it: it was lost",
                    Tone::Caution,
                );
            }
            Body::PlanAdopted { plan_hash, .. } => {
                self.model.plans.push(PlanInForce { at, hash: plan_hash.to_string(), entry: entry.sequence });
            }
            Body::TopicLinked { .. } => self.topic(&entry.body),
            Body::RangesCompared { ranges } => self.ranges(ranges),
            Body::DiffVerdict { verdict, partitions, counts, samples } => {
                self.partitions(partitions);
                let partitions: BTreeSet<_> =
                    partitions.iter().map(|at| (at.topic.clone(), at.partition)).collect();
                self.verdicts.retain(|earlier| !earlier.partitions.is_subset(&partitions));
                let samples = samples.iter().map(sample).collect();
                self.verdicts.push(DiffWord { partitions, verdict: *verdict, counts: *counts, samples });
            }
            Body::Requested { verb, group, dry_run, reason, accepted, .. } => {
                let what = sentence::request(verb, group.as_deref(), *dry_run, accepted);
                let request = asked(entry, at, what, reason);
                self.moves.asked(verb, group.as_deref(), &request);
                self.model.requests.push(request);
            }
            Body::GroupChanged { group, to, because, at_ms, .. } => {
                self.group(group, *to, because, At(*at_ms));
            }
            Body::LinkChanged { .. }
            | Body::FenceReleased { .. }
            | Body::Completed { .. }
            | Body::SecretDestroyed { .. }
            | Body::HeadPublished { .. }
            | Body::Noted { .. } => self.note(entry, at),
            _ => {}
        }
    }

    fn note(&mut self, entry: &Entry, at: At) {
        let sentence = sentence::of(&entry.body);
        self.model.notes.push(Note { at, sentence, entry: entry.sequence });
    }

    fn alarm(&mut self, entry: &Entry, at: At) {
        let tone = match &entry.body {
            Body::PartitionHalted { .. } | Body::Lost { .. } | Body::Straggler { .. } => Tone::Bad,
            // Also where nobody used it: it should have stood.
            Body::FenceLapsed { .. } => Tone::Bad,
            Body::Resumed { alarms, .. } if !alarms.is_empty() => Tone::Bad,
            Body::KeyReplaced { .. } => Tone::Caution,
            _ => return,
        };
        let sentence = sentence::of(&entry.body);
        self.model.alarms.push(Alarm { at, tone, sentence, entry: entry.sequence });
    }

    fn key(&mut self, entry: &Entry, key: String, how: &str, tone: Tone) {
        let how = format!("from entry {} on: {how}", entry.sequence);
        self.model.chain.keys.push(Key { entry: entry.sequence, key, how, tone });
    }

    fn clusters(&mut self, clusters: &[ClusterIdentity], entry: &Entry, at: At) {
        let seen: Vec<Cluster> = clusters
            .iter()
            .map(|c| Cluster { side: sentence::side(c.side), name: c.name.clone(), id: c.cluster_id.clone() })
            .collect();
        for (before, now) in self.model.clusters.iter().zip(&seen).filter(|(before, now)| before.id != now.id)
        {
            let sentence = format!(
                "the {} was cluster {} and answers as cluster {}: not the one that earlier entries speak of",
                now.side, before.id, now.id
            );
            self.model.alarms.push(Alarm { at, tone: Tone::Bad, sentence, entry: entry.sequence });
        }
        self.model.clusters = seen;
    }

    fn topic(&mut self, body: &Body) {
        let Body::TopicLinked { topic, source_topic_id, target_topic_id, partitions, config_differences } =
            body
        else {
            return;
        };
        self.model.topics.retain(|known| known.name != *topic);
        self.model.topics.push(Topic {
            name: topic.clone(),
            partitions: Count(i64::from(*partitions)),
            source_id: source_topic_id.clone(),
            target_id: target_topic_id.clone(),
            config_differences: config_differences.clone(),
        });
    }

    fn ranges(&mut self, ranges: &[RangeCompared]) {
        let compared = &mut self.model.compared;
        compared.ranges.0 += ranges.len() as i64;
        compared.ranges_equal.0 += ranges.iter().filter(|range| sentence::is_equal(range)).count() as i64;
    }

    /// A partition's last word counts.
    fn partitions(&mut self, partitions: &[PartitionCompared]) {
        for partition in partitions {
            let row = Partition {
                name: format!("{}-{}", partition.topic, partition.partition),
                from: Count(partition.from),
                through: Count(partition.through),
                records: Count(partition.records as i64),
                at: At(partition.at_ms),
            };
            let known = &mut self.model.compared.partitions;
            match known.iter_mut().find(|known| known.name == row.name) {
                Some(known) => *known = row,
                None => known.push(row),
            }
        }
    }

    /// The worst of the last words, with all the differences that they count.
    fn verdict(&mut self) -> Option<(Verdict, DifferenceCounts)> {
        let mut counts = DifferenceCounts::default();
        let worst = self.verdicts.iter().map(|word| word.verdict).max()?;
        for word in &mut self.verdicts {
            counts.merge(&word.counts);
            self.model.compared.samples.append(&mut word.samples);
        }
        self.model.compared.differences = sentence::kinds(&counts);
        Some((worst, counts))
    }

    fn group(&mut self, name: &str, state: GroupState, because: &str, since: At) {
        let tone = match state {
            GroupState::OnTarget | GroupState::Completed => Tone::Good,
            GroupState::OnSource | GroupState::Cancelled => Tone::Plain,
            _ => Tone::Caution,
        };
        let (name, because) = (name.to_owned(), because.to_owned());
        let row = Group { name, tone, stands: sentence::state(state).into(), since, because };
        match self.model.groups.iter_mut().find(|known| known.name == row.name) {
            Some(known) => *known = row,
            None => self.model.groups.push(row),
        }
    }

    /// The whole, with what it comes to.
    fn told(mut self, verified: &Verified) -> ReportModel {
        let header = &verified.header;
        let compared = self.verdict();
        self.model.family = header.family.clone();
        let chain = std::mem::take(&mut self.model.chain);
        let (tone, verdict) = signatures(verified);
        self.model.chain = Chain {
            tone,
            verdict: verdict.clone(),
            entries: Count(header.entries as i64),
            head: header.head.to_string(),
            keys: chain.keys,
            exported_at: header.exported_at.clone(),
            software: header.software.clone(),
        };
        self.model.moves = self.moves.finished();
        self.model.verdict = whole(&self.model, compared, (tone, verdict));
        self.model.tiles = tiles(&self.model, compared);
        self.model
    }
}

fn sample(sample: &DifferenceSample) -> Sample {
    Sample {
        place: format!("{}-{}@{}", sample.topic, sample.partition, sample.offset),
        sentence: sample.sentence.clone(),
        key: sample.key.clone(),
    }
}

fn asked(entry: &Entry, at: At, what: String, reason: &str) -> Request {
    let actor = match &entry.actor {
        Some(Actor { name, authenticated: true, role }) => format!("{name} ({role})"),
        Some(actor) => sentence::actor(actor),
        None => "the service".into(),
    };
    Request { at, actor, what, reason: reason.to_owned(), entry: entry.sequence }
}

fn signatures(verified: &Verified) -> (Tone, String) {
    let all = verified.header.entries;
    match verified.signatures {
        Signatures::Trusted { .. } if verified.is_trusted() => {
            (Tone::Good, "verified: every entry is signed by the key that was pinned".into())
        }
        Signatures::Trusted { entries } => {
            (Tone::Bad, format!("the pinned key vouches for the first {entries} of {all} entries only"))
        }
        Signatures::SignerUnknown { .. } => {
            (Tone::Caution, "consistent, signer unknown: no key was pinned when this page was made".into())
        }
        Signatures::Unsigned => (Tone::Bad, "consistent, but nothing in it is signed".into()),
    }
}

/// The sentence at the top. Bad beats not known, not known beats good.
fn whole(model: &ReportModel, verdict: Option<(Verdict, DifferenceCounts)>, chain: (Tone, String)) -> Whole {
    let differences = verdict.map_or(0, |(_, counts)| counts.total());
    let alarms = model.alarms.iter().filter(|alarm| alarm.tone == Tone::Bad).count();
    let mut done = model.moves.iter().filter(|one| one.tone == Tone::Good).peekable();
    let resumed = done.peek().is_some() && done.all(|one| !one.resumed.is_empty());
    let (mut tone, sentence) = match verdict {
        Some((Verdict::Fail, _)) => {
            (Tone::Bad, format!("The two sides differ: {}.", plural(differences as i64, "difference")))
        }
        Some((Verdict::Pass, _)) if resumed => (
            Tone::Good,
            "Both sides held the same records, and every group stands at its exact next record.".into(),
        ),
        Some((Verdict::Pass, _)) => (Tone::Good, "Both sides held the same records.".into()),
        Some((Verdict::Inconclusive, _)) => {
            (Tone::Caution, "No difference so far, but the comparison has not come to its end.".into())
        }
        None => (Tone::Caution, "Nothing was compared yet.".to_owned()),
    };
    let mut because = Vec::new();
    let sentence = match (alarms, tone) {
        (0, _) | (_, Tone::Bad) => sentence,
        (_, Tone::Good) => {
            tone = Tone::Bad;
            "Both sides held the same records, but not everything was in order.".into()
        }
        _ => {
            tone = Tone::Bad;
            "Not everything was in order.".into()
        }
    };
    if alarms > 0 {
        because.push(format!("{} out of order, listed below", plural(alarms as i64, "thing")));
    }
    if chain.0 == Tone::Bad {
        tone = Tone::Bad;
    }
    if chain.0 != Tone::Good {
        because.push(format!("The evidence is {}.", chain.1));
    }
    Whole { tone, sentence, because }
}

fn tiles(model: &ReportModel, verdict: Option<(Verdict, DifferenceCounts)>) -> Vec<Tile> {
    let tile =
        |tone, label: &str, value: String, note: String| Tile { tone, label: label.into(), value, note };
    let Compared { partitions, .. } = &model.compared;
    let records: i64 = partitions.iter().map(|partition| partition.records.0).sum();
    let differences = verdict.map(|(_, counts)| Count(counts.total() as i64));
    let done: Vec<_> = model.moves.iter().filter(|one| one.tone == Tone::Good).collect();
    let longest = done.iter().flat_map(|one| &one.pauses).map(|pause| pause.pause).max();
    let alarms = model.alarms.iter().filter(|alarm| alarm.tone == Tone::Bad).count();
    let signed = match model.chain.tone {
        Tone::Good => "verified",
        Tone::Caution => "consistent",
        _ => "not verified",
    };
    vec![
        tile(
            Tone::Plain,
            "Records compared",
            Count(records).to_string(),
            format!("in {}", plural(partitions.len() as i64, "partition")),
        ),
        tile(
            match differences {
                Some(Count(0)) => Tone::Good,
                Some(_) => Tone::Bad,
                None => Tone::Caution,
            },
            "Differences",
            differences.map_or_else(|| "–".into(), |count| count.to_string()),
            differences.map_or("nothing compared yet", |_| "record for record").into(),
        ),
        tile(
            Tone::Plain,
            "Moves done",
            Count(done.len() as i64).to_string(),
            longest.map_or_else(|| "no pause measured".into(), |pause| format!("longest pause {pause}")),
        ),
        tile(
            if alarms == 0 { Tone::Good } else { Tone::Bad },
            "Out of order",
            Count(alarms as i64).to_string(),
            "lapses, stragglers, losses, halts".into(),
        ),
        tile(model.chain.tone, "Evidence", signed.into(), entries(model.chain.entries)),
    ]
}

fn entries(count: Count) -> String {
    format!("{count} chained {}", if count.0 == 1 { "entry" } else { "entries" })
}
