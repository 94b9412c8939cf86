//! Single rules, one by one.

use towpath_wire::batch::{Batch, BatchBuilder, ControlKind};

use super::model::{Given, pass, records, written};
use crate::partition::log_state::LogState;

fn data(producer: i64, records: &[(u8, bool)]) -> Given {
    Given::Data { producer, records: records.to_vec(), codec: 0, gap: 0 }
}

fn offsets(batches: &[Batch]) -> Vec<i64> {
    records(batches).into_iter().map(|(record, _)| record.offset).collect()
}

fn all(log: &LogState) -> (i64, i64) {
    (0, log.log_end)
}

#[test]
fn a_tombstone_gets_its_horizon_when_a_pass_first_sees_it_and_goes_when_that_has_passed() {
    let (batches, mut log) =
        written(&[data(4, &[(1, true)]), data(4, &[(1, false), (2, true)]), data(4, &[(3, true)])]);
    let bounds = all(&log);
    let (first, _) = pass(&batches, &mut log, bounds, 5_000, 100);
    assert_eq!(offsets(&first), [1, 2, 3]);
    assert_eq!((first[0].has_delete_horizon(), first[0].base_timestamp_ms()), (true, 5_100));
    assert!(!first[1].has_delete_horizon());
    let (early, _) = pass(&first, &mut log, bounds, 5_099, 100);
    assert_eq!(early, first, "not before its time, and the horizon does not move");
    let (late, _) = pass(&first, &mut log, bounds, 5_100, 100);
    assert_eq!(offsets(&late), [2, 3]);
}

#[test]
fn an_abort_marker_outlives_its_records_by_the_retention_and_is_then_forgotten() {
    let marker = Given::Marker { producer: 0, is_abort: true };
    let (batches, mut log) =
        written(&[data(0, &[(1, true)]), marker, data(0, &[(2, true)]), data(4, &[(1, true)])]);
    log.transactions.ended(0, log.log_end, false);
    let bounds = all(&log);
    let (first, _) = pass(&batches, &mut log, bounds, 5_000, 100);
    assert_eq!(offsets(&first), [2, 3], "what was aborted is gone at once");
    assert_eq!(first[0].control_kind(), Some(ControlKind::Abort));
    assert_eq!(log.transactions.aborted().count(), 1);
    let (second, _) = pass(&first, &mut log, bounds, 5_100, 100);
    assert!(second.iter().all(|batch| !batch.is_control()));
    assert_eq!(log.transactions.aborted().count(), 0);
}

#[test]
fn an_aborted_record_overwrites_nothing() {
    let marker = Given::Marker { producer: 0, is_abort: true };
    let (batches, mut log) =
        written(&[data(4, &[(1, true)]), data(0, &[(1, false)]), marker, data(4, &[(2, true)])]);
    let bounds = all(&log);
    let (after, _) = pass(&batches, &mut log, bounds, 5_000, 100);
    assert_eq!(offsets(&after), [0, 3]);
}

#[test]
fn a_pass_ends_where_its_map_is_full_and_the_next_goes_on_there() {
    let given: Vec<Given> = (0..30).map(|number| data(4, &[(number % 10 + 1, true), (20, true)])).collect();
    let (batches, mut log) = written(&given);
    let (mut left, mut from, mut passes) = (batches, 0, 0);
    while from < log.log_end {
        let (after, end) = pass(&left, &mut log, (from, 60), 5_000, 8);
        assert!(end > from && end % 2 == 0, "it goes on, by whole batches");
        (left, from, passes) = (after, end, passes + 1);
    }
    assert!(passes > 3);
    assert_eq!(offsets(&left), [40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 59]);
}

#[test]
fn the_last_batch_of_a_producer_and_the_last_below_the_end_stay_without_records() {
    let (batches, mut log) = written(&[
        data(3, &[(1, true)]),
        data(4, &[(2, true)]),
        data(4, &[(1, true), (2, true)]),
        data(4, &[(0, true)]),
    ]);
    let bounds = all(&log);
    let (after, end) = pass(&batches, &mut log, bounds, 5_000, 100);
    assert_eq!(end, 5);
    let found: Vec<_> = after.iter().map(|batch| (batch.base_offset(), batch.record_count())).collect();
    assert_eq!(found, [(0, 0), (2, 2), (4, 0)], "the producer's, the keys', and where the log ends");
    assert_eq!((after[0].producer_id(), after[0].last_sequence()), (3, 0));
}

#[test]
fn damage_is_an_error_and_not_a_record_that_goes() {
    let (batches, mut log) = written(&[data(4, &[(1, true)]), data(4, &[(1, true)])]);
    let mut bytes = batches[0].bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = Batch::new(bytes::Bytes::from(bytes)).unwrap();
    let bounds = all(&log);
    let known = std::sync::Arc::default();
    let map = super::super::key_map::KeyMap::new(1_000, 10, [0; 32]);
    let mut scan = super::super::key_scan::KeyScan::new(known, map, bounds);
    assert!(scan.add(&damaged).is_err());
    // Its records carry no producer: built as the model builds them.
    let marker = BatchBuilder::end_transaction(2, ControlKind::Other(7), (5, 0), 0, 0).build().unwrap();
    let odd = Batch::new(marker.freeze()).unwrap();
    let (after, _) = pass(&[batches[1].clone(), odd.clone()], &mut log, (0, 3), 5_000, 100);
    assert_eq!(after[1], odd, "a control record of another kind is not judged");
}
