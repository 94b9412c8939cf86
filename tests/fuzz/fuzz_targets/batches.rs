//! No bytes make the batch views, the record iterator or the conversion of old formats panic or exceed their
//! budget, with right checksums too.
//!
//! Run with `cargo +nightly fuzz run batches -- -malloc_limit_mb=512` from `tests/` (zstd may claim a window of
//! 128 MB).
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use towpath_wire::batch::{Batch, BatchView, patch_log_append_time, split, views};
use towpath_wire::convert::{needs_conversion, up_convert, up_convert_keeping_offsets};

const BUDGET_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    assert!(views(data).count() == split(Bytes::copy_from_slice(data)).count());
    for batch in split(Bytes::copy_from_slice(data)).flatten() {
        exercise(&batch);
        let mut patched = BytesMut::from(batch.bytes().as_ref());
        patch_log_append_time(&mut patched, 1);
        let batch = Batch::new(patched.freeze()).expect("a patch keeps the layout");
        batch.check_crc().expect("a patch sets the right CRC");
        exercise(&batch);
    }
    for old in [data.to_vec(), with_right_crc(data)] {
        let old = Bytes::from(old);
        if needs_conversion(&old) {
            for converted in
                [up_convert(old.clone(), BUDGET_BYTES), up_convert_keeping_offsets(old, BUDGET_BYTES)]
                    .into_iter()
                    .flatten()
            {
                for batch in split(converted.freeze()) {
                    let batch = batch.expect("conversion makes whole batches");
                    batch.check_crc().ok();
                    exercise(&batch);
                }
            }
        }
    }
});

fn exercise(batch: &Batch) {
    let view: BatchView<'_> = batch.view();
    let _ = (view.check_produced(), view.control_kind(), view.last_offset(), view.last_sequence());
    if let Ok(records) = batch.records(BUDGET_BYTES) {
        records.for_each(drop);
    }
}

/// Sets the CRC of a first message in format v0 or v1, which no fuzzer finds by itself.
fn with_right_crc(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if let Some(size) = data.get(8..12) {
        let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
        if let Some(body) = data.get(16..12usize.saturating_add(size)) {
            let crc = crc32(body);
            data[12..16].copy_from_slice(&crc.to_be_bytes());
        }
    }
    data
}

/// CRC-32 (IEEE), bit by bit: inputs are short.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
