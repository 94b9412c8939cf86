//! What one case has running and knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::commands::Background;
use super::consumers::Consuming;
use super::filled;
use super::loads::Load;
use super::model::{Scenario, Step};
use super::nodes::RunningNode;
use crate::kafka::Pool;

/// One case's world; everything in it ends with it.
pub(super) struct World<'a> {
    pub(super) pool: &'a Pool,
    folder: TempDir,
    values: BTreeMap<String, String>,
    pub(super) nodes: BTreeMap<String, RunningNode>,
    pub(super) loads: BTreeMap<String, Load>,
    pub(super) consumers: BTreeMap<String, Consuming>,
    pub(super) commands: BTreeMap<String, Background>,
    /// Orders what different consumers report.
    pub(super) clock: Arc<AtomicU64>,
    notes: Vec<String>,
    at: String,
}

impl<'a> World<'a> {
    /// An empty world with the scenario's files in its folder.
    pub(super) fn new(
        pool: &'a Pool,
        scenario: &Path,
        values: &BTreeMap<String, String>,
    ) -> Result<World<'a>> {
        let folder = tempfile::Builder::new().prefix("towpath-scenario-").tempdir()?;
        let mut values = values.clone();
        values.insert("dir".to_owned(), folder.path().display().to_string());
        for entry in std::fs::read_dir(scenario)? {
            let path = entry?.path();
            if path.is_file() && path.file_name().is_some_and(|name| name != "scenario.yaml") {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let name = path.file_name().unwrap_or_default();
                std::fs::write(folder.path().join(name), filled(&text, &values))?;
            }
        }
        Ok(World {
            pool,
            folder,
            values,
            nodes: BTreeMap::new(),
            loads: BTreeMap::new(),
            consumers: BTreeMap::new(),
            commands: BTreeMap::new(),
            clock: Arc::default(),
            notes: Vec::new(),
            at: "start".to_owned(),
        })
    }

    /// The case's own folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Remembers a value for `${key}`.
    pub(super) fn set(&mut self, key: String, value: String) {
        self.values.insert(key, value);
    }

    /// `text` with what the world knows filled in.
    ///
    /// # Errors
    /// When a `${NAME}` is left.
    pub(super) fn fill(&self, text: &str) -> Result<String> {
        let text = filled(text, &self.values);
        match text.split_once("${") {
            Some((_, rest)) => {
                bail!("nothing is known of ${{{}", rest.split_inclusive('}').next().unwrap_or(""))
            }
            None => Ok(text),
        }
    }

    /// Adds to the case's line.
    pub(super) fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// What [`World::note`] collected.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The step that runs.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// A cluster's addresses.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub(super) fn bootstrap(&self, node: &str) -> Result<String> {
        let node = self.nodes.get(node).with_context(|| format!("no node {node:?}"))?;
        node.bootstrap().context("a linking service is no cluster")
    }

    /// Does steps one after the other.
    ///
    /// # Errors
    /// The first step's that fails, with its number.
    pub(super) async fn do_all(&mut self, steps: &[Step]) -> Result<()> {
        for (index, step) in steps.iter().enumerate() {
            let label = format!("step {} {}", index + 1, name_of(step));
            self.at.clone_from(&label);
            // Boxed: steps contain steps.
            Box::pin(self.step(step)).await.context(label)?;
        }
        Ok(())
    }

    /// Looks at what daemons logged, and hands shared clusters back.
    ///
    /// # Errors
    /// When a daemon logged a problem that wasn't declared, or a background command was never waited for.
    pub(super) async fn end(&mut self, scenario: &Scenario) -> Result<()> {
        "end".clone_into(&mut self.at);
        if let Some(name) = self.commands.keys().next() {
            bail!("nothing waited for the command {name:?}");
        }
        self.loads.clear();
        self.consumers.clear();
        let declared: Vec<String> = scenario.declared.iter().map(|line| line.contains.clone()).collect();
        let mut problems = Vec::new();
        for node in self.nodes.values_mut() {
            if let RunningNode::Daemon(daemon) = node {
                if daemon.is_started() {
                    daemon.stop().await?;
                }
                problems.extend(daemon.undeclared_problems(&declared)?);
            }
        }
        if !problems.is_empty() {
            const SHOWN: usize = 10;
            let shown = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
            bail!("{} undeclared warnings or errors:\n  {shown}", problems.len());
        }
        for (_, node) in std::mem::take(&mut self.nodes) {
            if let RunningNode::Kafka(kafka) = node {
                self.pool.give_back(*kafka);
            }
        }
        Ok(())
    }

    /// Keeps the folder, with the logs of the clusters that the case used, for a look at it; gives its path.
    pub(super) fn keep(&mut self) -> Result<PathBuf> {
        self.folder.disable_cleanup(true);
        for (name, node) in &self.nodes {
            if let RunningNode::Kafka(kafka) = node {
                std::fs::copy(kafka.log_path(0), self.folder.path().join(format!("{name}.kafka.log")))?;
            }
        }
        Ok(self.folder.path().to_owned())
    }
}

/// `Kill("target")` → `kill`, as the file spells it.
fn name_of(step: &Step) -> String {
    let debug = format!("{step:?}");
    let name = debug.split('(').next().unwrap_or("");
    let mut spelt = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !spelt.is_empty() {
            spelt.push('_');
        }
        spelt.extend(letter.to_lowercase());
    }
    spelt
}
