//! The files that Apache Kafka reads at its start.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Kafka;

/// `server.properties` of node `index`.
pub(super) fn write_server(kafka: &Kafka, index: usize) -> Result<()> {
    let node = &kafka.nodes[index];
    let (id, port, first) = (node.id, node.port.number(), kafka.nodes[0].controller_port.number());
    let mut properties: Vec<(&str, String)> = vec![
        ("log.dirs", node.folder.join("data").display().to_string()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("offsets.topic.replication.factor", "1".into()),
        ("offsets.topic.num.partitions", "8".into()),
        ("transaction.state.log.replication.factor", "1".into()),
        ("transaction.state.log.num.partitions", "8".into()),
        ("transaction.state.log.min.isr", "1".into()),
        ("share.coordinator.state.topic.replication.factor", "1".into()),
        ("share.coordinator.state.topic.min.isr", "1".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("auto.create.topics.enable", "false".into()),
        // Compaction and retention when a scenario asks for them, not minutes later.
        ("log.cleaner.backoff.ms", "200".into()),
        ("log.retention.check.interval.ms", "500".into()),
        // Its default cache is 128 MB at once.
        ("log.cleaner.dedupe.buffer.size", "8388608".into()),
        // Records a century old are kept unless a scenario wants them gone.
        ("log.retention.hours", "-1".into()),
    ];
    if let Some((_, zookeeper)) = &kafka.zookeeper {
        properties.push(("broker.id", id.to_string()));
        properties.push(("zookeeper.connect", zookeeper.address()));
        properties.push(("listeners", format!("PLAINTEXT://127.0.0.1:{port}")));
    } else {
        let controller = id == 1;
        properties.push(("process.roles", if controller { "broker,controller" } else { "broker" }.into()));
        properties.push(("node.id", id.to_string()));
        properties.push(("controller.quorum.voters", format!("1@127.0.0.1:{first}")));
        properties.push(("controller.listener.names", "CONTROLLER".into()));
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        for (name, address) in kafka.options.listeners.iter().filter(|_| index == 0) {
            listeners += &format!(",{name}://{address}");
        }
        let more = if controller { format!(",CONTROLLER://127.0.0.1:{first}") } else { String::new() };
        properties.push(("advertised.listeners", listeners.clone()));
        properties.push(("listeners", listeners + &more));
    }
    for (key, value) in &kafka.options.properties {
        properties.retain(|(known, _)| known != key);
        properties.push((key, value.clone()));
    }
    let text: String = properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    Ok(std::fs::write(node.folder.join("server.properties"), text)?)
}

/// ZooKeeper's file; gives its path.
pub(super) fn write_zookeeper(folder: &Path, port: u16) -> Result<PathBuf> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    let file = folder.join("zookeeper.properties");
    let data = data.display();
    let text = format!(
        "tickTime=500\ndataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\nadmin.enableServer=false\n"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Where a JVM of ours logs.
#[derive(Clone, Copy)]
pub(super) enum LogTo {
    /// A server: everything from INFO on, to standard output.
    Server,
    /// A tool or client: what goes wrong, to standard error.
    Tool,
}

/// The logging files of a folder, for log4j 1 (up to 3.x) and 2 (from 4.0 on).
pub(super) fn write_logging(folder: &Path, to: LogTo) -> Result<()> {
    const PATTERN: &str = "%d{ISO8601} %p %c{1}: %m%n";
    let (level, stream) = match to {
        LogTo::Server => ("INFO", "SYSTEM_OUT"),
        LogTo::Tool => ("WARN", "SYSTEM_ERR"),
    };
    let target = stream.to_lowercase().replace("system_", "System.");
    let first = format!(
        "log4j.rootLogger={level}, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
         log4j.appender.out.target={target}\nlog4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
         log4j.appender.out.layout.ConversionPattern={PATTERN}\n"
    );
    let second = format!(
        "rootLogger.level={level}\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\n\
         appender.out.name=out\nappender.out.target={stream}\nappender.out.layout.type=PatternLayout\n\
         appender.out.layout.pattern={PATTERN}\n"
    );
    std::fs::write(folder.join("log4j.properties"), first)?;
    Ok(std::fs::write(folder.join("log4j2.properties"), second)?)
}
