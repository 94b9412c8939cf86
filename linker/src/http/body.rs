//! What goes over the API, in the shape that both ends use. Additive changes only.

use serde::{Deserialize, Serialize};
use towpath_plans::transition::FenceHold;

use crate::error::Side;
use crate::operation::OperationView;
use crate::status::ClusterSeen;

/// Schema of an error document.
pub const ERROR_SCHEMA: &str = "towpath/error/v1";

/// Every answer that is not a success: `{schema, error}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// [`ERROR_SCHEMA`].
    pub schema: String,
    /// What failed.
    pub error: Problem,
}

/// What failed and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Whose fault: `caller`, `source`, `target`, `store` or `bug`.
    pub kind: String,
    /// What failed.
    pub message: String,
    /// What to do.
    pub fix: Option<String>,
}

/// Who asks for a change, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// The name that the caller claims. With a token the token's name counts.
    pub actor: String,
    /// `--reason`.
    pub reason: String,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--accept-outage`.
    pub accept_outage: bool,
}

/// `POST /v1/links`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The plan file's name, for messages.
    pub file: String,
    /// Its text.
    pub yaml: String,
    /// Who asks, and how.
    #[serde(default)]
    pub request: Asked,
}

/// `POST /v1/families/{family}/{verb}`. What a verb does not know it ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerbBody {
    /// Who asks, and how.
    pub request: Asked,
    /// One group instead of all, in the plan's order; `complete` and `fences/release` need one.
    pub group: Option<String>,
    /// `diff`: forget what was compared.
    pub anew: bool,
    /// `complete`: nothing durable stops the group at the source, and that is accepted.
    pub accept_no_stop: bool,
    /// `resume`: halted partitions (`TOPIC-PARTITION`) that go on behind records lost to the mirror.
    pub accept_loss: Vec<String>,
}

/// `POST /v1/operations/{id}/abort`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbortBody {
    /// Who asks, and why.
    pub request: Asked,
}

/// `GET /v1/families/{family}/translate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslateQuery {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next record to read, as the source numbers it (`reverse`: the target).
    pub offset: i64,
    /// From target to source.
    #[serde(default)]
    pub reverse: bool,
}

/// An offset of one side in the numbering of the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translated {
    /// The family.
    pub family: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Whose offset was given.
    pub side: Side,
    /// The offset that was given.
    pub offset: i64,
    /// The other side's offset; `None`: there is no exact one.
    pub translated: Option<i64>,
    /// Why there is none.
    pub because: Option<String>,
}

/// One fence, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceSeen {
    /// The group.
    pub group: String,
    /// Where the group stands.
    pub state: String,
    /// The instance id that the fence member has, or would have.
    pub instance_id: String,
    /// The membership, while it is held.
    pub held: Option<FenceHold>,
    /// The fence member that stands at the source now, by its member id.
    pub at_source: Option<String>,
    /// What is out of order about it.
    pub alarms: Vec<String>,
}

/// `GET /v1/families/{family}/fences`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fences {
    /// The family.
    pub family: String,
    /// One per group, in order of names.
    pub fences: Vec<FenceSeen>,
}

/// `GET /v1/operations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operations {
    /// Oldest first.
    pub operations: Vec<OperationView>,
}

/// `POST /v1/plans/check`: a plan that may be linked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanChecked {
    /// The family.
    pub family: String,
    /// The plan's hash.
    pub plan_hash: String,
    /// The topics that it mirrors now.
    pub topics: Vec<String>,
    /// The source.
    pub source: ClusterSeen,
    /// The target.
    pub target: ClusterSeen,
    /// What stands in nobody's way and should be known.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// `GET /v1/families/{family}/evidence`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvidenceLines {
    /// The family.
    pub family: String,
    /// The chain in order: each line is `HASH {json}`, as it is stored and hashed.
    pub lines: Vec<String>,
}
