//! What a run leaves behind: one JSON document, from which tables, page and plots are made.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::statistics::{Spread, times_better};

/// Raised when a key changes its meaning.
pub const FORMAT: u32 = 1;

/// One run of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub format: u32,
    /// UTC milliseconds since 1970.
    pub started_ms: i64,
    /// How long all of it took.
    pub seconds: f64,
    pub machine: Machine,
    pub setup: Setup,
    pub scenarios: Vec<Measured>,
}

/// What it ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mb: u64,
    pub kernel: String,
    /// Of the folder that the data was in.
    pub file_system: String,
}

/// What was compared, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    pub kafka: String,
    pub java: String,
    pub towpath: String,
    pub wal: String,
    pub store: String,
    pub rounds: usize,
    /// A smoke run: its figures say nothing.
    pub quick: bool,
    /// Which cores brokers and clients ran on; `None`: wherever the kernel put them.
    pub pinned: Option<Pinned>,
    /// Written to each broker and read from it before anything was measured.
    pub warm_mb: u64,
    /// What of Towpath's storage differs from the defaults.
    #[serde(default)]
    pub storage: BTreeMap<String, u64>,
}

/// Lists as `taskset -c` takes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    pub broker_cores: String,
    pub client_cores: String,
}

/// Who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Towpath's broker.
    Towpath,
    /// Apache Kafka as its distribution tunes it: no `fsync` before an acknowledgement.
    Kafka,
    /// The same process, topics with `flush.messages=1`: an `fsync` before each acknowledgement, as Towpath's.
    KafkaFsync,
    /// No broker: write and `fdatasync`, in the same folder.
    Device,
}

impl Who {
    /// What people read.
    pub fn title(self) -> &'static str {
        match self {
            Who::Towpath => "Towpath",
            Who::Kafka => "Kafka",
            Who::KafkaFsync => "Kafka, fsync",
            Who::Device => "device",
        }
    }

    /// In names of topics.
    pub fn slug(self) -> &'static str {
        match self {
            Who::Towpath => "towpath",
            Who::Kafka => "kafka",
            Who::KafkaFsync => "kafka-fsync",
            Who::Device => "device",
        }
    }
}

/// One scenario's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub name: String,
    pub title: String,
    pub about: String,
    pub seconds: f64,
    pub metrics: Vec<Metric>,
    pub rounds: Vec<Round>,
}

/// One kind of figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub key: Cow<'static, str>,
    pub title: Cow<'static, str>,
    pub better: Better,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    More,
    Less,
    /// Said so that the others can be judged; no ratio is told.
    Context,
}

/// The figures of one contender in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    pub who: Who,
    /// From 1.
    pub round: usize,
    pub values: Values,
}

/// Figures by the key of their metric; one that does not apply is left out.
pub type Values = BTreeMap<String, f64>;

impl Metric {
    pub const fn more(key: &'static str, title: &'static str) -> Metric {
        Metric::new(key, title, Better::More)
    }

    pub const fn less(key: &'static str, title: &'static str) -> Metric {
        Metric::new(key, title, Better::Less)
    }

    pub const fn context(key: &'static str, title: &'static str) -> Metric {
        Metric::new(key, title, Better::Context)
    }

    /// Whether a ratio is told.
    pub fn is_compared(&self) -> bool {
        self.better != Better::Context
    }

    const fn new(key: &'static str, title: &'static str, better: Better) -> Metric {
        Metric { key: Cow::Borrowed(key), title: Cow::Borrowed(title), better }
    }
}

impl Measured {
    /// Who took part, in the order of [`Who`].
    pub fn who(&self) -> Vec<Who> {
        let all: std::collections::BTreeSet<Who> = self.rounds.iter().map(|round| round.who).collect();
        all.into_iter().collect()
    }

    /// By round; `None` where there is no figure.
    fn values(&self, who: Who, key: &str) -> Vec<Option<f64>> {
        let last = self.rounds.iter().map(|round| round.round).max().unwrap_or(0);
        let of = |number| {
            let round = self.rounds.iter().find(|round| round.who == who && round.round == number)?;
            round.values.get(key).copied()
        };
        (1..=last).map(of).collect()
    }

    /// One contender's figure over the rounds.
    pub fn spread(&self, who: Who, key: &str) -> Option<Spread> {
        Spread::of(&self.values(who, key).into_iter().flatten().collect::<Vec<f64>>())
    }

    /// How many times better Towpath is.
    pub fn times_better_than(&self, who: Who, metric: &Metric) -> Option<Spread> {
        let more = match metric.better {
            Better::More => true,
            Better::Less => false,
            Better::Context => return None,
        };
        times_better(&self.values(Who::Towpath, &metric.key), &self.values(who, &metric.key), more)
    }
}

impl Run {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Run> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Run::parse(&text).with_context(|| format!("{} is no result of this command", path.display()))
    }

    fn parse(text: &str) -> Result<Run> {
        let run: Run = serde_json::from_str(text)?;
        ensure!(run.format == FORMAT, "its format is {}, this is {FORMAT}; fix: measure again", run.format);
        for scenario in &run.scenarios {
            for round in &scenario.rounds {
                let known = |key: &String| scenario.metrics.iter().any(|metric| metric.key == *key);
                let unknown = round.values.keys().find(|key| !known(key));
                ensure!(unknown.is_none(), "{}: no metric explains {unknown:?}", scenario.name);
            }
        }
        Ok(run)
    }

    /// Writes the file, and its folder.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    #[cfg(test)]
    pub fn scenario(&self, name: &str) -> Option<&Measured> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small run with everything in it.
    pub fn sample() -> Run {
        let metrics = vec![
            Metric::more("mb_s", "MB/s"),
            Metric::less("p50_ms", "p50, ms"),
            Metric::less("p99_ms", "p99, ms"),
            Metric::less("p999_ms", "p99.9, ms"),
            Metric::context("client_share", "client, share of a core"),
        ];
        let round = |who, round, scale: f64| Round {
            who,
            round,
            values: [("mb_s", 100.0 * scale), ("p50_ms", 2.0), ("p99_ms", 8.0 * scale), ("p999_ms", 30.0)]
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
        };
        let rounds = vec![
            round(Who::Kafka, 1, 0.5),
            round(Who::Towpath, 1, 1.5),
            round(Who::Device, 1, 0.1),
            round(Who::Towpath, 2, 2.0),
            round(Who::Kafka, 2, 0.5),
        ];
        let text = |text: &str| text.to_owned();
        let scenario = |name: &str| Measured {
            name: text(name),
            title: format!("{name} & <all>"),
            about: text("what it is"),
            seconds: 3.5,
            metrics: metrics.clone(),
            rounds: rounds.clone(),
        };
        Run {
            format: FORMAT,
            started_ms: 1_790_000_000_000,
            seconds: 12.0,
            machine: Machine {
                processor: text("a processor"),
                cores: 2,
                memory_mb: 24_000,
                kernel: text("6.1"),
                file_system: text("ext4"),
            },
            setup: Setup {
                kafka: text("4.1.1"),
                java: text("17"),
                towpath: text("0.1.0"),
                wal: text("disk"),
                store: text("file"),
                rounds: 2,
                quick: false,
                pinned: Some(Pinned { broker_cores: text("0"), client_cores: text("1") }),
                warm_mb: 2048,
                storage: BTreeMap::new(),
            },
            scenarios: vec![scenario("produce"), scenario("ack-10")],
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/run.json");
        sample().write(&path).unwrap();
        assert_eq!(Run::read(&path).unwrap(), sample());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"who\": \"kafka\"") && text.contains("\"better\": \"less\""), "{text}");
    }

    #[test]
    fn another_format_an_unknown_key_and_an_unexplained_figure_are_refused() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert!(Run::parse(&text.replace("\"format\":1", "\"format\":2")).is_err());
        assert!(Run::parse(&text.replace("\"quick\"", "\"quack\"")).is_err());
        let unexplained = text.replacen("\"values\":{\"mb_s\"", "\"values\":{\"mb_x\"", 1);
        assert!(Run::parse(&unexplained).unwrap_err().to_string().contains("mb_x"));
    }

    #[test]
    fn spreads_and_ratios_are_told_by_metric() {
        let run = sample();
        let produce = run.scenario("produce").unwrap();
        assert_eq!(produce.who(), [Who::Towpath, Who::Kafka, Who::Device]);
        assert_eq!(
            produce.spread(Who::Towpath, "mb_s"),
            Some(Spread { median: 175.0, min: 150.0, max: 200.0 })
        );
        let more = produce.times_better_than(Who::Kafka, &produce.metrics[0]).unwrap();
        assert_eq!((more.min, more.max), (3.0, 4.0));
        let less = produce.times_better_than(Who::Kafka, &produce.metrics[2]).unwrap();
        assert_eq!((less.min, less.max), (0.25, 1.0 / 3.0));
        assert_eq!(produce.times_better_than(Who::Kafka, &produce.metrics[4]), None);
        assert_eq!(produce.times_better_than(Who::KafkaFsync, &produce.metrics[0]), None);
    }
}
