//! From a URL to an object store.

mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::StoreError;

/// Opens the store that `url` names, with its path as prefix of every object.
///
/// - `file://DIRECTORY`: made if missing; every put is synced, its folder too, before it counts.
/// - `s3://BUCKET/PREFIX`: credentials, region, endpoint and style from the usual environment
///   (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
///   `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, …); path style unless told otherwise; plain HTTP only when the endpoint says
///   so.
/// - `memory://`: gone with the process, never shared; for tests.
///
/// # Errors
/// When the URL or the environment names no store. An S3 store is not asked anything yet.
pub async fn open_store(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        // What is no text is none of AWS's.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    });
    open_store_in(url, &environment.collect::<Vec<_>>()).await
}

/// As [`open_store`], with names and values in the place of the process's environment.
///
/// # Errors
/// As for [`open_store`].
pub async fn open_store_in(
    url: &str,
    environment: &[(String, String)],
) -> Result<Arc<dyn ObjectStore>, StoreError> {
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
            let s3 = s3::client(url, bucket, environment)?;
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
}
