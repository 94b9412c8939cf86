//! Runs a throw-away Apache Kafka until Ctrl-C or SIGTERM: `cargo run -p towpath-tests --bin apache-kafka -- 3.9.1`,
//! with server properties as `key=value` behind the version. Prints its bootstrap address as the first line.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the address is this command's result")]

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use towpath_tests::kafka::{Kafka, KafkaOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut options = KafkaOptions::new(&arguments.next().unwrap_or_else(|| "3.9.1".to_owned()));
    for property in arguments {
        let (key, value) = property.split_once('=').context("properties are given as key=value")?;
        options = options.property(key, value);
    }
    let mut stop = signal(SignalKind::terminate())?;
    let kafka = Kafka::start_with(options).await?;
    println!("{}", kafka.bootstrap());
    tokio::select! {
        _ = stop.recv() => {}
        ended = tokio::signal::ctrl_c() => ended?,
    }
    Ok(())
}
