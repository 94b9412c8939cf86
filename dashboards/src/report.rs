//! The evidence report: one HTML file that a person reads on a screen, on a phone or on paper, and that needs nothing
//! else: no script, no font, no picture from elsewhere.

use askama::Template;
use serde::{Deserialize, Serialize};

use crate::quantity::{At, Count, Millis};

/// How something is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Not known, or known to one side only.
    Caution,
    /// Not as it should be.
    Bad,
}

impl std::fmt::Display for Tone {
    /// The class that the style sheet knows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tone::Plain => "plain",
            Tone::Good => "good",
            Tone::Caution => "caution",
            Tone::Bad => "bad",
        })
    }
}

/// Everything that the report says, in the order in which it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportModel {
    /// The signal family.
    pub family: String,
    /// The whole in one sentence.
    pub verdict: Verdict,
    /// The few figures that matter most.
    pub tiles: Vec<Tile>,
    /// Time of the first entry.
    pub from: At,
    /// Time of the last entry.
    pub to: At,
    /// Both clusters, as they named themselves last.
    pub clusters: Vec<Cluster>,
    /// The plans that were in force, the last one last.
    pub plans: Vec<PlanInForce>,
    /// Where the groups stand.
    pub groups: Vec<Group>,
    /// What was compared.
    pub compared: Compared,
    /// Every move, in the order in which they began.
    pub moves: Vec<Move>,
    /// What was out of order: lapses, stragglers, losses, halts.
    pub alarms: Vec<Alarm>,
    /// Who asked for what.
    pub requests: Vec<Request>,
    /// The mirrored topics.
    pub topics: Vec<Topic>,
    /// The life of the link, and whatever else was noted.
    pub notes: Vec<Note>,
    /// The chain of entries behind all this.
    pub chain: Chain,
}

/// The whole in one sentence, and what qualifies it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it is to be taken.
    pub tone: Tone,
    /// The sentence.
    pub sentence: String,
    /// What qualifies it, worst first.
    pub because: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// How it is to be taken.
    pub tone: Tone,
    /// What it counts.
    pub label: String,
    /// The figure.
    pub value: String,
    /// What it rests on.
    pub note: String,
}

/// One cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `source` or `target`.
    pub side: String,
    /// Its name in the service's file.
    pub name: String,
    /// The cluster id that it answers.
    pub id: String,
}

/// A plan that was in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInForce {
    /// Since when.
    pub at: At,
    /// Its hash.
    pub hash: String,
    /// The entry that holds it whole.
    pub entry: u64,
}

/// Where one group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How that is to be taken.
    pub tone: Tone,
    /// Where it stands, in a few words.
    pub stands: String,
    /// Since when.
    pub since: At,
    /// Why.
    pub because: String,
}

/// What the diff read on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Ranges whose digests were compared.
    pub ranges: Count,
    /// Ranges whose digests were the same on both sides.
    pub ranges_equal: Count,
    /// How far each partition was compared.
    pub partitions: Vec<Partition>,
    /// Differences by kind; kinds without any are left out.
    pub differences: Vec<(String, Count)>,
    /// Some of them, in full.
    pub samples: Vec<Sample>,
}

/// One partition, as far as it was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `topic-partition`.
    pub name: String,
    /// First source offset that was compared.
    pub from: Count,
    /// One past the last.
    pub through: Count,
    /// Records compared.
    pub records: Count,
    /// When it got there.
    pub at: At,
}

/// One difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// `topic-partition@offset`.
    pub place: String,
    /// What is different.
    pub sentence: String,
    /// The key's pseudonym.
    pub key: Option<String>,
}

/// One attempt to move a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// For instance `Cutover of session-ranker`.
    pub title: String,
    /// `attempt 2`, or `dry run`.
    pub attempt: String,
    /// How it ended.
    pub tone: Tone,
    /// How it ended, in a few words.
    pub ended: String,
    /// When it began.
    pub began: At,
    /// From beginning to end; `None` while it is under way.
    pub took: Option<Millis>,
    /// Who asked, and why.
    pub asked: Option<Request>,
    /// The states that it went through.
    pub states: Vec<State>,
    /// The gates, as they were evaluated before it.
    pub gates: Vec<Gate>,
    /// What is told of its fence.
    pub fence: Vec<String>,
    /// The positions that the group resumed at.
    pub finals: Vec<Final>,
    /// Measured stretches of silence.
    pub pauses: Vec<Pause>,
    /// What verification saw.
    pub resumed: Vec<Alarm>,
}

/// One state of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When it was entered.
    pub at: At,
    /// After the beginning of the move.
    pub after: Millis,
    /// Its name.
    pub name: String,
    /// How it is to be taken.
    pub tone: Tone,
    /// Why it was entered.
    pub because: String,
    /// The entry that says so.
    pub entry: u64,
}

/// One gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// How its verdict is to be taken.
    pub tone: Tone,
    /// `pass`, `fail` or `inconclusive`, and whether a person accepted it.
    pub verdict: String,
    /// What was observed.
    pub observed: String,
    /// The limit.
    pub limit: String,
    /// Why.
    pub reason: String,
}

/// One final position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// `topic-partition`.
    pub name: String,
    /// Next record to read on the source.
    pub source: Count,
    /// Next record to read on the target.
    pub target: Count,
    /// Where it comes from.
    pub origin: String,
}

/// One stretch of silence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Which stretch.
    pub label: String,
    /// How long.
    pub pause: Millis,
    /// The plan's limit.
    pub limit: Millis,
    /// Whether it kept to it.
    pub tone: Tone,
}

impl Pause {
    /// How much of the limit it took, in percent, at most 100.
    pub fn percent(&self) -> i64 {
        (self.pause.0.saturating_mul(100) / self.limit.0.max(1)).clamp(1, 100)
    }
}

/// Something that was out of order, or was seen to be in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// When it was recorded.
    pub at: At,
    /// How it is to be taken.
    pub tone: Tone,
    /// What happened.
    pub sentence: String,
    /// The entry that says so.
    pub entry: u64,
}

/// Something that a person asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When.
    pub at: At,
    /// Who, and whether that is proved.
    pub actor: String,
    /// What, for instance `cutover session-ranker`.
    pub what: String,
    /// Why; may be empty.
    pub reason: String,
    /// The entry that says so.
    pub entry: u64,
}

/// One mirrored topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: Count,
    /// Its id on the source.
    pub source_id: String,
    /// Its id on the target.
    pub target_id: String,
    /// Configs that differ between the sides.
    pub config_differences: Vec<String>,
}

/// Something else that was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: At,
    /// What.
    pub sentence: String,
    /// The entry that says so.
    pub entry: u64,
}

/// The chain, and how to check it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// How far the signatures are to be trusted.
    pub tone: Tone,
    /// The same in words.
    pub verdict: String,
    /// Entries.
    pub entries: Count,
    /// Hash of the last one.
    pub head: String,
    /// The keys that signed, each with the entry from which on it did and how it came to.
    pub keys: Vec<Key>,
    /// When the bundle was exported.
    pub exported_at: String,
    /// By what.
    pub software: String,
}

/// A key that signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// From this entry on.
    pub entry: u64,
    /// The public key, hexadecimal.
    pub key: String,
    /// How it came to sign.
    pub how: String,
    /// How that is to be taken.
    pub tone: Tone,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    it: &'a ReportModel,
    style: &'static str,
}

/// Tables of more rows than this are folded up on a screen.
const ROWS_SHOWN: usize = 16;

impl Page<'_> {
    fn is_long(&self, rows: usize) -> bool {
        rows > ROWS_SHOWN
    }
}

/// The report as one HTML page.
pub fn render(model: &ReportModel) -> String {
    let page = Page { it: model, style: include_str!("../templates/report.css") };
    // A template of this crate's own that writes into memory: nothing in it can fail.
    #[allow(clippy::expect_used)]
    page.render().expect("the template writes into memory")
}
