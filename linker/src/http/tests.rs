//! The API over a service that has no cluster: what it answers, and in which shape.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request as HttpRequest;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use towpath_env::Env;
use towpath_plans::evidence::Actor;

use super::guard::Guard;
use super::limits::Limiter;
use super::{Shared, router};
use crate::config::{Role, ServiceConfig, TokenConfig};
use crate::operation::{Ending, OperationState, OperationView, Request};
use crate::service::Service;
use crate::state::journal::Journal;
use crate::state::{Entry, Linked};

struct Api {
    router: Router,
    service: Arc<Service>,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Api {
    async fn open() -> Api {
        Api::open_on("memory://", 1).await
    }

    async fn open_on(store: &str, seed: u64) -> Api {
        Api::open_with(store, seed, &[]).await
    }

    async fn open_with(store: &str, seed: u64, tokens: &[TokenConfig]) -> Api {
        let data = tempfile::tempdir().unwrap();
        let text = format!(
            "clusters: {{ legacy: {{ bootstrap: 127.0.0.1:1 }} }}\nstore: {store}\ndata: {}\n",
            data.path().display()
        );
        let config = ServiceConfig::parse(&text, "service.yaml").unwrap();
        let registry = Registry::new();
        let service = Service::open(config, Env::seeded(seed, 0), registry.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let limiter = Limiter::new(2, &registry).unwrap();
        let report = |bundle: &str, _: &towpath_plans::evidence::Verified| format!("<html>{bundle}");
        let shared = Shared { service: service.clone(), stop: stop.clone(), limiter, report };
        Api { router: router(shared, Arc::new(Guard::new(tokens).unwrap())), service, stop, _data: data }
    }

    async fn answer(&self, method: &str, path: &str, body: Option<Value>) -> axum::response::Response {
        let request = HttpRequest::builder().method(method).uri(path).header("host", "localhost");
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.answer(method, path, body).await;
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn begin(&self) -> Arc<crate::operation::Operation> {
        let actor = Actor { name: "ann".into(), authenticated: false, role: "unauthenticated".into() };
        self.service.operations().begin("cutover", "views", &Request::by(actor))
    }
}

#[tokio::test]
async fn every_refusal_is_a_document_with_a_fix() {
    let api = Api::open().await;
    let plan = json!({ "file": "p.yaml", "yaml": "family: views\nsorce: legacy\n" });
    let cases = [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/status", None, 405),
        ("GET", "/v1/families/views/status", None, 404),
        ("POST", "/v1/families/views/cutover", Some(json!({})), 404),
        ("POST", "/v1/families/views/cutover", Some(json!({ "gruop": "x" })), 422),
        ("POST", "/v1/families/views/cutover", None, 415),
        ("GET", "/v1/families/views/translate?topic=views", None, 400),
        ("GET", "/v1/operations/none", None, 404),
        ("POST", "/v1/links", Some(plan), 422),
    ];
    for (method, path, body, expected) in cases {
        let (status, document) = api.ask(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {document}");
        assert_eq!(document["schema"], "towpath/error/v1", "{method} {path}");
        let error = &document["error"];
        assert!(error["kind"] == "caller" && error["message"].is_string(), "{method} {path}: {document}");
        assert!(error["fix"].is_string(), "{method} {path}: {document}");
    }
}

#[tokio::test]
async fn a_wrong_plan_is_refused_with_line_and_column() {
    let api = Api::open().await;
    let plan = json!({ "file": "p.yaml", "yaml": "family: views\nsorce: legacy\n" });
    let (_, document) = api.ask("POST", "/v1/plans/check", Some(plan)).await;
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("p.yaml:2:1") && message.contains("sorce"), "{message}");
}

#[tokio::test]
async fn a_service_with_nothing_linked_is_ready_and_shows_its_bounds() {
    let api = Api::open().await;
    assert_eq!(api.answer("GET", "/readyz", None).await.status(), 200);
    let (_, status) = api.ask("GET", "/v1/status", None).await;
    assert_eq!((&status["families"], &status["service"]), (&json!([]), &json!("towpath")));
    super::gauges::register(api.service.registry(), &api.service.config().limits).unwrap();
    let metrics = api.answer("GET", "/metrics", None).await;
    let text = to_bytes(metrics.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("towpath_linker_limit_http_requests_max 64"));
    api.stop.cancel();
    assert_eq!(api.answer("GET", "/readyz", None).await.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_service_answers_everything_with_who_acts_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().display());
    let first = Api::open_on(&store, 1).await;
    let _second = Api::open_on(&store, 2).await;
    first.service.superseded().await;
    let verb = Some(json!({}));
    for (method, path, body) in [
        ("POST", "/v1/families/views/cutover", verb.clone()),
        ("POST", "/v1/families/views/resume", verb),
        ("GET", "/v1/status", None),
        ("GET", "/v1/families/views/evidence", None),
    ] {
        let (status, document) = first.ask(method, path, body).await;
        assert_eq!(status, 503, "{method} {path}: {document}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("linking service towpath ("), "{message}");
    }
    assert_eq!(first.answer("GET", "/readyz", None).await.status(), 503);
    assert_eq!(first.answer("GET", "/v1/operations", None).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_family_keeps_its_status_and_its_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().display());
    journaled(&store, "views").await;
    let first = Api::open_on(&store, 1).await;
    let (status, begun) = first.ask("POST", "/v1/families/views/cancel", Some(json!({}))).await;
    assert_eq!(status, 202, "{begun}");
    let id = begun["id"].as_str().unwrap();
    first.service.operations().get(id).unwrap().ended().await;
    // Months later, with a key of its own: the data folder was lost.
    let api = Api::open_on(&store, 2).await;
    let (status, seen) = api.ask("GET", "/v1/families/views/status", None).await;
    assert_eq!((status, &seen["link"]["state"]), (200, &json!("cancelled")), "{seen}");
    let (_, all) = api.ask("GET", "/v1/status", None).await;
    assert_eq!((&all["families"], &all["ended"][0]["family"]), (&json!([]), &json!("views")));
    let (status, lines) = api.ask("GET", "/v1/families/views/evidence", None).await;
    let lines = lines["lines"].as_array().unwrap();
    assert_eq!(status, 200);
    assert!(lines.iter().any(|line| line.as_str().unwrap().contains("\"to\":\"cancelled\"")), "{lines:?}");
    let bundle = api.answer("GET", "/v1/families/views/evidence/bundle", None).await;
    assert_eq!(bundle.headers()["content-type"], "application/octet-stream");
    assert_eq!(bundle.headers()["content-disposition"], "attachment; filename=\"views.evidence\"");
    let bundle = to_bytes(bundle.into_body(), 1 << 20).await.unwrap();
    let verified = towpath_plans::evidence::verify_bytes(&bundle, None).unwrap();
    assert_eq!(verified.header.entries, lines.len() as u64);
    let report = api.answer("GET", "/v1/families/views/evidence/report", None).await;
    assert_eq!(report.status(), 200);
    assert_eq!(report.headers()["content-type"], "text/html; charset=utf-8");
    let page = to_bytes(report.into_body(), 1 << 20).await.unwrap();
    assert!(page.starts_with(b"<html>towpath-evidence"), "{}", String::from_utf8_lossy(&page));
    assert_eq!(api.ask("GET", "/v1/families/carts/evidence/report", None).await.0, 404);
    let (status, refused) = api.ask("POST", "/v1/families/views/cutover", Some(json!({}))).await;
    assert_eq!(status, 409, "{refused}");
    assert_eq!(api.ask("POST", "/v1/families/views/cancel", Some(json!({}))).await.0, 202);
    // The only verb without a way back is not about every group by omission.
    let (status, unnamed) = api.ask("POST", "/v1/families/views/complete", Some(json!({}))).await;
    assert_eq!((status, &unnamed["error"]["message"]), (400, &json!("no group is named")));
    assert_eq!(api.ask("GET", "/v1/families/carts/evidence", None).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn why_it_is_not_ready_is_told_to_those_who_may_read_status() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().display());
    journaled(&store, "views").await;
    let file = folder.path().join("token");
    std::fs::write(&file, "viewer-token-0123456789").unwrap();
    let token = format!("file:{}", file.display());
    let viewer = TokenConfig { name: "ann".into(), role: Role::Viewer, token };
    let api = Api::open_with(&store, 1, &[viewer]).await;
    let ready = async |token: Option<&str>| {
        let mut request = HttpRequest::builder().uri("/readyz").header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(to_bytes(answer.into_body(), 1 << 16).await.unwrap().to_vec()).unwrap())
    };
    assert_eq!(ready(None).await, (503, "not ready\n".into()));
    assert_eq!(ready(Some("wrong")).await, (503, "not ready\n".into()));
    let (status, why) = ready(Some("viewer-token-0123456789")).await;
    assert!(status == 503 && why.contains("family views"), "{why}");
}

/// A service before has linked this family.
async fn journaled(store: &str, family: &str) {
    let mut plan = towpath_plans::Plan::new(family, "legacy", "towpath");
    plan.topics = vec![towpath_plans::model::TopicSelector::Name(family.into())];
    let store = towpath_shared_log::open_store(store).await.unwrap();
    let journal = Journal::open(store, Env::seeded(7, 0), "the one before").await.unwrap();
    let linked = Linked::of(plan);
    journal.append(Entry::Linked(Box::new(linked))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_whole_story_to_whoever_comes_late_and_end_with_it() {
    let api = Api::open().await;
    let operation = api.begin();
    operation.step(Some("ranker"), "fenced");
    let path = format!("/v1/operations/{}/events", operation.view().id);
    let answer = api.answer("GET", &path, None).await;
    let read = tokio::spawn(to_bytes(answer.into_body(), 1 << 20));
    tokio::time::sleep(std::time::Duration::from_secs(25)).await;
    operation.end(Ending::done(json!({ "moved": 1 })));
    let bytes = read.await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    // Nothing happened for two and a half intervals: two blank lines kept the connection alive.
    assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 2, "{text}");
    let views: Vec<OperationView> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(views.first().unwrap().steps[0].text, "fenced");
    let last = views.last().unwrap();
    assert_eq!((last.state, last.exit_code), (OperationState::Ended, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_service_drains_and_free_their_place() {
    let api = Api::open().await;
    let operation = api.begin();
    let path = format!("/v1/operations/{}/events", operation.view().id);
    let (first, second) = (api.answer("GET", &path, None).await, api.answer("GET", &path, None).await);
    assert_eq!(api.answer("GET", &path, None).await.status(), 503);
    drop(second);
    assert_eq!(api.answer("GET", &path, None).await.status(), 200);
    api.stop.cancel();
    assert!(to_bytes(first.into_body(), 1 << 20).await.is_ok());
    assert_eq!(operation.view().state, OperationState::Running);
}

#[tokio::test]
async fn an_abort_reaches_the_operation_with_the_name_of_who_asked() {
    let api = Api::open().await;
    let operation = api.begin();
    let path = format!("/v1/operations/{}/abort", operation.view().id);
    let body = json!({ "request": { "actor": "bob", "reason": "wrong group" } });
    assert_eq!(api.ask("POST", &path, Some(body.clone())).await.0, 200);
    let reason = operation.aborted().borrow().clone();
    assert_eq!(reason.as_deref(), Some("aborted by unauthenticated (bob): wrong group"));
    operation.end(Ending::done(Value::Null));
    assert_eq!(api.ask("POST", &path, Some(body)).await.0, 409);
}
