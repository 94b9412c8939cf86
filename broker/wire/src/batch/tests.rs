use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType as CrateTimestampType,
};
use proptest::prelude::*;

use super::*;

const BUDGET: usize = 8 << 20;
const CODECS: [(Codec, Compression); 5] = [
    (Codec::None, Compression::None),
    (Codec::Gzip, Compression::Gzip),
    (Codec::Snappy, Compression::Snappy),
    (Codec::Lz4, Compression::Lz4),
    (Codec::Zstd, Compression::Zstd),
];

fn crate_record(offset: i64, timestamp: i64, key: Option<Bytes>, value: Option<Bytes>) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: 4711,
        producer_epoch: 3,
        timestamp_type: CrateTimestampType::Creation,
        offset,
        sequence: (offset - 1000) as i32,
        timestamp,
        key,
        value,
        headers: IndexMap::from([(StrBytes::from_static_str("trace"), Some(Bytes::from_static(b"on")))]),
    }
}

/// A batch as the crate encodes it: an implementation that is not ours.
fn crate_batch(compression: Compression, records: &[Record]) -> Bytes {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut out, records, &options).unwrap();
    out.freeze()
}

fn three_records() -> Vec<Record> {
    vec![
        crate_record(1000, 50, Some(Bytes::from_static(b"k")), Some(Bytes::from(vec![b'x'; 100_000]))),
        crate_record(1001, 40, None, Some(Bytes::from_static(b""))),
        crate_record(1002, 60, Some(Bytes::from_static(b"")), None),
    ]
}

fn built(base_offset: i64, count: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(base_offset);
    for index in 0..count {
        builder.append(100 + index as i64, Some(b"key"), Some(b"value"), &[(b"h", None), (b"h", Some(b"2"))]);
    }
    builder.build().unwrap()
}

#[test]
fn a_header_reads_as_another_implementation_wrote_it() {
    let batch = Batch::new(crate_batch(Compression::None, &three_records())).unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.next_offset()), (1000, 1002, 1003));
    assert_eq!((batch.leader_epoch(), batch.magic()), (7, 2));
    assert_eq!((batch.producer_id(), batch.producer_epoch()), (4711, 3));
    assert_eq!((batch.base_sequence(), batch.last_sequence()), (0, 2));
    assert_eq!((batch.record_count(), batch.last_offset_delta()), (3, 2));
    assert_eq!(batch.max_timestamp_ms(), 60);
    assert_eq!(batch.timestamp_type(), TimestampType::CreateTime);
    assert!(!batch.is_transactional() && !batch.is_control());
    assert_eq!(batch.control_kind(), None);
    batch.check_crc().unwrap();
    batch.check_produced().unwrap();
}

#[test]
fn records_of_every_codec_read_as_another_implementation_wrote_them() {
    for (codec, compression) in CODECS {
        let records = three_records();
        let batch = Batch::new(crate_batch(compression, &records)).unwrap();
        assert_eq!(batch.codec(), Ok(codec));
        let read: Vec<_> = batch.records(BUDGET).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 3, "{codec:?}");
        for (read, written) in read.iter().zip(&records) {
            assert_eq!((read.offset, read.timestamp_ms), (written.offset, written.timestamp));
            assert_eq!((&read.key, &read.value), (&written.key, &written.value));
            assert_eq!(read.headers, [(Bytes::from_static(b"trace"), Some(Bytes::from_static(b"on")))]);
        }
    }
}

#[test]
fn another_implementation_reads_what_the_builder_writes_in_every_codec() {
    for (codec, compression) in CODECS {
        let mut builder = BatchBuilder::new(5).codec(codec).producer(9, 1, 70).leader_epoch(2);
        for index in 0..200 {
            builder.append(1000 - index, Some(b"key"), Some(&[b'v'; 700]), &[(b"name", Some(b"x"))]);
        }
        let mut bytes = builder.build().unwrap().freeze();
        let batch = Batch::new(bytes.clone()).unwrap();
        assert_eq!(batch.records(BUDGET).unwrap().map(Result::unwrap).count(), 200, "{codec:?}");
        assert_eq!((batch.base_timestamp_ms(), batch.max_timestamp_ms()), (1000, 1000));
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        assert_eq!((set.records.len(), set.compression), (200, compression));
        let last = &set.records[199];
        assert_eq!((last.offset, last.timestamp, last.sequence), (204, 801, 269));
        assert_eq!((last.producer_id, last.producer_epoch, last.partition_leader_epoch), (9, 1, 2));
    }
}

#[test]
fn raw_snappy_without_framing_is_read_too() {
    let data = vec![7u8; 5000];
    let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, BUDGET).unwrap(), data);
    assert_eq!(decompress(Codec::Snappy, &raw, 4999), Err(BatchError::Budget { bytes_max: 4999 }));
}

#[test]
fn decompression_stops_at_its_budget() {
    let data = vec![0u8; 1 << 20];
    for (codec, _) in &CODECS[1..] {
        let compressed = compress(*codec, &data).unwrap();
        assert_eq!(decompress(*codec, &compressed, 1 << 20).unwrap(), data, "{codec:?}");
        let over = decompress(*codec, &compressed, (1 << 20) - 1);
        assert_eq!(over, Err(BatchError::Budget { bytes_max: (1 << 20) - 1 }), "{codec:?}");
    }
}

#[test]
fn duplicate_headers_keep_their_order() {
    let batch = Batch::new(built(0, 1).freeze()).unwrap();
    let record = batch.records(BUDGET).unwrap().next().unwrap().unwrap();
    let name = Bytes::from_static(b"h");
    assert_eq!(record.headers, [(name.clone(), None), (name, Some(Bytes::from_static(b"2")))]);
}

#[test]
fn split_shares_the_allocation_and_reports_a_truncated_end() {
    let mut all = built(0, 3);
    all.extend_from_slice(&built(3, 2));
    let whole = all.len();
    all.extend_from_slice(&built(5, 4)[..70]);
    let all = all.freeze();
    let parts: Vec<_> = split(all.clone()).collect();
    assert_eq!(parts.len(), 3);
    let (first, second) = (parts[0].as_ref().unwrap(), parts[1].as_ref().unwrap());
    assert_eq!(first.bytes().as_ptr(), all.as_ptr());
    assert_eq!((first.base_offset(), second.base_offset(), second.last_offset()), (0, 3, 4));
    let Err(BatchError::Truncated { position, available, .. }) = parts[2] else { panic!("{:?}", parts[2]) };
    assert_eq!((position, available), (whole, 70));
    assert!(views(&all).zip(&parts).all(|(view, part)| match (view, part) {
        (Ok(view), Ok(part)) => view == part.view(),
        (view, part) => view.err().as_ref() == part.as_ref().err(),
    }));
}

#[test]
fn old_formats_and_nonsense_are_told_apart() {
    let mut bytes = built(0, 1);
    bytes[16] = 1;
    assert_eq!(views(&bytes).next(), Some(Err(BatchError::OldFormat { position: 0, magic: 1 })));
    bytes[16] = 3;
    assert_eq!(views(&bytes).next(), Some(Err(BatchError::Magic { position: 0, magic: 3 })));
    bytes[16] = 2;
    bytes[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert_eq!(views(&bytes).next(), Some(Err(BatchError::Length { position: 0, length: 48 })));
    bytes[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(views(&bytes).next(), Some(Err(BatchError::Length { position: 0, length: -1 })));
}

#[test]
fn patches_outside_the_crc_leave_it_valid() {
    let mut bytes = built(0, 3);
    patch_base_offset(&mut bytes, 1 << 40);
    patch_leader_epoch(&mut bytes, 12);
    let batch = Batch::new(bytes.freeze()).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(
        (batch.base_offset(), batch.last_offset(), batch.leader_epoch()),
        (1 << 40, (1 << 40) + 2, 12)
    );
}

#[test]
fn log_append_time_is_every_records_timestamp_and_the_crc_follows() {
    let mut bytes = built(0, 3);
    let size = bytes.len();
    bytes.extend_from_slice(&built(3, 1));
    patch_log_append_time(&mut bytes, 999);
    let batches: Vec<_> = split(bytes.freeze()).map(Result::unwrap).collect();
    assert_eq!(batches[0].size_bytes(), size);
    assert_eq!(batches[0].timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batches[0].max_timestamp_ms(), 999);
    batches[0].check_crc().unwrap();
    batches[1].check_crc().unwrap();
    assert!(batches[0].records(BUDGET).unwrap().all(|record| record.unwrap().timestamp_ms == 999));
    assert_eq!(batches[1].timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn a_flipped_bit_anywhere_under_the_crc_is_found() {
    let good = built(0, 2);
    for at in 17..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let batch = Batch::new(bad.freeze()).unwrap();
        assert!(matches!(batch.check_crc(), Err(BatchError::Crc { .. })), "byte {at}");
    }
}

#[test]
fn end_transaction_markers_say_what_they_are() {
    for kind in [ControlKind::Abort, ControlKind::Commit] {
        let bytes = BatchBuilder::end_transaction(77, kind, (5, 2), 11, 123).build().unwrap().freeze();
        let batch = Batch::new(bytes.clone()).unwrap();
        assert_eq!(batch.control_kind(), Some(kind));
        assert!(batch.is_control() && batch.is_transactional());
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (5, 2, -1));
        assert!(batch.check_produced().is_err());
        let record = batch.records(BUDGET).unwrap().next().unwrap().unwrap();
        assert_eq!(record.value, Some(Bytes::from_static(&[0, 0, 0, 0, 0, 11])));
        let decoded = RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
        assert!(decoded.records[0].control && decoded.records[0].transactional);
    }
}

#[test]
fn gaps_are_kept_and_going_back_is_refused() {
    let mut builder = BatchBuilder::new(10);
    assert!(builder.append_at(12, 1, None, Some(b"a")));
    assert!(!builder.append_at(12, 1, None, Some(b"b")));
    assert!(!builder.append_at(10 + (1 << 31), 1, None, Some(b"b")));
    assert!(builder.append_at(20, 1, None, Some(b"c")));
    let batch = Batch::new(builder.build().unwrap().freeze()).unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.record_count()), (10, 20, 2));
    let offsets: Vec<_> = batch.records(BUDGET).unwrap().map(|record| record.unwrap().offset).collect();
    assert_eq!(offsets, [12, 20]);
    assert!(batch.check_produced().is_err(), "a client may not leave gaps");
}

#[test]
fn sequences_wrap_as_the_producers_do() {
    let mut builder = BatchBuilder::new(0).producer(1, 0, i32::MAX);
    builder.append(0, None, None, &[]);
    builder.append(0, None, None, &[]);
    let batch = Batch::new(builder.build().unwrap().freeze()).unwrap();
    assert_eq!((batch.base_sequence(), batch.last_sequence()), (i32::MAX, 0));
}

#[test]
fn a_record_count_that_lies_is_an_error_not_an_allocation() {
    for count in [-1, 0, 1, 4, i32::MAX] {
        let mut bytes = built(0, 3);
        bytes[57..61].copy_from_slice(&i32::to_be_bytes(count));
        let batch = Batch::new(bytes.freeze()).unwrap();
        let failed = match batch.records(BUDGET) {
            Ok(mut records) => records.any(|record| record.is_err()),
            Err(_) => true,
        };
        assert!(failed, "count {count}");
    }
}

proptest! {
    #[test]
    fn varints_round_trip(value: i64) {
        let mut out = Vec::new();
        varint::write(&mut out, value);
        prop_assert_eq!(out.len(), varint::size(value));
        prop_assert_eq!(varint::read(&out), Some((value, out.len())));
    }

    #[test]
    fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(Bytes::from(data));
    }

    #[test]
    fn mutated_batches_never_panic(
        codec in 0usize..5,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut builder = BatchBuilder::new(3).codec(CODECS[codec].0);
        for index in 0..20 {
            builder.append(index, Some(b"key"), Some(&[b'v'; 40]), &[(b"h", Some(b"v"))]);
        }
        let mut bytes = builder.build().unwrap();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let cut = bytes.len() - cut.index(bytes.len()) / 8;
        bytes.truncate(cut);
        exercise(bytes.freeze());
    }

    #[test]
    fn built_batches_read_back(
        records in prop::collection::vec(
            (any::<i64>(), any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..30),
        codec in 0usize..5,
        base in 0i64..1 << 60,
    ) {
        let mut builder = BatchBuilder::new(base).codec(CODECS[codec].0);
        for (timestamp, key, value) in &records {
            builder.append(*timestamp, key.as_deref(), value.as_deref(), &[]);
        }
        let batch = Batch::new(builder.build().unwrap().freeze()).unwrap();
        batch.check_crc().unwrap();
        batch.check_produced().unwrap();
        let read: Vec<_> = batch.records(BUDGET).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for (index, (read, (timestamp, key, value))) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(read.offset, base + index as i64);
            prop_assert_eq!(read.timestamp_ms, *timestamp);
            prop_assert_eq!(read.key.as_deref(), key.as_deref());
            prop_assert_eq!(read.value.as_deref(), value.as_deref());
        }
    }
}

/// Calls everything on whatever batches the bytes hold.
fn exercise(bytes: Bytes) {
    for batch in split(bytes).flatten() {
        let _ = (batch.check_crc(), batch.check_produced(), batch.control_kind(), batch.last_sequence());
        let _ = (batch.last_offset(), batch.next_offset(), format!("{batch:?}"));
        if let Ok(records) = batch.records(1 << 16) {
            assert!(records.remaining() <= 1 << 16);
            records.for_each(drop);
        }
        let mut patched = BytesMut::from(batch.bytes().as_ref());
        patch_log_append_time(&mut patched, 5);
        Batch::new(patched.freeze()).unwrap().check_crc().unwrap();
    }
}
