//! The steps of a verb, as data. A dry run prints this list; a run executes these very effects, because both
//! come from [`crate::transition::effects_of`].

use serde::{Deserialize, Serialize};

use crate::model::{FenceMode, GroupPlan, Plan, Uncommitted, format_duration};
use crate::transition::{Effect, GroupState, Verb, effects_of};

/// How to take a step back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inverse {
    /// It changes nothing.
    Nothing,
    /// This undoes it.
    By(String),
    /// Nothing undoes it; the text says what that means.
    Irreversible(String),
}

/// One step of a verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in journal, evidence and progress: `preflight`, `fence`, `drain`, `final-offsets`, `record`,
    /// `switch`, `open`, `verify`, ...
    pub name: String,
    /// What it does, for a person.
    pub description: String,
    /// What must hold before it.
    pub precondition: String,
    /// How to take it back.
    pub inverse: Inverse,
    /// The state that the group is in while the step is under way.
    pub state: GroupState,
    /// What is executed, in order.
    pub effects: Vec<Effect>,
}

/// The steps that move a group from source to target.
pub fn cutover_steps(plan: &Plan, group: &GroupPlan) -> Vec<Step> {
    let (name, source, target) = (&group.name, &plan.source, &plan.target);
    let step = Steps { verb: Some(Verb::Cutover) };
    let fence = match group.fence {
        FenceMode::Wait => {
            format!("wait until {name} is empty on {source}, then take its place as fence member")
        }
        FenceMode::Evict => {
            let wait = match group.overlap_wait_ms {
                0 => String::new(),
                ms => format!(", then wait {}", format_duration(ms)),
            };
            format!("evict the members of {name} on {source} and take their place as fence member{wait}")
        }
    };
    let producers = match group.transactional_ids.as_slice() {
        [] => String::new(),
        ids => format!("; fence the producers {}", ids.join(", ")),
    };
    let missing = match group.uncommitted {
        Uncommitted::Earliest => "the log start",
        Uncommitted::Latest => "the high watermark before the fence",
    };
    vec![
        step.preflight(&format!("check every gate of {name}; nothing changes")),
        step.of(
            "fence",
            GroupState::Fencing,
            format!("{fence}{producers}; set the route at {target} to draining"),
            "every gate passed",
            Inverse::By("restore the group's offsets, set the route to source, the fence member leaves".into()),
        ),
        step.drain(&format!("wait until {target} holds all that {source} held at the fence, and it is compared")),
        step.of(
            "final-offsets",
            GroupState::FinalOffsets,
            format!("read committed offsets behind the fence and translate them; without a commit: {missing}"),
            "the mirror has drained",
            Inverse::Nothing,
        ),
        step.record(),
        step.of(
            "switch",
            GroupState::Recorded,
            format!("set offsets and route target of {name} at {target}, in one operation"),
            "the intent is in the journal",
            Inverse::By(format!("towpath rollback {} --group {name}", plan.family)),
        ),
        step.of(
            "verify",
            GroupState::Verifying,
            format!(
                "compare positions, watch first commits on {target}, look for readers left on {source}; from now \
                 on commit the translated positions to {source} every {}",
                format_duration(plan.link.sync_interval_ms)
            ),
            "the route is target",
            Inverse::Nothing,
        ),
    ]
}

/// The steps that move a group from target to source.
pub fn rollback_steps(plan: &Plan, group: &GroupPlan) -> Vec<Step> {
    let (name, source, target) = (&group.name, &plan.source, &plan.target);
    let step = Steps { verb: Some(Verb::Rollback) };
    let quiet = match group.fence {
        FenceMode::Wait => format!("wait until {name} is empty on {target}; "),
        FenceMode::Evict => String::new(),
    };
    vec![
        step.preflight(&format!("check what a way back needs for {name}; nothing changes")),
        step.of(
            "fence",
            GroupState::Fencing,
            format!("{quiet}set the route at {target} to draining: members there are held, commits refused"),
            "every gate passed",
            Inverse::By("set the route to target".into()),
        ),
        step.drain(&format!(
            "wait until {source} holds all that {target} held at the fence, and it is compared"
        )),
        step.of(
            "final-offsets",
            GroupState::FinalOffsets,
            format!("read committed offsets on {target} and translate them to {source}"),
            "the mirror has drained",
            Inverse::Nothing,
        ),
        step.record(),
        step.of(
            "switch",
            GroupState::Recorded,
            format!("commit these offsets on {source} as the fence member, with its own generation"),
            "the intent is in the journal and the fence at the source is held",
            Inverse::By(format!("towpath cutover {} --group {name}", plan.family)),
        ),
        step.of(
            "open",
            GroupState::Committed,
            format!(
                "set the route to source; the fence member leaves, {name} opens on {source} at these offsets"
            ),
            "the journal says that the offsets stand",
            Inverse::By(format!("towpath cutover {} --group {name}", plan.family)),
        ),
        step.of(
            "verify",
            GroupState::Verifying,
            format!(
                "compare positions on {source}, watch first commits; owners restart evicted consumers there"
            ),
            "the route is source",
            Inverse::Nothing,
        ),
    ]
}

/// The steps that give up the way back of a group: the only destructive verb.
pub fn complete_steps(plan: &Plan, group: &GroupPlan) -> Vec<Step> {
    let step = Steps { verb: None };
    let (name, source, target) = (&group.name, &plan.source, &plan.target);
    vec![step.of(
        "complete",
        GroupState::Completing,
        format!("the fence member leaves {name} on {source}; {name} becomes an ordinary group of {target}"),
        "a durable stop at the source is proven (a deny ACL for everybody), or explicitly accepted",
        Inverse::Irreversible(format!("{name} can not go back to {source} at an exact record any more")),
    )]
}

/// The steps that cancel a link for a group that is on the source.
pub fn cancel_steps(plan: &Plan, group: &GroupPlan) -> Vec<Step> {
    let step = Steps { verb: None };
    let (name, target) = (&group.name, &plan.target);
    vec![step.of(
        "cancel",
        GroupState::Cancelling,
        format!("drop the route of {name} at {target}; its synced offsets stay there"),
        "the route of every group of the family is source",
        Inverse::By(format!("link {} again", plan.family)),
    )]
}

struct Steps {
    verb: Option<Verb>,
}

impl Steps {
    fn of(
        &self,
        name: &str,
        state: GroupState,
        description: String,
        precondition: &str,
        inverse: Inverse,
    ) -> Step {
        Step {
            name: name.into(),
            description,
            precondition: precondition.into(),
            inverse,
            state,
            effects: effects_of(state, self.verb),
        }
    }

    fn preflight(&self, description: &str) -> Step {
        let none = "no other verb is under way";
        self.of("preflight", GroupState::Preflight, description.into(), none, Inverse::Nothing)
    }

    fn drain(&self, description: &str) -> Step {
        let fence = "the fence is confirmed by a heartbeat";
        self.of("drain", GroupState::Draining, description.into(), fence, Inverse::Nothing)
    }

    /// The journal entry of `Recorded` is the step: the executor writes it as it writes every state, before the
    /// effects of the switch.
    fn record(&self) -> Step {
        Step {
            name: "record".into(),
            description: "write intent and final offsets to the journal: the point of no return".into(),
            precondition: "every partition has an exact final offset".into(),
            inverse: Inverse::Irreversible(
                "from here the move goes forward; the other verb goes back".into(),
            ),
            state: GroupState::Recorded,
            effects: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlanHash;
    use crate::transition::{Event, GroupMove, transition};

    fn plan(fence: FenceMode) -> Plan {
        let mut plan = Plan::new("views", "legacy", "towpath");
        plan.groups = vec![GroupPlan { fence, ..GroupPlan::named("ranker") }];
        plan
    }

    /// The effects that a run without trouble executes, in order.
    fn executed(verb: Verb) -> Vec<Effect> {
        let mut record = GroupMove { state: verb.origin_state(), ..GroupMove::new("views", "ranker", 0) };
        let begin =
            Event::Begin { verb, actor: String::new(), reason: String::new(), plan_hash: PlanHash([0; 32]) };
        let mut event = begin;
        let mut effects = Vec::new();
        loop {
            let next = transition(&record, &event, 0).unwrap();
            effects.extend(next.effects);
            record = next.record;
            event = match record.state {
                GroupState::Preflight => Event::GatesPassed { before: Vec::new() },
                GroupState::Fencing => Event::Fenced { hold: None },
                GroupState::Draining => Event::Drained,
                GroupState::FinalOffsets => Event::FinalsRead { finals: Vec::new() },
                GroupState::Recorded if verb == Verb::Cutover => Event::Switched,
                GroupState::Recorded => Event::PositionsCommitted,
                GroupState::Committed => Event::Released,
                GroupState::Verifying => Event::Verified { alarms: Vec::new() },
                _ => return effects,
            };
        }
    }

    #[test]
    fn a_dry_run_prints_the_very_effects_that_a_run_executes() {
        let plan = plan(FenceMode::Evict);
        let printed = |steps: Vec<Step>| steps.into_iter().flat_map(|step| step.effects).collect::<Vec<_>>();
        assert_eq!(printed(cutover_steps(&plan, &plan.groups[0])), executed(Verb::Cutover));
        assert_eq!(printed(rollback_steps(&plan, &plan.groups[0])), executed(Verb::Rollback));
    }

    #[test]
    fn the_steps_of_every_verb_read_as_a_person_expects() {
        let plan = plan(FenceMode::Evict);
        let group = &plan.groups[0];
        let mut text = String::new();
        for (verb, steps) in [
            ("cutover", cutover_steps(&plan, group)),
            ("rollback", rollback_steps(&plan, group)),
            ("complete", complete_steps(&plan, group)),
            ("cancel", cancel_steps(&plan, group)),
        ] {
            text.push_str(&format!("{verb}\n"));
            for step in steps {
                let back = match &step.inverse {
                    Inverse::Nothing => "changes nothing".to_string(),
                    Inverse::By(how) => format!("undone by: {how}"),
                    Inverse::Irreversible(what) => format!("irreversible: {what}"),
                };
                text.push_str(&format!(
                    "  {}: {}\n    needs: {}\n    {back}\n    {:?}\n",
                    step.name, step.description, step.precondition, step.effects
                ));
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn only_the_record_step_and_complete_are_irreversible() {
        let plan = plan(FenceMode::Wait);
        let group = &plan.groups[0];
        let names = |steps: Vec<Step>| -> Vec<String> {
            let cannot = |step: &Step| matches!(step.inverse, Inverse::Irreversible(_));
            steps.into_iter().filter(cannot).map(|step| step.name).collect()
        };
        assert_eq!(names(cutover_steps(&plan, group)), ["record"]);
        assert_eq!(names(rollback_steps(&plan, group)), ["record"]);
        assert_eq!(names(complete_steps(&plan, group)), ["complete"]);
        assert!(names(cancel_steps(&plan, group)).is_empty());
    }
}
