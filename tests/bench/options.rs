//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use super::contender::Settings;
use super::results::Pinned;
use super::scenarios::{ALL, Scenario};
use super::turn::Sizes;

/// Towpath's broker beside Apache Kafka, in one run. Without a verb: the whole comparison.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub run: RunOptions,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Object requests per GiB written, against write rate and against the values of one key of the storage.
    Requests(RequestsOptions),
    /// Writes the page and the plots of a results file into `docs`.
    Publish {
        /// As written by a run.
        results: PathBuf,
        /// As written by `requests`.
        #[arg(long)]
        requests: Option<PathBuf>,
    },
    /// Reads a topic over and over; started by the scenario `replay`.
    #[command(hide = true)]
    Replay { bootstrap: String, topic: String, record_bytes: u64, length_ms: u64 },
}

/// Of the comparison.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// Scenarios, or the words that their names begin with: `produce,ack,replay`.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Rounds of each scenario; 3, or 1 of a quick run.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Little of everything, to see that it works: the figures say nothing.
    #[arg(long)]
    pub quick: bool,
    /// Where the results go; their plots go beside them.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes page and plots into `docs` as well, as `publish` does.
    #[arg(long)]
    pub publish: bool,
    /// A key under `storage:` of Towpath's configuration: `block_cache_bytes_max=8388608`. May be repeated.
    #[arg(long, value_parser = key_and_value)]
    pub storage: Vec<(String, u64)>,
    #[command(flatten)]
    pub brokers: Brokers,
}

/// Of the brokers.
#[derive(Args, Clone, Debug)]
pub struct Brokers {
    /// Version of Apache Kafka.
    #[arg(long, default_value = "4.1.1")]
    pub kafka: String,
    /// Towpath's write-ahead log: `disk` or `object`.
    #[arg(long, default_value = "disk")]
    pub wal: String,
    /// Towpath's object store, as for `towpath broker`; each broker of a run has a prefix of its own in it. Without
    /// it, a folder beside the write-ahead log.
    #[arg(long)]
    pub store: Option<String>,
    /// Cores of the brokers, as for `taskset -c`.
    #[arg(long, default_value = "0")]
    pub broker_cores: String,
    /// Cores of the clients.
    #[arg(long, default_value = "1")]
    pub client_cores: String,
    /// Leaves it to the kernel what runs where.
    #[arg(long)]
    pub unpinned: bool,
}

/// Of the table of requests.
#[derive(Args, Clone, Debug)]
pub struct RequestsOptions {
    /// MB/s, written in batches of 16 KB to six partitions.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 10.0, 50.0])]
    pub rates: Vec<f64>,
    /// A key under `storage:` and the values that it is given in turn: `segment_age_max_ms=1000,10000`. Without it,
    /// the defaults.
    #[arg(long, value_parser = key_and_values)]
    pub key: Option<(String, Vec<u64>)>,
    /// Seconds of each.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Where the table goes.
    #[arg(long, default_value = "tests/bench/results/requests.json")]
    pub json: PathBuf,
    #[command(flatten)]
    pub brokers: Brokers,
}

impl RunOptions {
    /// The scenarios that were asked for.
    pub fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        let asked = |scenario: &&Scenario| {
            self.only.is_empty() || self.only.iter().any(|word| scenario.name.starts_with(word.as_str()))
        };
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        for word in &self.only {
            let known = names.iter().any(|name| name.starts_with(word.as_str()));
            ensure!(known, "no scenario begins with {word}; fix: one of {}", names.join(", "));
        }
        Ok(ALL.iter().filter(asked).collect())
    }

    /// How much of everything.
    pub fn sizes(&self) -> Sizes {
        if self.quick { Sizes::QUICK } else { Sizes::FULL }
    }

    /// Rounds of each scenario.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// The results' file: not one that a quick run could overwrite a real one with.
    pub fn json(&self) -> PathBuf {
        let name = if self.quick { "quick.json" } else { "bench.json" };
        self.json.clone().unwrap_or_else(|| PathBuf::from("tests/bench/results").join(name))
    }
}

impl Brokers {
    /// How to start them.
    pub fn settings(&self) -> Settings {
        Settings { kafka: self.kafka.clone(), wal: self.wal.clone(), store: self.store.clone() }
    }

    /// Where they run.
    pub fn pinned(&self) -> Option<Pinned> {
        let (broker_cores, client_cores) = (self.broker_cores.clone(), self.client_cores.clone());
        (!self.unpinned).then_some(Pinned { broker_cores, client_cores })
    }
}

impl RequestsOptions {
    /// One set of keys of the storage for each value; one empty set without a key.
    pub fn storages(&self) -> Vec<BTreeMap<String, u64>> {
        match &self.key {
            None => vec![BTreeMap::new()],
            Some((key, values)) => values.iter().map(|&value| [(key.clone(), value)].into()).collect(),
        }
    }
}

fn key_and_value(text: &str) -> Result<(String, u64), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    value.parse().map(|value| (key.to_owned(), value)).map_err(|error| format!("{text}: {error}"))
}

fn key_and_values(text: &str) -> Result<(String, Vec<u64>), String> {
    let (key, values) = text.split_once('=').ok_or("write KEY=VALUE,VALUE")?;
    let values: Result<Vec<u64>, _> = values.split(',').map(str::parse).collect();
    Ok((key.to_owned(), values.map_err(|error| format!("{text}: {error}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Cli {
        Cli::try_parse_from([&["bench"], words].concat()).unwrap()
    }

    #[test]
    fn scenarios_are_chosen_by_how_their_names_begin() {
        let names = |words: &[&str]| -> Vec<&str> {
            let scenarios = parsed(words).run.scenarios().unwrap();
            scenarios.into_iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names(&["--only", "ack,replay"]), ["ack-1", "ack-10", "ack-50", "replay"]);
        assert_eq!(names(&[]).len(), ALL.len());
        let error = parsed(&["--only", "ack,x"]).run.scenarios().err().unwrap().to_string();
        assert!(error.contains("begins with x") && error.contains("produce"), "{error}");
    }

    #[test]
    fn a_quick_run_never_writes_where_a_real_one_does() {
        assert_ne!(parsed(&["--quick"]).run.json(), parsed(&[]).run.json());
        assert_eq!((parsed(&["--quick"]).run.rounds(), parsed(&[]).run.rounds()), (1, 3));
    }

    #[test]
    fn a_key_takes_several_values() {
        let cli = parsed(&["requests", "--key", "segment_bytes=1,20", "--rates", "5"]);
        let Some(Verb::Requests(options)) = cli.verb else { panic!("another verb") };
        let values: Vec<u64> = options.storages().iter().map(|keys| keys["segment_bytes"]).collect();
        assert_eq!((values, options.rates), (vec![1, 20], vec![5.0]));
        assert!(Cli::try_parse_from(["bench", "requests", "--key", "segment_bytes"]).is_err());
    }
}
