//! The clients: one set for all brokers, made so that the broker is what is measured.
//!
//! Batches are laid out once and sent again and again without a copy ([`batches`], [`produce`]); fetched bytes are
//! only counted ([`fetch`]). Load comes closed ([`closed`]: as fast as answers come) or open ([`open`]: at a pace of
//! its own, whatever the answers do). [`librdkafka`] shows what a client adds that makes its batches itself.

pub mod batches;
pub mod closed;
pub mod fetch;
pub mod librdkafka;
pub mod open;
pub mod produce;

use std::time::Duration;

use anyhow::Result;
use towpath_env::Env;
use towpath_wire::client::{Client, ClientConfig};

/// A disk that has much to write keeps answers waiting.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Beyond what any load here has in flight.
const IN_FLIGHT_MAX: usize = 8192;

/// A client of one broker. Each connection made from it is a client of its own to the broker.
pub async fn connect(bootstrap: &str) -> Result<Client> {
    let config = ClientConfig {
        client_id: "bench".to_owned(),
        request_timeout: ANSWER_MAX,
        attempt_timeout: ANSWER_MAX,
        in_flight_max: IN_FLIGHT_MAX,
        ..ClientConfig::plaintext(bootstrap)
    };
    Ok(Client::connect(config, Env::real()).await?)
}

#[cfg(test)]
mod tests;
