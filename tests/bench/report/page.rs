//! `docs/benchmarks.md`: how it was measured, on what, the figures, and how to repeat it. Made from the results by this
//! command and by nothing else, so that it cannot disagree with them.

use std::path::Path;

use anyhow::{Context, Result};

use super::super::requests::Table;
use super::super::results::{Run, Setup};
use super::text::{self, cells};

const PAGE: &str = "docs/benchmarks.md";
const FOLDER: &str = "docs/benchmarks";
const RESULTS: &str = "results.json";
const REQUESTS: &str = "requests.json";

/// Writes page, plots, and the results they are made of. A table of requests that is not given stays what it was.
pub fn publish(run: &Run, requests: Option<&Table>, repository: &Path) -> Result<()> {
    let folder = repository.join(FOLDER);
    run.write(&folder.join(RESULTS))?;
    super::draw(run, &folder)?;
    let path = folder.join(REQUESTS);
    if let Some(table) = requests {
        table.write(&path)?;
    }
    let requests = path.exists().then(|| Table::read(&path)).transpose()?;
    let page = repository.join(PAGE);
    let text = page_of(run, requests.as_ref());
    std::fs::write(&page, text).with_context(|| format!("write {}", page.display()))
}

fn page_of(run: &Run, requests: Option<&Table>) -> String {
    let mut parts = vec![opening(run), how(&run.setup)];
    parts.push("## Figures\n".to_owned());
    for scenario in &run.scenarios {
        let about = &scenario.about;
        parts.push(format!(
            "### {} (`{}`)\n\n{about}\n\n{}",
            scenario.title,
            scenario.name,
            table(&cells(scenario))
        ));
    }
    if let Some(requests) = requests {
        parts.push(requests_part(requests));
    }
    parts.join("\n")
}

fn opening(run: &Run) -> String {
    let (setup, machine) = (&run.setup, &run.machine);
    let storage = match text::storage(setup) {
        keys if keys.is_empty() => String::new(),
        keys => format!(" Towpath's storage differs from its defaults: `{keys}`."),
    };
    let quick = if setup.quick { "\n**A smoke run: these figures say nothing.**\n" } else { "" };
    format!(
        "# Towpath beside Apache Kafka\n{quick}\n\
         ![How many times better](benchmarks/ratios.svg)\n\n![Latencies](benchmarks/latency.svg)\n\n\
         Towpath {} ({} write-ahead log, {} store) and Apache Kafka {} on {}, in one run of {:.0} minutes on one\n\
         machine: {}, {} cores, {} GB of memory, Linux {}, {}. All figures are in\n\
         [`benchmarks/results.json`](benchmarks/results.json), from which this page and its plots are made. What limits\n\
         them, and what was tried, is in [performance.md](performance.md).{storage}\n",
        setup.towpath,
        setup.wal,
        setup.store,
        setup.kafka,
        setup.java,
        (run.seconds / 60.0).ceil(),
        machine.processor,
        machine.cores,
        (machine.memory_mb as f64 / 1000.0).round(),
        machine.kernel,
        machine.file_system,
    )
}

fn how(setup: &Setup) -> String {
    let pinned = match &setup.pinned {
        Some(pinned) => format!(
            "Brokers run on core {}, clients on core {} (`taskset`), from the start of each process.",
            pinned.broker_cores, pinned.client_cores
        ),
        None => "The kernel decides which core runs what.".to_owned(),
    };
    let (rounds, warm) = (setup.rounds, setup.warm_mb);
    format!(
        "## How it is measured\n\n\
- **One run, turns.** Both brokers are up all the time, one at a time is under load. Within a scenario the contenders take\n\
  turns, and who begins changes from round to round ({rounds} rounds). Before each turn the broker is quiet and the file\n\
  system synced, so that nobody pays for what another left behind. Figures are medians with the smallest and the largest\n\
  round; ratios are made round by round, and above 1 Towpath is better.\n\
- **Free memory** is filled with page cache before each load, as it is on a machine that has been up for a while. The host of\n\
  a virtual machine takes back what is free, and the first touch of such a page costs more than all that is measured here.\n\
- **Cores.** {pinned}\n\
- **Apache Kafka** has the settings of its distribution's `server.properties` and the JVM options of its start script\n\
  (G1, 1 GB of heap), and is warmed with {warm} MB written and read; so is Towpath. *Kafka* is as shipped: an\n\
  acknowledged record is in the page cache, not on the disk. *Kafka, fsync* is the same process with topics of\n\
  `flush.messages=1` (the topic's form of `log.flush.interval.messages=1`). Towpath acknowledges nothing before its\n\
  `fdatasync`, in either column.\n\
- **The clients** are one set for both: connections that send batches made beforehand, without a copy, and count what they\n\
  fetch; so the broker is the limit and not the client. *client, cores* says how much of its core the client used: near 1 it was\n\
  the limit, and the ratio is too small. `produce-librdkafka` shows what is left of it with a client that makes its\n\
  batches itself.\n\
- **CPU-seconds** are user and system time of the broker's whole process, from `/proc/PID/stat`, from the start of the load\n\
  until the broker is quiet again: what it does behind the acknowledgement (uploads, flushes, collection) counts. The\n\
  kernel's own threads, which write back dirty pages, count for nobody.\n\
- **Latency** has no coordinated omission: writes are due at fixed times, and each latency runs from the time its write was\n\
  due, sent late or not. *client late* is how late the client itself was. The device's row is write and `fdatasync` of the\n\
  same size, at the same pace, in the same file system, in the same rounds.\n\
- **Memory** is the peak of the process's resident memory during the load (`VmHWM`).\n\
- MB are 10^6 bytes of record values. Nothing is compressed. One broker each, replication factor 1.\n\n\
## How to repeat it\n\n\
```sh\n\
tests/bench/run --publish               # all of it; writes this page, its plots and benchmarks/results.json\n\
tests/bench/run --quick                 # a minute, to see that it works; the figures say nothing\n\
tests/bench/run --only produce,ack      # scenarios by how their names begin\n\
tests/bench/run --wal object --store s3://bucket/prefix\n\
tests/bench/run requests --wal object --key wal_flush_interval_ms=0,20,100   # object requests per GiB\n\
tests/bench/run publish FILE            # page and plots of a results file\n\
```\n\n\
It needs Linux, a JDK, and Maven for the first time; data goes below `TMPDIR`. Leave the machine alone meanwhile.\n"
    )
}

fn requests_part(table_of: &Table) -> String {
    format!(
        "### Object requests per GiB\n\n\
         Towpath with the {} write-ahead log on a {} store, a fresh broker for each row: {} s of batches of 16 KB to\n\
         six partitions at the given pace, counted until all of it is in the store.\n\
         What is deleted goes minutes later (`delete_grace_ms`) and is not in it.\n\n{}",
        table_of.wal,
        table_of.store,
        table_of.seconds,
        table(&table_of.cells())
    )
}

fn table(rows: &[Vec<String>]) -> String {
    let line = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
    let Some((heading, rest)) = rows.split_first() else { return String::new() };
    let rule: Vec<String> = heading.iter().map(|_| "---".to_owned()).collect();
    line(heading) + &line(&rule) + &rest.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::super::super::results::tests::sample;
    use super::*;

    #[test]
    fn what_is_published_is_made_of_the_published_results_alone() {
        let folder = tempfile::tempdir().unwrap();
        publish(&sample(), None, folder.path()).unwrap();
        let read = Run::read(&folder.path().join(FOLDER).join(RESULTS)).unwrap();
        let page = std::fs::read_to_string(folder.path().join(PAGE)).unwrap();
        assert_eq!(page, page_of(&read, None));
        for plot in ["ratios.svg", "latency.svg"] {
            assert!(folder.path().join(FOLDER).join(plot).exists() && page.contains(plot));
        }
        assert!(page.contains("| MB/s | 175 (150..200) | 50 | 10 | 3.5 (3..4) |"), "{page}");
    }

    #[test]
    fn a_smoke_run_says_so_on_the_page() {
        let mut run = sample();
        run.setup.quick = true;
        assert!(page_of(&run, None).contains("say nothing.**"));
        assert!(!page_of(&sample(), None).contains("say nothing.**"));
    }

    #[test]
    fn the_page_in_the_repository_is_that_of_the_results_beside_it() {
        let repository = towpath_tests::cache::repository();
        let folder = repository.join(FOLDER);
        // Nothing was published yet.
        let Ok(page) = std::fs::read_to_string(repository.join(PAGE)) else { return };
        let run = Run::read(&folder.join(RESULTS)).unwrap();
        let requests = folder.join(REQUESTS);
        let requests = requests.exists().then(|| Table::read(&requests).unwrap());
        assert_eq!(page, page_of(&run, requests.as_ref()), "fix: tests/bench/run publish {FOLDER}/{RESULTS}");
    }
}
