//! What people look at: the evidence report, Grafana dashboards, Prometheus alert rules.
//!
//! This room knows no other one. Whoever wants a page fills a model ([`report::ReportModel`]) and gets text; what the
//! evidence means is decided by whoever fills it. `grafana/` and `prometheus/` hold files that are used as they are.

#![forbid(unsafe_code)]

pub mod quantity;
pub mod report;

pub use report::{ReportModel, render};
