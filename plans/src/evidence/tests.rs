//! What a bundle must not let pass.

use super::*;
use crate::gates::Verdict;
use crate::{PlanHash, Side};

fn signer(seed: u8) -> Signer {
    Signer::from_seed([seed; 32])
}

fn clusters() -> Vec<ClusterIdentity> {
    [(Side::Source, "legacy", "source-cluster"), (Side::Target, "towpath", "target-cluster")]
        .map(|(side, name, id)| ClusterIdentity { side, name: name.into(), cluster_id: id.into() })
        .into()
}

/// A chain of entries of several kinds, with a checkpoint in the middle and at the end, key 1.
fn lines() -> Vec<Line> {
    let key = signer(1);
    let mut chain = Chain::new("product-views", "towpath 0.1.0");
    let mut lines = vec![chain.open(1_700_000_000_123, &key, clusters())];
    let actor = Actor { name: "lead".into(), authenticated: true, role: "operator".into() };
    lines.push(chain.append(
        1_700_000_000_456,
        Some(actor),
        Body::Requested {
            verb: "cutover".into(),
            group: Some("ranker".into()),
            dry_run: false,
            reason: "\"quotes\", π and a line\nfeed".into(),
            plan_hash: Some(PlanHash([3; 32])),
            accepted: Vec::new(),
        },
    ));
    lines.push(chain.checkpoint(1_700_000_001_000, &key));
    lines.push(chain.append(
        1_700_000_002_000,
        None,
        Body::DiffVerdict {
            verdict: Verdict::Pass,
            partitions: vec![PartitionCompared {
                topic: "product-views".into(),
                partition: 0,
                from: 0,
                through: 17,
                records: 17,
                at_ms: 5,
            }],
            counts: Default::default(),
            samples: Vec::new(),
        },
    ));
    lines.push(chain.checkpoint(1_700_000_003_000, &key));
    lines
}

/// The same with one checkpoint, at the end: signatures are slow without optimisation, and these tests verify
/// thousands of times what hashes alone must find.
fn once_signed() -> Vec<Line> {
    let mut chain = Chain::new("product-views", "towpath 0.1.0");
    let mut once = Vec::new();
    for line in lines() {
        let entry = line.entry().unwrap();
        if !matches!(entry.body, Body::Checkpoint { .. }) {
            once.push(chain.append(entry.at_ms().unwrap(), entry.actor, entry.body));
        }
    }
    once.push(chain.checkpoint(1_700_000_003_000, &signer(1)));
    once
}

fn bundle(lines: &[Line]) -> String {
    export("product-views", "towpath 0.1.0", 1_700_000_004_000, lines, Some(&signer(1)))
}

#[test]
fn an_untouched_bundle_verifies_with_and_without_a_pinned_key() {
    let bundle = bundle(&lines());
    let trusted = verify(&bundle, Some(signer(1).public())).unwrap();
    assert!(trusted.is_trusted());
    assert!(trusted.to_string().starts_with("verified: 5 entries"), "{trusted}");
    let unknown = verify(&bundle, None).unwrap();
    assert_eq!(unknown.signatures, Signatures::SignerUnknown { entries: 5 });
    assert!(unknown.to_string().starts_with("consistent, signer unknown"), "{unknown}");
    let other = verify(&bundle, Some(signer(2).public())).unwrap_err();
    assert_eq!(other.entry, None);
}

#[test]
fn every_single_byte_change_is_found_at_its_entry() {
    let good = bundle(&once_signed());
    let mut entry_of_byte = Vec::new();
    for (index, line) in good.split_inclusive('\n').enumerate() {
        entry_of_byte.extend(std::iter::repeat_n(index.checked_sub(1).map(|i| i as u64), line.len()));
    }
    for at in 0..good.len() {
        // Case, the low bit, whitespace, a digit, the end of a line: what an editor or a disk does to a byte.
        for change in [0x20, 0x01, 0x04, 0x80] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= change;
            for trust in [None, Some(signer(1).public())] {
                let broken = verify_bytes(&bytes, trust).expect_err(&format!("byte {at} of {good}"));
                assert_eq!(broken.entry, entry_of_byte[at], "byte {at}: {broken}");
            }
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_not_taken_for_the_sign_that_stands_for_them() {
    let mut chain = Chain::new("views", "towpath 0.1.0");
    let mut lines = vec![chain.open(1, &signer(1), clusters())];
    lines.push(chain.append(2, None, Body::Noted { sentence: "\u{fffd} was sent".into() }));
    let good = export("views", "x", 9, &lines, None).into_bytes();
    assert!(verify_bytes(&good, None).is_ok());
    let at = good.windows(3).position(|bytes| bytes == "\u{fffd}".as_bytes()).unwrap();
    let forged = [&good[..at], &[0xff], &good[at + 3..]].concat();
    assert_eq!(verify_bytes(&forged, None).unwrap_err().entry, Some(1));
    // What breaks first is named first.
    let both = String::from_utf8_lossy(&forged).replace("\"sequence\":0", "\"sequence\":9").into_bytes();
    let both = [&both[..], &[0xff]].concat();
    assert_eq!(verify_bytes(&both, None).unwrap_err().entry, Some(0));
}

#[test]
fn a_byte_that_is_added_or_removed_anywhere_is_found() {
    let good = bundle(&once_signed());
    for at in (0..good.len()).filter(|at| good.is_char_boundary(*at)) {
        let mut longer = good.clone();
        longer.insert(at, ' ');
        assert!(verify(&longer, None).is_err(), "a space at {at}");
        let mut shorter = good.clone();
        shorter.remove(at);
        assert!(verify(&shorter, None).is_err(), "without byte {at}");
    }
    assert!(verify(&format!("{good}\n"), None).is_err());
    assert!(verify("", None).is_err());
}

#[test]
fn a_dropped_duplicated_or_reordered_entry_is_found_where_it_happened() {
    let lines = lines();
    let key = Some(signer(1).public());
    let text = |lines: &[Line]| {
        let header = bundle(&self::lines()).lines().next().unwrap().to_string();
        let rest: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{header}\n{rest}")
    };
    for at in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(at);
        assert_eq!(verify(&text(&dropped), key).unwrap_err().entry, Some(at as u64), "dropped {at}");
        // Even where whoever cut it writes a fitting header, with a key of his own.
        let forged = export("product-views", "towpath 0.1.0", 9, &dropped, Some(&signer(9)));
        assert!(verify(&forged, key).is_err(), "dropped {at}, forged header");

        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        assert_eq!(verify(&text(&doubled), key).unwrap_err().entry, Some(at as u64 + 1), "doubled {at}");

        for other in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            assert_eq!(verify(&text(&swapped), key).unwrap_err().entry, Some(at as u64), "{at}, {other}");
        }
    }
}

#[test]
fn a_cut_tail_is_found_and_says_how_much_is_missing() {
    let lines = lines();
    let header = bundle(&lines).lines().next().unwrap().to_string();
    for kept in 0..lines.len() {
        let rest: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
        let broken = verify(&format!("{header}\n{rest}"), None).unwrap_err();
        assert_eq!(broken.entry, Some(kept as u64));
        assert!(broken.why.contains(&format!("and {} after it", lines.len() - kept - 1)), "{broken}");
    }
}

#[test]
fn a_history_rewritten_with_correct_hashes_fails_its_signatures() {
    // Someone with the store but without the key: alters entry 1, recomputes every hash behind it.
    let mut chain = Chain::new("product-views", "towpath 0.1.0");
    let forged: Vec<Line> = lines()
        .iter()
        .map(|line| {
            let entry = line.entry().unwrap();
            let mut body = entry.body.clone();
            if let Body::Requested { reason, .. } = &mut body {
                *reason = "it was somebody else".into();
            }
            chain.append(entry.at_ms().unwrap(), entry.actor, body)
        })
        .collect();
    let broken = verify(&export("product-views", "x", 9, &forged, None), None).unwrap_err();
    assert_eq!(broken.entry, Some(2), "{broken}");
    // And with a key of his own throughout: consistent, but not for whoever pinned the right one.
    let mut chain = Chain::new("product-views", "towpath 0.1.0");
    let own = signer(9);
    let forged = vec![chain.open(1, &own, clusters()), chain.checkpoint(2, &own)];
    let text = export("product-views", "x", 9, &forged, Some(&own));
    assert!(verify(&text, None).is_ok());
    assert!(verify(&text, Some(signer(1).public())).is_err());
}

#[test]
fn a_key_that_was_handed_over_is_trusted_and_any_other_is_not() {
    let (old, new) = (signer(1), signer(2));
    let mut chain = Chain::new("views", "towpath 0.1.0");
    let mut lines = vec![chain.open(1, &old, clusters()), chain.checkpoint(2, &old)];
    lines.push(chain.rotate(3, None, (&old, &new), "yearly"));
    lines.push(chain.checkpoint(4, &new));
    let text = export("views", "x", 9, &lines, Some(&new));
    for pinned in [&old, &new] {
        assert!(verify(&text, Some(pinned.public())).unwrap().is_trusted(), "{pinned:?}");
    }
    // After the hand-over the old key signs nothing any more.
    lines.push(chain.checkpoint(5, &old));
    let broken = verify(&export("views", "x", 9, &lines, Some(&new)), None).unwrap_err();
    assert_eq!(broken.entry, Some(4), "{broken}");
    // A hand-over that the old key did not sign.
    let mut chain = Chain::new("views", "towpath 0.1.0");
    let lines = [chain.open(1, &old, clusters()), chain.rotate(3, None, (&new, &new), "theft")];
    assert_eq!(verify(&export("views", "x", 9, &lines, None), None).unwrap_err().entry, Some(1));
}

#[test]
fn a_key_that_replaced_a_lost_one_is_not_trusted_for_it() {
    let (lost, new) = (signer(1), signer(2));
    let mut chain = Chain::new("views", "towpath 0.1.0");
    let mut lines = vec![chain.open(1, &lost, clusters()), chain.checkpoint(2, &lost)];
    lines.push(chain.replace_key(3, &new, "the key file is gone"));
    lines.push(chain.checkpoint(4, &new));
    let text = export("views", "x", 9, &lines, Some(&new));
    let old_trust = verify(&text, Some(lost.public())).unwrap();
    assert_eq!(old_trust.signatures, Signatures::Trusted { entries: 1 });
    assert!(!old_trust.is_trusted());
    let new_trust = verify(&text, Some(new.public())).unwrap();
    assert!(new_trust.is_trusted());
    for verified in [old_trust, new_trust, verify(&text, None).unwrap()] {
        assert!(verified.to_string().contains("at entry 2 another key took over"), "{verified}");
    }
    // The lost key, found again by someone, signs nothing any more.
    lines.push(chain.checkpoint(5, &lost));
    assert_eq!(verify(&export("views", "x", 9, &lines, None), None).unwrap_err().entry, Some(4));
}

#[test]
fn what_is_not_signed_is_not_called_verified() {
    let mut chain = Chain::new("views", "towpath 0.1.0");
    let key = signer(1);
    let mut lines = vec![chain.open(1, &key, clusters()), chain.checkpoint(2, &key)];
    lines.push(chain.append(3, None, Body::Noted { sentence: "behind the checkpoint".into() }));
    let text = export("views", "x", 9, &lines, None);
    let verified = verify(&text, Some(key.public())).unwrap();
    assert_eq!(verified.signatures, Signatures::Trusted { entries: 1 });
    assert!(!verified.is_trusted());
    assert!(verified.to_string().contains("the rest unsigned"), "{verified}");
    let unsigned = export("views", "x", 9, &lines[..1], None);
    assert_eq!(verify(&unsigned, None).unwrap().signatures, Signatures::Unsigned);
    assert!(verify(&unsigned, Some(key.public())).is_err());
}

#[test]
fn a_stored_line_is_followed_only_where_it_belongs() {
    let lines = lines();
    let mut chain = Chain::new("product-views", "towpath 0.1.0");
    assert!(chain.follow(&lines[1]).is_err());
    for line in &lines {
        assert_eq!(Line::parse(&line.to_string()).unwrap(), *line);
        chain.follow(line).unwrap();
    }
    assert_eq!(chain.head().entries, lines.len() as u64);
    let mut other = Chain::new("other", "towpath 0.1.0");
    assert!(other.follow(&lines[0]).unwrap_err().to_string().contains("product-views"));
}

#[test]
fn an_entry_of_another_chain_of_the_same_family_is_found() {
    let mut other = Chain::new("product-views", "towpath 0.1.0");
    other.open(5, &signer(1), clusters());
    let foreign = other.append(6, None, Body::Noted { sentence: "right number, right family".into() });
    let mut mixed = lines();
    mixed[1] = foreign;
    let broken = verify(&export("product-views", "x", 9, &mixed, Some(&signer(1))), None).unwrap_err();
    assert_eq!(broken.entry, Some(1));
    assert!(broken.why.contains("does not continue"), "{broken}");
}

#[test]
fn keys_read_back_from_their_files_and_are_never_printed() {
    let key = signer(7);
    let again = Signer::from_pem(&key.to_pem().unwrap()).unwrap();
    assert_eq!(again.public(), key.public());
    let public = key.public();
    assert_eq!(PublicKey::from_text(&public.to_pem().unwrap()).unwrap(), public);
    assert_eq!(PublicKey::from_text(&format!("{public}\n")).unwrap(), public);
    assert!(PublicKey::from_text("not a key").unwrap_err().to_string().contains("fix:"));
    assert!(!format!("{key:?}").contains(&hex::encode([7u8; 32])));
}

#[test]
fn times_are_utc_with_milliseconds() {
    let entry = lines()[0].entry().unwrap();
    assert_eq!(entry.at, "2023-11-14T22:13:20.123Z");
    assert_eq!(entry.at_ms(), Some(1_700_000_000_123));
}

#[test]
fn a_recorded_move_leaves_its_final_offsets_in_evidence() {
    use crate::transition::{Event, FinalPosition, GroupMove, GroupState, Origin, Verb, transition};
    let before = GroupMove {
        state: GroupState::FinalOffsets,
        verb: Some(Verb::Cutover),
        attempt: 4,
        ..GroupMove::new("views", "ranker", 0)
    };
    let position = FinalPosition {
        topic: "views".into(),
        partition: 2,
        source_offset: 70,
        target_offset: 70,
        origin: Origin::Committed,
        metadata: None,
    };
    let after = transition(&before, &Event::FinalsRead { finals: vec![position] }, 5).unwrap().record;
    let bodies = Body::of_change(&before, &after);
    let [Body::GroupChanged { to, .. }, Body::FinalOffsets { translations, attempt: 4, .. }] = &bodies[..]
    else {
        panic!("{bodies:?}");
    };
    assert_eq!((*to, translations[0].source_offset), (GroupState::Recorded, 70));
    assert!(Body::of_change(&after, &after).is_empty());
}

#[test]
fn the_bundle_format_does_not_change_unseen() {
    // Auditors keep bundles for years: what was written once must verify for ever.
    insta::assert_snapshot!(bundle(&lines()));
}
