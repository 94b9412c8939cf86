//! What the ledger must hold to: one chain, one writer, nothing lost that was acknowledged, nothing altered unseen.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use towpath_env::Env;
use towpath_plans::Side;
use towpath_plans::evidence::{Actor, Body, ClusterIdentity, PseudonymKind, Signatures, Signer, verify};
use towpath_plans::transition::{GroupState, LinkState, Verb};
use towpath_shared_log::fault::{Faults, FaultyStore};

use super::{Ledger, LedgerSpec};
use crate::error::LinkerError;
use crate::state::standing::Standing;

const NOW_MS: i64 = 1_700_000_000_000;

fn spec(store: &Arc<dyn ObjectStore>, seed: u64) -> LedgerSpec {
    let cluster = |side, name: &str| ClusterIdentity { side, name: name.into(), cluster_id: name.into() };
    LedgerSpec {
        store: store.clone(),
        family: "product-views".into(),
        clusters: vec![cluster(Side::Source, "legacy"), cluster(Side::Target, "towpath")],
        signer: Arc::new(key(1)),
        former_signer: None,
        standing: Standing::default(),
        env: Env::seeded(seed, NOW_MS),
    }
}

fn key(seed: u8) -> Signer {
    Signer::from_seed([seed; 32])
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn noted(number: u64) -> Body {
    Body::Noted { sentence: format!("observation {number}") }
}

fn changed(to: GroupState) -> Body {
    Body::GroupChanged {
        group: "ranker".into(),
        attempt: 1,
        verb: Some(Verb::Cutover),
        from: GroupState::OnSource,
        to,
        because: "asked".into(),
        at_ms: NOW_MS,
    }
}

/// What the chain says, each entry in a word or two.
async fn words(ledger: &Ledger) -> Vec<String> {
    let lines = ledger.lines().await.unwrap();
    let word = |body| match body {
        Body::Noted { sentence } => sentence,
        other => serde_json::to_value(other).unwrap().as_object().unwrap().keys().next().unwrap().clone(),
    };
    lines.iter().map(|line| word(line.entry().unwrap().body)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bundle_is_trusted_to_its_end_and_goes_on_after_a_restart() {
    let store = memory();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    let actor = Actor { name: "lead".into(), authenticated: true, role: "operator".into() };
    ledger.record(Some(actor), noted(1)).await.unwrap();
    ledger.record_signed(None, vec![noted(2), noted(3)]).await.unwrap();
    ledger.record(None, noted(4)).await.unwrap();
    let verified = verify(&ledger.bundle().await.unwrap(), Some(key(1).public())).unwrap();
    assert!(verified.is_trusted() && verified.replaced_keys.is_empty(), "{verified}");
    let again = Ledger::open(spec(&store, 2)).await.unwrap();
    again.record(None, noted(5)).await.unwrap();
    let seen = words(&again).await;
    let (one, four) = ("observation 1", "observation 4");
    assert_eq!(seen[..4], ["opened", "checkpoint", one, "observation 2"]);
    assert_eq!(
        seen[4..],
        ["observation 3", "checkpoint", four, "clusters_seen", "checkpoint", "observation 5"]
    );
    assert!(verify(&again.bundle().await.unwrap(), Some(key(1).public())).unwrap().is_trusted());
    assert!(verify(&again.bundle().await.unwrap(), Some(key(2).public())).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_second_service_on_the_chain_supersedes_the_first_for_good() {
    let store = memory();
    let first = Ledger::open(spec(&store, 1)).await.unwrap();
    let second = Ledger::open(spec(&store, 2)).await.unwrap();
    for _ in 0..2 {
        let refused = first.record(None, noted(1)).await;
        assert!(matches!(refused, Err(LinkerError::Superseded { .. })), "{refused:?}");
    }
    assert!(first.writable().await.unwrap_err().contains("another writer of the evidence"));
    assert!(matches!(first.bundle().await, Err(LinkerError::Superseded { .. })));
    second.record(None, noted(2)).await.unwrap();
    assert!(!words(&second).await.contains(&"observation 1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_group_state_that_evidence_missed_can_be_told_after_a_crash() {
    let store = memory();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    assert_eq!(ledger.last_group_state("ranker"), None);
    ledger.record(None, changed(GroupState::Preflight)).await.unwrap();
    assert_eq!(ledger.last_group_state("ranker"), Some(GroupState::Preflight));
    ledger.record(None, changed(GroupState::Fencing)).await.unwrap();
    let again = Ledger::open(spec(&store, 2)).await.unwrap();
    assert_eq!(again.last_group_state("ranker"), Some(GroupState::Fencing));
    assert_eq!(again.last_group_state("other"), None);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_in_force_until_its_link_has_ended_and_a_refused_cancel_does_not_end_it() {
    let store = memory();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    assert_eq!(ledger.plan_in_force(), None);
    let plan = towpath_plans::Plan::new("product-views", "legacy", "towpath");
    let adopted = Body::PlanAdopted { plan_hash: plan.hash(), plan: plan.canonical() };
    ledger.record(None, adopted).await.unwrap();
    let asked = Body::Requested {
        verb: "cancel".into(),
        group: None,
        dry_run: false,
        reason: String::new(),
        plan_hash: Some(plan.hash()),
        accepted: Vec::new(),
    };
    ledger.record(None, asked).await.unwrap();
    let again = Ledger::open(spec(&store, 2)).await.unwrap();
    assert_eq!(again.plan_in_force(), Some((plan.hash(), NOW_MS)));
    let (from, to) = (LinkState::Mirroring, LinkState::Cancelled);
    again.record(None, Body::LinkChanged { from, to, reason: "cancel".into() }).await.unwrap();
    assert_eq!(again.plan_in_force(), None);
}

/// The answer of an append is never seen, and the entry stands: the next append goes on behind it.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_does_not_fork_the_chain() {
    let mut stood = [0, 0];
    for seed in 0..20 {
        let inner = memory();
        let faulty = FaultyStore::new(inner.clone(), Env::seeded(seed, 0), Faults::NONE);
        let store: Arc<dyn ObjectStore> = faulty.clone();
        let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
        // Silence: half of the puts take effect, and reading the slot back gets no answer either.
        faulty.set_faults(Faults { silences: 1_000, ..Faults::NONE });
        assert!(matches!(ledger.record(None, noted(1)).await, Err(LinkerError::Log(_))));
        assert!(matches!(ledger.record(None, noted(2)).await, Err(LinkerError::Log(_))));
        faulty.set_faults(Faults::NONE);
        ledger.record(None, noted(3)).await.unwrap();
        let seen = words(&ledger).await;
        assert_eq!(seen.last().unwrap(), "observation 3", "seed {seed}");
        let lost = seen[2] == "observation 3";
        assert_eq!(seen.len(), if lost { 3 } else { 4 }, "{seen:?}");
        stood[usize::from(!lost)] += 1;
        let verified = verify(&ledger.bundle().await.unwrap(), Some(key(1).public())).unwrap();
        assert!(verified.is_trusted());
    }
    assert!(stood[0] > 0 && stood[1] > 0, "both happen: {stood:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_every_acknowledged_entry_stands_once_and_in_order() {
    for seed in 0..10 {
        let faulty = FaultyStore::new(memory(), Env::seeded(seed, 0), Faults::NONE);
        let store: Arc<dyn ObjectStore> = faulty.clone();
        let ledger = Ledger::open(spec(&store, seed)).await.unwrap();
        faulty.set_faults(Faults::STORMY);
        let mut acknowledged = Vec::new();
        for number in 0..100 {
            if ledger.record(None, noted(number)).await.is_ok() {
                acknowledged.push(format!("observation {number}"));
            }
        }
        faulty.set_faults(Faults::NONE);
        let seen = words(&ledger).await;
        let stood: Vec<_> = seen.iter().filter(|word| acknowledged.contains(word)).cloned().collect();
        assert_eq!(stood, acknowledged, "seed {seed}");
        assert!(seen.iter().filter(|word| *word == "checkpoint").count() >= 2, "{seen:?}");
        assert!(verify(&ledger.bundle().await.unwrap(), None).is_ok());
    }
}

/// A caller that stops waiting (its task is dropped) leaves the chain usable.
#[tokio::test(start_paused = true)]
async fn an_append_that_nobody_waits_for_any_more_does_not_fork_the_chain() {
    let delays = Faults { delay_max: std::time::Duration::from_millis(100), ..Faults::NONE };
    let faulty = FaultyStore::new(memory(), Env::seeded(3, 0), delays);
    let store: Arc<dyn ObjectStore> = faulty.clone();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    for number in 0..50 {
        let limit = std::time::Duration::from_millis(number);
        let _ = tokio::time::timeout(limit, ledger.record(None, noted(number))).await;
    }
    ledger.record(None, noted(50)).await.unwrap();
    assert!(verify(&ledger.bundle().await.unwrap(), Some(key(1).public())).unwrap().is_trusted());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_stated_number_of_entries_is_ever_unsigned() {
    let store = memory();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    for number in 0..200 {
        ledger.record(None, noted(number)).await.unwrap();
        assert!(ledger.inner.tail.read().unsigned() < super::ledger::SIGN_EVERY_ENTRIES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_does_not_hold_is_not_continued_and_the_entry_is_named() {
    let store = memory();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    ledger.record(None, noted(1)).await.unwrap();
    ledger.record(None, noted(2)).await.unwrap();
    // A thief of the store replaces entry 2 by a well-formed one of another chain.
    let other = memory();
    let own = Ledger::open(spec(&other, 9)).await.unwrap();
    own.record(None, noted(7)).await.unwrap();
    let entry = |number: u64| Path::from(format!("evidence/product-views/{number:020}"));
    let forged = other.get(&entry(2)).await.unwrap().bytes().await.unwrap();
    store.put(&entry(2), forged.into()).await.unwrap();
    let broken = Ledger::open(spec(&store, 2)).await.err().unwrap().to_string();
    assert!(broken.contains("entry 3") && broken.contains("fix:"), "{broken}");
    // The service that is running does not export it either.
    assert!(ledger.lines().await.unwrap_err().to_string().contains("entry 3"));
}

#[tokio::test(start_paused = true)]
async fn a_configured_key_takes_over_from_the_own_one_with_its_word() {
    let store = memory();
    Ledger::open(spec(&store, 1)).await.unwrap();
    let (signer, former_signer) = (Arc::new(key(2)), Some(Arc::new(key(1))));
    let ledger = Ledger::open(LedgerSpec { signer, former_signer, ..spec(&store, 2) }).await.unwrap();
    ledger.record(None, noted(1)).await.unwrap();
    let bundle = ledger.bundle().await.unwrap();
    for pinned in [1, 2] {
        let verified = verify(&bundle, Some(key(pinned).public())).unwrap();
        assert!(verified.is_trusted() && verified.replaced_keys.is_empty(), "{verified}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_key_is_replaced_and_whoever_pinned_it_is_told() {
    let store = memory();
    Ledger::open(spec(&store, 1)).await.unwrap();
    let ledger = Ledger::open(LedgerSpec { signer: Arc::new(key(2)), ..spec(&store, 2) }).await.unwrap();
    ledger.record(None, noted(1)).await.unwrap();
    let bundle = ledger.bundle().await.unwrap();
    let verified = verify(&bundle, Some(key(1).public())).unwrap();
    assert_eq!((verified.signatures, verified.replaced_keys), (Signatures::Trusted { entries: 1 }, vec![3]));
    assert!(verify(&bundle, Some(key(2).public())).unwrap().is_trusted());
}

#[tokio::test(start_paused = true)]
async fn a_pseudonym_is_the_same_after_a_restart_until_its_secret_is_destroyed() {
    let store = memory();
    let of = |ledger: &Ledger| ledger.pseudonym(PseudonymKind::Key, b"sku-7");
    let first = Ledger::open(spec(&store, 1)).await.unwrap();
    let second = Ledger::open(spec(&store, 2)).await.unwrap();
    assert_eq!(of(&first), of(&second));
    store.delete(&Path::from("evidence-secrets/product-views")).await.unwrap();
    let third = Ledger::open(spec(&store, 3)).await.unwrap();
    assert_ne!(of(&third), of(&second));
    assert!(words(&third).await.iter().any(|word| word.starts_with("pseudonyms from here on")));
    // A damaged secret is not quietly replaced.
    store.put(&Path::from("evidence-secrets/product-views"), Bytes::new().into()).await.unwrap();
    assert!(Ledger::open(spec(&store, 4)).await.err().unwrap().to_string().contains("0 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_not_writable_and_the_probe_leaves_nothing() {
    use futures::TryStreamExt;
    let faulty = FaultyStore::new(memory(), Env::seeded(1, 0), Faults::NONE);
    let store: Arc<dyn ObjectStore> = faulty.clone();
    let ledger = Ledger::open(spec(&store, 1)).await.unwrap();
    ledger.writable().await.unwrap();
    let probes: Vec<_> =
        store.list(Some(&Path::from("evidence/product-views/probe"))).try_collect().await.unwrap();
    assert!(probes.is_empty(), "{probes:?}");
    faulty.set_faults(Faults { refusals: 1_000, ..Faults::NONE });
    assert!(ledger.writable().await.unwrap_err().contains("503"));
}
