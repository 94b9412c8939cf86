//! From a URL to an object store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::StoreError;

/// No connection to the store takes longer to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No single request, body included, takes longer: a 64 MiB segment at 2 MiB/s just fits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(32);
/// The client's own repetitions of refused requests (503, 429). Few: the callers repeat with their own bounds and
/// resolve unknown outcomes, which the client cannot.
const CLIENT_RETRIES: usize = 2;
/// No client repetition begins later than this.
const CLIENT_RETRY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the store that `url` names, with its path as prefix of every object.
///
/// - `file://DIRECTORY`: made if missing; every put is synced, its folder too, before it counts.
/// - `s3://BUCKET/PREFIX`: credentials, region, endpoint and style from the usual environment
///   (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
///   `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, …); path style unless told otherwise; plain HTTP when the endpoint says so.
/// - `memory://`: gone with the process, never shared; for tests.
pub async fn open_store(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let invalid = |reason: String| StoreError::Url { url: url.to_owned(), reason };
    let parsed = Url::parse(url).map_err(|error| invalid(error.to_string()))?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| {
                invalid("the path must be absolute, as in file:///var/lib/towpath".to_owned())
            })?;
            open_folder(folder).await
        }
        "s3" => {
            let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty());
            let bucket = bucket.ok_or_else(|| invalid("no bucket is named".to_owned()))?;
            let environment = std::env::vars().collect::<Vec<_>>();
            let s3 = s3_builder(bucket, &environment).build();
            let s3 = s3.map_err(|source| StoreError::Client { url: url.to_owned(), source })?;
            Ok(with_prefix(s3, parsed.path()))
        }
        "memory" => Ok(Arc::new(InMemory::new())),
        other => Err(invalid(format!("'{other}' is not a kind of store known here"))),
    }
}

async fn open_folder(folder: PathBuf) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let failed = |source| StoreError::Folder { path: folder.display().to_string(), source };
    tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
    let store =
        LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(std::io::Error::other(error)))?;
    Ok(Arc::new(store.with_fsync(true)))
}

fn s3_builder(bucket: &str, environment: &[(String, String)]) -> AmazonS3Builder {
    // The HTTP client is built without a TLS provider of its own. Who installed one first keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new();
    let mut plain_http = false;
    for (name, value) in environment {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("aws_") || value.is_empty() {
            continue;
        }
        let Ok(key) = name.parse::<AmazonS3ConfigKey>() else { continue };
        let is_endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
        plain_http |= is_endpoint && value.starts_with("http://");
        builder = builder.with_config(key, value);
    }
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
        .with_allow_http(plain_http);
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    };
    let retry = RetryConfig { backoff, max_retries: CLIENT_RETRIES, retry_timeout: CLIENT_RETRY_TIMEOUT };
    builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry)
}

fn with_prefix(store: impl ObjectStore, path: &str) -> Arc<dyn ObjectStore> {
    match path.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, prefix)),
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    #[tokio::test]
    async fn a_folder_store_creates_each_object_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}/deep/store", folder.path().display());
        let store = open_store(&url).await.unwrap();
        let path = Path::from("a/b");
        store.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
        let reopened = open_store(&url).await.unwrap();
        assert_eq!(reopened.get(&path).await.unwrap().bytes().await.unwrap(), "one");
    }

    #[tokio::test]
    async fn a_url_that_names_no_store_is_refused_with_the_forms_that_do() {
        for url in ["", "/var/lib", "ftp://host/x", "s3://", "file://relative/path"] {
            let error = open_store(url).await.err().unwrap_or_else(|| panic!("'{url}' was accepted"));
            assert_eq!(error.kind(), crate::ErrorKind::Caller);
            assert!(error.to_string().contains("s3://BUCKET/PREFIX"), "{error}");
        }
    }

    #[tokio::test]
    async fn s3_takes_the_usual_environment() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("HOME", "/"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let builder = s3_builder("bucket", &environment);
        let value = |key| builder.get_config_value(&key);
        assert_eq!(value(AmazonS3ConfigKey::Region).as_deref(), Some("eu-central-1"));
        assert_eq!(value(AmazonS3ConfigKey::Endpoint).as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(value(AmazonS3ConfigKey::VirtualHostedStyleRequest).as_deref(), Some("false"));
        builder.build().unwrap();
    }
}
