//! The broker on stores that speak S3: which hold its data, which it refuses, what it says when one does not answer,
//! and what it keeps when stores, networks, disks and the broker itself fail.

mod conformance;
mod crashes;
mod faults;
mod full_disk;
mod start;
mod two_brokers;

use towpath_tests::stores::StoreKind;

/// Whether a store of this kind can be started here; says why not.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn available(kind: StoreKind) -> bool {
    match kind.missing() {
        Some(program) => {
            eprintln!("left out: {} needs {program}", kind.name());
            false
        }
        None => true,
    }
}
