//! What a crash leaves of a put to a folder: the file that was written beside its place and never renamed to it. No
//! listing shows it, so nobody else would ever remove it.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use towpath_env::Env;
use url::Url;

/// No put takes that long: what is older is nobody's.
const STAGED_FOR_MAX: Duration = Duration::from_secs(3600);

/// Removes what puts that never ended left in a `file://` store; how many files. In other stores there is nothing to
/// remove. Dropped, it goes no further than the file that it is at.
///
/// # Errors
/// The folder could not be read, or a file not removed.
pub async fn remove_staged(url: &str, env: &Env) -> io::Result<usize> {
    let folder = Url::parse(url).ok().filter(|url| url.scheme() == "file");
    let Some(folder) = folder.and_then(|url| url.to_file_path().ok()) else { return Ok(0) };
    let oldest_ms = env.now_ms() - STAGED_FOR_MAX.as_millis() as i64;
    let waits = Arc::new(());
    let who = Arc::downgrade(&waits);
    let removed = tokio::task::spawn_blocking(move || remove_under(&folder, oldest_ms, &who));
    let removed = removed.await;
    drop(waits);
    removed.map_err(io::Error::other)?
}

/// As long as somebody waits for it.
fn remove_under(folder: &Path, oldest_ms: i64, who: &Weak<()>) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        if who.strong_count() == 0 {
            break;
        }
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_under(&entry.path(), oldest_ms, who)?;
        } else if is_staged(&entry) {
            // A put that ended meanwhile has renamed it.
            let Ok(modified) = entry.metadata().and_then(|found| found.modified()) else { continue };
            let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            if (age.as_millis() as i64) < oldest_ms {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// As `object_store` names them: the object's name, `#`, a number. No object is called so.
fn is_staged(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use object_store::ObjectStoreExt;
    use object_store::path::Path as ObjectPath;

    use super::*;

    #[tokio::test]
    async fn what_a_put_left_goes_once_it_is_old_and_objects_and_puts_under_way_stay() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let store = crate::open_store(&url).await.unwrap();
        store.put(&ObjectPath::from("wal/1/object"), "x".into()).await.unwrap();
        let under = |name: &str| folder.path().join("wal/1").join(name);
        let long_ago = UNIX_EPOCH + Duration::from_secs(1);
        for name in ["old#1", "young#2", "name#x"] {
            let file = File::create(under(name)).unwrap();
            if name != "young#2" {
                file.set_modified(long_ago).unwrap();
            }
        }
        File::options().write(true).open(under("object")).unwrap().set_modified(long_ago).unwrap();
        let env = Env::real();
        assert_eq!(remove_staged(&url, &env).await.unwrap(), 1);
        let there = ["old#1", "young#2", "name#x", "object"].map(|name| under(name).exists());
        assert_eq!(there, [false, true, true, true]);
        assert_eq!(remove_staged(&url, &env).await.unwrap(), 0);
        assert_eq!(remove_staged("s3://bucket/prefix", &env).await.unwrap(), 0);
    }

    #[test]
    fn nothing_more_is_removed_once_nobody_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("old#1");
        File::create(&left).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        let (url, env) = (format!("file://{}", folder.path().display()), Env::real());
        runtime.block_on(async {
            // The only thread that could search the folder is taken.
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let before = tokio::task::spawn_blocking(move || ended.recv());
            {
                let mut removed = std::pin::pin!(remove_staged(&url, &env));
                assert!(futures::poll!(removed.as_mut()).is_pending());
            }
            drop(end);
            before.await.unwrap().unwrap_err();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(left.exists(), "the search came before this");
            assert_eq!(remove_staged(&url, &env).await.unwrap(), 1);
        });
    }
}
