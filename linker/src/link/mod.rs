//! A link: the running mirror of one plan, with all that its other parts need to know of it.

pub mod follow;
pub mod mirror;
pub mod positions;
pub mod replicator;
pub mod translate;

use std::sync::Arc;

use towpath_env::Env;
use towpath_plans::{Plan, PlanHash};

use crate::cluster::Cluster;
use crate::config::Limits;
use crate::error::{LinkerError, Side};
use crate::evidence::Ledger;
use crate::state::cache::Cache;
use crate::state::journal::Journal;
use follow::Follow;
use mirror::Mirror;
use translate::Translator;

/// One linked plan: what group moves, diff and status work on. Shared as `Arc<Link>`.
pub struct Link {
    /// The plan in force.
    pub plan: Arc<Plan>,
    /// Its hash.
    pub plan_hash: PlanHash,
    /// Where the family comes from.
    pub source: Cluster,
    /// Where it goes.
    pub target: Cluster,
    /// Clock and randomness.
    pub env: Env,
    /// Bounds of the service.
    pub limits: Limits,
    /// The data path.
    pub mirror: Arc<Mirror>,
    /// Topics, configs and identities.
    pub follow: Arc<Follow>,
    /// Offset maps.
    pub translator: Translator,
    /// Decisions; written before effects.
    pub journal: Journal,
    /// Evidence of this family.
    pub ledger: Ledger,
    /// The local cache.
    pub cache: Cache,
}

impl Link {
    /// The family's name.
    pub fn family(&self) -> &str {
        &self.plan.family
    }

    /// The id of a mirror topic at the target.
    ///
    /// # Errors
    /// The target cannot be asked, or has no such topic.
    pub async fn target_topic_id(&self, topic: &str) -> Result<String, LinkerError> {
        let what = format!("look up topic {topic}");
        let found =
            self.target.client.metadata(&[topic]).await.map_err(LinkerError::cluster(Side::Target, what))?;
        match found.topics.get(topic) {
            Some(topic) => Ok(topic.topic_id.to_string()),
            None => Err(LinkerError::Answer {
                side: Side::Target,
                problem: format!("the mirror topic {topic} is gone"),
                fix: "cancel the family and link it again".into(),
            }),
        }
    }
}
