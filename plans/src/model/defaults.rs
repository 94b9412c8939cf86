//! Every default of a plan, once, with its reason; and the listing that `plan show` prints.

use serde::{Deserialize, Serialize};

use super::plan::{FenceMode, Plan, RecordContents, Uncommitted};
use super::quantity::{format_bytes, format_duration};

pub(crate) const PAUSE_MAX_MS: u64 = 5_000;
pub(crate) const FRESHNESS_MAX_MS: u64 = 10_000;
pub(crate) const OVERLAP_WAIT_MS: u64 = 0;
pub(crate) const LAG_MS_MAX: u64 = 2_000;
pub(crate) const LAG_MESSAGES_MAX: u64 = 10_000;
pub(crate) const UNCOMPARED_RECORDS_MAX: u64 = 100_000;
pub(crate) const UNCOMPARED_MS_MAX: u64 = 60_000;
pub(crate) const OPEN_TRANSACTION_MS_MAX: u64 = 900_000;
pub(crate) const MEMBERS_READY: bool = true;
pub(crate) const CLOCK_SKEW_MS_MAX: u64 = 500;
pub(crate) const WAY_BACK_MS_MIN: u64 = 86_400_000;
pub(crate) const OBSERVATION_AGE_MS_MAX: u64 = 30_000;
pub(crate) const BANDWIDTH_BYTES_PER_S_MAX: u64 = 50_000_000;
pub(crate) const BACKOFF_FETCH_MS: u64 = 500;
pub(crate) const FETCH_BYTES_MAX: u64 = 8_000_000;
pub(crate) const SYNC_INTERVAL_MS: u64 = 5_000;
pub(crate) const DIFF_BANDWIDTH_BYTES_PER_S_MAX: u64 = 25_000_000;
pub(crate) const DIFF_RANGE_OFFSETS: u64 = 4_096;
pub(crate) const DIFF_SAMPLES_MAX: u64 = 20;

/// One setting as `plan show` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Where it stands in the file, as `gates.lag_max` or `groups[ranker].fence`.
    pub path: String,
    /// Its value, as the file would write it.
    pub value: String,
    /// Where the value comes from.
    pub from: SettingSource,
    /// Why the default is what it is.
    pub reason: String,
}

/// Whether a value is the plan's own or the default. Compared by value: a plan that writes the default says the
/// same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// The plan says so, and the default is another.
    Plan,
    /// The default.
    Default,
}

impl Plan {
    /// Every optional setting with its value and the reason for its default, in the file's order.
    pub fn explain(&self) -> Vec<Setting> {
        let mut list = Listing(Vec::new());
        for group in &self.groups {
            let at = |field: &str| format!("groups[{}].{field}", group.name);
            let fence = if group.fence == FenceMode::Wait { "wait" } else { "evict" };
            list.add(at("fence"), fence, "wait", "nobody is put out of a group without being asked");
            list.duration(
                at("pause_max"),
                group.pause_max_ms,
                PAUSE_MAX_MS,
                "a rebalance takes about as long",
            );
            list.duration(
                at("freshness_max"),
                group.freshness_max_ms,
                FRESHNESS_MAX_MS,
                "twice the sync interval: a group that keeps up is well below",
            );
            list.names(at("after"), &group.after, "no order but the file's");
            let uncommitted = if group.uncommitted == Uncommitted::Earliest { "earliest" } else { "latest" };
            list.add(at("uncommitted"), uncommitted, "earliest", "reading again loses nothing, skipping may");
            list.add(
                at("writes"),
                group.writes.join(", "),
                "",
                "a group only reads unless the plan says more",
            );
            list.names(
                at("transactional_ids"),
                &group.transactional_ids,
                "no producer is fenced unless the plan names it",
            );
            list.duration(
                at("overlap_wait"),
                group.overlap_wait_ms,
                OVERLAP_WAIT_MS,
                "an evicted process notices at its next heartbeat; waiting lengthens the pause",
            );
        }
        self.explain_gates(&mut list);
        self.explain_options(&mut list);
        list.0
    }

    fn explain_gates(&self, list: &mut Listing) {
        let gates = &self.gates;
        list.duration(
            "gates.lag_max",
            gates.lag_ms_max,
            LAG_MS_MAX,
            "the drain of a move waits about this long",
        );
        list.number(
            "gates.lag_messages_max",
            gates.lag_messages_max,
            LAG_MESSAGES_MAX,
            "about two seconds of a busy partition; shown beside the time, never instead",
        );
        list.number(
            "gates.uncompared_records_max",
            gates.uncompared_records_max,
            UNCOMPARED_RECORDS_MAX,
            "the diff closes such a tail behind the fence within the pause",
        );
        list.duration(
            "gates.uncompared_max",
            gates.uncompared_ms_max,
            UNCOMPARED_MS_MAX,
            "a verdict older than a minute speaks of another minute",
        );
        list.duration(
            "gates.open_transaction_max",
            gates.open_transaction_ms_max,
            OPEN_TRANSACTION_MS_MAX,
            "Kafka's transaction.max.timeout.ms: anything older hangs",
        );
        list.add(
            "gates.members_ready",
            gates.members_ready.to_string(),
            &MEMBERS_READY.to_string(),
            "without members held at the target a cutover is an outage",
        );
        list.duration(
            "gates.clock_skew_max",
            gates.clock_skew_ms_max,
            CLOCK_SKEW_MS_MAX,
            "lag and pause are wall-clock differences between machines",
        );
        list.duration(
            "gates.way_back_min",
            gates.way_back_ms_min,
            WAY_BACK_MS_MIN,
            "a day to notice that something is wrong and to go back",
        );
        list.duration(
            "gates.observation_age_max",
            gates.observation_age_ms_max,
            OBSERVATION_AGE_MS_MAX,
            "six sync intervals: an older figure means that something stopped measuring",
        );
    }

    fn explain_options(&self, list: &mut Listing) {
        let (link, diff) = (&self.link, &self.diff);
        list.bytes(
            "link.bandwidth_max",
            link.bandwidth_bytes_per_s_max,
            BANDWIDTH_BYTES_PER_S_MAX,
            "per source broker and second: under half of a 1 Gbit/s port, the link is a guest",
        );
        list.duration(
            "link.backoff_fetch",
            link.backoff_fetch_ms,
            BACKOFF_FETCH_MS,
            "a broker that needs this long for a fetch is busy with its own clients",
        );
        list.bytes(
            "link.fetch_max",
            link.fetch_bytes_max,
            FETCH_BYTES_MAX,
            "bounds memory per source broker",
        );
        list.duration(
            "link.sync_interval",
            link.sync_interval_ms,
            SYNC_INTERVAL_MS,
            "Kafka's own auto.commit.interval.ms",
        );
        list.bytes(
            "diff.bandwidth_max",
            diff.bandwidth_bytes_per_s_max,
            DIFF_BANDWIDTH_BYTES_PER_S_MAX,
            "per side and second: half of the link's share",
        );
        list.number(
            "diff.range_offsets",
            diff.range_offsets,
            DIFF_RANGE_OFFSETS,
            "an unequal range is read again in one fetch or two",
        );
        list.number("diff.samples_max", diff.samples_max, DIFF_SAMPLES_MAX, "a person looks at no more");
        let contents = if self.evidence.contents == RecordContents::Never { "never" } else { "samples" };
        list.add("evidence.contents", contents, "never", "no personal data without being asked");
        list.names("uses", &self.uses, "every topic is mirrored by this plan's own link");
    }
}

struct Listing(Vec<Setting>);

impl Listing {
    fn add(&mut self, path: impl Into<String>, value: impl Into<String>, default: &str, reason: &str) {
        let value = value.into();
        let from = if value == default { SettingSource::Default } else { SettingSource::Plan };
        self.0.push(Setting { path: path.into(), value, from, reason: reason.into() });
    }

    fn names(&mut self, path: impl Into<String>, names: &[String], reason: &str) {
        self.add(path, format!("[{}]", names.join(", ")), "[]", reason);
    }

    fn duration(&mut self, path: impl Into<String>, ms: u64, default_ms: u64, reason: &str) {
        self.add(path, format_duration(ms), &format_duration(default_ms), reason);
    }

    fn bytes(&mut self, path: &str, bytes: u64, default: u64, reason: &str) {
        self.add(path, format_bytes(bytes), &format_bytes(default), reason);
    }

    fn number(&mut self, path: &str, value: u64, default: u64, reason: &str) {
        self.add(path, value.to_string(), &default.to_string(), reason);
    }
}
