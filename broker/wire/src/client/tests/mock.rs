//! A broker made of a closure: it sees each request and says what to answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use towpath_env::Env;

use crate::client::{Client, ClientConfig, ClientError};
use crate::frame::{parse_request_head, read_frame, write_frame};

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) body: Bytes,
    /// The how-manieth connection it came on, from 0.
    pub(super) connection: usize,
}

impl Call {
    pub(super) fn read<R: Request>(&self) -> R {
        R::decode(&mut self.body.clone(), self.version).unwrap()
    }
}

/// What to do with one.
pub(super) enum Reply {
    /// The answer without its correlation id.
    Answer(Bytes),
    /// Bytes as they are, in place of a frame.
    Raw(&'static [u8]),
    /// The answer with another's correlation id.
    Confused,
    /// Nothing, for ever.
    Silence,
    /// The connection ends.
    Close,
}

pub(super) fn answer<R: Request>(version: i16, response: &R::Response) -> Reply {
    let mut body = BytesMut::new();
    if R::Response::header_version(version) >= 1 {
        body.put_u8(0);
    }
    response.encode(&mut body, version).unwrap();
    Reply::Answer(body.freeze())
}

pub(super) type Script = dyn Fn(&Call) -> Option<Reply> + Send + Sync;

/// A broker with id 1, its own coordinator and controller, leader of the topic `t` with four partitions; `script`
/// may answer anything else.
pub(super) struct Mock {
    pub(super) address: String,
    calls: Arc<Mutex<Vec<Call>>>,
    accepting: AbortHandle,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Mock {
    pub(super) async fn start(script: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static) -> Mock {
        Mock::listen(None, script).await
    }

    pub(super) async fn listen(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static,
    ) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let broker =
            Arc::new(Broker { address: address.clone(), calls: calls.clone(), script: Box::new(script) });
        let accepting = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (broker, tls) = (broker.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => broker.serve(stream, connection).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                broker.serve(stream, connection).await;
                            }
                        }
                    }
                });
            }
        });
        Mock { address, calls, accepting: accepting.abort_handle() }
    }

    /// How often an API was called.
    pub(super) fn count(&self, api: ApiKey) -> usize {
        self.calls.lock().iter().filter(|call| call.api == api).count()
    }

    /// The calls of an API, in order.
    pub(super) fn calls(&self, api: ApiKey) -> Vec<Call> {
        self.calls.lock().iter().filter(|call| call.api == api).cloned().collect()
    }

    /// Quick to give up, so that tests are.
    pub(super) fn config(&self) -> ClientConfig {
        ClientConfig {
            attempt_timeout: Duration::from_millis(400),
            connect_timeout: Duration::from_secs(3),
            ..ClientConfig::plaintext(&self.address)
        }
    }

    pub(super) async fn client(&self) -> Client {
        self.connect(self.config()).await.unwrap()
    }

    pub(super) async fn connect(&self, config: ClientConfig) -> Result<Client, ClientError> {
        Client::connect(config, Env::real()).await
    }
}

struct Broker {
    address: String,
    calls: Arc<Mutex<Vec<Call>>>,
    script: Box<Script>,
}

impl Broker {
    async fn serve(&self, mut io: impl AsyncRead + AsyncWrite + Unpin, connection: usize) {
        while let Ok(Some(frame)) = read_frame(&mut io, 1 << 20).await {
            let frame = frame.freeze();
            let head = parse_request_head(&frame).unwrap();
            let call = Call {
                api: ApiKey::try_from(head.api_key).unwrap(),
                version: head.api_version,
                body: frame.slice(head.body_start..),
                connection,
            };
            self.calls.lock().push(call.clone());
            let reply = (self.script)(&call).unwrap_or_else(|| self.usual(&call));
            let mut correlation = head.correlation_id;
            let body = match reply {
                Reply::Answer(body) => body,
                Reply::Raw(bytes) => {
                    let _ = io.write_all(bytes).await;
                    continue;
                }
                Reply::Confused => {
                    correlation += 1;
                    Bytes::new()
                }
                Reply::Silence => continue,
                Reply::Close => return,
            };
            let parts = vec![Bytes::copy_from_slice(&correlation.to_be_bytes()), body];
            if write_frame(&mut io, parts).await.is_err() || io.flush().await.is_err() {
                return;
            }
        }
    }

    fn usual(&self, call: &Call) -> Reply {
        match call.api {
            ApiKey::ApiVersions => answer::<ApiVersionsRequest>(call.version, &offering(ALL)),
            ApiKey::Metadata => answer::<MetadataRequest>(call.version, &metadata(&[(1, &self.address)])),
            ApiKey::FindCoordinator => {
                let (host, port) = host_port(&self.address);
                let response = FindCoordinatorResponse::default()
                    .with_node_id(BrokerId(1))
                    .with_host(host)
                    .with_port(port);
                answer::<FindCoordinatorRequest>(call.version, &response)
            }
            api => panic!("no answer to {api:?}"),
        }
    }
}

/// What the mock offers unless told otherwise.
const ALL: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 12),
    (ApiKey::Fetch, 4, 17),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
];

pub(super) fn offering(ranges: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let keys = ranges.iter().map(|&(api, min, max)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// A cluster of these brokers; partition `p` of topic `t` is led by the `p`-th of them, in turn.
pub(super) fn metadata(brokers: &[(i32, &str)]) -> MetadataResponse {
    let partitions = (0..4).map(|index| {
        let leader = BrokerId(brokers[index as usize % brokers.len()].0);
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(0)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_partitions(partitions.collect());
    let listed = brokers.iter().map(|(id, address)| {
        let (host, port) = host_port(address);
        MetadataResponseBroker::default().with_node_id(BrokerId(*id)).with_host(host).with_port(port)
    });
    MetadataResponse::default()
        .with_brokers(listed.collect())
        .with_cluster_id(Some(StrBytes::from_static_str("mock")))
        .with_controller_id(BrokerId(brokers[0].0))
        .with_topics(vec![topic])
}

fn host_port(address: &str) -> (StrBytes, i32) {
    let (host, port) = address.rsplit_once(':').unwrap();
    (StrBytes::from_string(host.to_owned()), port.parse().unwrap())
}
