//! What may happen to the service itself: it dies between two writes, another one takes its place.

use towpath_env::Env;
use towpath_linker::state::journal::Journal;
use towpath_linker::state::{Entry, Linked};
use towpath_plans::model::PlanFile;
use towpath_plans::transition::LinkState;
use towpath_shared_log::open_store;
use towpath_tests::mirroring::connect;
use towpath_tests::wait;

use super::{EVICT, Estate, FAMILY, LIMIT, plan, request, serve_from};

impl Estate {
    /// While the service is down: a plan that it journaled just before it was killed.
    pub async fn journal_plan(&self) {
        let (source, target) =
            (connect(&self.legacy()).await.unwrap(), connect(&self.towpath()).await.unwrap());
        let file = PlanFile::read("plan.yaml", &plan(EVICT)).unwrap();
        let store = open_store(&format!("file://{}/journal", self.folder.path().display())).await.unwrap();
        let journal = Journal::open(store, Env::real(), "the one before").await.unwrap();
        let linked = Linked {
            plan_hash: file.plan.hash(),
            plan: file.plan,
            source_cluster_id: source.cluster_id(),
            target_cluster_id: target.cluster_id(),
            actor: "test".into(),
            request: Some(request()),
            at_ms: Env::real().now_ms(),
        };
        journal.append(Entry::Linked(Box::new(linked))).await.unwrap();
    }

    /// Another service on the same store takes the place of this one, which must notice it by itself.
    pub async fn supersede_service(&self) {
        let before = self.service();
        let link = before.family(FAMILY).unwrap().link.clone();
        let folder = self.folder.path();
        let after = serve_from(folder, &folder.join("other"), &self.legacy(), &self.towpath()).await;
        let told = before.superseded().await.to_string();
        assert!(told.starts_with("linking service towpath ("), "{told}");
        assert!(link.ledger.writable().await.is_err());
        wait::until("the mirror to end", LIMIT, async || Ok(link.mirror.is_idle().then_some(())))
            .await
            .unwrap();
        *self.service.lock() = Some(after);
        wait::until("the family to run", LIMIT, async || Ok(self.service().ready().is_ok().then_some(())))
            .await
            .unwrap();
    }

    /// Where the journal says that the link stands.
    pub fn link_state(&self) -> LinkState {
        self.service().journal().recorded().families[FAMILY].link.state.clone()
    }
}
