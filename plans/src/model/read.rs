//! From the tree to the plan: fields, then the rules that span fields.

use std::collections::BTreeMap;

use super::error::{PlanError, Problem};
use super::estate::PlanFile;
use super::plan::{
    DiffOptions, EvidenceOptions, FenceMode, Gates, GroupPlan, LinkOptions, Plan, RecordContents, Uncommitted,
};
use super::reader::{At, Fields, Problems, text};
use super::rules;
use super::selector::{TopicPattern, TopicSelector};
use super::tree::{self, Node, Place, Value};

const PLAN_FIELDS: [&str; 10] =
    ["family", "source", "target", "topics", "uses", "groups", "gates", "link", "diff", "evidence"];
const GROUP_FIELDS: [&str; 9] = [
    "name",
    "fence",
    "pause_max",
    "freshness_max",
    "after",
    "uncommitted",
    "writes",
    "transactional_ids",
    "overlap_wait",
];
const GATE_FIELDS: [&str; 9] = [
    "lag_max",
    "lag_messages_max",
    "uncompared_records_max",
    "uncompared_max",
    "open_transaction_max",
    "members_ready",
    "clock_skew_max",
    "way_back_min",
    "observation_age_max",
];

impl Plan {
    /// Reads a plan file. `file` is the name that problems carry.
    pub fn from_yaml(file: &str, yaml: &str) -> Result<Self, PlanError> {
        PlanFile::read(file, yaml).map(|read| read.plan)
    }
}

impl PlanFile {
    /// Reads a plan file and keeps where each thing stands, for problems that only a cluster or another plan can
    /// show (see [`PlanFile::problem_at`]).
    pub fn read(file: &str, yaml: &str) -> Result<Self, PlanError> {
        let mut reading = Reading {
            problems: Problems { file: file.to_string(), found: Vec::new() },
            places: BTreeMap::new(),
        };
        let plan = match tree::parse(yaml) {
            Ok(document) => reading.plan(&document),
            Err((place, sentence)) => {
                reading.problems.add(place, sentence, "mend the YAML there");
                None
            }
        };
        let mut problems = reading.problems.found;
        match plan {
            Some(plan) if problems.is_empty() => {
                Ok(Self { file: file.to_string(), plan, places: reading.places })
            }
            _ => {
                problems.sort_by_key(|problem: &Problem| (problem.line, problem.column));
                Err(PlanError { problems })
            }
        }
    }
}

pub(crate) struct Reading {
    pub problems: Problems,
    pub places: BTreeMap<String, (u64, u64)>,
}

impl Reading {
    pub fn place(&mut self, path: String, place: Place) {
        self.places.insert(path, (place.line, place.column));
    }

    fn plan(&mut self, document: &Node) -> Option<Plan> {
        let fields = Fields::open(document, "", &PLAN_FIELDS, &mut self.problems)?;
        let family = fields.required_text("family", "the family's name", &mut self.problems);
        let source = fields.required_text("source", "a cluster of the service's file", &mut self.problems);
        let target = fields.required_text("target", "a cluster of the service's file", &mut self.problems);
        let topics = self.topics(&fields, document);
        let uses = fields.names("uses", &mut self.problems);
        let groups: Vec<At<GroupPlan>> = fields
            .list("groups", &mut self.problems)
            .into_iter()
            .filter_map(|(path, node)| self.group(&path, node))
            .collect();
        for (path, place) in [("family", family.place), ("source", source.place), ("target", target.place)] {
            self.place(path.to_string(), place);
        }
        rules::check_names(&family, &source, &target, self);
        rules::check_topics(&topics, &uses, self);
        rules::check_groups(&groups, self);
        let gates = self.gates(&fields);
        let (link, diff, evidence) = self.options(&fields);
        Some(Plan {
            family: family.value,
            source: source.value,
            target: target.value,
            topics: topics.into_iter().map(|topic| topic.value).collect(),
            uses: uses.into_iter().map(|topic| topic.value).collect(),
            groups: groups.into_iter().map(|group| group.value).collect(),
            gates,
            link,
            diff,
            evidence,
        })
    }

    fn topics(&mut self, fields: &Fields<'_>, document: &Node) -> Vec<At<TopicSelector>> {
        let mut topics = Vec::new();
        for (path, node) in fields.list("topics", &mut self.problems) {
            let selector = match &node.value {
                Value::Map(_) => self.pattern(&path, node),
                _ => Some(text(node, &path, &mut self.problems).value)
                    .filter(|name| !name.is_empty())
                    .map(TopicSelector::Name),
            };
            if let Some(value) = selector {
                topics.push(At { value, place: node.place });
            }
        }
        if fields.get("topics").is_none() {
            let fix = "add `topics:`, a list of names or { pattern: \"...\" }";
            self.problems.add(document.place, "topics is missing", fix);
        }
        topics
    }

    fn pattern(&mut self, path: &str, node: &Node) -> Option<TopicSelector> {
        let fields = Fields::open(node, path, &["pattern"], &mut self.problems)?;
        let pattern = fields.required_text("pattern", "a regular expression", &mut self.problems);
        if pattern.value.is_empty() {
            return None;
        }
        match TopicPattern::new(pattern.value) {
            Ok(pattern) => Some(TopicSelector::Pattern(pattern)),
            Err(sentence) => {
                let fix = "write a regular expression that matches whole topic names";
                self.problems.add(pattern.place, format!("{path}.pattern: {sentence}"), fix);
                None
            }
        }
    }

    fn group(&mut self, path: &str, node: &Node) -> Option<At<GroupPlan>> {
        if !matches!(node.value, Value::Map(_)) {
            let name = text(node, path, &mut self.problems);
            return (!name.value.is_empty())
                .then(|| At { value: GroupPlan::named(name.value), place: node.place });
        }
        let fields = Fields::open(node, path, &GROUP_FIELDS, &mut self.problems)?;
        let problems = &mut self.problems;
        let name = fields.required_text("name", "the group's id", problems);
        let mut group = GroupPlan::named(name.value.clone());
        let fences = [("wait", FenceMode::Wait), ("evict", FenceMode::Evict)];
        group.fence = fields.word("fence", &fences, group.fence, problems);
        group.pause_max_ms = fields.duration("pause_max", group.pause_max_ms, problems);
        group.freshness_max_ms = fields.duration("freshness_max", group.freshness_max_ms, problems);
        group.overlap_wait_ms = fields.duration("overlap_wait", group.overlap_wait_ms, problems);
        let positions = [("earliest", Uncommitted::Earliest), ("latest", Uncommitted::Latest)];
        group.uncommitted = fields.word("uncommitted", &positions, group.uncommitted, problems);
        let after = fields.names("after", problems);
        let writes = fields.names("writes", problems);
        let transactional_ids = fields.names("transactional_ids", problems);
        for topic in &writes {
            rules::check_topic_name(topic, problems);
        }
        if group.overlap_wait_ms >= group.pause_max_ms {
            let place =
                fields.get("overlap_wait").or(fields.get("pause_max")).map_or(node.place, |n| n.place);
            let fix = "raise pause_max above overlap_wait";
            problems.add(place, format!("{path}: overlap_wait leaves no time within pause_max"), fix);
        }
        for other in &after {
            self.place(format!("groups[{}].after[{}]", name.value, other.value), other.place);
        }
        let values = |names: Vec<At<String>>| names.into_iter().map(|name| name.value).collect();
        group.after = values(after);
        group.writes = values(writes);
        group.transactional_ids = values(transactional_ids);
        (!name.value.is_empty()).then_some(At { value: group, place: name.place })
    }

    fn gates(&mut self, plan: &Fields<'_>) -> Gates {
        let mut gates = Gates::default();
        let problems = &mut self.problems;
        let Some(fields) =
            plan.get("gates").and_then(|node| Fields::open(node, "gates", &GATE_FIELDS, problems))
        else {
            return gates;
        };
        gates.lag_ms_max = fields.duration("lag_max", gates.lag_ms_max, problems);
        gates.lag_messages_max = fields.number("lag_messages_max", gates.lag_messages_max, problems);
        gates.uncompared_records_max =
            fields.number("uncompared_records_max", gates.uncompared_records_max, problems);
        gates.uncompared_ms_max = fields.duration("uncompared_max", gates.uncompared_ms_max, problems);
        gates.open_transaction_ms_max =
            fields.duration("open_transaction_max", gates.open_transaction_ms_max, problems);
        gates.members_ready = fields.truth("members_ready", gates.members_ready, problems);
        gates.clock_skew_ms_max = fields.duration("clock_skew_max", gates.clock_skew_ms_max, problems);
        gates.way_back_ms_min = fields.duration("way_back_min", gates.way_back_ms_min, problems);
        gates.observation_age_ms_max =
            fields.duration("observation_age_max", gates.observation_age_ms_max, problems);
        rules::at_least_one(&fields, "observation_age_max", gates.observation_age_ms_max, problems);
        gates
    }

    fn options(&mut self, plan: &Fields<'_>) -> (LinkOptions, DiffOptions, EvidenceOptions) {
        let (mut link, mut diff, mut evidence) =
            (LinkOptions::default(), DiffOptions::default(), EvidenceOptions::default());
        let problems = &mut self.problems;
        let known = ["bandwidth_max", "backoff_fetch", "fetch_max", "sync_interval"];
        if let Some(fields) = plan.get("link").and_then(|node| Fields::open(node, "link", &known, problems)) {
            link.bandwidth_bytes_per_s_max =
                fields.bytes("bandwidth_max", link.bandwidth_bytes_per_s_max, problems);
            link.backoff_fetch_ms = fields.duration("backoff_fetch", link.backoff_fetch_ms, problems);
            link.fetch_bytes_max = fields.bytes("fetch_max", link.fetch_bytes_max, problems);
            link.sync_interval_ms = fields.duration("sync_interval", link.sync_interval_ms, problems);
            rules::at_least_one(&fields, "bandwidth_max", link.bandwidth_bytes_per_s_max, problems);
            rules::at_least_one(&fields, "fetch_max", link.fetch_bytes_max, problems);
            rules::at_least_one(&fields, "sync_interval", link.sync_interval_ms, problems);
        }
        let known = ["bandwidth_max", "range_offsets", "samples_max"];
        if let Some(fields) = plan.get("diff").and_then(|node| Fields::open(node, "diff", &known, problems)) {
            diff.bandwidth_bytes_per_s_max =
                fields.bytes("bandwidth_max", diff.bandwidth_bytes_per_s_max, problems);
            diff.range_offsets = fields.number("range_offsets", diff.range_offsets, problems);
            diff.samples_max = fields.number("samples_max", diff.samples_max, problems);
            rules::at_least_one(&fields, "bandwidth_max", diff.bandwidth_bytes_per_s_max, problems);
            rules::at_least_one(&fields, "range_offsets", diff.range_offsets, problems);
        }
        let known = ["contents"];
        if let Some(fields) =
            plan.get("evidence").and_then(|node| Fields::open(node, "evidence", &known, problems))
        {
            let words = [("never", RecordContents::Never), ("samples", RecordContents::Samples)];
            evidence.contents = fields.word("contents", &words, evidence.contents, problems);
        }
        (link, diff, evidence)
    }
}
