use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use towpath_broker::Broker;
use towpath_env::Env;
use towpath_tests::mirroring::{self, ends};
use towpath_tests::ports::Port;
use towpath_wire::client::Client;
use towpath_wire::client::admin::{NewTopic, create_topic};

use super::batches::Batches;
use super::closed::Closed;
use super::connect;
use super::fetch::Reader;
use super::open::{Open, Write};

const TOPIC: &str = "load";
const PARTITIONS: i32 = 3;
const RECORD_BYTES: usize = 100;

/// A broker in this process with an empty topic.
struct Place {
    client: Client,
    _broker: Broker,
    _port: Port,
    _folder: TempDir,
}

impl Place {
    async fn new() -> Place {
        let (folder, port) = (tempfile::tempdir().unwrap(), Port::reserve().unwrap());
        let broker = mirroring::broker(folder.path(), port.number()).await.unwrap();
        let client = connect(&port.address()).await.unwrap();
        create_topic(&client, NewTopic::new(TOPIC, PARTITIONS)).await.unwrap();
        Place { client, _broker: broker, _port: port, _folder: folder }
    }

    /// Records in the topic.
    async fn records(&self) -> i64 {
        ends(&self.client, TOPIC).await.unwrap().iter().sum()
    }
}

fn open<'a>(batches: &'a Batches, env: &'a Env, mb_s: f64, length: Duration) -> Open<'a> {
    Open { topic: TOPIC, partitions: PARTITIONS, batches, mb_s, length, env }
}

#[tokio::test]
async fn what_a_closed_load_counts_is_in_the_log_and_is_read_once() {
    let place = Place::new().await;
    let batches = Batches::new(RECORD_BYTES, 1000).unwrap();
    let load = Closed {
        topic: TOPIC,
        partitions: PARTITIONS,
        per_request: 2,
        batches: &batches,
        bytes: 200_000,
        limit: Duration::MAX,
    };
    let wrote = load.write(&place.client).await.unwrap();
    assert_eq!((wrote.bytes, wrote.retries), (200_000, 0));
    assert_eq!(place.records().await, 200_000 / RECORD_BYTES as i64);

    let ends = ends(&place.client, TOPIC).await.unwrap();
    let positions = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let mut reader = Reader::new(&place.client, TOPIC, positions).await.unwrap();
    reader.read_to(&ends).await.unwrap();
    assert_eq!(reader.offsets(), place.records().await);
}

#[tokio::test]
async fn a_closed_load_ends_at_its_limit() {
    let place = Place::new().await;
    let batches = Batches::new(RECORD_BYTES, 1000).unwrap();
    let load = Closed {
        topic: TOPIC,
        partitions: PARTITIONS,
        per_request: 1,
        batches: &batches,
        bytes: u64::MAX / 2,
        limit: Duration::from_millis(100),
    };
    let wrote = load.write(&place.client).await.unwrap();
    assert!(wrote.bytes > 0);
    assert_eq!(place.records().await, wrote.bytes as i64 / RECORD_BYTES as i64);
}

#[tokio::test]
async fn an_open_load_writes_at_its_pace_and_knows_each_offset() {
    let place = Place::new().await;
    let (batches, env) = (Batches::new(RECORD_BYTES, 1000).unwrap(), Env::real());
    // 1,000 bytes every 10 ms.
    let load = open(&batches, &env, 0.1, Duration::from_millis(300));
    let writes = load.write(&place.client).await.unwrap();
    assert_eq!(writes.len(), 30);
    let mut due: Vec<Duration> = writes.iter().map(|write| write.intended).collect();
    due.sort();
    assert_eq!(due[29] - due[0], Duration::from_millis(290));
    let mut offsets: Vec<(i32, i64)> =
        writes.iter().map(|write| (write.partition, write.base_offset)).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), 30);
    assert!(offsets.iter().all(|(_, base)| base % 10 == 0 && *base < 100), "{offsets:?}");
    assert!(writes.iter().all(|write| write.begun >= write.intended && write.acked > write.begun));
}

#[tokio::test]
async fn a_stall_is_seen_by_every_write_that_was_due_in_it() {
    const STALL: Duration = Duration::from_millis(400);
    let place = Place::new().await;
    let (batches, env) = (Batches::new(RECORD_BYTES, 1000).unwrap(), Env::real());
    // Every 10 ms for a second: forty are due while broker and client, which share this thread, stand still.
    let load = open(&batches, &env, 0.1, Duration::from_secs(1));
    let stall = async {
        env.sleep(Duration::from_millis(300)).await;
        thread::sleep(STALL);
    };
    let (writes, ()) = tokio::join!(load.write(&place.client), stall);
    let late: Vec<f64> = writes.unwrap().iter().map(Write::ack_ms).filter(|took| *took > 100.0).collect();
    assert!(late.len() >= 25, "{} writes were late: {late:?}", late.len());
}
