//! Object stores for tests: a folder, memory, and three servers that speak S3: Moto, SeaweedFS, and s3rver, which
//! ignores put-if-absent. A server runs on free ports, with a bucket made, until its [`Store`] is dropped.

pub mod proxy;
mod servers;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::signer::Signer as _;
use towpath_env::Env;
use towpath_shared_log::open_store_in;

use servers::Server;

/// The bucket that every server has.
pub const BUCKET: &str = "towpath";

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A folder.
    File,
    /// The memory of this process.
    Memory,
    /// Moto, a mock of AWS, one request at a time.
    Moto,
    /// SeaweedFS: master, volume, filer and S3 gateway in one process.
    SeaweedFs,
    /// s3rver, which answers success to every put, whatever its condition.
    S3rver,
}

impl FromStr for StoreKind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<StoreKind> {
        match name {
            "file" => Ok(StoreKind::File),
            "memory" => Ok(StoreKind::Memory),
            "moto" => Ok(StoreKind::Moto),
            "seaweedfs" => Ok(StoreKind::SeaweedFs),
            "s3rver" => Ok(StoreKind::S3rver),
            _ => bail!("no store {name:?}; fix: file, memory, moto, seaweedfs or s3rver"),
        }
    }
}

impl StoreKind {
    /// As it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::File => "file",
            StoreKind::Memory => "memory",
            StoreKind::Moto => "moto",
            StoreKind::SeaweedFs => "seaweedfs",
            StoreKind::S3rver => "s3rver",
        }
    }

    /// The program without which this kind cannot be started, if it is missing here.
    pub fn missing(self) -> Option<&'static str> {
        let needed: &[&'static str] = match self {
            StoreKind::File | StoreKind::Memory => &[],
            StoreKind::Moto | StoreKind::SeaweedFs => &["python3"],
            StoreKind::S3rver => &["node", "npm"],
        };
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let here = |program: &str| std::env::split_paths(&paths).any(|folder| folder.join(program).exists());
        needed.iter().copied().find(|program| !here(program))
    }
}

/// A store that is there until it is dropped.
#[derive(Debug)]
pub struct Store {
    url: String,
    environment: Vec<(String, String)>,
    server: Option<Server>,
}

impl Store {
    /// Starts a store with its data and log in `folder`.
    ///
    /// # Errors
    /// When its server can't be fetched, or doesn't start.
    pub async fn start(kind: StoreKind, folder: &Path) -> Result<Store> {
        std::fs::create_dir_all(folder)?;
        let (server, keys) = match kind {
            StoreKind::Memory => return Ok(Store::without_server("memory://".to_owned())),
            StoreKind::File => {
                let place = std::path::absolute(folder.join("store"))?;
                return Ok(Store::without_server(format!("file://{}", place.display())));
            }
            StoreKind::Moto => (servers::moto(folder).await?, ("moto", "moto")),
            StoreKind::SeaweedFs => (servers::seaweedfs(folder).await?, servers::SEAWEEDFS_KEYS),
            StoreKind::S3rver => (servers::s3rver(folder).await?, ("S3RVER", "S3RVER")),
        };
        let environment = [
            ("AWS_ENDPOINT_URL", format!("http://{}", server.address())),
            ("AWS_ACCESS_KEY_ID", keys.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", keys.1.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let store = Store { url: format!("s3://{BUCKET}/estate"), environment, server: Some(server) };
        store.make_bucket().await.with_context(|| format!("make the bucket of {}", kind.name()))?;
        Ok(store)
    }

    fn without_server(url: String) -> Store {
        Store { url, environment: Vec::new(), server: None }
    }

    /// What `--store` takes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a process needs in its environment to reach it.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The same with another value of `name`, which is there or not.
    pub fn environment_with(&self, name: &str, value: &str) -> Vec<(String, String)> {
        let mut environment = self.environment.clone();
        environment.retain(|(known, _)| known != name);
        environment.push((name.to_owned(), value.to_owned()));
        environment
    }

    /// `host:port` of the server, if there is one.
    pub fn address(&self) -> Option<String> {
        self.server.as_ref().map(Server::address)
    }

    /// A client of it, as the broker has one.
    ///
    /// # Errors
    /// As for [`open_store_in`].
    pub async fn open(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(open_store_in(&self.url, &self.environment).await?)
    }

    /// With a signed address for a name of no characters: that is the bucket itself.
    async fn make_bucket(&self) -> Result<()> {
        // Also installs the provider of TLS, without which no HTTP client is made.
        self.open().await?;
        let mut builder = AmazonS3Builder::new().with_bucket_name(BUCKET).with_allow_http(true);
        for (name, value) in &self.environment {
            builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
        }
        let client = builder.build()?;
        let signed =
            client.signed_url(reqwest::Method::PUT, &Key::default(), Duration::from_secs(60)).await?;
        let http = reqwest::Client::new();
        let env = Env::real();
        loop {
            let answer = http.put(signed.as_str()).header("Content-Length", "0").send().await;
            let told = match answer {
                Ok(answer) if answer.status().is_success() || answer.status().as_u16() == 409 => {
                    return Ok(());
                }
                Ok(answer) => format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => error.to_string(),
            };
            if env.elapsed() > servers::START_MAX {
                bail!("{told}");
            }
            env.sleep(crate::wait::POLL).await;
        }
    }
}
