//! The cluster, its versions and its topics as clients see them.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static METADATA: Api = api(
    3,
    message(
        0,
        13,
        9,
        structure::<m::metadata_request::MetadataRequest>(&[
            field(
                "topics",
                nullable_array(&structure::<m::metadata_request::MetadataRequestTopic>(&[
                    field("topic_id", UUID).from(10),
                    field("name", NULLABLE_TEXT),
                ])),
            ),
            field("allow_auto_topic_creation", BOOL).from(4),
            field("include_cluster_authorized_operations", BOOL).from(8).to(10),
            field("include_topic_authorized_operations", BOOL).from(8),
        ]),
    ),
    message(
        0,
        13,
        9,
        structure::<m::metadata_response::MetadataResponse>(&[
            field("throttle_time_ms", I32).from(3),
            field(
                "brokers",
                array(&structure::<m::metadata_response::MetadataResponseBroker>(&[
                    field("node_id", I32),
                    field("host", TEXT),
                    field("port", I32),
                    field("rack", NULLABLE_TEXT).from(1),
                ])),
            ),
            field("cluster_id", NULLABLE_TEXT).from(2),
            field("controller_id", I32).from(1),
            field(
                "topics",
                array(&structure::<m::metadata_response::MetadataResponseTopic>(&[
                    field("error_code", I16),
                    field("name", NULLABLE_TEXT),
                    field("topic_id", UUID).from(10),
                    field("is_internal", BOOL).from(1),
                    field(
                        "partitions",
                        array(&structure::<m::metadata_response::MetadataResponsePartition>(&[
                            field("error_code", I16),
                            field("partition_index", I32),
                            field("leader_id", I32),
                            field("leader_epoch", I32).from(7),
                            field("replica_nodes", array(&I32)),
                            field("isr_nodes", array(&I32)),
                            field("offline_replicas", array(&I32)).from(5),
                        ])),
                    ),
                    field("topic_authorized_operations", I32).from(8),
                ])),
            ),
            field("cluster_authorized_operations", I32).from(8).to(10),
            field("error_code", I16).from(13),
        ]),
    ),
);

pub(super) static API_VERSIONS: Api = api(
    18,
    message(
        0,
        4,
        3,
        structure::<m::api_versions_request::ApiVersionsRequest>(&[
            field("client_software_name", TEXT).from(3),
            field("client_software_version", TEXT).from(3),
        ]),
    ),
    message(
        0,
        4,
        3,
        structure::<m::api_versions_response::ApiVersionsResponse>(&[
            field("error_code", I16),
            field(
                "api_keys",
                array(&structure::<m::api_versions_response::ApiVersion>(&[
                    field("api_key", I16),
                    field("min_version", I16),
                    field("max_version", I16),
                ])),
            ),
            field("throttle_time_ms", I32).from(1),
            field(
                "supported_features",
                array(&structure::<m::api_versions_response::SupportedFeatureKey>(&[
                    field("name", TEXT).from(3),
                    field("min_version", I16).from(3),
                    field("max_version", I16).from(3),
                ])),
            )
            .tag(0),
            field("finalized_features_epoch", I64).tag(1),
            field(
                "finalized_features",
                array(&structure::<m::api_versions_response::FinalizedFeatureKey>(&[
                    field("name", TEXT).from(3),
                    field("max_version_level", I16).from(3),
                    field("min_version_level", I16).from(3),
                ])),
            )
            .tag(2),
            field("zk_migration_ready", BOOL).tag(3),
        ]),
    ),
);

pub(super) static DESCRIBE_LOG_DIRS: Api = api(
    35,
    message(
        1,
        4,
        2,
        structure::<m::describe_log_dirs_request::DescribeLogDirsRequest>(&[field(
            "topics",
            nullable_array(&structure::<m::describe_log_dirs_request::DescribableLogDirTopic>(&[
                field("topic", TEXT),
                field("partitions", array(&I32)),
            ])),
        )]),
    ),
    message(
        1,
        4,
        2,
        structure::<m::describe_log_dirs_response::DescribeLogDirsResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16).from(3),
            field(
                "results",
                array(&structure::<m::describe_log_dirs_response::DescribeLogDirsResult>(&[
                    field("error_code", I16),
                    field("log_dir", TEXT),
                    field(
                        "topics",
                        array(&structure::<m::describe_log_dirs_response::DescribeLogDirsTopic>(&[
                            field("name", TEXT),
                            field(
                                "partitions",
                                array(&structure::<m::describe_log_dirs_response::DescribeLogDirsPartition>(
                                    &[
                                        field("partition_index", I32),
                                        field("partition_size", I64),
                                        field("offset_lag", I64),
                                        field("is_future_key", BOOL),
                                    ],
                                )),
                            ),
                        ])),
                    ),
                    field("total_bytes", I64).from(4),
                    field("usable_bytes", I64).from(4),
                ])),
            ),
        ]),
    ),
);

pub(super) static DESCRIBE_CLUSTER: Api = api(
    60,
    message(
        0,
        2,
        0,
        structure::<m::describe_cluster_request::DescribeClusterRequest>(&[
            field("include_cluster_authorized_operations", BOOL),
            field("endpoint_type", I8).from(1),
            field("include_fenced_brokers", BOOL).from(2),
        ]),
    ),
    message(
        0,
        2,
        0,
        structure::<m::describe_cluster_response::DescribeClusterResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("error_message", NULLABLE_TEXT),
            field("endpoint_type", I8).from(1),
            field("cluster_id", TEXT),
            field("controller_id", I32),
            field(
                "brokers",
                array(&structure::<m::describe_cluster_response::DescribeClusterBroker>(&[
                    field("broker_id", I32),
                    field("host", TEXT),
                    field("port", I32),
                    field("rack", NULLABLE_TEXT),
                    field("is_fenced", BOOL).from(2),
                ])),
            ),
            field("cluster_authorized_operations", I32),
        ]),
    ),
);

/// How many bytes a port takes there: the one unsigned field of the protocol.
const U16: Kind = I16;

const REPLICA_STATE: Kind = structure::<m::describe_quorum_response::ReplicaState>(&[
    field("replica_id", I32),
    field("replica_directory_id", UUID).from(2),
    field("log_end_offset", I64),
    field("last_fetch_timestamp", I64).from(1),
    field("last_caught_up_timestamp", I64).from(1),
]);

/// The controllers of a KRaft cluster, each with the clock's time at its last fetch (KIP-836).
pub(super) static DESCRIBE_QUORUM: Api = api(
    55,
    message(
        0,
        2,
        0,
        structure::<m::describe_quorum_request::DescribeQuorumRequest>(&[field(
            "topics",
            array(&structure::<m::describe_quorum_request::TopicData>(&[
                field("topic_name", TEXT),
                field(
                    "partitions",
                    array(&structure::<m::describe_quorum_request::PartitionData>(&[field(
                        "partition_index",
                        I32,
                    )])),
                ),
            ])),
        )]),
    ),
    message(
        0,
        2,
        0,
        structure::<m::describe_quorum_response::DescribeQuorumResponse>(&[
            field("error_code", I16),
            field("error_message", NULLABLE_TEXT).from(2),
            field(
                "topics",
                array(&structure::<m::describe_quorum_response::TopicData>(&[
                    field("topic_name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::describe_quorum_response::PartitionData>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                            field("error_message", NULLABLE_TEXT).from(2),
                            field("leader_id", I32),
                            field("leader_epoch", I32),
                            field("high_watermark", I64),
                            field("current_voters", array(&REPLICA_STATE)),
                            field("observers", array(&REPLICA_STATE)),
                        ])),
                    ),
                ])),
            ),
            field(
                "nodes",
                array(&structure::<m::describe_quorum_response::Node>(&[
                    field("node_id", I32).from(2),
                    field(
                        "listeners",
                        array(&structure::<m::describe_quorum_response::Listener>(&[
                            field("name", TEXT).from(2),
                            field("host", TEXT).from(2),
                            field("port", U16).from(2),
                        ])),
                    )
                    .from(2),
                ])),
            )
            .from(2),
        ]),
    ),
);

pub(super) static LIST_CONFIG_RESOURCES: Api = api(
    74,
    message(
        0,
        1,
        0,
        structure::<m::list_config_resources_request::ListConfigResourcesRequest>(&[field(
            "resource_types",
            array(&I8),
        )
        .from(1)]),
    ),
    message(
        0,
        1,
        0,
        structure::<m::list_config_resources_response::ListConfigResourcesResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field(
                "config_resources",
                array(&structure::<m::list_config_resources_response::ConfigResource>(&[
                    field("resource_name", TEXT),
                    field("resource_type", I8).from(1),
                ])),
            ),
        ]),
    ),
);

pub(super) static DESCRIBE_TOPIC_PARTITIONS: Api = api(
    75,
    message(
        0,
        0,
        0,
        structure::<m::describe_topic_partitions_request::DescribeTopicPartitionsRequest>(&[
            field(
                "topics",
                array(&structure::<m::describe_topic_partitions_request::TopicRequest>(&[field(
                    "name", TEXT,
                )])),
            ),
            field("response_partition_limit", I32),
            field(
                "cursor",
                optional(structure::<m::describe_topic_partitions_request::Cursor>(&[
                    field("topic_name", TEXT),
                    field("partition_index", I32),
                ])),
            ),
        ]),
    ),
    message(
        0,
        0,
        0,
        structure::<m::describe_topic_partitions_response::DescribeTopicPartitionsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<
                    m::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic,
                >(&[
                    field("error_code", I16),
                    field("name", NULLABLE_TEXT),
                    field("topic_id", UUID),
                    field("is_internal", BOOL),
                    field(
                        "partitions",
                        array(&structure::<
                            m::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition,
                        >(&[
                            field("error_code", I16),
                            field("partition_index", I32),
                            field("leader_id", I32),
                            field("leader_epoch", I32),
                            field("replica_nodes", array(&I32)),
                            field("isr_nodes", array(&I32)),
                            field("eligible_leader_replicas", nullable_array(&I32)),
                            field("last_known_elr", nullable_array(&I32)),
                            field("offline_replicas", array(&I32)),
                        ])),
                    ),
                    field("topic_authorized_operations", I32),
                ])),
            ),
            field(
                "next_cursor",
                optional(structure::<m::describe_topic_partitions_response::Cursor>(&[
                    field("topic_name", TEXT),
                    field("partition_index", I32),
                ])),
            ),
        ]),
    ),
);
