//! What the service must hold to without any cluster that answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use towpath_env::Env;
use towpath_plans::Plan;
use towpath_plans::evidence::Actor;
use towpath_plans::model::GroupPlan;
use towpath_plans::transition::{GroupMove, GroupState, LinkRecord, LinkState, Route};
use towpath_shared_log::open_store;

use super::Service;
use crate::config::ServiceConfig;
use crate::error::LinkerError;
use crate::operation::{Request, exit};
use crate::state::journal::Journal;
use crate::state::{Entry, Linked};

/// A service of this name on the store under `folder`, with a cache of its own; both clusters are at `address`.
async fn open_towards(folder: &Path, name: &str, address: &str) -> Arc<Service> {
    let place = folder.display();
    let text = format!(
        "clusters: {{ legacy: {{ bootstrap: \"{address}\" }}, towpath: {{ bootstrap: \"{address}\" }} }}\n\
         store: \"file://{place}/store\"\ndata: \"{place}/{name}\"\nname: {name}\n"
    );
    let config = ServiceConfig::parse(&text, "service.yaml").unwrap();
    let seed = name.bytes().map(u64::from).sum();
    Service::open(config, Env::seeded(seed, 0), Registry::new()).await.unwrap()
}

async fn open(folder: &Path, name: &str) -> Arc<Service> {
    open_towards(folder, name, "127.0.0.1:1").await
}

/// Families that a service before has linked.
async fn journaled(folder: &Path, families: &[&str]) -> Journal {
    let store = open_store(&format!("file://{}/store", folder.display())).await.unwrap();
    let journal = Journal::open(store, Env::seeded(7, 0), "the one before").await.unwrap();
    for family in families {
        let mut plan = Plan::new(*family, "legacy", "towpath");
        plan.topics = vec![towpath_plans::model::TopicSelector::Name((*family).into())];
        let linked = Linked { request: Some(ann()), ..Linked::of(plan) };
        journal.append(Entry::Linked(Box::new(linked))).await.unwrap();
    }
    journal
}

fn ann() -> Request {
    Request::by(Actor { name: "ann".into(), authenticated: false, role: "unauthenticated".into() })
}

/// A cluster that accepts connections and never says a word.
async fn silent() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_nothing_notices_its_successor_and_drops_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), "first").await;
    let under_way = first.operations().begin("cutover", "views", &ann());
    first.run(&under_way, std::future::pending());
    let second = open(folder.path(), "second").await;
    let told = first.superseded().await.to_string();
    assert!(told.starts_with("linking service second (") && told.contains("fix:"), "{told}");
    assert_eq!(first.ready().unwrap_err(), told);
    assert!(matches!(first.family("views"), Err(LinkerError::Superseded { .. })));
    let ended = under_way.ended().await;
    assert_eq!((ended.exit_code, ended.problem), (Some(7), Some(told)));
    second.ready().unwrap();
    first.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_family_whose_cluster_hangs_is_cancelled_at_once_and_holds_up_no_other() {
    let (folder, (_socket, address)) = (tempfile::tempdir().unwrap(), silent().await);
    journaled(folder.path(), &["carts", "views"]).await;
    let service = open_towards(folder.path(), "towpath", &address).await;
    assert_eq!(service.starting().len(), 2);
    // Whoever starts it is under way, and waits for the cluster.
    while !service.turns.is_taken("views") {
        tokio::task::yield_now().await;
    }
    let begun = service.env().elapsed();
    let dry = service.cancel("views", &Request { dry_run: true, ..ann() }).await.unwrap().ended().await;
    assert_eq!((dry.exit_code, service.starting().len()), (Some(exit::DONE), 2), "{dry:?}");
    let ended = service.cancel("views", &ann()).await.unwrap().ended().await;
    assert_eq!(ended.exit_code, Some(exit::DONE), "{ended:?}");
    assert!(service.env().elapsed() - begun < Duration::from_secs(1));
    assert_eq!(service.starting().into_keys().collect::<Vec<_>>(), ["carts"]);
    let link = |family: &str| service.journal().recorded().families[family].link.state.clone();
    assert_eq!((link("views"), link("carts")), (LinkState::Cancelled, LinkState::Created));
    let again = service.cancel("views", &ann()).await.unwrap().ended().await;
    assert_eq!(again.exit_code, Some(exit::DONE), "{again:?}");
    assert!(again.steps[0].text.contains("already"), "{again:?}");
    service.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_family_that_cannot_start_is_not_given_up_while_a_group_is_on_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journaled(folder.path(), &["views"]).await;
    let mut group = GroupMove::new("views", "ranker", 1);
    group.state = GroupState::OnTarget;
    assert_eq!(group.route(), Route::Target);
    journal.append(Entry::Group(Box::new(group))).await.unwrap();
    let service = open(folder.path(), "towpath").await;
    let ended = service.cancel("views", &ann()).await.unwrap().ended().await;
    assert_eq!(ended.exit_code, Some(exit::FAILED), "{ended:?}");
    assert!(ended.problem.unwrap().contains("ranker"));
    assert_eq!(service.starting().len(), 1);
    service.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_waits_for_a_cluster_stops_within_the_grace() {
    let (folder, (_socket, address)) = (tempfile::tempdir().unwrap(), silent().await);
    journaled(folder.path(), &["views"]).await;
    let service = open_towards(folder.path(), "towpath", &address).await;
    let stuck = service.operations().begin("cutover", "views", &ann());
    service.run(&stuck, std::future::pending());
    let begun = service.env().elapsed();
    service.close().await;
    assert!(service.env().elapsed() - begun <= Duration::from_secs(6));
    let ended = stuck.ended().await;
    assert_eq!(ended.exit_code, Some(exit::UNKNOWN));
    assert!(ended.problem.unwrap().contains("goes on from the journal"));
}

/// A newer plan of family `views`, with these groups.
fn newer(groups: &[&str]) -> Linked {
    let mut plan = Plan::new("views", "legacy", "towpath");
    plan.topics = vec![towpath_plans::model::TopicSelector::Name("views".into())];
    plan.groups = groups.iter().map(|group| GroupPlan::named(*group)).collect();
    Linked { request: Some(ann()), ..Linked::of(plan) }
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_not_replaced_under_a_group_that_began_to_move_since_it_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journaled(folder.path(), &["views"]).await;
    let moving = GroupMove { state: GroupState::Draining, ..GroupMove::new("views", "ranker", 1) };
    journal.append(Entry::Group(Box::new(moving))).await.unwrap();
    let service = open(folder.path(), "towpath").await;
    let told = service.operations().begin("link", "views", &ann());
    let refused = service.link_checked(newer(&["ranker"]), &ann(), &told).await.unwrap_err().to_string();
    assert!(refused.contains("group ranker is") && refused.contains("fix: wait"), "{refused}");
    assert!(service.journal().recorded().families["views"].linked.plan.groups.is_empty());
    service.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_not_dropped_while_nobody_can_drop_its_route_at_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journaled(folder.path(), &[]).await;
    journal.append(Entry::Linked(Box::new(newer(&["audit", "ranker"])))).await.unwrap();
    journal
        .append(Entry::Link(LinkRecord { state: LinkState::Mirroring, ..LinkRecord::new("views") }))
        .await
        .unwrap();
    let service = open(folder.path(), "towpath").await;
    let told = service.operations().begin("link", "views", &ann());
    let refused = service.link_checked(newer(&["audit"]), &ann(), &told).await.unwrap_err().to_string();
    assert!(refused.starts_with("group ranker is no longer in the plan, and family views"), "{refused}");
    assert!(refused.contains("towpath cancel views"), "{refused}");
    assert_eq!(service.journal().recorded().families["views"].linked.plan.groups.len(), 2);
    service.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_in_force_that_does_not_start_is_told_as_such_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let service = open(folder.path(), "towpath").await;
    let told = service.operations().begin("link", "views", &ann());
    let ending = service.link_checked(newer(&["ranker"]), &ann(), &told).await.unwrap();
    assert_eq!(ending.exit_code, exit::RUNNING, "{ending:?}");
    let problem = ending.problem.unwrap();
    assert!(
        problem.starts_with("the plan is in force, and family views does not run yet: source"),
        "{problem}"
    );
    assert!(problem.matches("fix: ").count() == 1 && problem.contains("towpath cancel views"), "{problem}");
    assert!(service.starting().contains_key("views"));
    service.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_family_whose_evidence_is_damaged_is_cancelled_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    journaled(folder.path(), &["views"]).await;
    let evidence = folder.path().join("store/evidence/views");
    std::fs::create_dir_all(&evidence).unwrap();
    std::fs::write(evidence.join(format!("{:020}", 0)), "no entry").unwrap();
    let service = open(folder.path(), "towpath").await;
    let ended = service.cancel("views", &ann()).await.unwrap().ended().await;
    assert_eq!(ended.exit_code, Some(exit::UNKNOWN), "{ended:?}");
    let problem = ended.problem.unwrap();
    assert!(problem.starts_with("the family is cancelled, and the evidence does not say so: "), "{problem}");
    assert!(service.starting().is_empty());
    assert_eq!(service.journal().recorded().families["views"].link.state, LinkState::Cancelled);
    service.close().await;
}
