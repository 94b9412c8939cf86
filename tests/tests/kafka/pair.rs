//! One runtime and one pair of clusters for every test of the diff.

use std::sync::LazyLock;

use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use towpath_tests::diffing::Clusters;

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static CLUSTERS: OnceCell<Clusters> = OnceCell::const_new();

/// Both, started by the first who asks.
pub async fn clusters() -> &'static Clusters {
    CLUSTERS.get_or_init(async || Clusters::start().await.unwrap()).await
}
