//! Whatever passes the guard decodes wholly. libFuzzer's own limit on allocations (`-malloc_limit_mb`, 2 GB unless
//! told) finds what would blow the budget, which is far smaller here.
//!
//! Run with `cargo +nightly fuzz run guard -- -malloc_limit_mb=64` from `tests/`.
//!
//! Input: side (one byte), API key (one byte), version (one byte), body. A side above 127 takes the body as entropy
//! for a message of the right shape, so that the fuzzer need not guess lengths, and flips its last bytes into it.
#![no_main]

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use libfuzzer_sys::fuzz_target;
use towpath_wire::guard::{check_request, check_response, sample};
use towpath_wire::{frame, private};

const BUDGET_BYTES: usize = 8 << 20;

fuzz_target!(|data: &[u8]| {
    let _ = frame::parse_request_head(data);
    let _ = private::LinkGroupRequest::decode(data);
    let _ = private::MirrorAppendRequest::decode(Bytes::copy_from_slice(data));
    let _ = private::MirrorAppendResponse::decode(Bytes::copy_from_slice(data));
    let [side, key, version, rest @ ..] = data else { return };
    let (key, version) = (i16::from(*key), i16::from(*version));
    let Ok(api) = ApiKey::try_from(key) else { return };
    let request = side & 1 == 0;
    let body = if *side < 128 { rest.to_vec() } else { shaped(request, key, version, rest) };
    let passes = match request {
        true => check_request(key, version, &body, BUDGET_BYTES).is_ok(),
        false => check_response(key, version, &body, BUDGET_BYTES).is_ok(),
    };
    // The crate does not know Produce below version 3; the broker reads those itself.
    if !passes || (api == ApiKey::Produce && request && version < 3) {
        return;
    }
    let mut body = Bytes::from(body);
    let decoded = match request {
        true => RequestKind::decode(api, &mut body, version).map(drop),
        false => ResponseKind::decode(api, &mut body, version).map(drop),
    };
    decoded.expect("what passes the guard decodes");
    assert!(body.is_empty(), "what passes the guard decodes wholly");
});

/// A message of the right shape with some bytes overwritten.
fn shaped(request: bool, key: i16, version: i16, entropy: &[u8]) -> Vec<u8> {
    let (mutations, entropy) = entropy.split_at(entropy.len() / 4);
    let mut rest = entropy.iter().cycle();
    let mut count = 0u64;
    let mut random = || {
        count += 1;
        u64::from(*rest.next().unwrap_or(&0)).wrapping_mul(257).wrapping_add(count)
    };
    let shape = match request {
        true => sample::request(key, version, &mut random),
        false => sample::response(key, version, &mut random),
    };
    let mut body = shape.unwrap_or_default();
    for mutation in mutations.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([mutation[0], mutation[1]]));
        if let Some(byte) = body.get_mut(at) {
            *byte = mutation[2];
        }
    }
    body
}
