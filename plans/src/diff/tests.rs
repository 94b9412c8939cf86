//! What the diff must find, and what it must not.

use proptest::prelude::*;

use super::*;
use crate::Side;

fn record(offset: i64) -> Record {
    Record {
        offset,
        timestamp_ms: 1_000 + offset,
        timestamp_type: TimestampType::CreateTime,
        key: Some(format!("key-{offset}").into_bytes()),
        value: Some(format!("value-{offset}").into_bytes()),
        headers: vec![("trace".into(), Some(vec![1, 2, 3])), ("trace".into(), None)],
    }
}

fn records(offsets: impl IntoIterator<Item = i64>) -> Vec<Record> {
    offsets.into_iter().map(record).collect()
}

/// The record that is at `of`, under another offset.
fn at(offset: i64, of: i64) -> Record {
    Record { offset, ..record(of) }
}

fn kinds(source: &[Record], target: &[Record]) -> Vec<(i64, DifferenceKind)> {
    compare(source, target).unwrap().into_iter().map(|d| (d.offset, d.kind)).collect()
}

fn digests(records: &[Record], from: i64, to: i64, width: u64) -> Vec<RangeDigest> {
    let mut digester = RangeDigester::new(from, width);
    let mut done: Vec<RangeDigest> = records.iter().flat_map(|r| digester.push(r).unwrap()).collect();
    done.extend(digester.finish(to));
    done
}

#[test]
fn equal_sides_give_no_false_alarm() {
    let same = records([0, 1, 2, 5, 9]);
    assert!(compare(&same, &same).unwrap().is_empty());
    assert!(unequal(&digests(&same, 0, 20, 4), &digests(&same, 0, 20, 4)).is_empty());
}

#[test]
fn a_missing_record_is_found_at_its_offset() {
    assert_eq!(kinds(&records(0..5), &records([0, 1, 3, 4])), [(2, DifferenceKind::Missing)]);
    assert_eq!(kinds(&records(0..5), &[]).len(), 5);
}

#[test]
fn an_extra_record_is_found_at_its_offset() {
    let mut target = records(0..5);
    target.push(record(77));
    assert_eq!(kinds(&records(0..5), &target), [(77, DifferenceKind::Extra)]);
}

#[test]
fn a_duplicated_record_names_the_one_it_repeats() {
    let mut target = records(0..5);
    target.push(at(5, 2));
    assert_eq!(kinds(&records(0..5), &target), [(5, DifferenceKind::Duplicated { of: 2 })]);
    // In the middle, everything behind it under another number.
    let target = [record(0), record(1), at(2, 1), at(3, 2)];
    let found = kinds(&records(0..3), &target);
    assert!(found.contains(&(2, DifferenceKind::Duplicated { of: 1 })), "{found:?}");
    assert!(matches!(&found[..], [(2, DifferenceKind::Altered { .. }), (2, _)]), "{found:?}");
}

#[test]
fn reordered_records_are_found_on_both_ends_of_the_exchange() {
    let target = [record(0), at(1, 2), at(2, 1), record(3)];
    assert_eq!(
        kinds(&records(0..4), &target),
        [
            (1, DifferenceKind::Reordered { target_offset: 2 }),
            (2, DifferenceKind::Reordered { target_offset: 1 })
        ]
    );
}

#[test]
fn a_record_dropped_in_front_of_others_is_one_missing_record_not_many() {
    let target = [record(0), at(1, 2), at(2, 3)];
    let found = kinds(&records(0..4), &target);
    assert_eq!(found[0], (1, DifferenceKind::Missing));
    for (_, kind) in &found[1..] {
        let DifferenceKind::Altered { changes } = kind else { panic!("{kind:?}") };
        assert_eq!(changes[0].field, Field::Offset);
    }
}

#[test]
fn each_altered_field_is_named_with_its_first_differing_byte() {
    type Alter = fn(&mut Record);
    let cases: [(Alter, Field, Option<u64>); 9] = [
        (|r| r.key = None, Field::Key, None),
        (|r| r.key = Some(b"key-X".to_vec()), Field::Key, Some(4)),
        (|r| r.value.as_mut().unwrap()[2] ^= 1, Field::Value, Some(2)),
        (|r| r.value.as_mut().unwrap().push(b'x'), Field::Value, Some(7)),
        (|r| r.timestamp_ms += 1, Field::Timestamp, None),
        (|r| r.timestamp_type = TimestampType::LogAppendTime, Field::TimestampType, None),
        (|r| r.headers[1].1 = Some(Vec::new()), Field::Header { index: 1, name: "trace".into() }, None),
        (|r| r.headers[0].0 = "Trace".into(), Field::HeaderName { index: 0 }, Some(0)),
        (|r| r.headers.truncate(1), Field::HeaderCount, None),
    ];
    for (alter, field, first_difference) in cases {
        let source = records(0..3);
        let mut target = source.clone();
        alter(&mut target[1]);
        let found = kinds(&source, &target);
        let [(1, DifferenceKind::Altered { changes })] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&changes[0].field, changes[0].first_difference), (&field, first_difference));
        assert_eq!(unequal(&digests(&source, 0, 3, 1), &digests(&target, 0, 3, 1)).len(), 1, "{field}");
    }
}

#[test]
fn null_and_empty_are_not_the_same() {
    let empty = Record { value: Some(Vec::new()), ..record(0) };
    let null = Record { value: None, ..record(0) };
    assert_ne!(empty.digest(), null.digest());
    let joined = Record { key: Some(b"ab".to_vec()), value: Some(b"c".to_vec()), ..record(0) };
    let parted = Record { key: Some(b"a".to_vec()), value: Some(b"bc".to_vec()), ..record(0) };
    assert_ne!(joined.digest(), parted.digest());
}

#[test]
fn a_reader_that_goes_back_is_refused() {
    let twice = [record(1), record(1)];
    assert_eq!(compare(&twice, &[]), Err(Unsorted { offset: 1, after: 1 }));
    assert!(compare_common(&[], &twice).is_err());
    let mut digester = RangeDigester::new(0, 4);
    digester.push(&record(3)).unwrap();
    assert_eq!(digester.push(&record(2)), Err(Unsorted { offset: 2, after: 3 }));
}

#[test]
fn ranges_are_cut_at_the_same_offsets_wherever_the_reading_began_to_be_resumed() {
    let all = records([3, 4, 9, 10, 11, 30]);
    let whole = digests(&all, 3, 40, 8);
    assert_eq!(
        whole.iter().map(|r| (r.from, r.to)).collect::<Vec<_>>(),
        [(3, 8), (8, 16), (16, 24), (24, 32), (32, 40)]
    );
    assert_eq!(whole.iter().map(|r| r.records).sum::<u64>(), 6);
    let resumed = digests(&all[2..], 8, 40, 8);
    assert_eq!(whole[1..], resumed);
    let combined = RangeDigest::combine(&whole).unwrap();
    assert_eq!((combined.from, combined.to, combined.records), (3, 40, 6));
    assert_eq!(RangeDigest::combine(&[whole[0], whole[2]]), None);
}

#[test]
fn a_compacted_side_may_have_dropped_old_records_and_nothing_else() {
    let keyed = |offset: i64, key: &str, value: Option<&str>| Record {
        key: Some(key.into()),
        value: value.map(|value| value.as_bytes().to_vec()),
        ..record(offset)
    };
    let finish = |source: &[Record], target: &[Record]| {
        let (mut one, mut other) = (CompactedDiff::default(), CompactedDiff::default());
        source.iter().for_each(|record| one.push(Side::Source, record));
        target.iter().for_each(|record| other.push(Side::Target, record));
        one.join(other).finish()
    };
    let old = keyed(1, "a", Some("1"));
    let latest = keyed(7, "a", Some("2"));
    let tombstone = keyed(8, "b", None);
    assert!(finish(std::slice::from_ref(&latest), &[old.clone(), latest.clone()]).is_empty());
    assert!(finish(std::slice::from_ref(&latest), &[latest.clone(), tombstone.clone()]).is_empty());
    let missing = Difference { offset: 7, kind: DifferenceKind::Missing };
    assert_eq!(finish(&[old.clone(), latest.clone()], std::slice::from_ref(&old)), [missing]);
    // The target still holds what a tombstone deleted: that tombstone is missing.
    let alive = keyed(2, "b", Some("1"));
    let missing = Difference { offset: 8, kind: DifferenceKind::Missing };
    assert_eq!(finish(std::slice::from_ref(&tombstone), &[alive]), [missing]);
    let repeated = Record { offset: 9, ..latest.clone() };
    let again = Difference { offset: 9, kind: DifferenceKind::Duplicated { of: 7 } };
    assert_eq!(finish(std::slice::from_ref(&latest), &[latest.clone(), repeated]), [again]);

    let altered = keyed(7, "a", Some("3"));
    let (found, compared) = compare_common(&[old, latest], &[altered, tombstone]).unwrap();
    assert_eq!((found.len(), found[0].offset, compared), (1, 7, 1));
}

#[test]
fn what_expired_on_one_side_is_left_out_of_the_comparison() {
    let range = |from, to| OffsetRange { from, to };
    assert_eq!(comparable(range(10, 90), range(30, 80)), range(30, 80));
    assert_eq!(comparable(range(50, 60), range(0, 40)), range(50, 50));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_is_found_by_digest_bisection_and_comparison(
        gaps in prop::collection::vec(1..4i64, 2..40), pick in any::<usize>(), what in 0..4u8, width in 1..20u64,
    ) {
        let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let end = offsets.last().unwrap() + 1;
        let source = records(offsets.clone());
        let mut target = source.clone();
        let index = pick % target.len();
        let victim = target[index].offset;
        match what {
            0 => { target.remove(index); }
            1 => target[index].value.as_mut().unwrap()[0] ^= 0x80,
            2 => target[index].timestamp_ms += 1,
            _ => target[index].headers.swap(0, 1),
        }
        let ranges = unequal(&digests(&source, 0, end, width), &digests(&target, 0, end, width));
        prop_assert_eq!(ranges.len(), 1);
        let within = |records: &[Record], range: OffsetRange| -> Vec<Record> {
            records.iter().filter(|r| r.offset >= range.from && r.offset < range.to).cloned().collect()
        };
        let mut bisection = Bisection::new(&ranges, 2);
        while let Some(range) = bisection.next() {
            let one = |records: &[Record]| digests(&within(records, range), range.from, range.to, u64::MAX);
            bisection.answer(one(&source) == one(&target));
        }
        let found: Vec<Difference> = bisection
            .small()
            .into_iter()
            .flat_map(|range| compare(&within(&source, range), &within(&target, range)).unwrap())
            .collect();
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert_eq!(found[0].offset, victim);
        prop_assert_eq!(matches!(found[0].kind, DifferenceKind::Missing), what == 0);
    }
}
