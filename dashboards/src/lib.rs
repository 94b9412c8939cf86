//! Console templates and assets, evidence report, Grafana dashboards, alert rules.

#![forbid(unsafe_code)]
