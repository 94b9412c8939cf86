//! Families, topics and groups as tables.

use towpath_linker::status::{FamilyStatus, ServiceStatus};

/// One family.
pub fn family(status: &FamilyStatus, _partitions: bool, _colours: bool) -> String {
    format!("{}: {}", status.family, status.link.state)
}

/// A line per family.
pub fn service(status: &ServiceStatus, _colours: bool) -> String {
    format!("{}: {} families", status.service, status.families.len())
}
