//! The keys that sign evidence.
//!
//! A key should be held apart from the store: whoever has both can write another past. So the service's own key,
//! made when none is configured, lies in its folder (`signing-key.pem`, mode 0600; its public half for auditors in
//! `signing-key.pub.pem`), not beside the chains that it signs. The folder may be lost, and the key with it; then
//! the service makes another, and the chain says at which entry it took over without a word of the old one
//! ([`towpath_plans::evidence::Body::KeyReplaced`]): whoever pinned the old key is told how far it vouches. To keep
//! trust across lost folders, configure `signing_key`. A service that gets a configured key while its own is still
//! there hands over from the one to the other, signed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use towpath_env::Env;
use towpath_plans::evidence::Signer;

use crate::config::{ServiceConfig, resolve_secret};
use crate::error::LinkerError;

const PRIVATE: &str = "signing-key.pem";
const PUBLIC: &str = "signing-key.pub.pem";

/// The key that signs: the configured one, else the service's own, which is made if there is none yet.
///
/// # Errors
/// The reference does not resolve, the file is not an Ed25519 key, or the folder cannot be written.
pub fn signer(config: &ServiceConfig, env: &Env) -> Result<Signer, LinkerError> {
    if let Some(reference) = &config.signing_key {
        return from_pem(&resolve_secret(reference)?, "signing_key in the service's file");
    }
    let path = config.data.join(PRIVATE);
    let signer = match read(&path)? {
        Some(signer) => signer,
        None => create(&config.data, &path, env)?,
    };
    publish(&config.data, &signer)?;
    Ok(signer)
}

/// The service's own key where a configured one has taken its place: it can sign the hand-over.
///
/// # Errors
/// The file is there and is not an Ed25519 key.
pub fn former_signer(config: &ServiceConfig) -> Result<Option<Signer>, LinkerError> {
    match &config.signing_key {
        Some(_) => read(&config.data.join(PRIVATE)),
        None => Ok(None),
    }
}

fn read(path: &Path) -> Result<Option<Signer>, LinkerError> {
    match std::fs::read_to_string(path) {
        Ok(pem) => from_pem(&pem, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn create(folder: &Path, path: &Path, env: &Env) -> Result<Signer, LinkerError> {
    let mut seed = [0; 32];
    env.fill(&mut seed);
    let signer = Signer::from_seed(seed);
    let pem = signer.to_pem().map_err(|error| LinkerError::Bug(error.to_string()))?;
    std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    // Whole or not at all: a crash must not leave half a key under the name.
    let draft = folder.join(format!("{PRIVATE}.{}", env.uuid()));
    write_private(&draft, &pem).map_err(|error| unusable(&draft, &error))?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(|error| unusable(&draft, &error))?;
    match linked {
        Ok(()) => Ok(signer),
        // Another process was first: its key counts.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| unusable(path, &error))
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

fn write_private(path: &PathBuf, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts the public half where an operator finds it for the auditors' `--trust`.
fn publish(folder: &Path, signer: &Signer) -> Result<(), LinkerError> {
    let path = folder.join(PUBLIC);
    let pem = signer.public().to_pem().map_err(|error| LinkerError::Bug(error.to_string()))?;
    match std::fs::read_to_string(&path) {
        Ok(held) if held == pem => Ok(()),
        _ => std::fs::write(&path, pem).map_err(|error| unusable(&path, &error)),
    }
}

fn from_pem(pem: &str, place: &str) -> Result<Signer, LinkerError> {
    Signer::from_pem(pem).map_err(|error| LinkerError::Config {
        place: place.to_owned(),
        problem: error.to_string(),
        fix: "openssl genpkey -algorithm ed25519 writes such a file".into(),
    })
}

fn unusable(path: &Path, error: &std::io::Error) -> LinkerError {
    LinkerError::Config {
        place: path.display().to_string(),
        problem: format!("the key that signs evidence cannot be kept here: {error}"),
        fix: "make the folder writable, or configure `signing_key`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &Path) -> ServiceConfig {
        let text = format!("clusters: {{}}\nstore: memory\ndata: {data:?}\n");
        ServiceConfig::parse(&text, "service.yaml").unwrap()
    }

    #[test]
    fn the_own_key_is_made_once_and_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("linker"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let env = runtime.block_on(async { Env::seeded(1, 0) });
        let made = signer(&config, &env).unwrap().public();
        assert_eq!(signer(&config, &env).unwrap().public(), made);
        let mode = std::fs::metadata(config.data.join(PRIVATE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let published = std::fs::read_to_string(config.data.join(PUBLIC)).unwrap();
        assert_eq!(towpath_plans::evidence::PublicKey::from_text(&published).unwrap(), made);
        assert!(former_signer(&config).unwrap().is_none());
        assert_eq!(std::fs::read_dir(&config.data).unwrap().count(), 2);
    }

    #[test]
    fn a_configured_key_counts_and_the_own_one_is_its_former() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let env = runtime.block_on(async { Env::seeded(1, 0) });
        let own = signer(&config, &env).unwrap().public();
        let given = Signer::from_seed([7; 32]);
        let file = folder.path().join("given.pem");
        std::fs::write(&file, given.to_pem().unwrap()).unwrap();
        config.signing_key = Some(format!("file:{}", file.display()));
        assert_eq!(signer(&config, &env).unwrap().public(), given.public());
        assert_eq!(former_signer(&config).unwrap().unwrap().public(), own);
        std::fs::write(&file, "not a key").unwrap();
        assert!(signer(&config, &env).unwrap_err().to_string().contains("signing_key"));
    }
}
