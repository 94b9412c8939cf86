//! Kafka's rules about a log, each by its error code, and the limits.

use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::Notify;

use super::*;
use crate::metadata::entry::{ConfigResource, ConfigsAltered, TopicDeleted};

fn code(result: Result<Appended, AppendError>) -> i16 {
    result.unwrap_err().code()
}

fn append(world: &World, records: BytesMut) -> Result<Appended, AppendError> {
    world.partition().append(records, Origin::Client)
}

/// Changes the batch under its CRC.
fn altered(change: impl FnOnce(&mut [u8])) -> BytesMut {
    let mut records = batch(&["a", "b"]);
    change(&mut records);
    let crc = crc32c::crc32c(&records[21..]);
    records[17..21].copy_from_slice(&crc.to_be_bytes());
    records
}

#[tokio::test]
async fn a_batch_that_kafka_would_refuse_is_refused_with_kafkas_code() {
    let world = World::new(&[("max.message.bytes", "200")]).await;
    let mut corrupt = batch(&["a"]);
    corrupt[62] ^= 1;
    assert_eq!(code(append(&world, corrupt)), ResponseError::CorruptMessage.code());
    let mut cut = batch(&["a"]);
    cut.truncate(65);
    assert_eq!(code(append(&world, cut)), ResponseError::CorruptMessage.code());
    assert_eq!(code(append(&world, BytesMut::new())), ResponseError::InvalidRecord.code());
    let large = batch(&["x".repeat(300).as_str()]);
    assert_eq!(code(append(&world, large)), ResponseError::MessageTooLarge.code());
    let mut old = batch(&["a"]);
    old[16] = 1;
    assert_eq!(code(append(&world, old)), ResponseError::UnsupportedForMessageFormat.code());
    let holes = altered(|batch| batch[26] = 7);
    assert_eq!(code(append(&world, holes)), ResponseError::InvalidRecord.code());
    let control = altered(|batch| batch[22] |= 0x20);
    assert_eq!(code(append(&world, control)), ResponseError::InvalidRecord.code());
    let by_broker = altered(|batch| batch[22] |= 0x08);
    assert_eq!(code(append(&world, by_broker)), ResponseError::InvalidRecord.code());
    let mut transactional = BatchBuilder::new(0).producer(1, 0, 0).transactional();
    transactional.append(NOW_MS, None, None, &[]);
    assert_eq!(code(append(&world, transactional.build().unwrap())), ResponseError::InvalidTxnState.code());
    assert_eq!(world.partition().offsets().log_end, 0, "nothing of it was appended");
}

#[tokio::test]
async fn sequence_numbers_and_epochs_are_kept_as_kafka_does() {
    let world = World::new(&[]).await;
    let send = |epoch, sequence, values: &[&str]| append(&world, idempotent(9, epoch, sequence, values));
    // An unknown producer may begin anywhere: its earlier batches may have expired.
    assert_eq!(send(3, 10, &["a", "b"]).unwrap().base_offset, 0);
    assert_eq!(code(send(3, 13, &["d"])), ResponseError::OutOfOrderSequenceNumber.code());
    assert_eq!(send(3, 12, &["c"]).unwrap().base_offset, 2);
    assert_eq!(code(send(2, 13, &["d"])), ResponseError::InvalidProducerEpoch.code());
    assert_eq!(code(send(4, 13, &["d"])), ResponseError::OutOfOrderSequenceNumber.code());
    assert_eq!(send(4, 0, &["d"]).unwrap().base_offset, 3);
    for sequence in 1..6 {
        send(4, sequence, &["e"]).unwrap();
    }
    assert!(send(4, 1, &["e"]).unwrap().duplicate, "the fifth last");
    assert_eq!(code(send(4, 0, &["d"])), ResponseError::OutOfOrderSequenceNumber.code());
    let two = [idempotent(9, 4, 6, &["f"]), idempotent(9, 4, 7, &["g"])].concat();
    assert_eq!(code(append(&world, two.as_slice().into())), ResponseError::InvalidRecord.code());
}

#[tokio::test]
async fn sequence_numbers_wrap_to_zero() {
    let world = World::new(&[]).await;
    append(&world, idempotent(9, 0, i32::MAX - 1, &["a", "b"])).unwrap();
    assert_eq!(append(&world, idempotent(9, 0, 0, &["c"])).unwrap().base_offset, 2);
}

#[tokio::test]
async fn a_duplicate_is_not_acknowledged_before_its_original_is_durable() {
    let world = World::new(&[]).await;
    world.files.allow_syncs(Some(0));
    let mut original = append(&world, idempotent(5, 0, 0, &["a"])).unwrap();
    let mut again = append(&world, idempotent(5, 0, 0, &["a"])).unwrap();
    assert!(again.duplicate);
    world.files.wait_for_pending(1);
    assert!(futures::poll!(&mut original.durable).is_pending());
    assert!(futures::poll!(&mut again.durable).is_pending());
    assert_eq!(world.partition().offsets().high_watermark, 0);
    let read = world.partition().read(0, ALL, Isolation::ReadUncommitted).await.unwrap();
    assert_eq!(read.batches.len(), 0, "not visible before it is durable");
    world.files.allow_syncs(None);
    again.durable.await.unwrap();
    original.durable.await.unwrap();
}

#[tokio::test]
async fn log_append_time_replaces_timestamps_and_the_checksum_still_holds() {
    let mut world = World::new(&[("message.timestamp.type", "LogAppendTime")]).await;
    let appended = append(&world, batch(&["a", "b"])).unwrap();
    let given_ms = appended.log_append_time_ms.unwrap();
    assert!(given_ms > NOW_MS);
    appended.durable.await.unwrap();
    world.restart().await;
    let read = world.partition().read(0, ALL, Isolation::ReadUncommitted).await.unwrap();
    let batch = Batch::new(read.batches[0].clone()).unwrap();
    batch.check_crc().unwrap();
    assert!(batch.records(1 << 20).unwrap().all(|record| record.unwrap().timestamp_ms == given_ms));
}

#[tokio::test]
async fn timestamps_outside_of_the_topics_bounds_and_keyless_records_of_compacted_topics_are_refused() {
    let world =
        World::new(&[("message.timestamp.before.max.ms", "1000"), ("cleanup.policy", "compact")]).await;
    assert_eq!(code(append(&world, batch(&["old"]))), ResponseError::InvalidTimestamp.code());
    let now_ms = world.env.now_ms();
    let mut far = BatchBuilder::new(0);
    far.append(now_ms + 7_200_000, Some(b"k"), None, &[]);
    assert_eq!(code(append(&world, far.build().unwrap())), ResponseError::InvalidTimestamp.code());
    let mut keyless = BatchBuilder::new(0);
    keyless.append(now_ms, None, Some(b"v"), &[]);
    assert_eq!(code(append(&world, keyless.build().unwrap())), ResponseError::InvalidRecord.code());
    let mut fine = BatchBuilder::new(0);
    fine.append(now_ms, Some(b"k"), None, &[]);
    append(&world, fine.build().unwrap()).unwrap();
}

#[tokio::test]
async fn reads_keep_their_limits_and_their_bounds() {
    for upload in [false, true] {
        let world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
        for value in ["a", "b", "c"] {
            append(&world, batch(&[value, value])).unwrap().durable.await.unwrap();
        }
        if upload {
            world.upload().await;
        }
        let size = batch(&["a", "a"]).len();
        let read = |from, bytes_max, at_least_one| {
            let partition = world.partition();
            async move {
                let limits = ReadLimits { bytes_max, at_least_one };
                let read = partition.read(from, limits, Isolation::ReadUncommitted).await.unwrap();
                contents(&read.batches).iter().map(|(offset, _)| *offset).collect::<Vec<_>>()
            }
        };
        assert_eq!(read(0, 2 * size, false).await, [0, 1, 2, 3]);
        assert_eq!(read(0, size - 1, false).await, Vec::<i64>::new());
        assert_eq!(read(0, 0, true).await, [0, 1]);
        assert_eq!(read(3, 10 * size, false).await, [2, 3, 4, 5], "the batch that holds the offset");
        assert_eq!(read(6, 10 * size, true).await, Vec::<i64>::new());
        for offset in [-1, 7] {
            let error = world.partition().read(offset, ALL, Isolation::ReadUncommitted).await.unwrap_err();
            assert_eq!(error.code(), ResponseError::OffsetOutOfRange.code());
        }
    }
}

#[tokio::test]
async fn offsets_are_found_by_time_in_memory_and_in_segments() {
    for upload in [false, true] {
        let world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
        for times in [[10, 30], [20, 50], [40, 45]] {
            let mut builder = BatchBuilder::new(0);
            times.iter().for_each(|ms| builder.append(NOW_MS + ms, None, Some(b"v"), &[]));
            append(&world, builder.build().unwrap()).unwrap().durable.await.unwrap();
        }
        if upload {
            world.upload().await;
        }
        let partition = world.partition();
        let find = async |ms| partition.offset_for_time(NOW_MS + ms).await.unwrap().map(|found| found.offset);
        assert_eq!(find(0).await, Some(0));
        assert_eq!(find(11).await, Some(1));
        assert_eq!(find(31).await, Some(3));
        assert_eq!(find(51).await, None);
        assert_eq!(partition.max_timestamp().await.unwrap().unwrap().offset, 3);
        partition.delete_records(2).await.unwrap();
        assert_eq!(find(0).await, Some(2));
    }
}

#[tokio::test]
async fn delete_records_moves_the_start_for_good_and_not_beyond_the_high_watermark() {
    let mut world = World::new(&[]).await;
    append(&world, batch(&["a", "b", "c"])).unwrap().durable.await.unwrap();
    let refused = world.partition().delete_records(4).await.unwrap_err();
    assert_eq!(refused.code(), ResponseError::OffsetOutOfRange.code());
    assert_eq!(world.partition().delete_records(1).await.unwrap(), 1);
    assert_eq!(world.partition().delete_records(0).await.unwrap(), 1);
    world.restart().await;
    assert_eq!(world.partition().offsets().log_start, 1);
    assert_eq!(world.partition().delete_records(-1).await.unwrap(), 3);
    world.upload().await;
    world.restart().await;
    let expected = Offsets { log_start: 3, high_watermark: 3, last_stable: 3, log_end: 3 };
    assert_eq!(world.partition().offsets(), expected);
    assert_eq!(append(&world, batch(&["d"])).unwrap().base_offset, 3);
}

#[tokio::test]
async fn retention_gives_up_whole_segments_and_their_objects_go_after_the_grace() {
    let retention = [("retention.ms", "1000"), ("retention.bytes", "-1")];
    let world = World::with(&retention, |config| config.delete_grace = Duration::ZERO).await;
    append(&world, batch(&["old"])).unwrap().durable.await.unwrap();
    world.upload().await;
    let mut fresh = BatchBuilder::new(0);
    fresh.append(world.env.now_ms() + 60_000, Some(b"k"), Some(b"new"), &[]);
    append(&world, fresh.build().unwrap()).unwrap().durable.await.unwrap();
    world.upload().await;
    assert_eq!(objects(&world).await, 2);
    let inner = &world.partitions.inner;
    inner.retain().await;
    assert_eq!(world.partition().offsets().log_start, 1);
    assert_eq!(world.metadata.image().partition(TOPIC, 0).unwrap().log_start, 1);
    let mut collector = Default::default();
    inner.collect(&mut collector).await;
    assert_eq!(objects(&world).await, 1);
    assert_eq!(read_all(&world.partition(), 1).await, [(1, "new".to_owned())]);
    let image = world.metadata.image();
    assert_eq!((image.objects.len(), image.barred.len()), (1, 0));
}

#[tokio::test]
async fn retention_by_size_keeps_at_least_so_much() {
    let world = World::new(&[("retention.bytes", "150"), ("retention.ms", "-1")]).await;
    for value in ["a", "b", "c", "d"] {
        append(&world, batch(&[value])).unwrap().durable.await.unwrap();
        world.upload().await;
    }
    let size = batch(&["a"]).len();
    world.partitions.inner.retain().await;
    // As Kafka: a segment goes while what is left is still as large as the limit.
    let kept = 150_usize.div_ceil(size) as i64;
    assert_eq!(world.partition().offsets().log_start, 4 - kept);
}

async fn objects(world: &World) -> usize {
    use futures::TryStreamExt;
    let prefix = object_store::path::Path::from("segments");
    world.store.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test]
async fn beyond_the_bound_of_unuploaded_bytes_producers_are_held_back_until_the_store_keeps_up() {
    let size = batch(&["a"]).len();
    let world = World::with(&[], |config| config.unuploaded_bytes_max = 3 * size).await;
    for _ in 0..3 {
        append(&world, batch(&["a"])).unwrap().durable.await.unwrap();
    }
    assert_eq!(world.partitions.produce_throttle_ms(), 1_000);
    let refused = append(&world, batch(&["a"])).unwrap_err();
    assert_eq!((refused.code(), refused.kind()), (ResponseError::NotEnoughReplicas.code(), Kind::Target));
    world.upload().await;
    assert_eq!(world.partitions.produce_throttle_ms(), 0);
    assert_eq!(append(&world, batch(&["a"])).unwrap().base_offset, 3);
}

#[tokio::test]
async fn a_background_upload_starts_by_size_by_age_and_after_a_restart() {
    for (by_age, at_start) in [(false, false), (true, false), (false, true)] {
        let world = World::with(&[], |config| {
            config.segment_bytes = if by_age || at_start { usize::MAX } else { 200 };
            config.upload_at_start = at_start;
            config.segment_age_max = if by_age { Duration::from_millis(50) } else { Duration::MAX / 4 };
        });
        let mut world = world.await;
        let mut changes = world.metadata.changes();
        for _ in 0..3 {
            append(&world, batch(&["a"])).unwrap().durable.await.unwrap();
        }
        if at_start {
            world.restart().await;
        }
        let committed = async {
            while world.metadata.image().segments(TOPIC, 0).is_none_or(|held| held.ranges().is_empty()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), committed).await.unwrap();
    }
}

#[tokio::test]
async fn one_waiter_waits_on_many_partitions_and_is_told_of_the_first() {
    let world = World::new(&[]).await;
    let waiter = Arc::new(Notify::new());
    for index in 0..2 {
        let partition = world.partitions.get(TOPIC, index).unwrap();
        partition.notify_past(0, Isolation::ReadUncommitted, &waiter);
    }
    let mut told = Box::pin(waiter.notified());
    assert!(futures::poll!(&mut told).is_pending());
    append(&world, batch(&["a"])).unwrap().durable.await.unwrap();
    told.await;
    world.partition().wait_past(0, Isolation::ReadUncommitted).await;
}

#[tokio::test]
async fn a_deleted_topic_takes_nothing_more_and_its_bytes_no_longer_count() {
    let mut world = World::new(&[]).await;
    let partition = world.partition();
    append(&world, batch(&["a"])).unwrap().durable.await.unwrap();
    let deleted = TopicDeleted { topic_id: TOPIC };
    let image = world.metadata.propose(Entry::TopicDeleted(deleted)).await.unwrap();
    assert_eq!(
        code(partition.append(batch(&["b"]), Origin::Client)),
        ResponseError::UnknownTopicOrPartition.code()
    );
    world.partitions.inner.sync(&image);
    assert_eq!(world.partitions.inner.shared.unuploaded_bytes(), 0);
    assert!(world.partitions.get(TOPIC, 0).is_none());
    // Its records in the WAL are nobody's.
    world.restart().await;
    assert!(world.partitions.get(TOPIC, 0).is_none());
}

#[tokio::test]
async fn changed_configs_hold_from_the_next_append_on() {
    let world = World::new(&[]).await;
    append(&world, batch(&["abc"])).unwrap();
    let altered = ConfigsAltered {
        resource: ConfigResource::Topic("views".to_owned()),
        set: BTreeMap::from([("max.message.bytes".to_owned(), "60".to_owned())]),
        removed: Default::default(),
    };
    world.metadata.propose(Entry::ConfigsAltered(altered)).await.unwrap();
    assert_eq!(code(append(&world, batch(&["abc"]))), ResponseError::MessageTooLarge.code());
}
