//! Rules that span plans: one link for a topic, one plan for a group, no circle of groups that wait.

use std::collections::BTreeMap;

use super::error::{PlanError, Problem};
use super::plan::Plan;
use super::rules::cycle;
use super::selector::TopicSelector;

/// A plan that was read, with the places of what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    /// The file's name, as problems carry it.
    pub file: String,
    /// The plan.
    pub plan: Plan,
    pub(crate) places: BTreeMap<String, (u64, u64)>,
}

impl PlanFile {
    /// A plan that does not come from a file at hand; problems name `file` and no line.
    pub fn of(file: impl Into<String>, plan: Plan) -> PlanFile {
        PlanFile { file: file.into(), plan, places: BTreeMap::new() }
    }

    /// A problem of something that this plan names: `source`, `topics[NAME]`, `uses[NAME]`, `groups[NAME]`,
    /// `groups[NAME].after[OTHER]`. With an unknown path the problem is about the whole file.
    pub fn problem_at(&self, path: &str, message: impl Into<String>, fix: impl Into<String>) -> Problem {
        let (line, column) = self.places.get(path).copied().unwrap_or_default();
        Problem { file: self.file.clone(), line, column, message: message.into(), fix: fix.into() }
    }
}

/// Checks plans against each other. `topics` are the names that exist on the sources, to resolve patterns; an
/// empty list checks names only.
pub fn check_estate(plans: &[PlanFile], topics: &[String]) -> Result<(), PlanError> {
    let mut problems = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        for earlier in &plans[..index] {
            check_pair(plan, earlier, topics, &mut problems);
        }
        check_uses(plan, plans, &mut problems);
        for group in &plan.plan.groups {
            for after in &group.after {
                if !plans.iter().any(|other| other.plan.group(after).is_some()) {
                    let path = format!("groups[{}].after[{after}]", group.name);
                    let message = format!("group {} comes after {after}, which no plan moves", group.name);
                    problems.push(plan.problem_at(
                        &path,
                        message,
                        "mend the name or add the group to a plan",
                    ));
                }
            }
        }
    }
    let edges: BTreeMap<&str, &[String]> = plans
        .iter()
        .flat_map(|plan| &plan.plan.groups)
        .map(|group| (group.name.as_str(), group.after.as_slice()))
        .collect();
    if let Some(circle) = cycle(&edges) {
        let path = format!("groups[{}].after[{}]", circle[0], circle[1]);
        // The circle's first name is a key of `edges`, which came from these plans.
        if let Some(plan) = plans.iter().find(|plan| plan.plan.group(&circle[0]).is_some()) {
            let message = format!("groups wait for each other: {}", circle.join(" after "));
            problems.push(plan.problem_at(&path, message, "delete one of these `after:`"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(PlanError { problems }) }
}

fn check_pair(plan: &PlanFile, earlier: &PlanFile, topics: &[String], problems: &mut Vec<Problem>) {
    if plan.plan.family == earlier.plan.family {
        let message = format!("family {} is planned in {} already", plan.plan.family, earlier.file);
        problems.push(plan.problem_at("family", message, "give the family another name or join the plans"));
    }
    for group in &plan.plan.groups {
        if earlier.plan.group(&group.name).is_some() {
            let message = format!("group {} belongs to {} already", group.name, earlier.file);
            let path = format!("groups[{}]", group.name);
            problems.push(plan.problem_at(&path, message, "leave the group in one of the two plans"));
        }
    }
    if plan.plan.source != earlier.plan.source {
        return;
    }
    for selector in &plan.plan.topics {
        let shared = match selector {
            TopicSelector::Name(name) if earlier.plan.mirrors(name) => Some(name.as_str()),
            TopicSelector::Name(_) => None,
            TopicSelector::Pattern(_) => {
                let named = earlier.plan.topics.iter().filter_map(|other| match other {
                    TopicSelector::Name(name) => Some(name.as_str()),
                    TopicSelector::Pattern(_) => None,
                });
                let mut all = named.chain(topics.iter().map(String::as_str));
                all.find(|name| selector.matches(name) && earlier.plan.mirrors(name))
            }
        };
        if let Some(topic) = shared {
            let message = format!("topic {topic} is mirrored by {} already", earlier.file);
            let fix = format!("put {topic} under `uses:` here, its link carries it for both");
            problems.push(plan.problem_at(&format!("topics[{selector}]"), message, fix));
        }
    }
}

fn check_uses(plan: &PlanFile, plans: &[PlanFile], problems: &mut Vec<Problem>) {
    for topic in &plan.plan.uses {
        let mirrored = plans.iter().any(|other| {
            other.plan.family != plan.plan.family
                && other.plan.source == plan.plan.source
                && other.plan.target == plan.plan.target
                && other.plan.mirrors(topic)
        });
        if !mirrored {
            let Plan { source, target, .. } = &plan.plan;
            let message =
                format!("{topic} is under uses, but no other plan mirrors it from {source} to {target}");
            let fix =
                format!("put {topic} under `topics:` here, or add it to the plan whose link carries it");
            problems.push(plan.problem_at(&format!("uses[{topic}]"), message, fix));
        }
    }
}
