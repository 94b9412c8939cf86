//! Data folders as `kafka-storage format` makes them, without a JVM each.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Kafka, START_MAX};
use crate::cache;
use crate::process::output_of;

/// The records that a cluster begins with: its metadata version.
const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// Formats the data folder of node `index`. What Kafka's tool wrote once for the version is kept: beside it there
/// are only ids.
pub(super) async fn format(kafka: &Kafka, index: usize) -> Result<()> {
    let (node, data) = (&kafka.nodes[index], kafka.data_path(index));
    let cluster_id = id(kafka, 0);
    let part = format!("kafka-formatted/{}", kafka.version());
    let formatted = cache::part(&part, async |folder| {
        let mut command = kafka.java(&["-Xmx256m".to_owned(), "-XX:TieredStopAtLevel=1".to_owned()]);
        command.args(["kafka.tools.StorageTool", "format", "-t", &cluster_id, "-c"]);
        command.arg(node.folder.join("server.properties"));
        output_of("kafka-storage format", command, START_MAX).await?;
        std::fs::copy(data.join(BOOTSTRAP), folder.join(BOOTSTRAP))?;
        Ok(())
    })
    .await?;
    std::fs::create_dir_all(&data)?;
    std::fs::copy(formatted.join(BOOTSTRAP), data.join(BOOTSTRAP))?;
    let (node_id, directory_id) = (node.id, id(kafka, index as u8 + 1));
    let meta =
        format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n");
    Ok(std::fs::write(data.join("meta.properties"), meta)?)
}

/// Any 16 bytes in base64 do as an id, of the cluster (0) or of a node's folder; every cluster of a test has its own.
fn id(kafka: &Kafka, number: u8) -> String {
    let mut bytes = [number; 16];
    // The temporary folder's name is unique on this machine.
    let name = kafka.folder.path().as_os_str().as_encoded_bytes();
    let tail = &name[name.len().saturating_sub(15)..];
    bytes[1..=tail.len()].copy_from_slice(tail);
    URL_SAFE_NO_PAD.encode(bytes)
}
