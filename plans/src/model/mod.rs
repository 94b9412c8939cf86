//! The plan: one signal family, its topics, groups, gates and options.
//!
//! [`Plan::from_yaml`] reads a file and either gives a whole plan, with every default filled in, or every
//! problem it found, each with line, column and fix. [`Plan::explain`] prints each setting with where its value
//! comes from. [`Plan::hash`] names a plan in journal and evidence.

mod defaults;
mod error;
mod estate;
mod estimate;
mod hash;
mod plan;
mod quantity;
mod read;
mod reader;
mod rules;
mod selector;
mod tree;

pub use defaults::{Setting, SettingSource};
pub use error::{PlanError, Problem};
pub use estate::{PlanFile, check_estate};
pub use estimate::{BrokerLoad, Estimate};
pub use hash::PlanHash;
pub use plan::{
    DiffOptions, EvidenceOptions, FenceMode, Gates, GroupPlan, LinkOptions, Plan, RecordContents, Uncommitted,
};
pub use quantity::{
    format_bytes, format_count, format_duration, format_rounded, noun_for, parse_bytes, parse_duration,
};
pub use selector::{TopicPattern, TopicSelector};

#[cfg(test)]
mod tests;
