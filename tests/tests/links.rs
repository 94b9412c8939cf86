//! What becomes of a family between two clusters of Towpath's own: linked anew, paused, resumed, cancelled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use towpath_broker::Broker;
use towpath_env::Env;
use towpath_linker::config::ServiceConfig;
use towpath_linker::operation::{OperationView, Request, exit};
use towpath_linker::service::Service;
use towpath_plans::evidence::Actor;
use towpath_plans::transition::{GroupState, LinkState};
use towpath_tests::mirroring::{broker, connect};
use towpath_tests::wait;
use towpath_wire::client::admin::{NewTopic, create_topic};

/// Takes the slot of the evidence's entry after the next, so that a verb can be asked for and not told.
async fn spoil_evidence(sides: &Sides) {
    let running = sides.service.family(FAMILY).unwrap();
    let entries = running.link.ledger.lines().await.unwrap().len();
    let slot = format!("journal/evidence/{FAMILY}/{:020}", entries + 1);
    std::fs::write(sides.folder.path().join(slot), "no entry").unwrap();
}

const FAMILY: &str = "product-views";
const LIMIT: Duration = Duration::from_secs(60);

/// Both clusters and the service between them, in this process.
struct Sides {
    source: Broker,
    target: Broker,
    service: Arc<Service>,
    folder: tempfile::TempDir,
}

impl Sides {
    async fn start() -> Sides {
        let folder = tempfile::tempdir().unwrap();
        let source = broker(&folder.path().join("source"), 0).await.unwrap();
        let target = broker(&folder.path().join("target"), 0).await.unwrap();
        let client = connect(&source.address().to_string()).await.unwrap();
        create_topic(&client, NewTopic::new("views", 2)).await.unwrap();
        let service = serve(folder.path(), &source, &target).await;
        Sides { source, target, service, folder }
    }

    async fn link(&self, groups: &str) -> OperationView {
        let plan = format!(
            "family: {FAMILY}\nsource: legacy\ntarget: towpath\ntopics: [views]\ngroups: [{groups}]\n"
        );
        self.service.link("plan.yaml", &plan, &request()).await.unwrap().ended().await
    }

    fn groups(&self) -> Vec<(String, GroupState)> {
        let running = self.service.family(FAMILY).unwrap();
        running.movers.iter().map(|(name, mover)| (name.clone(), mover.record().state)).collect()
    }

    async fn stop(self) {
        self.service.close().await;
        self.target.stop().await;
        self.source.stop().await;
    }
}

async fn serve(folder: &Path, source: &Broker, target: &Broker) -> Arc<Service> {
    let text = format!(
        "clusters:\n  legacy: {{ bootstrap: \"{}\" }}\n  towpath: {{ bootstrap: \"{}\" }}\n\
         store: \"file://{2}/journal\"\ndata: \"{2}/linker\"\nlimits: {{ fetch_wait_ms: 100 }}\n",
        source.address(),
        target.address(),
        folder.display(),
    );
    let config = ServiceConfig::parse(&text, "service.yaml").unwrap();
    // A service that has just been closed gives its cache up when its last task has ended.
    wait::until("the service to open", LIMIT, async || {
        Ok(Service::open(config.clone(), Env::real(), prometheus::Registry::new()).await.ok())
    })
    .await
    .unwrap()
}

fn request() -> Request {
    Request::by(Actor { name: "test".into(), authenticated: false, role: "unauthenticated".into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_that_has_begun_loses_its_family() {
    let sides = Sides::start().await;
    assert_eq!(sides.link("audit, ranker").await.exit_code, Some(exit::DONE));
    let on_source = [("audit".to_owned(), GroupState::OnSource), ("ranker".to_owned(), GroupState::OnSource)];
    let running = sides.service.family(FAMILY).unwrap();
    let verb = running.movers["ranker"].hold().unwrap();
    // Without audit: what is let go first must not be let go in vain.
    let refused = sides.link("ranker").await;
    assert_eq!(refused.exit_code, Some(exit::FAILED), "{refused:#?}");
    assert!(refused.problem.unwrap().starts_with("a verb is under way for group ranker\nfix: wait"));
    let refused = sides.service.cancel(FAMILY, &request()).await.unwrap().ended().await;
    assert_eq!(refused.exit_code, Some(exit::FAILED), "{refused:#?}");
    assert_eq!(sides.groups(), on_source);
    drop(verb);
    let linked = sides.link("ranker").await;
    assert_eq!(linked.exit_code, Some(exit::DONE), "{linked:#?}");
    assert_eq!(sides.groups(), on_source[1..]);
    drop(running);
    sides.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_already_is_done_and_said() {
    let sides = Sides::start().await;
    sides.link("ranker").await;
    let mirror = sides.service.family(FAMILY).unwrap().link.mirror.clone();
    let resumed = sides.service.resume(FAMILY, Vec::new(), &request()).await.unwrap().ended().await;
    assert_eq!(resumed.exit_code, Some(exit::DONE), "{resumed:#?}");
    assert!(resumed.steps[0].text.contains("not paused") && !mirror.is_idle());
    for already in [false, true] {
        let paused = sides.service.pause(FAMILY, &request()).await.unwrap().ended().await;
        assert_eq!(paused.exit_code, Some(exit::DONE), "{paused:#?}");
        assert_eq!(paused.steps[0].text.contains("already"), already, "{paused:#?}");
        assert!(mirror.is_idle());
    }
    for already in [false, true] {
        let cancelled = sides.service.cancel(FAMILY, &request()).await.unwrap().ended().await;
        assert_eq!(cancelled.exit_code, Some(exit::DONE), "{cancelled:#?}");
        assert_eq!(cancelled.steps[0].text.contains("already"), already, "{cancelled:#?}");
    }
    sides.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_pause_or_resume_is_carried_out_whatever_becomes_of_its_evidence() {
    for resumes in [false, true] {
        let sides = Sides::start().await;
        sides.link("ranker").await;
        let running = sides.service.family(FAMILY).unwrap();
        if resumes {
            sides.service.pause(FAMILY, &request()).await.unwrap().ended().await;
        }
        spoil_evidence(&sides).await;
        let operation = match resumes {
            false => sides.service.pause(FAMILY, &request()).await.unwrap(),
            true => sides.service.resume(FAMILY, Vec::new(), &request()).await.unwrap(),
        };
        let ended = operation.ended().await;
        assert_eq!(ended.exit_code, Some(exit::UNKNOWN), "{ended:#?}");
        assert!(ended.problem.unwrap().contains(", and the evidence does not say so: "));
        assert_eq!(matches!(running.record().state, LinkState::Paused { .. }), !resumes);
        assert_eq!(running.link.mirror.is_idle(), !resumes);
        drop(running);
        sides.stop().await;
    }
}
