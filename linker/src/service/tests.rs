//! What the service must hold to without any cluster that answers.

use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;
use towpath_env::Env;

use super::Service;
use crate::config::ServiceConfig;
use crate::error::LinkerError;

/// A service of this name on the store under `folder`, with a cache of its own.
async fn open(folder: &Path, name: &str, seed: u64) -> Arc<Service> {
    let place = folder.display();
    let text = format!(
        "clusters: {{ legacy: {{ bootstrap: 127.0.0.1:1 }}, towpath: {{ bootstrap: 127.0.0.1:1 }} }}\n\
         store: file://{place}/store\ndata: {place}/{name}\nname: {name}\n"
    );
    let config = ServiceConfig::parse(&text, "service.yaml").unwrap();
    Service::open(config, Env::seeded(seed, 0), Registry::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_nothing_notices_its_successor_and_drops_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), "first", 1).await;
    let request = crate::operation::Request::by(towpath_plans::evidence::Actor {
        name: "ann".into(),
        authenticated: false,
        role: "unauthenticated".into(),
    });
    let under_way = first.operations().begin("cutover", "views", &request);
    first.run(&under_way, std::future::pending());
    let second = open(folder.path(), "second", 2).await;
    let told = first.superseded().await.to_string();
    assert!(told.starts_with("linking service second (") && told.contains("fix:"), "{told}");
    assert_eq!(first.ready().unwrap_err(), told);
    assert!(matches!(first.family("views"), Err(LinkerError::Superseded { .. })));
    let ended = under_way.ended().await;
    assert_eq!((ended.exit_code, ended.problem), (Some(7), Some(told)));
    second.ready().unwrap();
    first.close().await;
}
