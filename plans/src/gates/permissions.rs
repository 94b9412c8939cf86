//! The rights that a plan needs, with the exact command that grants each. From the authorization checks of Apache
//! Kafka's `KafkaApis` for the requests that Towpath sends (KIP-11, KIP-664 for the listing of transactions).

use serde::{Deserialize, Serialize};

use super::Permission;
use crate::Side;
use crate::model::{GroupPlan, Plan, TopicSelector};

/// What a right is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A topic of this name.
    Topic(String),
    /// Every topic whose name begins like this: what a pattern needs; empty means all topics.
    TopicPrefix(String),
    /// A consumer group.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
    /// The cluster.
    Cluster,
}

/// For which part of a plan's life a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Mirroring, diff and group sync: reads only.
    Link,
    /// Cutover, rollback and complete.
    Move,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Right {
    /// Needed from here on.
    pub stage: Stage,
    /// On which cluster.
    pub side: Side,
    /// On what.
    pub resource: Resource,
    /// Kafka's operations: `Read`, `Describe`, `DescribeConfigs`, `Write`.
    pub operations: Vec<String>,
    /// What for.
    pub purpose: String,
}

impl Right {
    /// The command that grants it, for `kafka-acls.sh`. `bootstrap` is the cluster's address, `principal` is as
    /// Kafka writes it (`User:towpath`).
    pub fn grant(&self, bootstrap: &str, principal: &str) -> String {
        let operations: String = self.operations.iter().map(|op| format!(" --operation {op}")).collect();
        let resource = match &self.resource {
            Resource::Topic(name) => format!("--topic {}", quoted(name)),
            Resource::TopicPrefix(prefix) if prefix.is_empty() => "--topic '*'".to_string(),
            Resource::TopicPrefix(prefix) => {
                format!("--resource-pattern-type prefixed --topic {}", quoted(prefix))
            }
            Resource::Group(name) => format!("--group {}", quoted(name)),
            Resource::TransactionalId(id) => format!("--transactional-id {}", quoted(id)),
            Resource::Cluster => "--cluster".to_string(),
        };
        let principal = quoted(principal);
        format!(
            "kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal {principal}{operations} {resource}"
        )
    }

    /// As the gate looks at it, once it is known whether the right is granted.
    pub fn observed(&self, granted: bool, bootstrap: &str, principal: &str) -> Permission {
        let what = match &self.resource {
            Resource::Topic(name) => format!("topic {name}"),
            Resource::TopicPrefix(prefix) => format!("topics that begin with {prefix:?}"),
            Resource::Group(name) => format!("group {name}"),
            Resource::TransactionalId(id) => format!("transactional id {id}"),
            Resource::Cluster => "the cluster".to_string(),
        };
        Permission {
            what: format!("{} on {what} at the {}", self.operations.join(" and "), self.side),
            granted,
            grant: self.grant(bootstrap, principal),
        }
    }
}

/// A word of a shell command that holds exactly this text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Every right that a plan needs at its source, sorted by stage. The bundled broker has no ACLs of its own yet, so
/// nothing is asked for at the target.
pub fn rights(plan: &Plan) -> Vec<Right> {
    let mut rights: Vec<Right> = plan.topics.iter().map(topic_right).collect();
    rights.push(right(Stage::Link, Resource::Cluster, &["Describe"], "find brokers, list groups"));
    for group in &plan.groups {
        group_rights(group, &mut rights);
    }
    if !plan.groups.is_empty() {
        let offsets = Resource::Topic("__consumer_offsets".into());
        rights.push(right(Stage::Move, offsets, &["Describe", "Read"], "find pending commits of offsets"));
    }
    rights.sort();
    rights.dedup();
    rights
}

fn topic_right(selector: &TopicSelector) -> Right {
    let resource = match selector {
        TopicSelector::Name(name) => Resource::Topic(name.clone()),
        TopicSelector::Pattern(pattern) => Resource::TopicPrefix(literal_prefix(pattern.as_str())),
    };
    right(Stage::Link, resource, &["Describe", "DescribeConfigs", "Read"], "mirror and compare")
}

fn group_rights(group: &GroupPlan, rights: &mut Vec<Right>) {
    let resource = Resource::Group(group.name.clone());
    rights.push(right(Stage::Link, resource.clone(), &["Describe"], "sync committed offsets"));
    let purpose = "evict members, hold the fence, commit positions";
    rights.push(right(Stage::Move, resource, &["Read"], purpose));
    for id in &group.transactional_ids {
        let resource = Resource::TransactionalId(id.clone());
        rights.push(right(Stage::Move, resource, &["Describe", "Write"], "end its pending commits"));
    }
}

fn right(stage: Stage, resource: Resource, operations: &[&str], purpose: &str) -> Right {
    let operations = operations.iter().map(|operation| operation.to_string()).collect();
    Right { stage, side: Side::Source, resource, operations, purpose: purpose.into() }
}

/// What every name that a pattern matches begins with: its letters up to the first that means something else.
/// Never too long: a quantifier takes back the letter before it, an alternative takes back everything.
fn literal_prefix(pattern: &str) -> String {
    if pattern.contains('|') || pattern.starts_with("(?") {
        return String::new();
    }
    let mut prefix = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '\\' => letters.next_if(|next| !next.is_ascii_alphanumeric()),
            plain if plain.is_ascii_alphanumeric() || matches!(plain, '_' | '-') => Some(plain),
            _ => None,
        };
        let Some(literal) = literal else { break };
        if matches!(letters.peek(), Some('*' | '?' | '{')) {
            break;
        }
        prefix.push(literal);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicPattern;

    #[test]
    fn the_rights_of_a_plan_come_with_the_commands_that_grant_them() {
        let mut plan = Plan::new("orders", "legacy", "towpath");
        let pattern = TopicPattern::new("order-feedback\\..*").unwrap();
        plan.topics = vec![TopicSelector::Name("orders".into()), TopicSelector::Pattern(pattern)];
        let mut group = GroupPlan::named("joiner's");
        group.transactional_ids = vec!["joiner-0".into()];
        plan.groups = vec![group];
        let grants: Vec<String> = rights(&plan)
            .iter()
            .map(|right| format!("{:?}: {}", right.stage, right.grant("legacy:9092", "User:towpath")))
            .collect();
        insta::assert_snapshot!(grants.join("\n"));
        let observed = rights(&plan)[0].observed(false, "legacy:9092", "User:towpath");
        assert_eq!(observed.what, "Describe and DescribeConfigs and Read on topic orders at the source");
    }

    #[test]
    fn the_prefix_of_a_pattern_covers_all_that_it_matches() {
        for (pattern, prefix) in [
            ("views\\..*", "views."),
            ("views.*", "views"),
            ("views-?x", "views"),
            ("ab*", "a"),
            ("ab+", "ab"),
            ("a{2}", ""),
            ("a|b", ""),
            ("(?i)views", ""),
            ("views\\d", "views"),
            ("[ab]c", ""),
        ] {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
    }
}
