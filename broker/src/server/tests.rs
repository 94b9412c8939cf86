//! The whole front over TCP, with an embedded broker.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request as KafkaRequest};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towpath_wire::versions::{BROKER_VERSIONS, is_private, range};

use super::*;
use crate::config::Limits;

/// Nothing here takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn broker(limits: Limits) -> (Broker, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        http: Some("127.0.0.1:0".parse().unwrap()),
        data: directory.path().to_owned(),
        limits,
        ..BrokerConfig::default()
    };
    (Broker::start(config, Env::real()).await.unwrap(), directory)
}

#[tokio::test]
async fn a_second_broker_on_a_store_is_refused_and_the_first_goes_on() {
    let (first, directory) = broker(Limits::default()).await;
    let config = |node_id, data: &str| BrokerConfig {
        node_id,
        listen: "127.0.0.1:0".parse().unwrap(),
        data: directory.path().join(data),
        store: Some(url::Url::from_directory_path(directory.path().join("store")).unwrap().to_string()),
        ..BrokerConfig::default()
    };
    let refused = Broker::start(config(2, "second"), Env::real()).await.err().unwrap().to_string();
    let address = first.address().to_string();
    assert!(refused.contains("belongs to broker 1") && refused.contains(&address), "{refused}");
    first.stop().await;
    // Nothing of the refused one stands in the way.
    Broker::start(config(1, ""), Env::real()).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_start_frees_what_a_crash_left_of_a_put_in_a_folder() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join("store/segments/object#1");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::File::create(&left).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let config = BrokerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: directory.path().to_owned(),
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config, Env::real()).await.unwrap();
    let gone = async {
        while left.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it is removed");
    broker.stop().await;
}

#[test]
fn a_stop_does_not_wait_for_the_search_of_a_folder_for_what_puts_left() {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    threads.unwrap().block_on(async {
        // The only thread that could search the folder is taken.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let before = tokio::task::spawn_blocking(move || ended.recv());
        let folder = tempfile::tempdir().unwrap();
        let (url, stopping) = (format!("file://{}", folder.path().display()), CancellationToken::new());
        let removal = tokio::spawn(remove_staged(url, Env::real(), stopping.clone()));
        tokio::task::yield_now().await;
        stopping.cancel();
        timeout(PATIENCE, removal).await.expect("it ends").unwrap();
        drop(end);
        before.await.unwrap().unwrap_err();
    });
}

/// A connection that sends what no well-kept client would.
pub(crate) struct RawClient {
    socket: TcpStream,
}

impl RawClient {
    pub(crate) async fn connect(broker: &Broker) -> RawClient {
        RawClient { socket: TcpStream::connect(broker.address()).await.unwrap() }
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) {
        self.socket.write_all(frame).await.unwrap();
    }

    /// One response frame without its length; `None` when the broker has closed.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        let read = async {
            let size = self.socket.read_i32().await.ok()?;
            let mut frame = vec![0; size as usize];
            self.socket.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        timeout(PATIENCE, read).await.expect("an answer or an end")
    }

    pub(crate) async fn call<R: KafkaRequest>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.send(&request_frame(version, request)).await;
        let mut frame = self.receive().await?;
        assert_eq!(frame.get_i32(), 7, "correlation id");
        if R::Response::header_version(version) >= 1 {
            assert_eq!(frame.get_u8(), 0);
        }
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "API {} v{version}: bytes left over", R::KEY);
        Some(response)
    }
}

pub(crate) fn request_frame<R: KafkaRequest>(version: i16, request: &R) -> BytesMut {
    let mut frame = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(7);
    header.encode(&mut frame, R::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    let size = frame.len() as i32 - 4;
    (&mut frame[..4]).put_i32(size);
    frame
}

/// Sends `request` in every advertised version that has its fields; all must be answered in their own version.
async fn sweep<R: KafkaRequest>(client: &mut RawClient, seen: &mut Vec<i16>, request: impl Fn(i16) -> R) {
    let (min, max) = range(R::KEY).unwrap();
    for version in min.max(R::VERSIONS.min)..=max {
        let answered = client.call(version, &request(version)).await;
        assert!(answered.is_some(), "API {} v{version} closed the connection", R::KEY);
    }
    seen.push(R::KEY);
}

#[tokio::test]
async fn a_broker_opens_to_other_hosts_only_when_told_that_the_network_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        data: directory.path().join("data"),
        ..BrokerConfig::default()
    };
    let refused = Broker::start(config.clone(), Env::real()).await.err().expect("a refusal").to_string();
    assert!(refused.contains("0.0.0.0") && refused.contains("--trust-network"), "{refused}");
    assert!(!config.data.exists(), "nothing was written");
    config.trust_network = true;
    Broker::start(config, Env::real()).await.unwrap().stop().await;
}

#[tokio::test]
async fn every_advertised_version_of_every_api_is_answered() {
    let (broker, _directory) = broker(Limits::default()).await;
    let mut client = RawClient::connect(&broker).await;
    let seen = &mut Vec::new();
    let client = &mut client;
    sweep(client, seen, |_| AlterConfigsRequest::default()).await;
    sweep(client, seen, |_| ApiVersionsRequest::default()).await;
    sweep(client, seen, |_| CreatePartitionsRequest::default()).await;
    sweep(client, seen, |_| CreateTopicsRequest::default()).await;
    sweep(client, seen, |_| DeleteGroupsRequest::default()).await;
    sweep(client, seen, |_| DeleteRecordsRequest::default()).await;
    sweep(client, seen, |_| DeleteTopicsRequest::default()).await;
    sweep(client, seen, |_| DescribeClusterRequest::default()).await;
    sweep(client, seen, |_| DescribeConfigsRequest::default()).await;
    sweep(client, seen, |_| DescribeGroupsRequest::default()).await;
    sweep(client, seen, |_| DescribeLogDirsRequest::default()).await;
    sweep(client, seen, |_| DescribeProducersRequest::default()).await;
    sweep(client, seen, |_| DescribeTopicPartitionsRequest::default()).await;
    sweep(client, seen, |_| DescribeTransactionsRequest::default()).await;
    sweep(client, seen, |_| FetchRequest::default()).await;
    sweep(client, seen, |_| FindCoordinatorRequest::default()).await;
    sweep(client, seen, |_| HeartbeatRequest::default()).await;
    sweep(client, seen, |_| IncrementalAlterConfigsRequest::default()).await;
    sweep(client, seen, |_| InitProducerIdRequest::default()).await;
    sweep(client, seen, |_| JoinGroupRequest::default()).await;
    sweep(client, seen, |_| LeaveGroupRequest::default()).await;
    sweep(client, seen, |_| ListConfigResourcesRequest::default()).await;
    sweep(client, seen, |_| ListGroupsRequest::default()).await;
    sweep(client, seen, |_| ListOffsetsRequest::default()).await;
    sweep(client, seen, |_| ListTransactionsRequest::default()).await;
    sweep(client, seen, |_| MetadataRequest::default()).await;
    sweep(client, seen, |_| OffsetCommitRequest::default()).await;
    sweep(client, seen, |_| OffsetDeleteRequest::default()).await;
    sweep(client, seen, |_| OffsetFetchRequest::default()).await;
    sweep(client, seen, |_| OffsetForLeaderEpochRequest::default()).await;
    sweep(client, seen, |_| ProduceRequest::default().with_acks(-1)).await;
    sweep(client, seen, |_| SaslAuthenticateRequest::default()).await;
    sweep(client, seen, |_| SaslHandshakeRequest::default()).await;
    sweep(client, seen, |_| SyncGroupRequest::default()).await;
    for (key, ..) in BROKER_VERSIONS.iter().filter(|(key, ..)| !is_private(*key)) {
        assert!(seen.contains(key), "API key {key} is advertised and not in this test");
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let (broker, _directory) = broker(Limits::default()).await;
    let mut client = RawClient::connect(&broker).await;
    let mut frame = Vec::from([0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 5]);
    frame.extend([0xff, 0xff, 0]);
    client.send(&frame).await;
    let mut answer = client.receive().await.unwrap();
    assert_eq!(answer.get_i32(), 5);
    let response = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!((response.error_code, response.api_keys.len()), (35, BROKER_VERSIONS.len()));
    // The connection lives on.
    assert!(client.call(0, &ApiVersionsRequest::default()).await.is_some());
    broker.stop().await;
}

#[tokio::test]
async fn a_hostile_frame_ends_its_own_connection_and_no_other() {
    let (broker, _directory) = broker(Limits::default()).await;
    let mut good = RawClient::connect(&broker).await;
    let hostile: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0, 3, 0],
        // Metadata v1 with two billion topics.
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        // An API that no broker has.
        &[0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
    ];
    for frame in hostile {
        let mut bad = RawClient::connect(&broker).await;
        bad.send(frame).await;
        assert_eq!(bad.receive().await, None, "{frame:?}");
        assert!(good.call(4, &MetadataRequest::default()).await.is_some());
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_bound_is_closed_and_the_others_are_served() {
    let (broker, _directory) = broker(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = RawClient::connect(&broker).await;
    assert!(first.call(0, &ApiVersionsRequest::default()).await.is_some());
    assert_eq!(RawClient::connect(&broker).await.receive().await, None);
    assert!(first.call(0, &ApiVersionsRequest::default()).await.is_some());
    assert_eq!(broker.shared.metrics.connections_closed.with_label_values(&["too_many"]).get(), 1);
    broker.stop().await;
}

#[tokio::test]
async fn the_pages_tell_health_readiness_and_metrics() {
    let (broker, _directory) = broker(Limits::default()).await;
    let address = broker.http_address().unwrap();
    for (path, expected) in
        [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "towpath_broker_connections ")]
    {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        timeout(PATIENCE, socket.read_to_string(&mut page)).await.unwrap().unwrap();
        assert!(page.starts_with("HTTP/1.1 200") && page.contains(expected), "{path}: {page}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_broker_whose_background_task_panics_says_so_and_can_still_be_stopped() {
    for room in ["partitions", "groups", "metadata", "listener", "pages"] {
        let (broker, _directory) = broker(Limits::default()).await;
        let tasks = match room {
            "partitions" => broker.shared.partitions.tasks(),
            "groups" => broker.shared.groups.tasks(),
            "metadata" => broker.shared.metadata.tasks(),
            "listener" => &broker.listener,
            _ => &broker.pages,
        };
        tasks.spawn("a test", async { panic!("on purpose") });
        let failed = timeout(PATIENCE, broker.failed()).await.unwrap().to_string();
        assert!(failed.starts_with("bug: a test panicked: on purpose; fix: "), "{room}: {failed}");
        timeout(PATIENCE, broker.stop()).await.unwrap();
    }
}
