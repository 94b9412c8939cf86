//! After the switch: do positions equal their translation, does the group commit on its new side, is anybody left
//! behind; and how long nobody could deliver.

use std::time::Duration;

use towpath_plans::Side as PlanSide;
use towpath_plans::evidence::{Body, PauseKind};
use towpath_plans::transition::{GroupMove, Position, Verb};

use super::effects::source_position;
use super::mover::Mover;
use super::run::Run;
use crate::error::LinkerError;
use crate::groups::positions::{committed, to_positions};
use crate::groups::route::positions_of;

/// Between two looks while the first commits are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Between two looks at the source, which others use too.
const LOOK_AT_SOURCE_AGAIN: Duration = Duration::from_millis(100);
/// How long a first sign of life is waited for when members are there to give it.
const LIFE_MAX: Duration = Duration::from_secs(10);
/// How long members are waited for at a source, where nobody can be held ready.
const RETURN_MAX: Duration = Duration::from_secs(2);

impl Mover {
    pub(super) async fn verify(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let side = match record.verb {
            Some(Verb::Rollback) => {
                self.verify_source(run, record).await?;
                PlanSide::Source
            }
            _ => {
                self.verify_target(run, record).await?;
                PlanSide::Target
            }
        };
        self.record_pause(run, record);
        run.bodies.push(Body::Resumed {
            group: self.group.name.clone(),
            attempt: record.attempt,
            side,
            alarms: run.alarms.clone(),
        });
        Ok(())
    }

    async fn verify_target(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let finals: Vec<Position> = record
            .finals
            .iter()
            .map(|at| Position { offset: at.target_offset, ..source_position(at) })
            .collect();
        let until = self.link.env.elapsed() + LIFE_MAX;
        loop {
            let state = self.target.describe().await?;
            let now = positions_of(&state);
            let behind = behind(&finals, &now);
            if !behind.is_empty() {
                run.alarms.extend(behind);
                break;
            }
            let joined = !state.members.is_empty() && state.classic_state == "Stable";
            let advanced = advanced(&finals, &now);
            if joined || advanced {
                run.delivered();
            }
            let nobody = state.members.is_empty();
            if advanced || nobody || self.nothing_to_read(&finals) || self.link.env.elapsed() >= until {
                if !advanced && !nobody && !self.nothing_to_read(&finals) {
                    run.step(format!(
                        "no commit on the target within {} s; the members are there",
                        LIFE_MAX.as_secs()
                    ));
                }
                if nobody {
                    run.step("nobody has joined on the target yet");
                }
                break;
            }
            self.keep_source_up(run).await;
            self.link.env.sleep(LOOK_AGAIN).await;
        }
        // What was delivered while this looked is not delivered again should the fence end with this service.
        run.commit_back_at = None;
        self.keep_source_up(run).await;
        // The fence keeps everybody out; who is there got in while it was down.
        let seen = self.fence.look().await?;
        if !seen.live.is_empty() {
            run.alarms.push(format!("members are on the source behind the fence{}", self.names(&seen.live)));
        }
        Ok(())
    }

    async fn verify_source(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let client = &self.link.source.client;
        let finals: Vec<Position> = record.finals.iter().map(source_position).collect();
        let until = self.link.env.elapsed() + RETURN_MAX;
        loop {
            let now = to_positions(&committed(client, &self.group.name, false).await?);
            let behind = behind(&finals, &now);
            if !behind.is_empty() {
                run.alarms.extend(behind);
                return Ok(());
            }
            let seen = self.fence.look().await?;
            if seen.state == "Stable" || advanced(&finals, &now) {
                run.delivered();
                return Ok(());
            }
            if self.link.env.elapsed() >= until {
                break;
            }
            self.link.env.sleep(LOOK_AT_SOURCE_AGAIN).await;
        }
        run.step(format!(
            "nobody has joined on the source yet; owners restart their consumers with its bootstrap.servers{}",
            self.held_names(run)
        ));
        Ok(())
    }

    fn held_names(&self, run: &Run<'_>) -> String {
        if run.evicted_at_target.is_empty() {
            return String::new();
        }
        let name = |member: &towpath_wire::private::LinkGroupMember| {
            format!("{} at {}", member.client_id, member.client_host)
        };
        format!(": {}", run.evicted_at_target.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    /// Whether the group resumed at the end of everything the target holds: no commit is to be expected.
    fn nothing_to_read(&self, finals: &[Position]) -> bool {
        finals.iter().all(|at| {
            let id = towpath_wire::client::TopicPartition::new(at.topic.clone(), at.partition);
            let placed = self.placed(&id);
            placed.is_some_and(|placed| placed.replicator.positions().target_log_end <= at.offset)
        })
    }

    /// How long nobody could deliver, as far as this run saw it.
    fn record_pause(&self, run: &mut Run<'_>, record: &GroupMove) {
        let verb = record.verb.unwrap_or(Verb::Cutover);
        let mut measured = |kind, pause_ms: Option<u64>| {
            let Some(pause_ms) = pause_ms else { return };
            run.bodies.push(Body::PauseMeasured {
                group: self.group.name.clone(),
                attempt: record.attempt,
                verb,
                kind,
                pause_ms,
                limit_ms: self.group.pause_max_ms,
            });
        };
        let pause = run.pause;
        measured(PauseKind::Possible, pause.possible_ms());
        measured(PauseKind::Delivered, pause.delivered_ms());
        let ms = |ms: Option<u64>| ms.map_or("not measured".to_owned(), |ms| format!("{ms} ms"));
        run.step(format!(
            "pause: {} until the group could run, {} until it was seen to",
            ms(pause.possible_ms()),
            ms(pause.delivered_ms())
        ));
    }
}

/// Positions that are gone, or lie before what was set.
fn behind(finals: &[Position], now: &[Position]) -> Vec<String> {
    let mut behind = Vec::new();
    for at in finals {
        let found = now.iter().find(|p| p.topic == at.topic && p.partition == at.partition);
        match found {
            Some(found) if found.offset >= at.offset => {}
            Some(found) => behind.push(format!(
                "{}-{}: position {} where {} was set",
                at.topic, at.partition, found.offset, at.offset
            )),
            None => {
                behind.push(format!("{}-{}: no position where {} was set", at.topic, at.partition, at.offset))
            }
        }
    }
    behind
}

/// Whether any position lies behind what was set: the group has committed.
fn advanced(finals: &[Position], now: &[Position]) -> bool {
    finals.iter().any(|at| {
        now.iter().any(|p| p.topic == at.topic && p.partition == at.partition && p.offset > at.offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(partition: i32, offset: i64) -> Position {
        Position { topic: "views".into(), partition, offset, metadata: None }
    }

    #[test]
    fn a_position_that_went_back_or_is_gone_is_told_and_one_that_advanced_is_life() {
        let finals = [position(0, 10), position(1, 20)];
        assert!(behind(&finals, &[position(0, 10), position(1, 25)]).is_empty());
        assert!(advanced(&finals, &[position(0, 10), position(1, 25)]));
        assert!(!advanced(&finals, &[position(0, 10), position(1, 20)]));
        let told = behind(&finals, &[position(0, 9)]);
        assert_eq!(told, ["views-0: position 9 where 10 was set", "views-1: no position where 20 was set"]);
    }
}
