//! One side of a link, connected.

use towpath_env::Env;
use towpath_wire::client::{Client, ClientConfig};

use crate::config::ServiceConfig;
use crate::error::{LinkerError, Side};

/// A connected cluster, as plans name it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// Its name under `clusters:` in the service's file.
    pub name: String,
    /// The cluster's own id.
    pub id: String,
    /// The raw client towards it.
    pub client: Client,
    /// How it is reached: the diff's librdkafka readers connect by the same settings.
    pub config: ClientConfig,
}

impl Cluster {
    /// Connects to the cluster that the service's file calls `name`.
    ///
    /// # Errors
    /// The file does not name it, or the cluster cannot be reached; `side` says whose fault that is.
    pub async fn connect(
        config: &ServiceConfig,
        name: &str,
        side: Side,
        env: &Env,
    ) -> Result<Cluster, LinkerError> {
        let config = config.client(name)?;
        let client = Client::connect(config.clone(), env.clone())
            .await
            .map_err(LinkerError::cluster(side, format!("connect to cluster {name}")))?;
        Ok(Cluster { name: name.to_owned(), id: client.cluster_id(), client, config })
    }
}
