//! Scenarios: folders of data under `tests/scenarios/`, each named by the claim it proves.
//!
//! A folder has a `scenario.yaml` ([`model::Scenario`]: what it starts, does and expects) and any files the
//! steps need (plans, for example), which are copied to the scenario's own folder. `${NAME}` is replaced in
//! both: by a value of the scenario's `matrix`, or, in commands and files, by what the world knows:
//! `${dir}`, and for each node `${NODE.bootstrap}` and `${NODE.http}`.

mod commands;
mod compare;
mod consumers;
mod expected_json;
mod groups;
mod loads;
pub mod model;
mod nodes;
mod records;
mod steps;
mod topics;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::kafka::Pool;
use model::Scenario;
use world::World;

/// One run of a scenario: with one value for every key of its matrix.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name and the values, for example `every_codec_is_mirrored [source=3.9.1]`.
    pub name: String,
    folder: PathBuf,
    values: BTreeMap<String, String>,
}

impl Case {
    /// All cases of all scenarios, by name.
    ///
    /// # Errors
    /// When a scenario's file can't be read, with its place.
    pub fn all() -> Result<Vec<Case>> {
        let root = cache::repository().join("tests/scenarios");
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(&root).with_context(|| format!("read {}", root.display()))? {
            let folder = entry?.path();
            if folder.join("scenario.yaml").exists() {
                cases.extend(Case::of(&folder)?);
            }
        }
        cases.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(cases)
    }

    fn of(folder: &Path) -> Result<Vec<Case>> {
        let claim = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("scenario.yaml"))?;
        let matrix = model::matrix(&text).with_context(|| format!("{claim}/scenario.yaml"))?;
        let mut combinations = vec![BTreeMap::new()];
        for (key, values) in &matrix {
            combinations = combinations
                .iter()
                .flat_map(|before| {
                    values.iter().map(|value| {
                        let mut with = before.clone();
                        with.insert(key.clone(), value.clone());
                        with
                    })
                })
                .collect();
        }
        let named = combinations.into_iter().map(|values| {
            let shown: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let suffix = if shown.is_empty() { String::new() } else { format!(" [{}]", shown.join(" ")) };
            Case { name: claim.clone() + &suffix, folder: folder.to_owned(), values }
        });
        let cases: Vec<Case> = named.collect();
        // Read whole now, so that a misspelt step fails at once and not behind twenty minutes of others.
        for case in &cases {
            case.load()?;
        }
        Ok(cases)
    }

    fn load(&self) -> Result<Scenario> {
        let text = std::fs::read_to_string(self.folder.join("scenario.yaml"))?;
        let text = filled(&text, &self.values);
        serde_saphyr::from_str(&text).with_context(|| format!("{}: scenario.yaml", self.name))
    }

    /// Whether the scenario needs a file or program that this machine lacks; then it says which.
    ///
    /// # Errors
    /// When the scenario can't be read.
    pub fn missing(&self) -> Result<Option<String>> {
        Ok(self.load()?.missing())
    }

    /// The whole scenario's limit: how long it may take at most, and so a guess at which ones to begin with.
    ///
    /// # Errors
    /// When the scenario can't be read.
    pub fn limit(&self) -> Result<Duration> {
        Ok(Duration::from_secs(self.load()?.timeout_s))
    }

    /// Runs the case; gives notes for its line (which data it used).
    ///
    /// # Errors
    /// What did not hold, with the step, and the folder that was kept.
    pub async fn run(&self, pool: &Pool) -> Result<Vec<String>> {
        let scenario = self.load()?;
        let limit = Duration::from_secs(scenario.timeout_s);
        let mut world = World::new(pool, &self.folder, &self.values)?;
        let run = async {
            world.start(&scenario).await.context("start")?;
            world.do_all(&scenario.steps).await
        };
        let mut outcome = match tokio::time::timeout(limit, run).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("still running after {} s, at: {}", limit.as_secs(), world.at())),
        };
        if outcome.is_ok() {
            outcome = world.end(&scenario).await.context("end");
        }
        match outcome {
            Ok(()) => Ok(world.notes()),
            Err(error) => bail!("{error:#}\n  kept: {}", world.keep()?.display()),
        }
    }
}

/// `text` with every known `${NAME}` replaced; unknown ones stay.
fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("${{{key}}}"), value))
}
