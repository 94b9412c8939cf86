//! The guard against the crate it guards: over all messages and versions, what the crate encodes passes, and what
//! passes decodes wholly and within the budget. Memory is counted by this test's own allocator.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request};
use proptest::prelude::*;
use towpath_wire::guard::{self, GuardError, check_request, check_response, sample};
use towpath_wire::versions::{BROKER_VERSIONS, is_private};

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count(bytes: isize) {
        let live = LIVE.get() + bytes;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
    }
}

// SAFETY: every call is passed on to the system allocator unchanged; counting touches only thread-locals that
// need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        Counting::count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that `work` holds at one time beyond what is held before it.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Request,
    Response,
}

/// One message of one API in one version.
#[derive(Clone, Copy, Debug)]
struct Case {
    key: i16,
    side: Side,
    version: i16,
}

impl Case {
    fn check(self, body: &[u8], budget: usize) -> Result<(), GuardError> {
        match self.side {
            Side::Request => check_request(self.key, self.version, body, budget),
            Side::Response => check_response(self.key, self.version, body, budget),
        }
    }

    fn sample(self, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        match self.side {
            Side::Request => sample::request(self.key, self.version, &mut random).unwrap(),
            Side::Response => sample::response(self.key, self.version, &mut random).unwrap(),
        }
    }
}

/// What the decoder made of a body.
struct Decoded {
    left_over: usize,
    peak_bytes: usize,
    /// The message encoded again, and whether that decodes to the same message.
    again: Vec<u8>,
    same: bool,
}

fn decode<M: Decodable + Encodable + PartialEq>(body: &[u8], version: i16) -> Result<Decoded, String> {
    let mut body = Bytes::copy_from_slice(body);
    let (message, peak_bytes) = peak_of(|| M::decode(&mut body, version));
    let message = message.map_err(|error| error.to_string())?;
    let mut again = Vec::new();
    message.encode(&mut again, version).map_err(|error| format!("encoding again: {error}"))?;
    let same = M::decode(&mut Bytes::copy_from_slice(&again), version).is_ok_and(|same| same == message);
    // The message itself is on the stack; the guard's budget includes it.
    Ok(Decoded { left_over: body.len(), peak_bytes: peak_bytes + size_of::<M>(), again, same })
}

macro_rules! apis {
    ($($request:ident)*) => {
        /// Every API that the guard has a table for.
        const APIS: &[(i16, &str)] = &[$((<$request as Request>::KEY, stringify!($request))),*];

        fn decode_case(case: Case, body: &[u8]) -> Result<Decoded, String> {
            $(if case.key == <$request as Request>::KEY {
                return match case.side {
                    Side::Request => decode::<$request>(body, case.version),
                    Side::Response => decode::<<$request as Request>::Response>(body, case.version),
                };
            })*
            panic!("API {} is not in this test's list", case.key);
        }

        fn crate_range(case_key: i16, side: Side) -> (i16, i16) {
            $(if case_key == <$request as Request>::KEY {
                let range = match side {
                    Side::Request => <$request as Message>::VERSIONS,
                    Side::Response => <<$request as Request>::Response as Message>::VERSIONS,
                };
                return (range.min, range.max);
            })*
            panic!("API {case_key} is not in this test's list");
        }
    };
}

apis! {
    ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest OffsetFetchRequest
    FindCoordinatorRequest JoinGroupRequest HeartbeatRequest LeaveGroupRequest SyncGroupRequest
    DescribeGroupsRequest ListGroupsRequest SaslHandshakeRequest ApiVersionsRequest CreateTopicsRequest
    DeleteTopicsRequest DeleteRecordsRequest InitProducerIdRequest OffsetForLeaderEpochRequest
    AddPartitionsToTxnRequest AddOffsetsToTxnRequest EndTxnRequest TxnOffsetCommitRequest DescribeAclsRequest
    CreateAclsRequest DeleteAclsRequest DescribeConfigsRequest AlterConfigsRequest DescribeLogDirsRequest
    DescribeQuorumRequest
    SaslAuthenticateRequest CreatePartitionsRequest DeleteGroupsRequest IncrementalAlterConfigsRequest
    OffsetDeleteRequest DescribeClusterRequest DescribeProducersRequest DescribeTransactionsRequest
    ListTransactionsRequest ConsumerGroupHeartbeatRequest ConsumerGroupDescribeRequest
    GetTelemetrySubscriptionsRequest ListConfigResourcesRequest DescribeTopicPartitionsRequest
}

/// Every message in every version that the crate can decode.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (key, _) in APIS {
        for side in [Side::Request, Side::Response] {
            let (min, max) = crate_range(*key, side);
            cases.extend((min..=max).map(|version| Case { key: *key, side, version }));
        }
    }
    cases
}

/// The least budget with which a body passes.
fn least_budget(case: Case, body: &[u8]) -> usize {
    let (mut low, mut high) = (0, 1 << 24);
    while low < high {
        let middle = (low + high) / 2;
        match case.check(body, middle) {
            Ok(()) => high = middle,
            Err(_) => low = middle + 1,
        }
    }
    low
}

#[test]
fn the_guard_knows_what_the_crate_can_decode_and_what_the_broker_advertises() {
    let mut listed: Vec<i16> = APIS.iter().map(|(key, _)| *key).collect();
    listed.sort();
    let known: Vec<i16> = guard::api_keys().collect();
    assert_eq!(known, listed, "keys of the tables and of this test's list, which `apis!` above holds");
    for (key, name) in APIS {
        assert_eq!(guard::response_versions(*key), Some(crate_range(*key, Side::Response)), "{name}");
        let (min, max) = crate_range(*key, Side::Request);
        let min = if *key == ProduceRequest::KEY { 0 } else { min };
        assert_eq!(guard::request_versions(*key), Some((min, max)), "{name}");
    }
    for (key, min, max) in BROKER_VERSIONS.iter().filter(|(key, _, _)| !is_private(*key)) {
        let (known_min, known_max) = guard::request_versions(*key).unwrap();
        assert!(known_min <= *min && *max <= known_max, "API {key}");
    }
}

#[test]
fn what_the_tables_describe_the_crate_decodes_and_what_the_crate_encodes_passes() {
    for case in cases() {
        for seed in 0..24 {
            let body = case.sample(seed * 7919);
            case.check(&body, 1 << 24).unwrap_or_else(|error| panic!("{case:?}: {error}"));
            let decoded = decode_case(case, &body).unwrap_or_else(|error| panic!("{case:?}: {error}"));
            assert_eq!(decoded.left_over, 0, "{case:?}");
            assert!(decoded.same, "{case:?}");
            case.check(&decoded.again, 1 << 24).unwrap_or_else(|error| panic!("{case:?} again: {error}"));
        }
    }
}

#[test]
fn decoding_takes_no_more_than_the_least_budget_that_passes() {
    for case in cases() {
        for seed in 0..12 {
            let body = case.sample(seed * 104_729 + 1);
            let budget = least_budget(case, &body);
            let decoded = decode_case(case, &body).unwrap();
            assert!(decoded.peak_bytes <= budget, "{case:?}: {} > {budget}", decoded.peak_bytes);
        }
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    for case in cases() {
        let mut body = case.sample(31);
        for end in 0..body.len() {
            assert!(case.check(&body[..end], 1 << 24).is_err(), "{case:?} cut at {end} of {}", body.len());
        }
        body.push(0);
        assert!(case.check(&body, 1 << 24).is_err(), "{case:?} with a byte more");
    }
}

#[test]
fn the_request_that_kills_the_crate_is_refused() {
    // Metadata v1 with a count of 2^31 - 1 topics: 4 bytes of body, hundreds of GB when decoded.
    let body = i32::MAX.to_be_bytes();
    assert!(matches!(check_request(3, 1, &body, 1 << 30), Err(GuardError::Malformed { position: 4, .. })));
    // As many as there are bytes: the budget stops it.
    let mut body = (1i32 << 20).to_be_bytes().to_vec();
    body.resize(4 + (1 << 20), 0);
    assert!(matches!(check_request(3, 1, &body, 1 << 20), Err(GuardError::Budget { .. })));
}

#[test]
fn produce_from_clients_without_transactions_passes() {
    // acks, timeout, one topic "t", partition 0, four bytes of records.
    let body = [0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    for version in 0..=2 {
        check_request(0, version, &body, 4096).unwrap();
    }
    assert!(check_request(0, 3, &body, 4096).is_err());
}

#[test]
fn messages_outside_the_tables_are_refused() {
    assert!(matches!(check_request(4, 0, &[], 100), Err(GuardError::Unsupported { .. })));
    assert!(matches!(check_request(3, 14, &[], 100), Err(GuardError::Unsupported { .. })));
    assert!(matches!(check_response(1, 3, &[], 100), Err(GuardError::Unsupported { .. })));
}

/// What passes must decode, wholly and within the budget.
fn assert_guarded(case: Case, body: &[u8], budget: usize) {
    if case.check(body, budget).is_ok() {
        let decoded = decode_case(case, body).unwrap_or_else(|error| panic!("{case:?} {body:?}: {error}"));
        assert_eq!(decoded.left_over, 0, "{case:?} {body:?}");
        assert!(decoded.peak_bytes <= budget, "{case:?} {body:?}: {} bytes", decoded.peak_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_that_pass_decode_within_the_budget(
        case in any::<prop::sample::Index>(),
        seed: u64,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        budget in prop::sample::select(vec![600, 3000, 1 << 20]),
    ) {
        let cases = cases();
        let case = cases[case.index(cases.len())];
        let mut body = case.sample(seed);
        for (at, value) in mutations {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = value;
                assert_guarded(case, &body, budget);
            }
        }
    }

    #[test]
    fn random_bytes_that_pass_decode_within_the_budget(
        case in any::<prop::sample::Index>(),
        body in prop::collection::vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..80),
    ) {
        let cases = cases();
        assert_guarded(cases[case.index(cases.len())], &body, 4096);
    }
}
