//! The moves of a family's groups, put together from the entries that speak of them.

use towpath_dashboards::quantity::{At, Count, Millis};
use towpath_dashboards::report::{Alarm, Final, Gate, Move, Pause, Request, State, Tone};
use towpath_plans::evidence::{Body, Entry, GateRecord, Translation};
use towpath_plans::gates::Verdict;
use towpath_plans::transition::{GroupState, Verb};

use super::sentence;

/// The moves so far.
#[derive(Default)]
pub struct Moves {
    moves: Vec<Attempt>,
    /// Requests that no move has begun for yet, by verb and group.
    asked: Vec<(String, Option<String>, Request)>,
}

/// One attempt, or a dry run of one.
struct Attempt {
    group: String,
    verb: Verb,
    /// `None`: a dry run.
    number: Option<u64>,
    last: Option<GroupState>,
    /// Whether something had changed and was put back.
    undone: bool,
    shown: Move,
}

impl Moves {
    /// Keeps what was asked for until a move begins that it fits.
    pub fn asked(&mut self, verb: &str, group: Option<&str>, request: &Request) {
        self.asked.push((verb.to_owned(), group.map(str::to_owned), request.clone()));
    }

    /// Takes what an entry says about a move.
    pub fn take(&mut self, entry: &Entry, at: At) {
        match &entry.body {
            Body::GroupChanged { group, attempt, verb: Some(verb), to, because, at_ms, .. } => {
                let at = At(*at_ms);
                let index = self.attempt(group, *verb, *attempt, at);
                self.moves[index].change((*to, because), entry.sequence, at);
            }
            Body::GatesEvaluated { group, verb, gates, .. } => {
                let index = self.preflight(group, *verb, at);
                self.moves[index].shown.gates = gates.iter().map(gate).collect();
            }
            Body::Fenced { group, attempt, member_id, generation, evicted } => {
                if let Some(shown) = self.find(group, *attempt) {
                    shown.fence.push(format!("held by member {member_id}, generation {generation}"));
                    shown.fence.push(sentence::put_out(evicted));
                }
            }
            Body::FinalOffsets { group, attempt, translations, .. } => {
                if let Some(shown) = self.find(group, *attempt) {
                    shown.finals = translations.iter().map(position).collect();
                }
            }
            Body::PauseMeasured { group, attempt, kind, pause_ms, limit_ms, .. } => {
                let tone = if pause_ms <= limit_ms { Tone::Good } else { Tone::Bad };
                let (pause, limit) = (sentence::millis(*pause_ms), sentence::millis(*limit_ms));
                if let Some(shown) = self.find(group, *attempt) {
                    let label = sentence::pause(*kind).to_owned();
                    shown.pauses.push(Pause { label, pause, limit, tone });
                }
            }
            Body::Resumed { group, attempt, alarms, .. } => {
                let tone = if alarms.is_empty() { Tone::Good } else { Tone::Bad };
                let sentence = sentence::of(&entry.body);
                if let Some(shown) = self.find(group, *attempt) {
                    shown.resumed.push(Alarm { at, tone, sentence, entry: entry.sequence });
                }
            }
            _ => {}
        }
    }

    /// Every move, with how it ended.
    pub fn finished(self) -> Vec<Move> {
        self.moves.into_iter().map(Attempt::ended).collect()
    }

    fn find(&mut self, group: &str, number: u64) -> Option<&mut Move> {
        let mut moves = self.moves.iter_mut().rev();
        let found = moves.find(|one| one.group == group && one.number == Some(number))?;
        Some(&mut found.shown)
    }

    fn attempt(&mut self, group: &str, verb: Verb, number: u64, at: At) -> usize {
        let known = self.moves.iter().position(|one| one.group == group && one.number == Some(number));
        known.unwrap_or_else(|| self.begin(group, verb, Some(number), at))
    }

    /// The move whose gates are being evaluated: the one under way, else a dry run.
    fn preflight(&mut self, group: &str, verb: Verb, at: At) -> usize {
        let under_way = self.moves.iter().rposition(|one| {
            one.group == group && one.verb == verb && one.last.is_some_and(|state| !state.is_at_rest())
        });
        under_way.unwrap_or_else(|| self.begin(group, verb, None, at))
    }

    fn begin(&mut self, group: &str, verb: Verb, number: Option<u64>, at: At) -> usize {
        let title = format!("{} of {group}", sentence::verb_word(verb));
        let attempt = number.map_or_else(|| "dry run".into(), |number| format!("attempt {number}"));
        // A request without a group is for all of them: it stays for the next one.
        let asked = self.asked.iter().rposition(|(asked, of, _)| {
            *asked == verb.to_string() && of.as_deref().is_none_or(|of| of == group)
        });
        let asked = asked.map(|index| match self.asked[index].1 {
            Some(_) => self.asked.remove(index).2,
            None => self.asked[index].2.clone(),
        });
        let shown = Move { title, attempt, began: at, asked, ..Move::default() };
        self.moves.push(Attempt { group: group.to_owned(), verb, number, last: None, undone: false, shown });
        self.moves.len() - 1
    }
}

impl Attempt {
    fn change(&mut self, (to, because): (GroupState, &str), entry: u64, at: At) {
        let after = Millis(at.0 - self.shown.began.0);
        let tone = match to {
            GroupState::Undoing => Tone::Bad,
            _ if to == self.verb.destination_state() => Tone::Good,
            _ if to == self.verb.origin_state() => Tone::Caution,
            _ => Tone::Plain,
        };
        let undone = self.last == Some(GroupState::Undoing);
        self.undone |= undone;
        let name = match to == self.verb.origin_state() {
            true if undone => format!("Back {}", sentence::state(to)),
            true => format!("Stays {}", sentence::state(to)),
            false => capital(sentence::state(to)),
        };
        let because = because.to_owned();
        self.shown.states.push(State { at, after, name, tone, because, entry });
        if to.is_at_rest() {
            self.shown.took = Some(after);
        }
        self.last = Some(to);
    }

    fn ended(self) -> Move {
        let mut shown = self.shown;
        let (tone, ended) = match self.last {
            None if shown.gates.iter().all(|gate| gate.tone == Tone::Good) => {
                (Tone::Plain, "gates would pass".into())
            }
            None => (Tone::Caution, "gates would not pass".into()),
            Some(state) if state == self.verb.destination_state() => (Tone::Good, "done".to_owned()),
            Some(state) if state == self.verb.origin_state() && self.undone => {
                (Tone::Caution, "undone, nothing moved".into())
            }
            Some(state) if state == self.verb.origin_state() => {
                (Tone::Caution, "refused, nothing changed".into())
            }
            Some(state) => (Tone::Caution, format!("under way: {}", sentence::state(state))),
        };
        let alarmed = shown.resumed.iter().any(|seen| seen.tone == Tone::Bad);
        (shown.tone, shown.ended) = match alarmed {
            true => (Tone::Bad, format!("{ended}, with alarms")),
            false => (tone, ended),
        };
        shown
    }
}

fn gate(gate: &GateRecord) -> Gate {
    let (tone, verdict) = match (gate.verdict, gate.accepted) {
        (Verdict::Pass, _) => (Tone::Good, "pass"),
        (Verdict::Inconclusive, false) => (Tone::Caution, "inconclusive"),
        (Verdict::Inconclusive, true) => (Tone::Caution, "inconclusive, accepted"),
        (Verdict::Fail, false) => (Tone::Bad, "fail"),
        (Verdict::Fail, true) => (Tone::Caution, "fail, accepted"),
    };
    // What was observed for the gate itself is as old as the gate.
    let old = gate.age_ms.filter(|age| *age >= 1_000);
    let age = old.map(|age| format!(", {} old", sentence::millis(age))).unwrap_or_default();
    let observed = gate.observed.clone().unwrap_or_else(|| "nothing".into());
    Gate {
        name: gate.gate.clone(),
        tone,
        verdict: verdict.into(),
        observed: format!("{observed}{age}"),
        limit: gate.limit.clone(),
        reason: gate.reason.clone(),
    }
}

fn position(translation: &Translation) -> Final {
    Final {
        name: format!("{}-{}", translation.topic, translation.partition),
        source: Count(translation.source_offset),
        target: Count(translation.target_offset),
        origin: sentence::origin(translation).into(),
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
