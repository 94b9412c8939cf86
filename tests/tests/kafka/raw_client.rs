//! The raw client towards a real Apache Kafka: routing, every admin verb, the group verbs that a fence is made
//! of, TLS and SASL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka_protocol::messages::{GroupId, HeartbeatRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_linker::cluster::Cluster;
use towpath_linker::diff::{Compared, Comparison, ComparisonSpec, DiffMetrics, Stretch, Terms};
use towpath_tests::kafka::{Kafka, KafkaOptions, Pool, Tool};
use towpath_tests::ports::Port;
use towpath_tests::wait;
use towpath_wire::batch::{BatchBuilder, split};
use towpath_wire::client::admin::{
    CommitAs, CommittedOffset, ConfigChange, ConfigResource, ConfigSource, GroupType, NewTopic, OffsetSpec,
    alter_configs, create_partitions, create_topic, delete_groups, delete_records, delete_topics,
    describe_configs, describe_groups, describe_producers, epoch_ends, fence_producer, find_coordinator,
    leave_group, list_groups, list_offset, list_offsets, list_transactions, offset_commit, offset_fetch,
    offset_fetch_all,
};
use towpath_wire::client::{
    Client, ClientConfig, ClientError, Mechanism, Protocol, Sasl, Secret, Security, Tls, To, TopicPartition,
};

/// A broker that replays one record of the controller.
const LIMIT: Duration = Duration::from_secs(20);
const TOPIC: &str = "views";
/// 2024-01-01, and an hour later.
const FIRST_MS: i64 = 1_704_067_200_000;
const SECOND_MS: i64 = FIRST_MS + 3_600_000;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

async fn connect(kafka: &Kafka) -> Client {
    Client::connect(ClientConfig::plaintext(&kafka.bootstrap()), Env::real()).await.unwrap()
}

#[tokio::test]
async fn the_raw_client_speaks_to_kafka_3_9() {
    let mut kafka = Pool::shared().lease(KafkaOptions::new("3.9.1")).await.unwrap();
    let client = connect(&kafka).await;
    topics_and_records(&client).await;
    a_fence_of_group_verbs(&client).await;
    configs_and_transactions(&client).await;
    reconnects(&mut kafka, &client).await;
    Pool::shared().give_back(kafka);
}

#[tokio::test]
async fn the_raw_client_speaks_to_kafka_4_1_in_the_clear_and_through_tls_and_sasl() {
    let secured = Secured::new();
    let kafka = Kafka::start_with(secured.options("4.1.1")).await.unwrap();
    let client = connect(&kafka).await;
    topics_and_records(&client).await;
    a_fence_of_group_verbs(&client).await;
    a_kip_848_group_is_described(&client).await;
    configs_and_transactions(&client).await;
    secured.tls_and_sasl(&kafka).await;
}

async fn topics_and_records(client: &Client) {
    assert!(!client.cluster_id().is_empty());
    let topic = NewTopic::new(TOPIC, 3).with_config("segment.bytes", "1048576");
    create_topic(client, topic.clone()).await.unwrap();
    let again = create_topic(client, topic).await.unwrap_err();
    assert_eq!(again.code(), Some(ResponseError::TopicAlreadyExists));
    let metadata = client.metadata(&[TOPIC, "missing"]).await.unwrap();
    assert_eq!(metadata.topics[TOPIC].partitions.len(), 3);
    assert!(!metadata.topics[TOPIC].topic_id.is_nil());
    assert_eq!(metadata.topics["missing"].error, Some(ResponseError::UnknownTopicOrPartition));
    assert!(client.metadata_all().await.unwrap().topics.contains_key(TOPIC));

    for (partition, timestamp_ms) in [(0, FIRST_MS), (0, SECOND_MS), (1, FIRST_MS)] {
        produce(client, partition, timestamp_ms).await;
    }
    let partitions: Vec<_> = (0..3).map(at).collect();
    let ends = list_offsets(client, &partitions, OffsetSpec::Latest).await.unwrap();
    let ends: Vec<i64> = ends.into_values().map(|end| end.unwrap().offset).collect();
    assert_eq!(ends, [2, 1, 0]);
    for (spec, offset) in [
        (OffsetSpec::Earliest, 0),
        (OffsetSpec::ReadCommittedLatest, 2),
        (OffsetSpec::At(FIRST_MS + 1), 1),
        (OffsetSpec::MaxTimestamp, 1),
        (OffsetSpec::At(SECOND_MS + 1), -1),
    ] {
        assert_eq!(list_offset(client, &at(0), spec).await.unwrap().offset, offset, "{spec:?}");
    }
    let missing = list_offset(client, &TopicPartition::new("missing", 0), OffsetSpec::Latest).await;
    assert_eq!(missing.unwrap_err().code(), Some(ResponseError::UnknownTopicOrPartition));
    fetched_raw(client).await;

    let ends = epoch_ends(client, &[(at(0), 0)]).await.unwrap();
    assert_eq!(ends[&at(0)].as_ref().unwrap().end_offset, 2);
    let starts = delete_records(client, &[(at(0), 1), (at(1), -1)]).await.unwrap();
    let starts: Vec<i64> = starts.into_values().map(|start| start.unwrap()).collect();
    assert_eq!(starts, [1, 1]);
    create_partitions(client, TOPIC, 4).await.unwrap();
    let fewer = create_partitions(client, TOPIC, 2).await.unwrap_err();
    assert_eq!(fewer.code(), Some(ResponseError::InvalidPartitions));
    create_topic(client, NewTopic::new("short-lived", 1)).await.unwrap();
    delete_topics(client, &["short-lived"]).await.unwrap().remove("short-lived").unwrap().unwrap();
}

async fn produce(client: &Client, partition: i32, timestamp_ms: i64) {
    let mut batch = BatchBuilder::new(0);
    batch.append(timestamp_ms, Some(b"key"), Some(b"value"), &[]);
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.build().unwrap().freeze()));
    let topic = TopicProduceData::default().with_name(TopicName(text(TOPIC))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
    let response = client.send(To::Leader(TOPIC.to_owned(), partition), request).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// By topic id, on a connection of its own, from the middle.
async fn fetched_raw(client: &Client) {
    let topic_id = client.topic(TOPIC).await.unwrap().topic_id;
    let connection = client.connection(To::Leader(TOPIC.to_owned(), 0)).await.unwrap();
    let partition = FetchPartition::default().with_fetch_offset(1).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(topic_id).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let response = connection.send_version(request, 13).await.unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, data.high_watermark), (0, 2));
    let batches: Vec<_> = split(data.records.clone().unwrap()).map(|batch| batch.unwrap()).collect();
    let timestamps: Vec<i64> = batches.iter().map(|batch| batch.view().max_timestamp_ms()).collect();
    assert_eq!(timestamps, [SECOND_MS]);
}

/// A member of another protocol type keeps everybody else from committing and joining; whoever evicts it opens
/// the group again.
async fn a_fence_of_group_verbs(client: &Client) {
    const GROUP: &str = "ranker";
    let outcome = offset_commit(client, GROUP, &CommitAs::Outsider, &position(1)).await.unwrap();
    outcome[&at(0)].as_ref().unwrap();
    assert_eq!(find_coordinator(client, GROUP).await.unwrap().id, 1);

    let connection = client.connection(To::Coordinator(GROUP.to_owned())).await.unwrap();
    let join = || {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_group_instance_id(Some(text("link-1")))
            .with_protocol_type(text("towpath-fence"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("fence"))])
    };
    let joined = connection.send_version(join(), 5).await.unwrap();
    assert_eq!(joined.error_code, 0);
    let (generation, member) = (joined.generation_id, joined.member_id.clone());
    let assignment = SyncGroupRequestAssignment::default().with_member_id(member.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_group_instance_id(Some(text("link-1")))
        .with_assignments(vec![assignment]);
    assert_eq!(connection.send_version(sync, 3).await.unwrap().error_code, 0);
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_group_instance_id(Some(text("link-1")));
    assert_eq!(connection.send(heartbeat).await.unwrap().error_code, 0);

    let described = describe_groups(client, &[GROUP, "missing"]).await.unwrap();
    let fenced = described[GROUP].as_ref().unwrap();
    assert_eq!((fenced.group_type, fenced.state.as_str()), (GroupType::Classic, "Stable"));
    assert_eq!(fenced.protocol_type, "towpath-fence");
    assert_eq!(fenced.members[0].instance_id.as_deref(), Some("link-1"));
    let missing = described["missing"].as_ref().unwrap_err();
    assert_eq!(missing.code(), Some(ResponseError::GroupIdNotFound));
    assert!(list_groups(client).await.unwrap().iter().any(|group| group.group == GROUP));

    let refused = offset_commit(client, GROUP, &CommitAs::Outsider, &position(2)).await.unwrap();
    assert_eq!(refused[&at(0)].as_ref().unwrap_err().code(), Some(ResponseError::UnknownMemberId));
    let itself = CommitAs::Member {
        generation,
        member_id: member.to_string(),
        instance_id: Some("link-1".to_owned()),
    };
    let committed = offset_commit(client, GROUP, &itself, &position(2)).await.unwrap();
    committed[&at(0)].as_ref().unwrap();
    assert_eq!(offset_fetch_all(client, GROUP, true).await.unwrap(), position(2));
    assert_eq!(offset_fetch(client, GROUP, &[at(0), at(1)], true).await.unwrap(), position(2));

    let nobody = leave_group(client, GROUP, &["nobody"], "test").await.unwrap();
    assert_eq!(nobody["nobody"].as_ref().unwrap_err().code(), Some(ResponseError::UnknownMemberId));
    let refused = delete_groups(client, &[GROUP]).await.unwrap();
    assert_eq!(refused[GROUP].as_ref().unwrap_err().code(), Some(ResponseError::NonEmptyGroup));
    leave_group(client, GROUP, &[member.as_str()], "test").await.unwrap()[member.as_str()].as_ref().unwrap();
    assert_eq!(describe_groups(client, &[GROUP]).await.unwrap()[GROUP].as_ref().unwrap().state, "Empty");
    delete_groups(client, &[GROUP]).await.unwrap()[GROUP].as_ref().unwrap();
}

fn position(offset: i64) -> BTreeMap<TopicPartition, CommittedOffset> {
    let metadata = Some("note".to_owned());
    BTreeMap::from([(at(0), CommittedOffset { offset, leader_epoch: -1, metadata })])
}

async fn a_kip_848_group_is_described(client: &Client) {
    let to = To::Coordinator("modern".to_owned());
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("modern")))
        .with_member_id(text("AAAAAAAAAAAAAAAAAAAAAQ"))
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]))
        .with_topic_partitions(Some(Vec::new()));
    let joined = client.send(to, join).await.unwrap();
    assert_eq!(joined.error_code, 0, "{:?}", joined.error_message);
    let described = describe_groups(client, &["modern"]).await.unwrap();
    let group = described["modern"].as_ref().unwrap();
    assert_eq!((group.group_type, group.members.len()), (GroupType::Consumer, 1));
    assert_eq!(group.members[0].subscribed, [TOPIC]);
}

async fn configs_and_transactions(client: &Client) {
    let resource = ConfigResource::Topic(TOPIC.to_owned());
    let set = ConfigChange::Set("retention.ms".to_owned(), "86400000".to_owned());
    alter_configs(client, &resource, &[set]).await.unwrap();
    let resources = [resource.clone(), ConfigResource::Broker(1)];
    // A KRaft broker answers from what it has replayed of the controller's log, which takes a moment.
    let described = wait::until("the topic's own retention", LIMIT, async || {
        let described = describe_configs(client, &resources).await?;
        let set = described[&resource].as_ref().is_ok_and(|configs| {
            let retention = &configs["retention.ms"];
            (retention.value.as_deref(), retention.source) == (Some("86400000"), ConfigSource::Resource)
        });
        Ok(set.then_some(described))
    });
    let described = described.await.unwrap();
    let broker = described[&resources[1]].as_ref().unwrap();
    assert_eq!(broker["offsets.topic.num.partitions"].source, ConfigSource::Broker);
    alter_configs(client, &resource, &[ConfigChange::Unset("retention.ms".to_owned())]).await.unwrap();
    let wrong = ConfigChange::Set("retention.ms".to_owned(), "soon".to_owned());
    let refused = alter_configs(client, &resource, &[wrong]).await.unwrap_err();
    assert_eq!(refused.code(), Some(ResponseError::InvalidConfig));
    assert!(refused.to_string().contains("retention.ms"), "{refused}");

    let first = fence_producer(client, "enricher").await.unwrap();
    let second = fence_producer(client, "enricher").await.unwrap();
    assert_eq!(first.producer_id, second.producer_id);
    assert!(second.producer_epoch > first.producer_epoch);
    let listed = list_transactions(client, &[]).await.unwrap();
    assert!(listed.iter().any(|each| each.transactional_id == "enricher" && each.state == "Empty"));
    let producers = describe_producers(client, &[at(0), at(1)]).await.unwrap();
    assert!(producers.values().all(|outcome| outcome.as_ref().unwrap().is_empty()));
}

/// What was open before a broker's death goes on after it.
async fn reconnects(kafka: &mut Kafka, client: &Client) {
    kafka.kill(0).await.unwrap();
    let first = at(0);
    let asked = list_offset(client, &first, OffsetSpec::Latest);
    let (found, started) = tokio::join!(asked, kafka.start_again());
    started.unwrap();
    assert_eq!(found.unwrap().offset, 2);
}

/// Certificates and users of a cluster with a listener for each kind of security.
struct Secured {
    folder: TempDir,
    ports: [Port; 4],
}

/// Listener, what it speaks.
const LISTENERS: [(&str, &str); 4] =
    [("TLS", "SSL"), ("MUTUAL", "SSL"), ("PASSWORD", "SASL_PLAINTEXT"), ("BOTH", "SASL_SSL")];

impl Secured {
    fn new() -> Secured {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        for name in ["server", "linker"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let chain = params.signed_by(&key, &authority).unwrap().pem();
            let key = key.serialize_pem();
            std::fs::write(folder.path().join(format!("{name}.keystore")), format!("{key}{chain}")).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), chain).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
        }
        let ports = std::array::from_fn(|_| Port::reserve().unwrap());
        Secured { folder, ports }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, version: &str) -> KafkaOptions {
        let file = |path: PathBuf| Path::new(&path).display().to_string();
        let map: String = LISTENERS.iter().map(|(name, protocol)| format!(",{name}:{protocol}")).collect();
        let mut options = KafkaOptions::new(version)
            .property(
                "listener.security.protocol.map",
                &format!("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{map}"),
            )
            .property("ssl.keystore.type", "PEM")
            .property("ssl.keystore.location", &file(self.path("server.keystore")))
            .property("ssl.truststore.type", "PEM")
            .property("ssl.truststore.location", &file(self.path("ca.pem")))
            .property("listener.name.mutual.ssl.client.auth", "required")
            .property("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
        for listener in ["password", "both"] {
            let plain =
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"plain\";";
            let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            for (mechanism, module) in [("plain", plain), ("scram-sha-256", scram), ("scram-sha-512", scram)]
            {
                let key = format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
                options = options.property(&key, module);
            }
        }
        options.listeners = LISTENERS
            .iter()
            .zip(&self.ports)
            .map(|((name, _), port)| ((*name).to_owned(), here(port)))
            .collect();
        options
    }

    async fn tls_and_sasl(&self, kafka: &Kafka) {
        let bootstrap = kafka.bootstrap();
        for scram in ["SCRAM-SHA-256=[password=short]", "SCRAM-SHA-512=[password=long]"] {
            let arguments = ["--bootstrap-server", &bootstrap, "--alter", "--add-config", scram];
            let user = ["--entity-type", "users", "--entity-name", "alice"];
            kafka.tools().run(Tool::Configs, &[&arguments[..], &user[..]].concat()).await.unwrap();
        }

        let [tls, mutual, password, both] = &self.ports;
        let trust = Tls { ca: Some(self.path("ca.pem")), ..Tls::default() };
        let certificate =
            Tls { cert: Some(self.path("linker.pem")), key: Some(self.path("linker.key")), ..trust.clone() };
        accepted(tls, security(Protocol::Ssl, None, Some(&trust))).await;
        accepted(mutual, security(Protocol::Ssl, None, Some(&certificate))).await;
        for (mechanism, secret) in
            [(Mechanism::Plain, "plain"), (Mechanism::ScramSha256, "short"), (Mechanism::ScramSha512, "long")]
        {
            let right = Some((mechanism, secret));
            accepted(password, security(Protocol::SaslPlaintext, right, None)).await;
            accepted(both, security(Protocol::SaslSsl, right, Some(&trust))).await;
            let wrong = security(Protocol::SaslSsl, Some((mechanism, "wrong")), Some(&trust));
            refused(both, wrong, "`sasl.username`").await;
        }
        refused(tls, security(Protocol::Ssl, None, Some(&Tls::default())), "`tls.ca`").await;
        refused(mutual, security(Protocol::Ssl, None, Some(&trust)), "`tls.cert`").await;
        refused(tls, security(Protocol::Plaintext, None, None), "to SSL").await;
        refused(password, security(Protocol::Ssl, None, Some(&trust)), "to PLAINTEXT").await;
        refused(password, security(Protocol::Plaintext, None, None), "SASL_PLAINTEXT").await;
        refused(tls, security(Protocol::SaslSsl, Some((Mechanism::Plain, "plain")), Some(&trust)), "to SSL")
            .await;
    }
}

fn here(port: &Port) -> String {
    format!("localhost:{}", port.number())
}

fn security(protocol: Protocol, sasl: Option<(Mechanism, &str)>, tls: Option<&Tls>) -> Security {
    let sasl = sasl.map(|(mechanism, password)| Sasl {
        mechanism,
        username: "alice".to_owned(),
        password: Secret::Literal(password.to_owned()),
    });
    Security { protocol, sasl, tls: tls.cloned() }
}

async fn try_out(port: &Port, security: Security) -> Result<(), ClientError> {
    let config = ClientConfig::new(&here(port), security).with_request_timeout(Duration::from_secs(20));
    let client = Client::connect(config, Env::real()).await?;
    // The leader is reached at the address of the same listener.
    list_offset(&client, &at(0), OffsetSpec::Latest).await.map(drop)
}

async fn accepted(port: &Port, security: Security) {
    let protocol = security.protocol;
    let tried = try_out(port, security.clone()).await;
    tried.unwrap_or_else(|error| panic!("{protocol}: {error}; {:?}", error.fix()));
    compared_with_itself(port, security).await;
}

/// The diff's readers, which are librdkafka's, come in by the same settings.
async fn compared_with_itself(port: &Port, security: Security) {
    let config = ClientConfig::new(&here(port), security);
    let client = Client::connect(config.clone(), Env::real()).await.unwrap();
    let cluster = Cluster { name: "secured".into(), id: client.cluster_id(), client, config };
    let comparison = Comparison::open(ComparisonSpec {
        source: cluster.clone(),
        target: cluster,
        env: Env::real(),
        range_offsets: 100,
        samples_max: 1,
        metrics: DiffMetrics::register(&prometheus::Registry::new(), "views").unwrap(),
    })
    .unwrap();
    let (terms, mut told) = (Terms { bytes_per_s: 0, stop: CancellationToken::new() }, Vec::new());
    let stretch = Stretch { id: at(0), from: 1, to: 2 };
    comparison.compare(&[stretch], &terms, &mut |_, outcome| told.push(outcome)).await.unwrap();
    let [Compared::Range { source, target, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((source.records, source), (1, target));
}

/// The fix must say `words`.
async fn refused(port: &Port, security: Security, words: &str) {
    let protocol = security.protocol;
    let error = try_out(port, security).await.unwrap_err();
    assert!(error.fix().is_some_and(|fix| fix.contains(words)), "{protocol}: {error}; {:?}", error.fix());
}
