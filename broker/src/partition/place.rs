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
    Replayed, StorageConfig, Wal, WalKind, WalMetrics, WalOpenError, abandon_disk_wal, check_disk_wal,
    collect_object_wal, fence_object_wal,
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
        may_open(config, image)?;
        Ok(match config.wal {
            WalKind::Disk => {
                let files = DiskFileSystem::open(&config.wal_directory)?;
                check_disk_wal(&files, &disk_settings(config, image))?;
                WalPlace::Disk(Arc::new(files))
            }
            WalKind::Object => {
                // Nothing in the store stops a broker with a disk WAL before its next upload. If it is this machine's,
                // its lock tells.
                let other = unsealed(image, config.node_id, WalKind::Disk).is_some();
                if other && config.wal_directory.is_dir() {
                    drop(DiskFileSystem::open(&config.wal_directory)?);
                }
                WalPlace::Object
            }
        })
    }

    fn kind(&self) -> WalKind {
        match self {
            WalPlace::Disk(_) => WalKind::Disk,
            WalPlace::Object => WalKind::Object,
        }
    }

    /// With a disk WAL: deletes what is left of an object WAL that this broker may have had.
    pub(super) fn former_object_wal(
        &self,
        config: &StorageConfig,
        epoch: i64,
        outside: Outside,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let times = (config.wal_request_timeout, config.delete_grace);
        let own = (config.node_id, epoch);
        matches!(self, WalPlace::Disk(_)).then(|| collect_object_wal(outside, own, times))
    }

    /// Opens the WAL and binds it to the store; what it holds beyond what the image has in segments.
    pub(super) async fn open(
        self,
        config: &StorageConfig,
        (metadata, own): (&Metadata, &Registration),
        (image, snapshot): (&Image, &Snapshot),
        outside: Outside,
    ) -> Result<(Wal, Vec<Replayed>), OpenError> {
        // Again: somebody may have come up and gone since the claim.
        let config = &StorageConfig { wal: self.kind(), ..config.clone() };
        may_open(config, image)?;
        let opening = Opening { config, metadata, own, image, known: snapshot };
        match self {
            WalPlace::Disk(files) => opening.disk(files, outside).await,
            WalPlace::Object => opening.object(outside).await,
        }
    }
}

/// Refuses a kind of WAL when the other may hold what would be lost.
fn may_open(config: &StorageConfig, image: &Image) -> Result<(), WalOpenError> {
    let (other, names) = match config.wal {
        WalKind::Disk => (WalKind::Object, ("object", "disk")),
        WalKind::Object => (WalKind::Disk, ("disk", "object")),
    };
    if unsealed(image, config.node_id, other).is_none() || config.wal_accept_loss {
        return Ok(());
    }
    Err(WalOpenError::OtherKind { bound: names.0, asked: names.1 })
}

/// The WAL of this kind, if that is what the store knows and its broker may still write it.
fn unsealed(image: &Image, node_id: i32, kind: WalKind) -> Option<&WalImage> {
    bound(image, node_id).filter(|wal| kind_of(wal) == kind && wal.sealed_by.is_none())
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

/// A broker that opens its WAL.
struct Opening<'a> {
    config: &'a StorageConfig,
    metadata: &'a Metadata,
    own: &'a Registration,
    image: &'a Image,
    known: &'a Snapshot,
}

/// The store, as a WAL uses it.
type Outside = (Arc<dyn ObjectStore>, Env, WalMetrics);

impl Opening<'_> {
    async fn disk(
        self,
        files: Arc<dyn FileSystem>,
        outside: Outside,
    ) -> Result<(Wal, Vec<Replayed>), OpenError> {
        let (env, metrics) = (outside.1.clone(), outside.2.clone());
        if let Some(wal) = unsealed(self.image, self.config.node_id, WalKind::Object) {
            self.give_up(wal, outside).await?;
        }
        let settings = disk_settings(self.config, self.image);
        let opened = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            let wal = Wal::open_disk(files, settings, env, metrics, &mut |record| records.push(record))?;
            Ok((wal, records))
        });
        let opened = opened.await.map_err(|error| {
            let source = std::io::Error::other(error);
            WalOpenError::Io { what: "replay the WAL".to_owned(), source }
        })?;
        let opened = opened.map_err(OpenError::Wal)?;
        self.bind(opened.0.id(), None).await?;
        Ok(opened)
    }

    /// The loss of an object WAL was accepted: whoever writes it must not go on, or more would be lost than that.
    async fn give_up(&self, wal: &WalImage, outside: Outside) -> Result<(), OpenError> {
        let Some(position) = wal.position else { return Ok(()) };
        let settings = self.object_settings((wal.wal_id, position, wal.trimmed_to));
        let records = fence_object_wal(outside, settings).await?;
        tracing::warn!(
            records,
            "the object WAL is given up, with what only that one held: that was accepted"
        );
        Ok(())
    }

    /// The loss of a disk WAL was accepted: its files, if they are here, are put aside.
    fn give_up_disk(&self, wal: &WalImage, metrics: &WalMetrics) -> Result<(), OpenError> {
        let (wal_id, folder) = (wal.wal_id, &self.config.wal_directory);
        let here = folder.is_dir();
        if here {
            abandon_disk_wal(&DiskFileSystem::open(folder)?, metrics)?;
        }
        let (folder, from) = (folder.display(), wal.trimmed_to);
        tracing::warn!(
            %wal_id, %folder, here,
            "the disk WAL is given up, with the records from {from} on that only that one held: that was accepted; what \
             of it lies in the folder is kept as .abandoned"
        );
        Ok(())
    }

    async fn object(self, (store, env, metrics): Outside) -> Result<(Wal, Vec<Replayed>), OpenError> {
        if let Some(wal) = unsealed(self.image, self.config.node_id, WalKind::Disk) {
            self.give_up_disk(wal, &metrics)?;
        }
        let same = bound(self.image, self.config.node_id)
            .and_then(|wal| Some((wal.wal_id, wal.position?, wal.trimmed_to)));
        let known = same.unwrap_or_else(|| {
            let lease_ms = self.config.wal_lease.as_millis() as u64;
            (env.uuid(), WalPosition { epoch: self.own.epoch, slot: 0, lease_ms }, 0)
        });
        // Before its first slot, so that no slot is ever written that a successor would not look for.
        self.bind(known.0, Some(known.1)).await?;
        Ok(Wal::open_object(store, self.object_settings(known), env, metrics).await?)
    }

    fn object_settings(&self, (wal_id, position, trimmed_to): (Uuid, WalPosition, u64)) -> ObjectWalSettings {
        let config = self.config;
        ObjectWalSettings {
            node_id: config.node_id,
            wal_id,
            position,
            trimmed_to,
            known_below: self.known.applied_below(wal_id),
            accept_loss: config.wal_accept_loss,
            own: self.own.clone(),
            newest: ask_newest(self.metadata, config.node_id),
            bounds: ObjectWalBounds {
                group_bytes_max: config.wal_group_bytes_max,
                puts_inflight_max: config.wal_puts_inflight_max,
                flush_interval: config.wal_flush_interval,
                request_timeout: config.wal_request_timeout,
                lease: config.wal_lease,
                delete_grace: config.delete_grace,
            },
        }
    }

    /// The store knows from here on that this WAL is written, unless it knows already.
    async fn bind(&self, wal_id: Uuid, position: Option<WalPosition>) -> Result<(), OpenError> {
        let node_id = self.config.node_id;
        let image = self.metadata.image();
        let before = bound(&image, node_id);
        if before.is_some_and(|wal| wal.wal_id == wal_id && wal.sealed_by.is_none()) {
            return Ok(());
        }
        let replaces = before.map(|wal| wal.wal_id).filter(|before| *before != wal_id);
        let entry = WalBound { node_id, epoch: self.own.epoch, wal_id, position, replaces };
        let proposed = self.metadata.propose(Entry::WalBound(entry)).await;
        proposed.map(drop).map_err(|error| OpenError::Metadata(error.to_string()))
    }
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
