//! A broker comes up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::{BrokerImage, Image};

/// Registers a broker under its node id; a later registration replaces an earlier one and raises its epoch. Refused to a
/// broker that must be alone where another is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistered {
    /// Its node id.
    pub node_id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Zone, if any.
    #[serde(default)]
    pub rack: Option<String>,
    /// It takes every partition for its own, as all brokers do while partitions have no leaders: a second one would
    /// give the same offsets again.
    #[serde(default)]
    pub alone: bool,
}

impl BrokerRegistered {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let other = image.brokers.iter().find(|(node_id, _)| self.alone && **node_id != self.node_id);
        if let Some((&node_id, held)) = other {
            return Err(Rejection::NotAlone { node_id, address: format!("{}:{}", held.host, held.port) });
        }
        let brokers = Arc::make_mut(&mut image.brokers);
        let epoch = brokers.get(&self.node_id).map_or(0, |held| held.epoch + 1);
        let broker = BrokerImage { host: self.host.clone(), port: self.port, rack: self.rack.clone(), epoch };
        brokers.insert(self.node_id, broker);
        Ok(())
    }
}
