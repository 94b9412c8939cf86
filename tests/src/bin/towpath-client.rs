//! The librdkafka workload client: settings as its argument, a JSON document per line both ways.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let settings = std::env::args().nth(1).context("settings, as one JSON document")?;
    towpath_tests::clients::librdkafka::run(serde_json::from_str(&settings)?)
}
