use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::batch::{compress, split};

const BUDGET: usize = 1 << 20;

/// (magic, codec, message set): three messages as kafka-python 2.0.2 encodes them. The LZ4 frame of v0 has the
/// wrong header checksum of its time, and all compressed wrappers have offset 0.
const FROM_KAFKA_PYTHON: [(u8, u8, &str); 8] = [
    (
        0,
        0,
        "0000000000000000000000165ce46e700000000000026b300000000676307630763000000000000000010000000e7957\
         48e00000ffffffff0000000000000000000000020000000e3d314895000000000000ffffffff",
    ),
    (
        0,
        1,
        "000000000000000000000051c01f1b680001ffffffff000000431f8b08004a24046b02ff63608003b198277905601653\
         b60190642b330041a82c2310f355867b3c6060f80f04086d0c4c20195b438fa9102e4816003269497e56000000",
    ),
    (
        0,
        2,
        "00000000000000000000006696df1dff0002ffffffff0000005882534e41505059000000000100000001000000445600\
         00190110165ce46e70050f20026b3000000006763001020512400000010000000e795748e00000ffffffff0d16010100\
         02011a343d314895000000000000ffffffff",
    ),
    (
        0,
        3,
        "000000000000000000000063b8ac9bcd0003ffffffff0000005504224d1860401a460000001600010051165ce46e700f\
         0090026b300000000676300200011200f0020000010000000e795748e00000ffffffff130003020010021a00e03d3148\
         95000000000000ffffffff00000000",
    ),
    (
        1,
        0,
        "00000000000000000000001eaf485ae701000000015d3ef79800000000026b3000000006763076307630000000000000\
         0001000000160436f5e401000000015d3ef79805ffffffff00000000000000000000000200000016334a8c1b01000000\
         015d3ef7980300000000ffffffff",
    ),
    (
        1,
        1,
        "000000000000000000000065794c367b01010000000000000000ffffffff0000004f1f8b08004a24046b02ff63608003\
         b9f51e51cf19810cc658bbef3340224cd9064092adcc0004a1aa400ac458ccbe3e81ab64fd0f0408631898402a8cbd7a\
         a4e12a9841c2205500afbe28b66e000000",
    ),
    (
        1,
        2,
        "00000000000000000000007eb37bb19801020000000000000000ffffffff0000006882534e4150505900000000010000\
         0001000000546e00001901341eaf485ae701000000015d3ef798011820026b3000000006763001020111080000000121\
         10160436f5e40109052a1005ffffffff011b0d01200200000016334a8c1b1522200300000000ffffffff",
    ),
    (
        1,
        3,
        "00000000000000000000007fc9c88c9e01030000000000000000ffffffff0000006904224d1868406e00000000000000\
         155200000016000100e01eaf485ae701000000015d3ef798180090026b300000000676300200001100001d0085000000\
         160436f5e42a005105ffffffff1c000202001002220045334a8c1b2200900300000000ffffffff00000000",
    ),
];

fn from_hex(hex: &str) -> Bytes {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A message as the protocol's documentation describes it.
fn message(
    (magic, attributes): (u8, u8),
    offset: i64,
    timestamp_ms: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.put_i64(timestamp_ms);
    }
    for blob in [key, value] {
        match blob {
            Some(blob) => {
                body.put_i32(blob.len() as i32);
                body.put_slice(blob);
            }
            None => body.put_i32(-1),
        }
    }
    let mut out = Vec::new();
    out.put_i64(offset);
    out.put_i32(body.len() as i32 + 4);
    out.put_u32(crc32fast::hash(&body));
    out.put_slice(&body);
    out
}

type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// (offset, timestamp, key, value) of everything in converted bytes, and the batches' headers.
fn read(converted: BytesMut) -> (Vec<Row>, Vec<Batch>) {
    let batches: Vec<Batch> = split(converted.freeze()).map(Result::unwrap).collect();
    let mut rows = Vec::new();
    for batch in &batches {
        batch.check_crc().unwrap();
        for record in batch.records(BUDGET).unwrap() {
            let record = record.unwrap();
            assert!(record.headers.is_empty());
            let (key, value) = (record.key.map(|key| key.to_vec()), record.value.map(|value| value.to_vec()));
            rows.push((record.offset, record.timestamp_ms, key, value));
        }
    }
    (rows, batches)
}

fn values(converted: BytesMut) -> Vec<(i64, Vec<u8>)> {
    read(converted).0.into_iter().map(|(offset, _, _, value)| (offset, value.unwrap())).collect()
}

#[test]
fn every_format_and_codec_of_another_client_converts_with_all_it_holds() {
    for (magic, codec, hex) in FROM_KAFKA_PYTHON {
        for convert in [up_convert, |bytes, bytes_max| up_convert_keeping_offsets(bytes, 0, bytes_max)] {
            let set = from_hex(hex);
            assert!(needs_conversion(&set));
            let (rows, batches) = read(convert(set, BUDGET).unwrap());
            let time = |ms: i64| if magic == 0 { -1 } else { 1_500_000_000_000 + ms };
            let expected: Vec<Row> = vec![
                (0, time(0), Some(b"k0".to_vec()), Some(b"v0v0v0".to_vec())),
                (1, time(5), None, Some(vec![])),
                (2, time(3), Some(vec![]), None),
            ];
            assert_eq!(rows, expected, "v{magic} codec {codec}");
            assert_eq!(batches.len(), 1);
            assert_eq!(batches[0].codec().unwrap() as u8, codec);
            assert_eq!(batches[0].timestamp_type(), TimestampType::CreateTime);
            assert_eq!(batches[0].max_timestamp_ms(), time(5));
            batches[0].check_produced().unwrap();
        }
    }
}

#[test]
fn produced_offsets_count_up_whatever_the_client_wrote() {
    let mut set = Vec::new();
    for offset in [0, 0, 17, 3] {
        set.extend(message((1, 0), offset, 5, None, Some(b"x")));
    }
    let set = Bytes::from(set);
    let (rows, batches) = read(up_convert(set.clone(), BUDGET).unwrap());
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(batches.len(), 1);
    let kept = up_convert_keeping_offsets(set, 0, BUDGET);
    assert!(matches!(kept, Err(ConvertError::Message { .. })), "a log never goes back");
}

#[test]
fn offsets_from_a_log_are_kept_with_their_gaps() {
    let inner: Vec<u8> = [(0, b"a"), (1, b"b"), (4, b"c")]
        .into_iter()
        .flat_map(|(relative, value)| message((1, 0), relative, 9, None, Some(value)))
        .collect();
    let wrapper = message((1, 1), 104, 9, None, Some(&compress(Codec::Gzip, &inner).unwrap()));
    let mut set = message((1, 0), 90, 9, None, Some(b"x"));
    set.extend(message((1, 0), 95, 9, None, Some(b"y")));
    set.extend(wrapper);
    let far = 105 + (1 << 33);
    set.extend(message((1, 0), 105, 9, None, Some(b"z")));
    set.extend(message((1, 0), far, 9, None, Some(b"far")));
    let expected: Vec<(i64, Vec<u8>)> =
        [(90, "x"), (95, "y"), (100, "a"), (101, "b"), (104, "c"), (105, "z"), (far, "far")]
            .map(|(offset, value)| (offset, value.into()))
            .to_vec();
    let set = Bytes::from(set);
    for (from, skipped) in [(0, 0), (90, 0), (91, 1), (95, 1), (101, 3), (105, 5), (106, 6)] {
        let kept = values(up_convert_keeping_offsets(set.clone(), from, BUDGET).unwrap());
        assert_eq!(kept, expected[skipped..], "from {from}");
    }
}

#[test]
fn v0_wrappers_hold_absolute_offsets() {
    let inner: Vec<u8> =
        [40, 43].into_iter().flat_map(|offset| message((0, 0), offset, 0, None, Some(b"a"))).collect();
    let wrapper = message((0, 2), 43, 0, None, Some(&compress(Codec::Snappy, &inner).unwrap()));
    let converted = up_convert_keeping_offsets(Bytes::from(wrapper), 0, BUDGET).unwrap();
    assert_eq!(values(converted), [(40, b"a".to_vec()), (43, b"a".to_vec())]);
}

#[test]
fn log_append_time_stays_what_it_is() {
    let inner: Vec<u8> = (0..2).flat_map(|relative| message((1, 0), relative, 5, None, Some(b"a"))).collect();
    let mut set = message((1, 8 | 1), 1, 777, None, Some(&compress(Codec::Gzip, &inner).unwrap()));
    set.extend(message((1, 8), 2, 800, None, Some(b"b")));
    set.extend(message((1, 8), 3, 801, None, Some(b"c")));
    set.extend(message((1, 0), 4, 5, None, Some(b"d")));
    let (rows, batches) = read(up_convert_keeping_offsets(Bytes::from(set), 0, BUDGET).unwrap());
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [777, 777, 800, 801, 5]);
    let types: Vec<_> = batches.iter().map(Batch::timestamp_type).collect();
    let (append, create) = (TimestampType::LogAppendTime, TimestampType::CreateTime);
    assert_eq!(types, [append, append, append, create]);
}

#[test]
fn long_runs_are_cut_and_large_messages_stand_alone() {
    let set: Vec<u8> =
        (0..20).flat_map(|offset| message((1, 0), offset, 1, None, Some(&[7; 60_000]))).collect();
    let (rows, batches) = read(up_convert(Bytes::from(set), BUDGET).unwrap());
    assert_eq!(rows.len(), 20);
    assert_eq!(batches.len(), 5);
    assert!(batches.iter().all(|batch| batch.size_bytes() <= RUN_BYTES_MAX));
    assert!(batches.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset()));
}

#[test]
fn newer_batches_among_old_messages_pass() {
    let mut builder = BatchBuilder::new(3);
    builder.append(1, None, Some(b"new"), &[]);
    let mut set = message((0, 0), 2, 0, None, Some(b"old"));
    set.extend_from_slice(&builder.build().unwrap());
    let set = Bytes::from(set);
    let kept = values(up_convert_keeping_offsets(set.clone(), 0, BUDGET).unwrap());
    assert_eq!(kept, [(2, b"old".to_vec()), (3, b"new".to_vec())]);
    assert_eq!(values(up_convert(set, BUDGET).unwrap()), [(0, b"old".to_vec()), (1, b"new".to_vec())]);
}

#[test]
fn a_cut_end_is_an_error_for_producers_and_left_out_for_fetches() {
    let mut set = message((1, 0), 0, 1, None, Some(b"a"));
    let whole = set.len();
    set.extend_from_slice(&message((1, 0), 1, 1, None, Some(b"b"))[..20]);
    let set = Bytes::from(set);
    assert_eq!(up_convert(set.clone(), BUDGET), Err(ConvertError::Truncated { position: whole }));
    assert_eq!(values(up_convert_keeping_offsets(set, 0, BUDGET).unwrap()), [(0, b"a".to_vec())]);
}

#[test]
fn corrupt_messages_are_refused_outside_and_inside_wrappers() {
    let mut plain = message((1, 0), 0, 1, None, Some(b"abc"));
    *plain.last_mut().unwrap() ^= 1;
    assert!(matches!(up_convert(plain.clone().into(), BUDGET), Err(ConvertError::Crc { position: 0, .. })));
    let wrapper = message((1, 1), 0, 1, None, Some(&compress(Codec::Gzip, &plain).unwrap()));
    assert!(matches!(up_convert(wrapper.into(), BUDGET), Err(ConvertError::Crc { position: 0, .. })));
    let nested = message((1, 0), 0, 1, None, Some(b"abc"));
    let nested = message((1, 1), 0, 1, None, Some(&compress(Codec::Gzip, &nested).unwrap()));
    let nested = message((1, 1), 0, 1, None, Some(&compress(Codec::Gzip, &nested).unwrap()));
    assert!(matches!(up_convert(nested.into(), BUDGET), Err(ConvertError::Message { .. })));
    let empty = message((1, 1), 0, 1, None, Some(&compress(Codec::Gzip, b"").unwrap()));
    assert!(matches!(up_convert(empty.into(), BUDGET), Err(ConvertError::Message { .. })));
    let zstd = message((1, 4), 0, 1, None, Some(&compress(Codec::Zstd, b"x").unwrap()));
    assert!(matches!(up_convert(zstd.into(), BUDGET), Err(ConvertError::Message { .. })));
}

#[test]
fn all_wrappers_together_share_one_budget() {
    let inner = message((1, 0), 0, 1, None, Some(&[0; 1000]));
    let wrapper = message((1, 1), 0, 1, None, Some(&compress(Codec::Gzip, &inner).unwrap()));
    let set = Bytes::from(wrapper.repeat(3));
    assert!(up_convert(set.clone(), 3 * inner.len()).is_ok());
    let bytes_max = 3 * inner.len() - 1;
    assert_eq!(up_convert(set, bytes_max), Err(BatchError::Budget { bytes_max }.into()));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut data in prop::collection::vec(any::<u8>(), 0..200), magic in 0u8..3) {
        if let Some(at) = data.get_mut(message::MAGIC) {
            *at = magic;
        }
        let _ = up_convert(Bytes::from(data.clone()), 4096);
        let _ = up_convert_keeping_offsets(Bytes::from(data), 0, 4096);
    }

    #[test]
    fn mutated_message_sets_with_right_checksums_never_panic(
        which in 0usize..8,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut set = from_hex(FROM_KAFKA_PYTHON[which].2).to_vec();
        for (at, value) in mutations {
            let at = at.index(set.len());
            set[at] = value;
        }
        let _ = up_convert(Bytes::from(set.clone()), 4096);
        // Behind the CRC, too, where the first message's size still holds.
        let size = i32::from_be_bytes([set[8], set[9], set[10], set[11]]);
        if let Some(body) = usize::try_from(size).ok().and_then(|size| set.get(16..12 + size)) {
            let crc = crc32fast::hash(body);
            set[12..16].copy_from_slice(&crc.to_be_bytes());
            let _ = up_convert(Bytes::from(set.clone()), 4096);
            let _ = up_convert_keeping_offsets(Bytes::from(set), 0, 4096);
        }
    }

    #[test]
    fn any_messages_convert_with_their_content(
        rows in prop::collection::vec(
            (any::<i64>(), any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..20),
        magic in 0u8..2,
        codec in 0usize..4,
    ) {
        let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4][codec];
        let mut set = Vec::new();
        for (index, (time, key, value)) in rows.iter().enumerate() {
            set.extend(message((magic, 0), index as i64, *time, key.as_deref(), value.as_deref()));
        }
        if codec != Codec::None {
            let value = compress(codec, &set).unwrap();
            set = message((magic, codec as u8), rows.len() as i64 - 1, 0, None, Some(&value));
        }
        let (read, batches) = read(up_convert(Bytes::from(set), BUDGET).unwrap());
        prop_assert_eq!(batches[0].codec().unwrap(), codec);
        prop_assert_eq!(read.len(), rows.len());
        for (index, ((offset, time, key, value), row)) in read.iter().zip(&rows).enumerate() {
            prop_assert_eq!(*offset, index as i64);
            prop_assert_eq!(*time, if magic == 0 { -1 } else { row.0 });
            prop_assert_eq!((key, value), (&row.1, &row.2));
        }
    }
}
