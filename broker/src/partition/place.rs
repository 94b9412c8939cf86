//! Which write-ahead log a broker comes up with, and whether it may.

use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use towpath_env::Env;
use uuid::Uuid;

use super::OpenError;
use super::snapshot::Snapshot;
use crate::metadata::entry::{Entry, WalBound};
use crate::metadata::{Image, Metadata, WalImage, WalPosition};
use crate::storage::{
    AskNewest, DiskFileSystem, DiskWalSettings, FileSystem, ObjectWalBounds, ObjectWalSettings, Registration,
    Replayed, StorageConfig, Wal, WalKind, WalMetrics, WalOpenError, check_disk_wal,
};

/// Where a WAL is, claimed for this process.
pub enum WalPlace {
    /// A folder of this machine, locked.
    Disk(Arc<dyn FileSystem>),
    /// The object store.
    Object,
}

impl WalPlace {
    /// Claims the place that the configuration names, if the store lets this kind of WAL come up. Comes before the
    /// broker registers itself, which fences whoever runs under its id.
    pub fn claim(config: &StorageConfig, image: &Image) -> Result<WalPlace, OpenError> {
        may_open(config, image, image.broker_epoch(config.node_id))?;
        Ok(match config.wal {
            WalKind::Disk => {
                let files = DiskFileSystem::open(&config.wal_directory)?;
                check_disk_wal(&files, &disk_settings(config, image))?;
                WalPlace::Disk(Arc::new(files))
            }
            WalKind::Object => WalPlace::Object,
        })
    }

    fn kind(&self) -> WalKind {
        match self {
            WalPlace::Disk(_) => WalKind::Disk,
            WalPlace::Object => WalKind::Object,
        }
    }

    /// Opens the WAL and binds it to the store; what it holds beyond what the image has in segments.
    pub(super) async fn open(
        self,
        config: &StorageConfig,
        (metadata, own): (&Metadata, &Registration),
        (image, snapshot): (&Image, &Snapshot),
        outside: (Arc<dyn ObjectStore>, Env, WalMetrics),
    ) -> Result<(Wal, Vec<Replayed>), OpenError> {
        // Again: somebody may have come up and gone since the claim.
        may_open(&StorageConfig { wal: self.kind(), ..config.clone() }, image, own.epoch - 1)?;
        match self {
            WalPlace::Disk(files) => {
                let (_, env, metrics) = outside;
                let opened = open_disk(files, config, image, (env, metrics)).await?;
                bind(metadata, config.node_id, own, (opened.0.id(), None)).await?;
                Ok(opened)
            }
            WalPlace::Object => open_object(config, (metadata, own), (image, snapshot), outside).await,
        }
    }
}

/// Refuses a kind of WAL when the other may hold what would be lost. `last` is the registration before.
fn may_open(config: &StorageConfig, image: &Image, last: i64) -> Result<(), WalOpenError> {
    let Some(bound) = bound(image, config.node_id) else { return Ok(()) };
    let sealed = bound.sealed_by == Some(last);
    if kind_of(bound) == config.wal || sealed || config.wal_accept_loss {
        return Ok(());
    }
    let name = |kind| match kind {
        WalKind::Disk => "disk",
        WalKind::Object => "object",
    };
    Err(WalOpenError::OtherKind { bound: name(kind_of(bound)), asked: name(config.wal) })
}

fn bound(image: &Image, node_id: i32) -> Option<&WalImage> {
    image.wal(node_id).filter(|wal| !wal.wal_id.is_nil())
}

fn kind_of(bound: &WalImage) -> WalKind {
    match bound.position {
        Some(_) => WalKind::Object,
        None => WalKind::Disk,
    }
}

fn disk_settings(config: &StorageConfig, image: &Image) -> DiskWalSettings {
    let bound = bound(image, config.node_id);
    let same = bound.filter(|bound| kind_of(bound) == WalKind::Disk);
    DiskWalSettings {
        expected: same.map(|wal| wal.wal_id),
        sealed: bound.and_then(|wal| wal.replaced),
        trimmed_to: same.map_or(0, |wal| wal.trimmed_to),
        accept_loss: config.wal_accept_loss,
        file_bytes: config.wal_file_bytes,
        spare_files_max: config.wal_spare_files_max,
        group_bytes_max: config.wal_group_bytes_max,
    }
}

async fn open_disk(
    files: Arc<dyn FileSystem>,
    config: &StorageConfig,
    image: &Image,
    (env, metrics): (Env, WalMetrics),
) -> Result<(Wal, Vec<Replayed>), OpenError> {
    let settings = disk_settings(config, image);
    let opened = tokio::task::spawn_blocking(move || {
        let mut records = Vec::new();
        let wal = Wal::open_disk(files, settings, env, metrics, &mut |record| records.push(record))?;
        Ok((wal, records))
    });
    match opened.await {
        Ok(opened) => opened.map_err(OpenError::Wal),
        Err(error) => {
            Err(WalOpenError::Io { what: "replay the WAL".to_owned(), source: std::io::Error::other(error) }
                .into())
        }
    }
}

async fn open_object(
    config: &StorageConfig,
    (metadata, own): (&Metadata, &Registration),
    (image, snapshot): (&Image, &Snapshot),
    (store, env, metrics): (Arc<dyn ObjectStore>, Env, WalMetrics),
) -> Result<(Wal, Vec<Replayed>), OpenError> {
    let bounds = ObjectWalBounds {
        group_bytes_max: config.wal_group_bytes_max,
        puts_inflight_max: config.wal_puts_inflight_max,
        flush_interval: config.wal_flush_interval,
        request_timeout: config.wal_request_timeout,
        lease: config.wal_lease,
        delete_grace: config.delete_grace,
    };
    let known =
        bound(image, config.node_id).and_then(|wal| Some((wal.wal_id, wal.position?, wal.trimmed_to)));
    let (wal_id, position, trimmed_to) = match known {
        Some(known) => known,
        // Bound before its first slot, so that no slot is ever written that a successor would not look for.
        None => {
            let lease_ms = bounds.lease.as_millis() as u64;
            let position = WalPosition { epoch: own.epoch, slot: 0, lease_ms };
            let wal_id = env.uuid();
            bind(metadata, config.node_id, own, (wal_id, Some(position))).await?;
            (wal_id, position, 0)
        }
    };
    let settings = ObjectWalSettings {
        node_id: config.node_id,
        wal_id,
        position,
        trimmed_to,
        known_below: snapshot.applied_below(wal_id),
        accept_loss: config.wal_accept_loss,
        own: own.clone(),
        newest: ask_newest(metadata, config.node_id),
        bounds,
    };
    Ok(Wal::open_object(store, settings, env, metrics).await?)
}

async fn bind(
    metadata: &Metadata,
    node_id: i32,
    own: &Registration,
    (wal_id, position): (Uuid, Option<WalPosition>),
) -> Result<(), OpenError> {
    let replaces = bound(&metadata.image(), node_id).map(|wal| wal.wal_id);
    if replaces == Some(wal_id) {
        return Ok(());
    }
    let entry = WalBound { node_id, epoch: own.epoch, wal_id, position, replaces };
    let proposed = metadata.propose(Entry::WalBound(entry)).await;
    proposed.map(drop).map_err(|error| OpenError::Metadata(error.to_string()))
}

fn ask_newest(metadata: &Metadata, node_id: i32) -> AskNewest {
    let metadata = metadata.clone();
    Arc::new(move || {
        let metadata = metadata.clone();
        async move {
            let image = metadata.refresh().await.map_err(|error| error.to_string())?;
            let broker = image.brokers.get(&node_id).ok_or("this broker is not registered")?;
            Ok(Registration { epoch: broker.epoch, address: format!("{}:{}", broker.host, broker.port) })
        }
        .boxed()
    })
}
