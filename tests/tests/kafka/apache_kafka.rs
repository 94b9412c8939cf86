//! The harness's own Apache Kafka.

use towpath_tests::kafka::{Kafka, KafkaOptions, Tool};

async fn serves_its_tools_and_keeps_topics_over_a_kill(version: &str) {
    let mut kafka = Kafka::start(version).await.unwrap();
    let bootstrap = kafka.bootstrap();
    let server = ["--bootstrap-server", &bootstrap];
    let create = [&server[..], &["--create", "--topic", "views", "--partitions", "3"]].concat();
    kafka.tools().run(Tool::Topics, &create).await.unwrap();
    kafka.kill(0).await.unwrap();
    kafka.start_again().await.unwrap();
    let list = [&server[..], &["--list"]].concat();
    assert_eq!(kafka.tools().run(Tool::Topics, &list).await.unwrap().trim(), "views");
    kafka.stop().await.unwrap();
}

#[tokio::test]
async fn kafka_3_9_serves_its_tools_and_keeps_topics_over_a_kill() {
    serves_its_tools_and_keeps_topics_over_a_kill("3.9.1").await;
}

#[tokio::test]
async fn kafka_4_1_serves_its_tools_and_keeps_topics_over_a_kill() {
    serves_its_tools_and_keeps_topics_over_a_kill("4.1.1").await;
}

#[tokio::test]
#[ignore = "an old version that no scenario needs yet"]
async fn kafka_2_8_starts_with_zookeeper() {
    Kafka::start("2.8.2").await.unwrap();
}

#[tokio::test]
#[ignore = "two JVMs at once; no scenario needs two brokers yet"]
async fn two_brokers_form_one_cluster() {
    let options = KafkaOptions { brokers: 2, ..KafkaOptions::new("3.9.1") };
    Kafka::start_with(options).await.unwrap();
}
