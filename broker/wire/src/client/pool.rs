//! The shared connections of a client: at most one per address, made on demand, replaced when gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use towpath_env::Env;

use super::config::ClientConfig;
use super::connection::Connection;
use super::dial;
use super::error::ClientError;

/// Connections by address. Bounded by the cluster's brokers: see [`Pool::retain`].
#[derive(Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// The latest connection, kept when it has ended for what it learned of the broker.
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while dialing, so that many callers share one attempt and its failure.
    dialing: tokio::sync::Mutex<Option<(Duration, ClientError)>>,
}

impl Slot {
    fn usable(&self) -> Option<Arc<Connection>> {
        self.current.lock().clone().filter(|connection| connection.is_usable())
    }
}

impl Pool {
    /// The connection to `address`, made now if there is none.
    ///
    /// # Errors
    /// Why it could not be made; callers that waited for the same attempt get the same error.
    pub(super) async fn get(
        &self,
        address: &str,
        config: &ClientConfig,
        env: &Env,
    ) -> Result<Arc<Connection>, ClientError> {
        let slot = self.slots.lock().entry(address.to_owned()).or_default().clone();
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let asked_at = env.elapsed();
        let mut last_failure = slot.dialing.lock().await;
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        if let Some((failed_at, error)) = &*last_failure
            && *failed_at > asked_at
        {
            return Err(error.clone());
        }
        match dial::open(address, config, env).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *slot.current.lock() = Some(connection.clone());
                *last_failure = None;
                Ok(connection)
            }
            Err(error) => {
                *last_failure = Some((env.elapsed(), error.clone()));
                Err(error)
            }
        }
    }

    /// A usable connection to any address, if there is one.
    pub(super) fn any(&self) -> Option<Arc<Connection>> {
        self.slots.lock().values().find_map(|slot| slot.usable())
    }

    /// The latest connection to each address, usable or not: its versions are the broker's as last seen.
    pub(super) fn latest(&self) -> Vec<Arc<Connection>> {
        self.slots.lock().values().filter_map(|slot| slot.current.lock().clone()).collect()
    }

    /// Forgets addresses that are no longer part of the cluster; requests in flight there are answered still.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.slots.lock().retain(|address, _| keep(address));
    }

    /// Closes and forgets all.
    pub(super) fn close(&self) {
        for (_, slot) in self.slots.lock().drain() {
            if let Some(connection) = slot.current.lock().take() {
                connection.close();
            }
        }
    }
}
