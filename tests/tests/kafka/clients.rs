//! The workload clients understand each other, tried on Apache Kafka itself.

use std::time::Duration;

use towpath_tests::clients::protocol::{Command, Event, ProduceSettings, Settings, Verb};
use towpath_tests::clients::reading::WholeTopic;
use towpath_tests::clients::{Client, ClientKind};
use towpath_tests::kafka::{KafkaOptions, Pool, Tool};
use towpath_tests::record::{Blob, Message};

const LIMIT: Duration = Duration::from_secs(60);

fn message(n: u64) -> Message {
    let blob = |text: String| Some(Blob(text.into_bytes()));
    Message {
        n,
        topic: "views".to_owned(),
        partition: Some((n % 2) as i32),
        timestamp_ms: Some(1_700_000_000_000 + n as i64),
        key: if n.is_multiple_of(3) { None } else { blob(format!("key-{n}")) },
        value: if n % 5 == 1 && !n.is_multiple_of(3) {
            None
        } else {
            blob(format!("value-{n}").repeat(n as usize % 50))
        },
        headers: vec![("twice".to_owned(), blob("1".to_owned())), ("twice".to_owned(), blob("2".to_owned()))],
    }
}

async fn write(kind: &ClientKind, bootstrap: &str, start: u64, folder: &std::path::Path) {
    let mut settings = ProduceSettings::new(bootstrap);
    settings.codec = "lz4".to_owned();
    settings.transactional_id = Some(format!("id-{start}"));
    let mut client = Client::start(kind, "write", &Settings::Produce(settings), folder).await.unwrap();
    let mut acked = 0;
    for (round, end) in [Verb::Abort, Verb::Commit].into_iter().enumerate() {
        client.finish(Verb::Begin, LIMIT, |_| {}).await.unwrap();
        for n in 0..100 {
            client.tell(&Command::Send(message(start + round as u64 * 100 + n))).await.unwrap();
        }
        client
            .finish(end, LIMIT, |event| acked += usize::from(matches!(event, Event::Acked { .. })))
            .await
            .unwrap();
    }
    client.close_input();
    assert!(client.process().ended(LIMIT).await.unwrap().success());
    assert_eq!(acked, 200);
}

#[tokio::test]
async fn what_each_client_writes_every_client_reads_alike() {
    let kafka = Pool::shared().lease(KafkaOptions::new("3.9.1")).await.unwrap();
    let bootstrap = kafka.bootstrap();
    let create = ["--bootstrap-server", &bootstrap, "--create", "--topic", "views", "--partitions", "2"];
    kafka.tools().run(Tool::Topics, &create).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kinds = [ClientKind::Rdkafka, ClientKind::KafkaPython, ClientKind::Java("3.9.1".to_owned())];
    for (index, kind) in kinds.iter().enumerate() {
        write(kind, &bootstrap, index as u64 * 1_000, folder.path()).await;
    }
    for (isolation, count) in [("read_committed", 300), ("read_uncommitted", 600)] {
        let mut read = Vec::new();
        for kind in &kinds {
            let whole = WholeTopic::read(kind, &bootstrap, "views", isolation, folder.path()).await.unwrap();
            assert_eq!(whole.records.len(), count, "{kind:?} {isolation}");
            read.push(whole.records);
        }
        assert_eq!(read[0], read[1]);
        assert_eq!(read[0], read[2]);
    }
    Pool::shared().give_back(kafka);
}
