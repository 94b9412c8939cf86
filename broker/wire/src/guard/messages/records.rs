//! Producing, fetching and finding records.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static PRODUCE: Api = api(
    0,
    message(
        0,
        13,
        9,
        structure::<m::produce_request::ProduceRequest>(&[
            field("transactional_id", NULLABLE_TEXT).from(3),
            field("acks", I16),
            field("timeout_ms", I32),
            field(
                "topic_data",
                array(&structure::<m::produce_request::TopicProduceData>(&[
                    field("name", TEXT).to(12),
                    field("topic_id", UUID).from(13),
                    field(
                        "partition_data",
                        array(&structure::<m::produce_request::PartitionProduceData>(&[
                            field("index", I32),
                            field("records", NULLABLE_BLOB),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
    message(
        3,
        13,
        9,
        structure::<m::produce_response::ProduceResponse>(&[
            field(
                "responses",
                array(&structure::<m::produce_response::TopicProduceResponse>(&[
                    field("name", TEXT).to(12),
                    field("topic_id", UUID).from(13),
                    field(
                        "partition_responses",
                        array(&structure::<m::produce_response::PartitionProduceResponse>(&[
                            field("index", I32),
                            field("error_code", I16),
                            field("base_offset", I64),
                            field("log_append_time_ms", I64),
                            field("log_start_offset", I64).from(5),
                            field(
                                "record_errors",
                                array(&structure::<m::produce_response::BatchIndexAndErrorMessage>(&[
                                    field("batch_index", I32).from(8),
                                    field("batch_index_error_message", NULLABLE_TEXT).from(8),
                                ])),
                            )
                            .from(8),
                            field("error_message", NULLABLE_TEXT).from(8),
                            field(
                                "current_leader",
                                structure::<m::produce_response::LeaderIdAndEpoch>(&[
                                    field("leader_id", I32).from(10),
                                    field("leader_epoch", I32).from(10),
                                ]),
                            )
                            .tag(0)
                            .from(10),
                        ])),
                    ),
                ])),
            ),
            field("throttle_time_ms", I32),
            field(
                "node_endpoints",
                array(&structure::<m::produce_response::NodeEndpoint>(&[
                    field("node_id", I32).from(10),
                    field("host", TEXT).from(10),
                    field("port", I32).from(10),
                    field("rack", NULLABLE_TEXT).from(10),
                ])),
            )
            .tag(0)
            .from(10),
        ]),
    ),
);

pub(super) static FETCH: Api = api(
    1,
    message(
        4,
        18,
        12,
        structure::<m::fetch_request::FetchRequest>(&[
            field("replica_id", I32).to(14),
            field("max_wait_ms", I32),
            field("min_bytes", I32),
            field("max_bytes", I32),
            field("isolation_level", I8),
            field("session_id", I32).from(7),
            field("session_epoch", I32).from(7),
            field(
                "topics",
                array(&structure::<m::fetch_request::FetchTopic>(&[
                    field("topic", TEXT).to(12),
                    field("topic_id", UUID).from(13),
                    field(
                        "partitions",
                        array(&structure::<m::fetch_request::FetchPartition>(&[
                            field("partition", I32),
                            field("current_leader_epoch", I32).from(9),
                            field("fetch_offset", I64),
                            field("last_fetched_epoch", I32).from(12),
                            field("log_start_offset", I64).from(5),
                            field("partition_max_bytes", I32),
                            field("replica_directory_id", UUID).tag(0).from(17),
                            field("high_watermark", I64).tag(1).from(18),
                        ])),
                    ),
                ])),
            ),
            field(
                "forgotten_topics_data",
                array(&structure::<m::fetch_request::ForgottenTopic>(&[
                    field("topic", TEXT).from(7).to(12),
                    field("topic_id", UUID).from(13),
                    field("partitions", array(&I32)).from(7),
                ])),
            )
            .from(7),
            field("rack_id", TEXT).from(11),
            field("cluster_id", NULLABLE_TEXT).tag(0),
            field(
                "replica_state",
                structure::<m::fetch_request::ReplicaState>(&[
                    field("replica_id", I32).from(15),
                    field("replica_epoch", I64).from(15),
                ]),
            )
            .tag(1)
            .from(15),
        ]),
    ),
    message(
        4,
        18,
        12,
        structure::<m::fetch_response::FetchResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16).from(7),
            field("session_id", I32).from(7),
            field(
                "responses",
                array(&structure::<m::fetch_response::FetchableTopicResponse>(&[
                    field("topic", TEXT).to(12),
                    field("topic_id", UUID).from(13),
                    field(
                        "partitions",
                        array(&structure::<m::fetch_response::PartitionData>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                            field("high_watermark", I64),
                            field("last_stable_offset", I64),
                            field("log_start_offset", I64).from(5),
                            field(
                                "aborted_transactions",
                                nullable_array(&structure::<m::fetch_response::AbortedTransaction>(&[
                                    field("producer_id", I64),
                                    field("first_offset", I64),
                                ])),
                            ),
                            field("preferred_read_replica", I32).from(11),
                            field("records", NULLABLE_BLOB),
                            field(
                                "diverging_epoch",
                                structure::<m::fetch_response::EpochEndOffset>(&[
                                    field("epoch", I32).from(12),
                                    field("end_offset", I64).from(12),
                                ]),
                            )
                            .tag(0),
                            field(
                                "current_leader",
                                structure::<m::fetch_response::LeaderIdAndEpoch>(&[
                                    field("leader_id", I32).from(12),
                                    field("leader_epoch", I32).from(12),
                                ]),
                            )
                            .tag(1),
                            field(
                                "snapshot_id",
                                structure::<m::fetch_response::SnapshotId>(&[
                                    field("end_offset", I64),
                                    field("epoch", I32),
                                ]),
                            )
                            .tag(2),
                        ])),
                    ),
                ])),
            ),
            field(
                "node_endpoints",
                array(&structure::<m::fetch_response::NodeEndpoint>(&[
                    field("node_id", I32).from(16),
                    field("host", TEXT).from(16),
                    field("port", I32).from(16),
                    field("rack", NULLABLE_TEXT).from(16),
                ])),
            )
            .tag(0)
            .from(16),
        ]),
    ),
);

pub(super) static LIST_OFFSETS: Api = api(
    2,
    message(
        1,
        10,
        6,
        structure::<m::list_offsets_request::ListOffsetsRequest>(&[
            field("replica_id", I32),
            field("isolation_level", I8).from(2),
            field(
                "topics",
                array(&structure::<m::list_offsets_request::ListOffsetsTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::list_offsets_request::ListOffsetsPartition>(&[
                            field("partition_index", I32),
                            field("current_leader_epoch", I32).from(4),
                            field("timestamp", I64),
                        ])),
                    ),
                ])),
            ),
            field("timeout_ms", I32).from(10),
        ]),
    ),
    message(
        1,
        10,
        6,
        structure::<m::list_offsets_response::ListOffsetsResponse>(&[
            field("throttle_time_ms", I32).from(2),
            field(
                "topics",
                array(&structure::<m::list_offsets_response::ListOffsetsTopicResponse>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::list_offsets_response::ListOffsetsPartitionResponse>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                            field("timestamp", I64),
                            field("offset", I64),
                            field("leader_epoch", I32).from(4),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static DELETE_RECORDS: Api = api(
    21,
    message(
        0,
        2,
        2,
        structure::<m::delete_records_request::DeleteRecordsRequest>(&[
            field(
                "topics",
                array(&structure::<m::delete_records_request::DeleteRecordsTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::delete_records_request::DeleteRecordsPartition>(&[
                            field("partition_index", I32),
                            field("offset", I64),
                        ])),
                    ),
                ])),
            ),
            field("timeout_ms", I32),
        ]),
    ),
    message(
        0,
        2,
        2,
        structure::<m::delete_records_response::DeleteRecordsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::delete_records_response::DeleteRecordsTopicResult>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::delete_records_response::DeleteRecordsPartitionResult>(&[
                            field("partition_index", I32),
                            field("low_watermark", I64),
                            field("error_code", I16),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static OFFSET_FOR_LEADER_EPOCH: Api = api(
    23,
    message(
        2,
        4,
        4,
        structure::<m::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest>(&[
            field("replica_id", I32).from(3),
            field(
                "topics",
                array(&structure::<m::offset_for_leader_epoch_request::OffsetForLeaderTopic>(&[
                    field("topic", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::offset_for_leader_epoch_request::OffsetForLeaderPartition>(&[
                            field("partition", I32),
                            field("current_leader_epoch", I32),
                            field("leader_epoch", I32),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
    message(
        2,
        4,
        4,
        structure::<m::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::offset_for_leader_epoch_response::OffsetForLeaderTopicResult>(&[
                    field("topic", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::offset_for_leader_epoch_response::EpochEndOffset>(&[
                            field("error_code", I16),
                            field("partition", I32),
                            field("leader_epoch", I32),
                            field("end_offset", I64),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);
