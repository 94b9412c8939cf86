//! Slots and fences that somebody damaged or deleted: what was acknowledged behind them comes back or is told as lost.

use super::*;

/// A start that is refused: which slot it names.
async fn refused(world: &World) -> String {
    let before = world.slots().await;
    let refused = world.open_as(world.registrar.register()).await.err().expect("a refusal");
    assert!(refused.to_string().contains("--accept-wal-loss"), "{refused}");
    assert_eq!(world.slots().await, before, "a start that is refused writes nothing");
    match refused {
        WalOpenError::Slot { object, .. } | WalOpenError::Missing { object, .. } => object,
        other => panic!("{other}"),
    }
}

/// A broker that puts a slot for each of so many records, and dies.
async fn life(world: &World, records: usize) -> Running {
    let mut running = world.start().await;
    for _ in 0..records {
        running.append(&world.env);
        running.all_durable().await;
    }
    running.wal.kill();
    running
}

async fn damage(world: &World, epoch: i64, slot: u64) -> String {
    let path = world_path(epoch, slot);
    let mut object = world.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    *object.last_mut().unwrap() ^= 1;
    object.pop();
    world.store.put(&path, object.into()).await.unwrap();
    path.to_string()
}

async fn remove(world: &World, epoch: i64, slot: u64) -> String {
    let path = world_path(epoch, slot);
    world.store.delete(&path).await.unwrap();
    path.to_string()
}

fn sequences(running: &Running) -> Vec<u64> {
    running.replayed.iter().map(|(sequence, _)| *sequence).collect()
}

/// It goes on, and what it acknowledges is there at the next start, with everything that it found itself.
async fn goes_on(world: &World, mut running: Running) {
    let found = running.replayed.clone();
    running.append(&world.env);
    running.all_durable().await;
    running.wal.kill();
    let next = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(next.replayed, [found, running.appended].concat());
    next.wal.kill();
}

#[tokio::test(start_paused = true)]
async fn a_damaged_slot_is_named_and_given_up_only_when_the_loss_is_accepted() {
    let world = World::new(2);
    life(&world, 3).await;
    let path = damage(&world, 0, 1).await;
    assert_eq!(refused(&world).await, path);

    // What stands behind it is there, and so is what comes behind that, however often a start has to say it again.
    let mut two = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(sequences(&two), [0, 2]);
    two.append(&world.env);
    two.all_durable().await;
    two.wal.kill();
    let three = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(sequences(&three)[..2], [0, 2]);
    assert_eq!(three.replayed[2..], two.appended);
    // A snapshot in the store may know of what was lost: no number is given twice.
    assert!(two.appended[0].0 > 2, "{:?}", sequences(&three));
}

#[tokio::test(start_paused = true)]
async fn behind_a_damaged_fence_everything_is_found() {
    for void in [false, true] {
        let world = World::new(3);
        let one = life(&world, 3).await;
        let two = life(&world, 4).await;
        let path = damage(&world, 0, 3).await;
        if void {
            // A put of the first that was in flight when it was fenced: it has the number of one of the second.
            let (owner, body) = (Arc::<Told>::default(), Bytes::from_static(b"never acknowledged"));
            let record = WalRecord { head: Bytes::new(), body, body_crc: None, owner, mark: 1 };
            let place = slot::Place { node_id: NODE, wal_id: WAL_ID, epoch: 0, slot: 4 };
            let late = slot::records(place, Uuid::from_u128(1), (3, 3), [record].iter());
            world.store.put(&place.path(), late).await.unwrap();
        }
        assert_eq!(refused(&world).await, path);
        let three = world.open_in_spite(world.registrar.register()).await;
        assert_eq!(three.replayed, [one.appended, two.appended].concat(), "void: {void}");
        goes_on(&world, three).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_up_behind_a_damaged_fence_and_wrote_nothing_yet_is_fenced_too() {
    let world = World::new(3);
    life(&world, 3).await;
    let mut two = world.start().await;
    damage(&world, 0, 3).await;
    let three = world.open_in_spite(world.registrar.register()).await;
    silence(&two);
    two.append(&world.env);
    assert_eq!(two.wal.failed().await, WalError::Fenced(by(2)));
    goes_on(&world, three).await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_damaged_slot_who_still_runs_is_fenced_though_a_start_died_before_it_had_done_so() {
    for goes_on_between in [false, true] {
        let world = World::new(3);
        let mut one = world.start().await;
        for _ in 0..3 {
            one.append(&world.env);
            one.all_durable().await;
        }
        damage(&world, 0, 2).await;
        // Somebody registered and died; the next one got as far as to stop whoever might write for that one.
        world.registrar.register();
        let slow = Faults { delay_max: Duration::from_millis(100), ..Faults::NONE };
        let way = FaultyStore::new(world.objects.clone(), world.env.clone(), slow);
        let held = world.registrar.register();
        let dies = async {
            while !world.epochs().await.contains(&1) {
                world.env.sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = dies => {}
            opened = world.open_with(&way, held, true) => panic!("it came up: {}", opened.is_ok()),
        }
        assert_eq!(world.epochs().await, [0, 0, 0, 1]);
        let mut expected = vec![0, 1];
        if goes_on_between {
            one.append(&world.env);
            one.all_durable().await;
            expected.push(3);
        }
        let four = world.open_in_spite(world.registrar.register()).await;
        silence(&one);
        assert_eq!(sequences(&four), expected);
        one.append(&world.env);
        assert_eq!(one.wal.failed().await, WalError::Fenced(by(3)));
        goes_on(&world, four).await;
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_damaged_slot_and_one_more_who_came_up_and_wrote_nothing_yet_is_fenced_too() {
    let world = World::new(3);
    life(&world, 3).await;
    let mut two = world.start().await;
    damage(&world, 0, 3).await;
    // In flight when the first was fenced, and there later.
    let (owner, body) = (Arc::<Told>::default(), Bytes::from_static(b"never acknowledged"));
    let record = WalRecord { head: Bytes::new(), body, body_crc: None, owner, mark: 1 };
    let place = slot::Place { node_id: NODE, wal_id: WAL_ID, epoch: 0, slot: 4 };
    let late = slot::records(place, Uuid::from_u128(1), (3, 3), [record].iter());
    world.store.put(&place.path(), late).await.unwrap();
    let three = world.open_in_spite(world.registrar.register()).await;
    silence(&two);
    two.append(&world.env);
    assert_eq!(two.wal.failed().await, WalError::Fenced(by(2)));
    goes_on(&world, three).await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_how_many_records_are_lost_no_number_of_theirs_is_given_again() {
    let world = World::new(3);
    life(&world, 3).await;
    assert_eq!(damage(&world, 0, 2).await, refused(&world).await);
    let two = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(sequences(&two), [0, 1]);
    assert!(two.wal.next_sequence() > u64::from(u32::MAX), "a slot holds fewer");
    goes_on(&world, two).await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_deleted_is_named_and_not_taken_for_the_end() {
    for gone in [0, 1, 3] {
        let world = World::new(7);
        let one = life(&world, 5).await;
        let path = remove(&world, 0, gone).await;
        assert_eq!(refused(&world).await, path);
        let two = world.open_in_spite(world.registrar.register()).await;
        let left: Vec<_> = one.appended.into_iter().filter(|(sequence, _)| *sequence != gone).collect();
        assert_eq!(two.replayed, left);
        assert_eq!(two.wal.next_sequence(), 5, "it is known how many are lost");
        goes_on(&world, two).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_deleted_before_a_fence_is_not_taken_for_the_end_though_nobody_wrote_behind_it() {
    for gone in [1, 2] {
        let world = World::new(7);
        let one = life(&world, 3).await;
        life(&world, 0).await;
        let path = remove(&world, 0, gone).await;
        assert_eq!(refused(&world).await, path);
        let three = world.open_in_spite(world.registrar.register()).await;
        assert_eq!(three.replayed.len(), one.appended.len() - 1);
        assert_eq!(three.wal.next_sequence(), 3, "the fence knows how many there were");
        goes_on(&world, three).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_word_deleted_before_a_fence_is_missed_too_or_who_wrote_behind_it_would_not_be_fenced() {
    let world = World::new(7);
    let mut one = world.start().await;
    one.append(&world.env);
    one.wal.close().await;
    let mut two = world.start().await;
    let path = remove(&world, 0, 1).await;
    assert_eq!(refused(&world).await, path);
    let three = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(three.replayed, one.appended);
    silence(&two);
    two.append(&world.env);
    assert!(matches!(two.wal.failed().await, WalError::Fenced(_)));
    goes_on(&world, three).await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_deleted_fence_everything_is_found_and_the_fence_comes_back() {
    let world = World::new(7);
    let mut one = world.start().await;
    one.append(&world.env);
    one.all_durable().await;
    let two = life(&world, 2).await;
    let path = remove(&world, 0, 1).await;
    assert_eq!(refused(&world).await, path);
    let three = world.open_in_spite(world.registrar.register()).await;
    assert_eq!(three.replayed, [one.appended.clone(), two.appended].concat());
    silence(&one);
    one.append(&world.env);
    assert!(matches!(one.wal.failed().await, WalError::Fenced(_)));
    three.wal.kill();
    // Nothing is missing any more.
    let four = world.start().await;
    assert_eq!(four.replayed, three.replayed);
}

#[tokio::test(start_paused = true)]
async fn the_last_slots_are_missed_where_the_last_upload_knows_of_them() {
    let world = World::new(7);
    life(&world, 3).await;
    world.registrar.0.lock().known_below = 3;
    let path = remove(&world, 0, 2).await;
    assert_eq!(refused(&world).await, path);
    let two = world.open_in_spite(world.registrar.register()).await;
    assert_eq!((sequences(&two), two.wal.next_sequence()), (vec![0, 1], 3));
    goes_on(&world, two).await;
}
