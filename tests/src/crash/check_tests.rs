use super::super::ledger::{Sent, digest_of};
use super::*;

const SEED: u64 = 7;

/// Two producers, one of them idempotent, 20 records each over two partitions, all acknowledged and read back.
fn sound() -> (Vec<Ledger>, BTreeMap<i32, ReadBack>) {
    let mut ledgers: Vec<Ledger> =
        [true, false].map(|idempotent| Ledger { idempotent, ..Ledger::default() }).to_vec();
    let mut read: BTreeMap<i32, ReadBack> = BTreeMap::new();
    for number in 0..20 {
        for (producer, ledger) in ledgers.iter_mut().enumerate() {
            let name = Name { producer, number };
            let (partition, value) = ((number % 2) as i32, name.value(SEED));
            let back = read.entry(partition).or_default();
            let (offset, digest) = (back.end, digest_of(&value));
            assert_eq!(Name::of(&value), Some(name));
            ledger.sent.push(Sent { partition, digest, fate: Fate::Pending });
            ledger.decided(number, Fate::Acked(offset));
            back.records.push(Seen { offset, name: Some(name), digest });
            back.end += 1;
        }
    }
    (ledgers, read)
}

/// What is found when what was read is changed.
fn found(change: impl FnOnce(&mut ReadBack)) -> Findings {
    let (ledgers, mut read) = sound();
    assert_eq!(check(&ledgers, &read), Findings::default());
    change(read.get_mut(&0).unwrap());
    let findings = check(&ledgers, &read);
    assert_ne!(findings.told, Vec::<String>::new());
    assert!(!findings.none());
    findings
}

/// Later records move up, as if the one at `index` had never been.
fn close_gap(back: &mut ReadBack, index: usize, by: i64) {
    back.records[index..].iter_mut().for_each(|seen| seen.offset += by);
    back.end += by;
}

#[test]
fn a_dropped_record_is_lost_and_leaves_a_hole() {
    let findings = found(|back| {
        back.records.remove(4);
    });
    assert_eq!((findings.lost, findings.holes), (1, 1));
}

#[test]
fn a_record_dropped_without_a_hole_is_lost_all_the_same() {
    let findings = found(|back| {
        back.records.remove(4);
        close_gap(back, 4, -1);
    });
    assert_eq!((findings.lost, findings.holes), (1, 0));
    assert!(findings.misplaced > 0);
}

#[test]
fn a_tail_that_was_cut_is_lost() {
    let findings = found(|back| {
        back.records.truncate(15);
        back.end = 15;
    });
    assert_eq!((findings.lost, findings.holes), (5, 0));
}

#[test]
fn a_doubled_record_of_an_idempotent_producer_is_found_and_of_another_counted() {
    for (index, duplicated, repeated) in [(4, 1, 0), (5, 0, 1)] {
        let (ledgers, mut read) = sound();
        let back = read.get_mut(&0).unwrap();
        let again = Seen { offset: back.end, ..back.records[index] };
        back.records.push(again);
        back.end += 1;
        let findings = check(&ledgers, &read);
        assert_eq!((findings.duplicated, findings.repeated), (duplicated, repeated));
        assert_eq!(findings.none(), duplicated == 0);
    }
}

#[test]
fn an_altered_record_is_found() {
    let findings = found(|back| back.records[4].digest[3] ^= 1);
    assert_eq!((findings.altered, findings.lost), (1, 0));
}

#[test]
fn a_record_that_nobody_sent_is_found() {
    for name in [None, Some(Name { producer: 0, number: 99 }), Some(Name { producer: 9, number: 0 })] {
        let findings = found(|back| {
            back.records.push(Seen { offset: back.end, name, digest: Digest::default() });
            back.end += 1;
        });
        assert_eq!(findings.unsent, 1);
    }
}

#[test]
fn two_records_that_changed_places_are_misplaced_and_out_of_order() {
    let findings = found(|back| {
        // Both of the idempotent producer.
        let (first, second) = (back.records[4], back.records[6]);
        back.records[4] = Seen { offset: first.offset, ..second };
        back.records[6] = Seen { offset: second.offset, ..first };
    });
    assert_eq!((findings.misplaced, findings.disordered), (2, 1));
}

#[test]
fn a_record_in_another_partition_is_lost_where_it_was_acknowledged() {
    let (ledgers, mut read) = sound();
    let stray = read.get_mut(&0).unwrap().records.pop().unwrap();
    read.get_mut(&0).unwrap().end -= 1;
    let other = read.get_mut(&1).unwrap();
    other.records.push(Seen { offset: other.end, ..stray });
    other.end += 1;
    let findings = check(&ledgers, &read);
    assert_eq!((findings.lost, findings.unsent), (1, 1));
}

#[test]
fn what_a_reader_saw_must_be_there_at_the_end() {
    let (_, read) = sound();
    let mut findings = Findings::default();
    check_stable(&read, &read, &mut findings);
    assert!(findings.none());
    let mut other = read.clone();
    other.get_mut(&1).unwrap().records[3].digest[0] ^= 1;
    check_stable(&read, &other, &mut findings);
    assert_eq!(findings.unstable, 1);
}

#[test]
fn a_read_from_the_middle_is_held_to_what_it_covers() {
    let (ledgers, mut read) = sound();
    for back in read.values_mut() {
        back.records.drain(..7);
        back.from = 7;
    }
    assert!(check(&ledgers, &read).none());
    read.get_mut(&0).unwrap().records.remove(5);
    assert_eq!(check(&ledgers, &read).lost, 1);
}

#[test]
fn a_record_given_up_or_acknowledged_without_a_place_may_be_anywhere_and_the_latter_must_be() {
    let (mut ledgers, mut read) = sound();
    ledgers[0].sent[0].fate = Fate::GivenUp;
    ledgers[0].sent[2].fate = Fate::AckedSomewhere;
    assert!(check(&ledgers, &read).none());
    let back = read.get_mut(&0).unwrap();
    back.records.retain(|seen| seen.name != Some(Name { producer: 0, number: 0 }));
    assert_eq!(check(&ledgers, &read).lost, 0);
    let back = read.get_mut(&0).unwrap();
    back.records.retain(|seen| seen.name != Some(Name { producer: 0, number: 2 }));
    assert_eq!(check(&ledgers, &read).lost, 1);
}
