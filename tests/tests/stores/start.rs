//! What a person sees when a broker is started on a store that it cannot use.

use std::process::Command;
use std::time::Duration;

use towpath_tests::clients::built;
use towpath_tests::daemon::Daemon;
use towpath_tests::folder::Folder;
use towpath_tests::ports::Port;
use towpath_tests::process::{Output, Process};
use towpath_tests::stores::{Store, StoreKind};

use crate::available;

/// The probe asks a store that does not answer for ten seconds.
const END_MAX: Duration = Duration::from_secs(60);

/// Starts a broker that must not start, and gives its message and its fix.
async fn refused(url: &str, environment: &[(String, String)]) -> (String, String) {
    let folder = Folder::new("towpath-start-").unwrap();
    let port = Port::reserve().unwrap();
    let mut command = Command::new(built("towpath").unwrap());
    command.args(["broker", "--listen", &port.address(), "--store", url, "--json"]);
    command.arg("--data").arg(folder.path().join("data")).env("NO_COLOR", "1").env("RUST_BACKTRACE", "0");
    command.envs(environment.iter().cloned());
    let log = folder.path().join("log");
    let mut process = Process::spawn("towpath broker", command, &Output::File(log.clone())).unwrap();
    let status = process.ended(END_MAX).await.unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let document = log.find("{\n").or_else(|| log.find("{\"")).map(|start| &log[start..]).unwrap();
    let document: serde_json::Value = serde_json::from_str(document).unwrap_or_else(|_| panic!("{log}"));
    let told = |key: &str| document["error"][key].as_str().unwrap_or_else(|| panic!("{log}")).to_owned();
    let (message, fix) = (told("message"), told("fix"));
    assert!(!message.contains('\n'), "one line: {message}");
    (message, fix)
}

async fn started(kind: StoreKind) -> (Folder, Store) {
    let folder = Folder::new("towpath-store-").unwrap();
    let store = Store::start(kind, folder.path()).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_store_that_ignores_put_if_absent_is_refused_with_the_rule_it_breaks() {
    if !available(StoreKind::S3rver) {
        return;
    }
    let (_folder, store) = started(StoreKind::S3rver).await;
    let (message, fix) = refused(store.url(), store.environment()).await;
    assert!(message.contains("it let a put-if-absent replace an object that exists"), "{message}");
    assert!(fix.contains("use a store that enforces put-if-absent (If-None-Match: *)"), "{fix}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_as_that() {
    if !available(StoreKind::Moto) {
        return;
    }
    let (_folder, store) = started(StoreKind::Moto).await;
    let (message, fix) = refused("s3://elsewhere/estate", store.environment()).await;
    assert!(
        message.contains("404 Not Found: NoSuchBucket: The specified bucket does not exist"),
        "{message}"
    );
    assert_eq!(fix, "make the bucket, or correct its name in the store's URL");
}

#[tokio::test]
async fn credentials_that_do_not_fit_are_told_as_that() {
    if !available(StoreKind::SeaweedFs) {
        return;
    }
    let (_folder, store) = started(StoreKind::SeaweedFs).await;
    for (name, code) in
        [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")]
    {
        let (message, fix) = refused(store.url(), &store.environment_with(name, "wrong")).await;
        assert!(message.contains(&format!("403 Forbidden: {code}: ")), "{message}");
        assert!(
            fix.contains("check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"),
            "{fix}"
        );
    }
}

#[tokio::test]
async fn an_address_where_nothing_answers_is_told_as_that() {
    let port = Port::reserve().unwrap();
    let environment = |endpoint: String| {
        [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let (message, fix) =
        refused("s3://towpath/estate", &environment(format!("http://{}", port.address()))).await;
    assert!(message.contains("Connection refused"), "{message}");
    assert!(fix.contains("nothing answers there: check AWS_ENDPOINT_URL"), "{fix}");

    let (message, fix) = refused("s3://towpath/estate", &environment(port.address())).await;
    assert!(message.contains("is no address of a store"), "{message}");
    assert!(fix.contains("http://HOST:PORT"), "{fix}");
}

#[tokio::test]
async fn credentials_that_are_nowhere_are_told_as_that() {
    // Where a role would give them, on a machine that has none.
    let (nobody, store) = (Port::reserve().unwrap(), Port::reserve().unwrap());
    let environment = [
        ("AWS_METADATA_ENDPOINT", format!("http://{}", nobody.address())),
        ("AWS_ENDPOINT_URL", format!("http://{}", store.address())),
        ("AWS_ACCESS_KEY_ID", String::new()),
        ("AWS_SECRET_ACCESS_KEY", String::new()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let (_, fix) = refused("s3://towpath/estate", &environment).await;
    assert!(fix.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{fix}");
}

#[tokio::test]
async fn a_broker_that_is_asked_to_stop_while_it_starts_ends_at_once_and_well() {
    // A store that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = Folder::new("towpath-start-").unwrap();
    let mut broker =
        Daemon::broker("broker", folder.path(), &["--store", "s3://b/p"].map(str::to_owned)).unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment =
        [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    broker.set_environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    broker.launch().unwrap();
    let _asked = tokio::time::timeout(END_MAX, silent.accept()).await.unwrap().unwrap();
    broker.stop().await.unwrap();
    assert_eq!(broker.undeclared_problems(&[]).unwrap(), Vec::<String>::new());
    let log = std::fs::read_to_string(broker.log_path()).unwrap();
    assert!(log.contains("asked to stop before it was ready"), "{log}");
}
