//! Creating, changing and deleting topics and configs.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static CREATE_TOPICS: Api = api(
    19,
    message(
        2,
        7,
        5,
        structure::<m::create_topics_request::CreateTopicsRequest>(&[
            field(
                "topics",
                array(&structure::<m::create_topics_request::CreatableTopic>(&[
                    field("name", TEXT),
                    field("num_partitions", I32),
                    field("replication_factor", I16),
                    field(
                        "assignments",
                        array(&structure::<m::create_topics_request::CreatableReplicaAssignment>(&[
                            field("partition_index", I32),
                            field("broker_ids", array(&I32)),
                        ])),
                    ),
                    field(
                        "configs",
                        array(&structure::<m::create_topics_request::CreatableTopicConfig>(&[
                            field("name", TEXT),
                            field("value", NULLABLE_TEXT),
                        ])),
                    ),
                ])),
            ),
            field("timeout_ms", I32),
            field("validate_only", BOOL),
        ]),
    ),
    message(
        2,
        7,
        5,
        structure::<m::create_topics_response::CreateTopicsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::create_topics_response::CreatableTopicResult>(&[
                    field("name", TEXT),
                    field("topic_id", UUID).from(7),
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                    field("num_partitions", I32).from(5),
                    field("replication_factor", I16).from(5),
                    field(
                        "configs",
                        nullable_array(&structure::<m::create_topics_response::CreatableTopicConfigs>(&[
                            field("name", TEXT).from(5),
                            field("value", NULLABLE_TEXT).from(5),
                            field("read_only", BOOL).from(5),
                            field("config_source", I8).from(5),
                            field("is_sensitive", BOOL).from(5),
                        ])),
                    )
                    .from(5),
                    field("topic_config_error_code", I16).tag(0),
                ])),
            ),
        ]),
    ),
);

pub(super) static DELETE_TOPICS: Api = api(
    20,
    message(
        1,
        6,
        4,
        structure::<m::delete_topics_request::DeleteTopicsRequest>(&[
            field(
                "topics",
                array(&structure::<m::delete_topics_request::DeleteTopicState>(&[
                    field("name", NULLABLE_TEXT).from(6),
                    field("topic_id", UUID).from(6),
                ])),
            )
            .from(6),
            field("topic_names", array(&TEXT)).to(5),
            field("timeout_ms", I32),
        ]),
    ),
    message(
        1,
        6,
        4,
        structure::<m::delete_topics_response::DeleteTopicsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "responses",
                array(&structure::<m::delete_topics_response::DeletableTopicResult>(&[
                    field("name", NULLABLE_TEXT),
                    field("topic_id", UUID).from(6),
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT).from(5),
                ])),
            ),
        ]),
    ),
);

pub(super) static DESCRIBE_CONFIGS: Api = api(
    32,
    message(
        1,
        4,
        4,
        structure::<m::describe_configs_request::DescribeConfigsRequest>(&[
            field(
                "resources",
                array(&structure::<m::describe_configs_request::DescribeConfigsResource>(&[
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                    field("configuration_keys", nullable_array(&TEXT)),
                ])),
            ),
            field("include_synonyms", BOOL),
            field("include_documentation", BOOL).from(3),
        ]),
    ),
    message(
        1,
        4,
        4,
        structure::<m::describe_configs_response::DescribeConfigsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "results",
                array(&structure::<m::describe_configs_response::DescribeConfigsResult>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                    field(
                        "configs",
                        array(&structure::<m::describe_configs_response::DescribeConfigsResourceResult>(&[
                            field("name", TEXT),
                            field("value", NULLABLE_TEXT),
                            field("read_only", BOOL),
                            field("config_source", I8),
                            field("is_sensitive", BOOL),
                            field(
                                "synonyms",
                                array(&structure::<m::describe_configs_response::DescribeConfigsSynonym>(&[
                                    field("name", TEXT),
                                    field("value", NULLABLE_TEXT),
                                    field("source", I8),
                                ])),
                            ),
                            field("config_type", I8).from(3),
                            field("documentation", NULLABLE_TEXT).from(3),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static ALTER_CONFIGS: Api = api(
    33,
    message(
        0,
        2,
        2,
        structure::<m::alter_configs_request::AlterConfigsRequest>(&[
            field(
                "resources",
                array(&structure::<m::alter_configs_request::AlterConfigsResource>(&[
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                    field(
                        "configs",
                        array(&structure::<m::alter_configs_request::AlterableConfig>(&[
                            field("name", TEXT),
                            field("value", NULLABLE_TEXT),
                        ])),
                    ),
                ])),
            ),
            field("validate_only", BOOL),
        ]),
    ),
    message(
        0,
        2,
        2,
        structure::<m::alter_configs_response::AlterConfigsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "responses",
                array(&structure::<m::alter_configs_response::AlterConfigsResourceResponse>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                ])),
            ),
        ]),
    ),
);

pub(super) static CREATE_PARTITIONS: Api = api(
    37,
    message(
        0,
        3,
        2,
        structure::<m::create_partitions_request::CreatePartitionsRequest>(&[
            field(
                "topics",
                array(&structure::<m::create_partitions_request::CreatePartitionsTopic>(&[
                    field("name", TEXT),
                    field("count", I32),
                    field(
                        "assignments",
                        nullable_array(
                            &structure::<m::create_partitions_request::CreatePartitionsAssignment>(&[field(
                                "broker_ids",
                                array(&I32),
                            )]),
                        ),
                    ),
                ])),
            ),
            field("timeout_ms", I32),
            field("validate_only", BOOL),
        ]),
    ),
    message(
        0,
        3,
        2,
        structure::<m::create_partitions_response::CreatePartitionsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "results",
                array(&structure::<m::create_partitions_response::CreatePartitionsTopicResult>(&[
                    field("name", TEXT),
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                ])),
            ),
        ]),
    ),
);

pub(super) static INCREMENTAL_ALTER_CONFIGS: Api = api(
    44,
    message(
        0,
        1,
        1,
        structure::<m::incremental_alter_configs_request::IncrementalAlterConfigsRequest>(&[
            field(
                "resources",
                array(&structure::<m::incremental_alter_configs_request::AlterConfigsResource>(&[
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                    field(
                        "configs",
                        array(&structure::<m::incremental_alter_configs_request::AlterableConfig>(&[
                            field("name", TEXT),
                            field("config_operation", I8),
                            field("value", NULLABLE_TEXT),
                        ])),
                    ),
                ])),
            ),
            field("validate_only", BOOL),
        ]),
    ),
    message(
        0,
        1,
        1,
        structure::<m::incremental_alter_configs_response::IncrementalAlterConfigsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "responses",
                array(&structure::<m::incremental_alter_configs_response::AlterConfigsResourceResponse>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                ])),
            ),
        ]),
    ),
);
