//! What the broker and the linking service need of a store, on every kind that holds them.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};
use towpath_env::Env;
use towpath_shared_log::{Appended, LogError, SharedLog, probe};
use towpath_tests::folder::Folder;
use towpath_tests::stores::{Store, StoreKind};

use crate::available;

/// Runs the whole suite on one kind.
async fn conforms(kind: StoreKind) {
    if !available(kind) {
        return;
    }
    let folder = Folder::new("towpath-store-").unwrap();
    let running = Store::start(kind, folder.path()).await.unwrap();
    let store = running.open().await.unwrap();
    probe(&store, &Env::real()).await.unwrap();
    assert_eq!(names(&store, None).await, Vec::<String>::new(), "a probe leaves nothing");
    one_creator_wins(&store).await;
    ranges_are_exact(&store).await;
    listings_follow_writes_and_deletes(&store).await;
    a_deleted_name_is_free_again(&store).await;
    a_shared_log_holds(&store).await;
}

#[tokio::test]
async fn a_folder_conforms() {
    conforms(StoreKind::File).await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(StoreKind::Memory).await;
}

#[tokio::test]
async fn moto_conforms() {
    conforms(StoreKind::Moto).await;
}

#[tokio::test]
async fn seaweedfs_conforms() {
    conforms(StoreKind::SeaweedFs).await;
}

async fn names(store: &Arc<dyn ObjectStore>, folder: Option<&str>) -> Vec<String> {
    let folder = folder.map(Path::from);
    let listed = store.list(folder.as_ref()).map_ok(|object| object.location.to_string());
    let mut names: Vec<String> = listed.try_collect().await.unwrap();
    names.sort();
    names
}

/// Also for bodies that take a while, and for creators that see no answer in between.
async fn one_creator_wins(store: &Arc<dyn ObjectStore>) {
    const CREATORS: usize = 24;
    for (round, size_bytes) in [8, 8, 8, 300_000].into_iter().enumerate() {
        let key = Path::from(format!("races/{round}"));
        let bodies = (0..CREATORS).map(|creator| Bytes::from(vec![creator as u8; size_bytes]));
        let puts = bodies.map(|body| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                let put = store.put_opts(&key, body.clone().into(), PutMode::Create.into()).await;
                (body, put)
            })
        });
        let outcomes = futures::future::join_all(puts).await;
        let mut winners = Vec::new();
        for outcome in outcomes {
            match outcome.unwrap() {
                (body, Ok(_)) => winners.push(body),
                (_, Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {}
                (_, Err(error)) => panic!("round {round}: {error}"),
            }
        }
        assert_eq!(winners.len(), 1, "winners of round {round}");
        let kept = store.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(kept, winners[0], "round {round}");
    }
}

async fn ranges_are_exact(store: &Arc<dyn ObjectStore>) {
    let body = Bytes::from((0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let (key, end) = (Path::from("ranges/whole"), body.len());
    store.put(&key, body.clone().into()).await.unwrap();
    assert_eq!(store.head(&key).await.unwrap().size, end as u64);
    let asked = [
        (GetRange::Bounded(0..1), 0..1),
        (GetRange::Bounded(65_530..65_540), 65_530..65_540),
        (GetRange::Bounded(end as u64 - 7..end as u64), end - 7..end),
        // More than there is, as when the size of an object is only guessed.
        (GetRange::Bounded(end as u64 - 7..end as u64 + 100), end - 7..end),
        (GetRange::Offset(end as u64 - 11), end - 11..end),
        (GetRange::Suffix(24), end - 24..end),
        (GetRange::Suffix(end as u64 + 100), 0..end),
    ];
    for (range, expected) in asked {
        let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
        let got = store.get_opts(&key, options).await.unwrap().bytes().await.unwrap();
        assert!(got == body[expected.clone()], "{range}: {} bytes for {expected:?}", got.len());
    }
    let places = [5..10, 1_000_000..1_000_003, 20..21];
    let got = store.get_ranges(&key, &places).await.unwrap();
    let expected = places.map(|place| body.slice(place.start as usize..place.end as usize));
    assert_eq!(got, expected);
    let missing = store.get_range(&Path::from("ranges/missing"), 0..1).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

/// More than one page of a listing, and one request that deletes many.
async fn listings_follow_writes_and_deletes(store: &Arc<dyn ObjectStore>) {
    const OBJECTS: usize = 1_050;
    let key = |n: usize| Path::from(format!("listed/{n:020}"));
    let puts = futures::stream::iter(0..OBJECTS).map(|n| async move {
        store.put_opts(&key(n), Bytes::from_static(b"x").into(), PutMode::Create.into()).await.map(drop)
    });
    puts.buffer_unordered(16).try_collect::<Vec<()>>().await.unwrap();
    let expected: Vec<String> = (0..OBJECTS).map(|n| key(n).to_string()).collect();
    assert_eq!(names(store, Some("listed")).await, expected);
    assert_eq!(names(store, Some("liste")).await, Vec::<String>::new(), "a folder is no beginning of a name");

    let gone = futures::stream::iter((10..OBJECTS).map(move |n| Ok(key(n)))).boxed();
    let deleted: Vec<Path> = store.delete_stream(gone).try_collect().await.unwrap();
    assert_eq!(deleted.len(), OBJECTS - 10);
    assert_eq!(names(store, Some("listed")).await, expected[..10]);
    let read = store.get(&key(10)).await;
    assert!(matches!(read, Err(Error::NotFound { .. })), "{read:?}");
}

/// A slot that was deleted protects nobody: what keeps writers apart then is the boundary.
async fn a_deleted_name_is_free_again(store: &Arc<dyn ObjectStore>) {
    let key = Path::from("slots/one");
    for body in ["first", "second"] {
        store.put_opts(&key, body.into(), PutMode::Create.into()).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), body);
        store.delete(&key).await.unwrap();
        // Deleting what is gone is no failure, or the same as elsewhere.
        let again = store.delete(&key).await;
        assert!(matches!(again, Ok(()) | Err(Error::NotFound { .. })), "{again:?}");
    }
}

/// Two writers, a reader that comes later, a checkpoint, and what is trimmed.
async fn a_shared_log_holds(store: &Arc<dyn ObjectStore>) {
    let env = Env::real();
    let open = async || SharedLog::open(store.clone(), "log", env.clone()).await.unwrap();
    let (one, two) = (open().await, open().await);
    let writer = |log: SharedLog, name: &'static str| async move {
        let mut indexes = Vec::new();
        for number in 0..25 {
            indexes.push((log.append(Bytes::from(format!("{name} {number}"))).await.unwrap(), number));
        }
        indexes
    };
    let (first, second) =
        tokio::join!(tokio::spawn(writer(one.clone(), "one")), tokio::spawn(writer(two.clone(), "two")));
    let entries = open().await.read_from(0).await.unwrap();
    assert_eq!(entries.len(), 50);
    for (name, indexes) in [("one", first.unwrap()), ("two", second.unwrap())] {
        assert!(indexes.is_sorted(), "{indexes:?}");
        for (index, number) in indexes {
            assert_eq!(entries[index as usize], (index, Bytes::from(format!("{name} {number}"))));
        }
    }
    assert_eq!(two.append_at(49, Bytes::new()).await.unwrap(), Appended::Taken);
    assert!(matches!(two.append_at(60, Bytes::new()).await, Err(LogError::Gap { end: 50, .. })));
    one.checkpoint(40, Bytes::from_static(b"state")).await.unwrap();
    one.trim(40).await.unwrap();
    let late = open().await;
    assert_eq!(late.latest_checkpoint().await.unwrap(), Some((40, Bytes::from_static(b"state"))));
    assert!(matches!(late.read_from(0).await, Err(LogError::Trimmed { boundary: 40, .. })));
    assert_eq!(late.read_from(40).await.unwrap().len(), 10);
}
