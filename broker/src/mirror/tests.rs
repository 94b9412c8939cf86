//! What a link may append to a mirror topic, and what readers see of it.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use towpath_wire::batch::{BatchBuilder, ControlKind};
use towpath_wire::private::{MirrorAppendPartition, code};
use uuid::Uuid;

use super::{MirrorBatches, MirrorIdentity, Mirrored};
use crate::metadata::PRODUCER_ID_FIRST;
use crate::partition::tests::{ALL, NOW_MS, World, batch, contents, read_all};
use crate::partition::{AbortedTransaction, AppendError, Isolation, Offsets, Origin};

const SOURCE_TOPIC: Uuid = Uuid::from_u128(99);

fn identity() -> MirrorIdentity {
    MirrorIdentity { link: "l".to_owned(), source_cluster_id: "c".to_owned(), source_topic_id: SOURCE_TOPIC }
}

async fn world(more: &[(&str, &str)]) -> World {
    let id = SOURCE_TOPIC.to_string();
    let mut configs = vec![
        ("towpath.mirror.link", "l"),
        ("towpath.mirror.source.cluster.id", "c"),
        ("towpath.mirror.source.topic.id", id.as_str()),
        ("towpath.mirror.state", "mirroring"),
    ];
    configs.extend_from_slice(more);
    World::new(&configs).await
}

/// A batch as the source's leader keeps it.
fn at(base_offset: i64, values: &[&str]) -> Bytes {
    epoch_at(3, base_offset, values)
}

fn epoch_at(epoch: i32, base_offset: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(base_offset).leader_epoch(epoch);
    for value in values {
        builder.append(NOW_MS, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap().freeze()
}

/// A batch from which the source's cleaner has taken all records but these.
fn sparse(base_offset: i64, records: &[(i64, &str)], last_offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(base_offset).leader_epoch(3);
    for (offset, value) in records {
        assert!(builder.append_at(*offset, NOW_MS, Some(b"key"), Some(value.as_bytes())));
    }
    let mut batch = builder.build().unwrap();
    batch[23..27].copy_from_slice(&((last_offset - base_offset) as i32).to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn call(from_offset: i64, batches: &[Bytes]) -> MirrorBatches {
    let mut records = BytesMut::new();
    batches.iter().for_each(|batch| records.extend_from_slice(batch));
    MirrorBatches {
        from_offset,
        source_leader_epoch: 3,
        source_log_start: 0,
        source_high_watermark: 1_000,
        log_end: -1,
        records: records.freeze(),
    }
}

async fn append(world: &World, call: MirrorBatches) -> Result<Mirrored, AppendError> {
    let mirrored = world.partition().append_mirrored(&identity(), call).await?;
    Ok(mirrored)
}

async fn append_durable(world: &World, call: MirrorBatches) -> (i64, i64) {
    let mirrored = append(world, call).await.unwrap();
    mirrored.durable.await.unwrap();
    (mirrored.log_start, mirrored.log_end)
}

fn values(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs.iter().map(|(offset, value)| (*offset, value.to_string())).collect()
}

#[tokio::test]
async fn batches_keep_their_source_offsets_and_bytes_with_gaps_between() {
    let mut world = world(&[]).await;
    let batches = [at(5, &["a", "b"]), at(10, &["c"])];
    assert_eq!(append_durable(&world, call(0, &batches)).await, (0, 11));
    let expected = values(&[(5, "a"), (6, "b"), (10, "c")]);
    for upload in [false, true, true] {
        assert_eq!(read_all(&world.partition(), 0).await, expected);
        let read = world.partition().read(0, ALL, Isolation::ReadUncommitted).await.unwrap();
        assert_eq!(read.batches.concat(), batches.concat(), "byte for byte");
        if upload {
            world.upload().await;
        }
        world.restart().await;
    }
    let refused = world.partition().append(batch(&["x"]), Origin::Client).unwrap_err();
    assert_eq!(refused.code(), ResponseError::PolicyViolation.code());
    assert!(refused.to_string().contains("link \"l\""), "{refused}");
    let refused = world.partition().delete_records(6).await.unwrap_err();
    assert_eq!(refused.code(), ResponseError::PolicyViolation.code());
}

#[tokio::test]
async fn a_replay_is_ignored_wherever_it_is_held_and_whatever_it_overlaps() {
    let mut world = world(&[]).await;
    let batches = [at(0, &["a", "b"]), at(2, &["c"]), at(4, &["d"])];
    append_durable(&world, call(0, &batches[..2])).await;
    for round in 0..3 {
        assert_eq!(append_durable(&world, call(0, &batches[..2])).await, (0, 3), "round {round}");
        assert_eq!(append_durable(&world, call(2, &batches[1..2])).await, (0, 3));
        match round {
            0 => world.upload().await,
            _ => world.restart().await,
        }
    }
    // A replay that begins before our end and ends behind it.
    assert_eq!(append_durable(&world, call(0, &batches)).await, (0, 5));
    assert_eq!(read_all(&world.partition(), 0).await, values(&[(0, "a"), (1, "b"), (2, "c"), (4, "d")]));
}

#[tokio::test]
async fn other_content_at_the_same_offsets_halts_the_partition_until_further_notice() {
    for upload in [false, true] {
        let mut world = world(&[]).await;
        append_durable(&world, call(0, &[at(0, &["a", "b"]), at(2, &["c"])])).await;
        if upload {
            world.upload().await;
            world.restart().await;
        }
        let error = append(&world, call(2, &[at(2, &["X"]), at(3, &["d"])])).await.unwrap_err();
        assert_eq!(error.code(), code::MIRROR_MISMATCH, "{error}");
        assert!(error.to_string().contains("views-0") && error.to_string().contains("offset 2"), "{error}");
        for _ in 0..2 {
            let error = append(&world, call(3, &[at(3, &["d"])])).await.unwrap_err();
            assert_eq!(error.code(), code::MIRROR_HALTED, "{error}");
            assert_eq!(world.partition().mirror_status().halted.unwrap().offset, 2);
            assert_eq!(read_all(&world.partition(), 0).await.len(), 3, "what is held stays readable");
            world.restart().await;
            world.upload().await;
            world.restart().await;
        }
        // A person accepts it: batches are taken again behind what is held, and a restart does not forget that.
        let lift = MirrorBatches { from_offset: MirrorAppendPartition::LIFT_HALT, ..call(0, &[]) };
        assert_eq!(append_durable(&world, lift).await, (0, 3));
        for number in 3..5 {
            append_durable(&world, call(number, &[at(number, &["d"])])).await;
            world.restart().await;
            world.upload().await;
        }
        assert!(world.partition().mirror_status().halted.is_none());
        assert_eq!(read_all(&world.partition(), 0).await.len(), 5);
    }
}

#[tokio::test]
async fn records_sent_again_in_other_batches_are_a_replay_and_altered_or_missing_ones_are_not() {
    let batches = [at(0, &["a", "b"]), at(2, &["c", "d"])];
    let held = async || {
        let world = world(&[]).await;
        append_durable(&world, call(0, &batches)).await;
        world
    };
    let world = held().await;
    // Old formats are converted anew with each fetch, cut where that fetch began and ended.
    for replay in [at(0, &["a", "b", "c", "d"]), at(1, &["b", "c"]), at(3, &["d"])] {
        append_durable(&world, call(0, &[replay])).await;
    }
    let error = append(&world, call(1, &[at(1, &["b", "c", "d", "e"])])).await.unwrap_err();
    assert_eq!((error.code(), world.partition().offsets().log_end), (code::MIRROR_GAP, 4), "{error}");
    append_durable(&world, call(4, &[at(4, &["e"])])).await;
    for (wrong, offset) in [
        (at(1, &["b", "X"]), 2),
        (sparse(0, &[(0, "a"), (2, "c")], 3), 1),
        (sparse(0, &[(0, "a"), (1, "b"), (2, "c")], 3), 3),
        (sparse(2, &[(3, "d")], 3), 2),
        (transactional(1, 0, 1, &["b", "c"]), 1),
    ] {
        let world = held().await;
        let error = append(&world, call(0, &[wrong])).await.unwrap_err();
        assert_eq!(error.code(), code::MIRROR_MISMATCH, "{error}");
        assert_eq!(world.partition().mirror_status().halted.unwrap().offset, offset, "{error}");
    }
}

#[tokio::test]
async fn a_mirror_may_start_in_the_middle_of_a_batch() {
    let mut world = world(&[]).await;
    let batches = [at(95, &["a", "b", "c", "d", "e", "f", "g"]), at(102, &["h"])];
    let first = MirrorBatches { source_log_start: 99, ..call(99, &batches) };
    assert_eq!(append_durable(&world, first).await, (99, 103));
    for upload in [false, true, true] {
        let read = world.partition().read(99, ALL, Isolation::ReadUncommitted).await.unwrap();
        assert_eq!(read.batches.concat(), batches.concat());
        assert_eq!(world.partition().offsets().log_start, 99);
        if upload {
            world.upload().await;
        }
        world.restart().await;
    }
}

#[tokio::test]
async fn going_back_into_a_gap_is_refused_and_a_missing_stretch_is_not_skipped() {
    let world = world(&[]).await;
    append_durable(&world, call(0, &[at(0, &["a"]), at(10, &["b"])])).await;
    let error = append(&world, call(5, &[at(5, &["lost"])])).await.unwrap_err();
    assert_eq!(error.code(), code::MIRROR_OFFSET_BACKWARD, "{error}");
    let error = append(&world, call(12, &[at(12, &["c"])])).await.unwrap_err();
    assert_eq!(error.code(), code::MIRROR_GAP, "{error}");
    let error = append(&world, call(11, &[at(12, &["c"]), at(11, &["d"])])).await.unwrap_err();
    assert_eq!(error.code(), code::MIRROR_OFFSET_BACKWARD, "{error}");
    assert_eq!(world.partition().offsets().log_end, 11);
}

#[tokio::test]
async fn start_and_end_advance_without_batches_and_stay_where_they_are_after_a_restart() {
    let mut world = world(&[]).await;
    append_durable(&world, call(0, &[at(0, &["a"]), at(1, &["b"])])).await;
    let advance = MirrorBatches { source_log_start: 1, log_end: 20, ..call(2, &[]) };
    assert_eq!(append_durable(&world, advance).await, (1, 20));
    let expected = Offsets { log_start: 1, high_watermark: 20, last_stable: 20, log_end: 20 };
    for upload in [false, true] {
        assert_eq!(world.partition().offsets(), expected);
        if upload {
            world.upload().await;
        }
        world.restart().await;
    }
    assert_eq!(world.partition().offsets(), expected);
    assert_eq!(read_all(&world.partition(), 1).await, values(&[(1, "b")]));
    // In the gap there is nothing to read and nothing to wait for in a loop.
    let read = world.partition().read(15, ALL, Isolation::ReadUncommitted).await.unwrap();
    assert_eq!((read.batches.len(), read.high_watermark), (0, 20));
    let partition = world.partition();
    let wait = tokio::spawn(async move { partition.wait_past(15, Isolation::ReadUncommitted).await });
    tokio::task::yield_now().await;
    assert!(!wait.is_finished());
    let passed_over = sparse(18, &[(19, "lost"), (21, "c")], 22);
    let error = append(&world, call(20, &[passed_over])).await.unwrap_err();
    assert_eq!(error.code(), code::MIRROR_OFFSET_BACKWARD, "{error}");
    // A compacted source gives the batch whose front lies in what was passed over as a gap.
    append_durable(&world, call(20, &[sparse(18, &[(21, "c")], 22)])).await;
    wait.await.unwrap();
    assert_eq!(read_all(&world.partition(), 15).await, values(&[(21, "c")]));
    // All of it expired at the source before the link got there.
    let emptied = MirrorBatches { source_log_start: 100, ..call(100, &[at(100, &["z"])]) };
    assert_eq!(append_durable(&world, emptied).await, (100, 101));
    world.upload().await;
    world.restart().await;
    assert_eq!(read_all(&world.partition(), 100).await, values(&[(100, "z")]));
    let below = world.partition().read(50, ALL, Isolation::ReadUncommitted).await.unwrap_err();
    assert_eq!(below.code(), ResponseError::OffsetOutOfRange.code());
}

#[tokio::test]
async fn a_compacted_remainder_of_what_is_held_is_a_replay_and_an_altered_one_is_not() {
    let world = world(&[("cleanup.policy", "compact")]).await;
    append_durable(&world, call(0, &[at(0, &["a", "b", "c"])])).await;
    append_durable(&world, call(0, &[sparse(0, &[(1, "b")], 2)])).await;
    let error = append(&world, call(0, &[sparse(0, &[(1, "B")], 2)])).await.unwrap_err();
    assert_eq!(error.code(), code::MIRROR_MISMATCH, "{error}");
    assert_eq!(world.partition().mirror_status().halted.unwrap().offset, 1);
}

#[tokio::test]
async fn epochs_are_advertised_before_their_batches_and_answered_from_the_mirrored_log() {
    let mut world = world(&[]).await;
    append_durable(&world, call(0, &[epoch_at(2, 0, &["a"]), epoch_at(5, 1, &["b"])])).await;
    for upload in [false, true, true] {
        assert_eq!(world.partition().leader_epoch(), 5);
        assert_eq!(world.partition().epoch_end(2), (2, 1));
        assert_eq!(world.partition().epoch_end(5), (5, 2));
        if upload {
            world.upload().await;
        }
        world.restart().await;
    }
    append_durable(&world, call(2, &[epoch_at(9, 2, &["c"])])).await;
    assert_eq!(world.partition().leader_epoch(), 9);
    assert_eq!(world.metadata.image().partition(crate::partition::tests::TOPIC, 0).unwrap().leader_epoch, 9);
}

#[tokio::test]
async fn strangers_other_sources_and_the_targets_own_producers_are_refused() {
    let world = world(&[]).await;
    let mut other = identity();
    other.link = "m".to_owned();
    let refused = |identity: MirrorIdentity, batch: Bytes| {
        let partition = world.partition();
        async move { partition.append_mirrored(&identity, call(0, &[batch])).await.unwrap_err().code() }
    };
    assert_eq!(refused(other, at(0, &["a"])).await, code::NOT_MIRROR_TOPIC);
    let other = MirrorIdentity { source_cluster_id: "d".to_owned(), ..identity() };
    assert_eq!(refused(other, at(0, &["a"])).await, code::MIRROR_IDENTITY_CHANGED);
    let other = MirrorIdentity { source_topic_id: Uuid::from_u128(1), ..identity() };
    assert_eq!(refused(other, at(0, &["a"])).await, code::MIRROR_IDENTITY_CHANGED);
    let mut own = BatchBuilder::new(0).producer(PRODUCER_ID_FIRST, 0, 0);
    own.append(NOW_MS, None, Some(b"x"), &[]);
    assert_eq!(refused(identity(), own.build().unwrap().freeze()).await, code::PRODUCER_ID_RESERVED);
    let mut corrupt = at(0, &["a"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(refused(identity(), corrupt.into()).await, ResponseError::CorruptMessage.code());
    assert_eq!(world.partition().offsets().log_end, 0);
    let ordinary = World::new(&[]).await;
    let refused = ordinary.partition().append_mirrored(&identity(), call(0, &[])).await.unwrap_err();
    assert_eq!(refused.code(), code::NOT_MIRROR_TOPIC);
}

fn transactional(producer_id: i64, sequence: i32, base_offset: i64, values: &[&str]) -> Bytes {
    let builder = BatchBuilder::new(base_offset).leader_epoch(3);
    let mut builder = builder.producer(producer_id, 0, sequence).transactional();
    for value in values {
        builder.append(NOW_MS, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap().freeze()
}

fn marker(producer_id: i64, offset: i64, kind: ControlKind) -> Bytes {
    let marker = BatchBuilder::end_transaction(offset, kind, (producer_id, 0), 4, NOW_MS);
    marker.leader_epoch(3).build().unwrap().freeze()
}

#[tokio::test]
async fn readers_of_committed_records_see_what_they_would_on_the_source() {
    let mut world = world(&[]).await;
    let batches = [
        transactional(1, 0, 0, &["aborted"]),
        transactional(2, 0, 1, &["committed"]),
        marker(1, 2, ControlKind::Abort),
        marker(2, 3, ControlKind::Commit),
        transactional(1, 1, 4, &["open"]),
        at(5, &["plain"]),
    ];
    append_durable(&world, call(0, &batches)).await;
    let aborted = [AbortedTransaction { producer_id: 1, first_offset: 0 }];
    for upload in [false, true, true] {
        let offsets = world.partition().offsets();
        assert_eq!((offsets.last_stable, offsets.high_watermark), (4, 6));
        let read = world.partition().read(0, ALL, Isolation::ReadCommitted).await.unwrap();
        assert_eq!(contents(&read.batches).last().unwrap().0, 3, "up to the open transaction");
        assert_eq!(read.aborted, aborted);
        let read = world.partition().read(3, ALL, Isolation::ReadCommitted).await.unwrap();
        assert_eq!(read.aborted, []);
        let mut rows = world.partition().producers();
        rows.sort_by_key(|row| row.producer_id);
        let summary: Vec<_> = rows.iter().map(|row| (row.producer_id, row.transaction_start)).collect();
        assert_eq!(summary, [(1, 4), (2, -1)]);
        assert_eq!((rows[1].coordinator_epoch, rows[0].last_sequence), (4, 1));
        if upload {
            world.upload().await;
        }
        world.restart().await;
    }
    let partition = world.partition();
    let wait = tokio::spawn(async move { partition.wait_past(4, Isolation::ReadCommitted).await });
    append_durable(&world, call(6, &[marker(1, 6, ControlKind::Commit)])).await;
    wait.await.unwrap();
    assert_eq!(world.partition().offsets().last_stable, 7);
    assert_eq!(world.partition().read(4, ALL, Isolation::ReadCommitted).await.unwrap().aborted, []);
}
