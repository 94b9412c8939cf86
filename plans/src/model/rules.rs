//! The rules that a plan must meet beyond the shape of its fields.

use std::collections::BTreeMap;

use super::plan::GroupPlan;
use super::read::Reading;
use super::reader::{At, Fields, Problems};
use super::selector::TopicSelector;

/// Kafka's bound on topic names (`Topic.MAX_NAME_LENGTH`); families share it, they name object paths.
const NAME_LENGTH_MAX: usize = 249;

fn is_plain(name: &str) -> bool {
    name.len() <= NAME_LENGTH_MAX
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

pub(crate) fn check_names(
    family: &At<String>,
    source: &At<String>,
    target: &At<String>,
    reading: &mut Reading,
) {
    if !is_plain(&family.value) {
        let message = format!("family {:?} is not a plain name", family.value);
        reading.problems.add(family.place, message, "use up to 249 letters, digits, '.', '_' or '-'");
    }
    if !source.value.is_empty() && source.value == target.value {
        let message = format!("source and target are both {:?}", source.value);
        reading.problems.add(target.place, message, "name two clusters");
    }
}

pub(crate) fn check_topic_name(topic: &At<String>, problems: &mut Problems) {
    if topic.value.is_empty() {
        return;
    }
    if !is_plain(&topic.value) {
        let message = format!("{:?} is not a topic name", topic.value);
        let fix = if topic.value.contains(['*', '\\', '[', '(', '+']) {
            format!("for a pattern write {{ pattern: {:?} }}", topic.value)
        } else {
            "use up to 249 letters, digits, '.', '_' or '-'".to_string()
        };
        problems.add(topic.place, message, fix);
    } else if topic.value.starts_with("__") {
        let message = format!("{:?} is an internal topic of the cluster", topic.value);
        problems.add(topic.place, message, "leave it out: committed offsets move with their groups");
    }
}

pub(crate) fn check_topics(topics: &[At<TopicSelector>], uses: &[At<String>], reading: &mut Reading) {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (index, topic) in topics.iter().enumerate() {
        reading.place(format!("topics[{}]", topic.value), topic.place);
        if let TopicSelector::Name(name) = &topic.value {
            check_topic_name(&At { value: name.clone(), place: topic.place }, &mut reading.problems);
        }
        if let Some(line) = seen.insert(topic.value.to_string(), topic.place.line) {
            let message = format!("{} is listed twice, first in line {line}", topic.value);
            reading.problems.add(topic.place, message, "delete one of the two");
            continue;
        }
        let TopicSelector::Name(name) = &topic.value else { continue };
        let covered = topics.iter().enumerate().find(|(other, selector)| {
            *other != index
                && matches!(&selector.value, TopicSelector::Pattern(pattern) if pattern.matches(name))
        });
        if let Some((_, pattern)) = covered {
            let message = format!("{name} is selected by {} as well", pattern.value);
            reading.problems.add(topic.place, message, "delete the name, the pattern covers it");
        }
    }
    for topic in uses {
        reading.place(format!("uses[{}]", topic.value), topic.place);
        check_topic_name(topic, &mut reading.problems);
        if topics.iter().any(|selector| selector.value.matches(&topic.value)) {
            let message = format!("{} is under uses and under topics", topic.value);
            let fix = "keep it under topics if this plan's link mirrors it, under uses if another's does";
            reading.problems.add(topic.place, message, fix);
        }
    }
    if topics.is_empty() && uses.is_empty() && reading.problems.found.is_empty() {
        let place = Default::default();
        reading.problems.add(place, "the plan names no topic", "list at least one under `topics:`");
    }
}

pub(crate) fn check_groups(groups: &[At<GroupPlan>], reading: &mut Reading) {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for group in groups {
        let name = &group.value.name;
        reading.place(format!("groups[{name}]"), group.place);
        if let Some(line) = seen.insert(name, group.place.line) {
            let message = format!("group {name} is listed twice, first in line {line}");
            reading.problems.add(group.place, message, "delete one of the two");
        }
        if group.value.after.contains(name) {
            let message = format!("group {name} comes after itself");
            reading.problems.add(group.place, message, format!("delete {name} from its own `after:`"));
        }
    }
    let edges: BTreeMap<&str, &[String]> =
        groups.iter().map(|group| (group.value.name.as_str(), group.value.after.as_slice())).collect();
    if let Some(cycle) = cycle(&edges).filter(|cycle| cycle.len() > 2) {
        let place = groups.iter().find(|group| group.value.name == cycle[0]).map(|group| group.place);
        let message = format!("groups wait for each other: {}", cycle.join(" after "));
        reading.problems.add(place.unwrap_or_default(), message, "delete one of these `after:`");
    }
}

/// A circle in an `after` relation, first name repeated at the end; `None` when there is none.
pub(crate) fn cycle(edges: &BTreeMap<&str, &[String]>) -> Option<Vec<String>> {
    let mut clear: Vec<&str> = Vec::new();
    for start in edges.keys().copied() {
        // Depth first, the path on the stack with the next edge to try of each name on it.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last_mut() {
            let after = edges.get(name).copied().unwrap_or_default();
            let Some(to) = after.get(*next) else {
                clear.push(name);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = path.iter().position(|(seen, _)| seen == to) {
                let mut circle: Vec<String> = path[at..].iter().map(|(name, _)| name.to_string()).collect();
                circle.push(to.clone());
                return Some(circle);
            }
            if edges.contains_key(to.as_str()) && !clear.contains(&to.as_str()) {
                path.push((to, 0));
            }
        }
    }
    None
}

/// Zero would stop the work instead of limiting it.
pub(crate) fn at_least_one(fields: &Fields<'_>, name: &str, value: u64, problems: &mut Problems) {
    if value == 0
        && let Some(node) = fields.get(name)
    {
        problems.add(node.place, format!("{name} is zero"), format!("give {name} a value above zero"));
    }
}
