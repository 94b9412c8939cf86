use bytes::{Bytes, BytesMut};
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, ControlKind, RecordView};

const BUDGET: usize = 8 << 20;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Timestamp, key, value, and whether there are headers.
type Sent = (i64, Option<Vec<u8>>, Option<Vec<u8>>, bool);

#[derive(Clone, Debug)]
struct Given {
    records: Vec<Sent>,
    codec: Codec,
    by_broker: bool,
}

impl Given {
    fn batch(&self) -> Batch<Bytes> {
        let time = if self.by_broker { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let mut builder = BatchBuilder::new(1_000)
            .leader_epoch(7)
            .producer(4_711, 3, 20)
            .transactional()
            .codec(self.codec)
            .timestamp_type(time);
        for (timestamp_ms, key, value, has_headers) in &self.records {
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None), (b"h", Some(b"2"))];
            let headers = if *has_headers { headers } else { &[] };
            builder.append(*timestamp_ms, key.as_deref(), value.as_deref(), headers);
        }
        Batch::new(builder.build().unwrap().freeze()).unwrap()
    }
}

fn given() -> impl Strategy<Value = Given> {
    let blob = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let record = (0_i64..2_000_000_000_000, blob(), blob(), any::<bool>());
    let records = proptest::collection::vec(record, 1..30);
    (records, proptest::sample::select(&CODECS[..]), any::<bool>())
        .prop_map(|(records, codec, by_broker)| Given { records, codec, by_broker })
}

fn records(batch: &Batch<Bytes>) -> Vec<RecordView> {
    batch.records(BUDGET).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn what_stays_is_what_was_and_the_header_tells_the_same_place_and_producer(
        given in given(),
        bits in any::<u32>(),
        horizon_ms in proptest::option::of(1_i64..3_000_000_000_000),
    ) {
        let before = given.batch();
        let keep: Vec<bool> = (0..given.records.len()).map(|index| bits >> index & 1 == 1).collect();
        let rebuilt = before.open(BUDGET).unwrap().rebuild(&keep, horizon_ms).unwrap();
        let after = Batch::new(rebuilt).unwrap();
        after.check_crc().unwrap();

        let expected: Vec<RecordView> = records(&before)
            .into_iter()
            .zip(&keep)
            .filter_map(|(record, keep)| keep.then_some(record))
            .collect();
        let found = records(&after);
        prop_assert_eq!(&found, &expected);
        let fields = |batch: &Batch<Bytes>| {
            let places = (batch.base_offset(), batch.last_offset(), batch.leader_epoch());
            let producer = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
            (places, producer, batch.codec(), batch.timestamp_type(), batch.is_transactional())
        };
        prop_assert_eq!(fields(&after), fields(&before));
        prop_assert_eq!(after.record_count() as usize, expected.len());
        prop_assert_eq!(after.has_delete_horizon(), horizon_ms.is_some());
        prop_assert_eq!(after.base_timestamp_ms(), horizon_ms.unwrap_or(before.base_timestamp_ms()));
        let max = expected.iter().map(|record| record.timestamp_ms).max().unwrap_or(-1);
        prop_assert_eq!(after.max_timestamp_ms(), if given.by_broker { before.max_timestamp_ms() } else { max });
        // Another implementation reads it too.
        if !expected.is_empty() {
            let decoded = RecordBatchDecoder::decode(&mut after.into_bytes()).unwrap();
            let theirs: Vec<_> = decoded.records.into_iter().map(|record| (record.offset, record.key, record.value)).collect();
            let ours: Vec<_> = expected.into_iter().map(|record| (record.offset, record.key, record.value)).collect();
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn a_raw_record_is_the_record(given in given()) {
        let batch = given.batch();
        let open = batch.open(BUDGET).unwrap();
        for ((raw, record), sent) in open.records().zip(records(&batch)).zip(&given.records) {
            let raw = raw.unwrap();
            prop_assert_eq!((raw.offset, raw.key), (record.offset, record.key.as_deref()));
            prop_assert_eq!((raw.timestamp_ms, raw.is_tombstone), (sent.0, sent.2.is_none()));
        }
        prop_assert_eq!(open.records().count(), given.records.len());
    }

    #[test]
    fn damage_is_told_and_never_laundered(given in given(), at in 21_usize..4_000, bit in 0_u8..8) {
        let mut bytes = BytesMut::from(&given.batch().into_bytes()[..]);
        let at = at % bytes.len();
        prop_assume!(at >= 21);
        bytes[at] ^= 1 << bit;
        let damaged = Batch::new(bytes.freeze()).unwrap();
        prop_assert!(damaged.open(BUDGET).is_err());
    }
}

#[test]
fn an_emptied_batch_still_tells_its_offsets_and_its_producer() {
    for codec in CODECS {
        let sent = (50, Some(b"k".to_vec()), None, false);
        let given = Given { records: vec![sent.clone(), sent], codec, by_broker: false };
        let with_horizon = given.batch().open(BUDGET).unwrap().rebuild(&[true, true], Some(9)).unwrap();
        let after = Batch::new(Batch::new(with_horizon).unwrap().emptied()).unwrap();
        after.check_crc().unwrap();
        assert_eq!((after.base_offset(), after.last_offset(), after.record_count()), (1_000, 1_001, 0));
        assert_eq!((after.producer_id(), after.base_sequence(), after.last_sequence()), (4_711, 20, 21));
        assert_eq!((after.max_timestamp_ms(), after.base_timestamp_ms()), (50, -1));
        assert_eq!((after.codec().unwrap(), after.has_delete_horizon()), (Codec::None, false));
        assert!(records(&after).is_empty());
        assert_eq!(after.open(BUDGET).unwrap().records().count(), 0);
        assert_eq!(after.emptied(), *after.bytes());
    }
}

#[test]
fn a_marker_with_a_horizon_still_says_what_it_said() {
    let marker = BatchBuilder::end_transaction(8, ControlKind::Abort, (5, 1), 3, 70).build().unwrap();
    let marker = Batch::new(marker.freeze()).unwrap();
    let after = Batch::new(marker.open(BUDGET).unwrap().rebuild(&[true], Some(1_000)).unwrap()).unwrap();
    assert_eq!((after.control_kind(), after.has_delete_horizon()), (Some(ControlKind::Abort), true));
    assert_eq!(records(&after), records(&marker));
}
