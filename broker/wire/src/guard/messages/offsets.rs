//! Committed offsets.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static OFFSET_COMMIT: Api = api(
    8,
    message(
        2,
        9,
        8,
        structure::<m::offset_commit_request::OffsetCommitRequest>(&[
            field("group_id", TEXT),
            field("generation_id_or_member_epoch", I32),
            field("member_id", TEXT),
            field("group_instance_id", NULLABLE_TEXT).from(7),
            field("retention_time_ms", I64).to(4),
            field(
                "topics",
                array(&structure::<m::offset_commit_request::OffsetCommitRequestTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::offset_commit_request::OffsetCommitRequestPartition>(&[
                            field("partition_index", I32),
                            field("committed_offset", I64),
                            field("committed_leader_epoch", I32).from(6),
                            field("committed_metadata", NULLABLE_TEXT),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
    message(
        2,
        10,
        8,
        structure::<m::offset_commit_response::OffsetCommitResponse>(&[
            field("throttle_time_ms", I32).from(3),
            field(
                "topics",
                array(&structure::<m::offset_commit_response::OffsetCommitResponseTopic>(&[
                    field("name", TEXT).to(9),
                    field("topic_id", UUID).from(10),
                    field(
                        "partitions",
                        array(&structure::<m::offset_commit_response::OffsetCommitResponsePartition>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static OFFSET_FETCH: Api = api(
    9,
    message(
        1,
        9,
        6,
        structure::<m::offset_fetch_request::OffsetFetchRequest>(&[
            field("group_id", TEXT).to(7),
            field(
                "topics",
                nullable_array(&structure::<m::offset_fetch_request::OffsetFetchRequestTopic>(&[
                    field("name", TEXT).to(7),
                    field("partition_indexes", array(&I32)).to(7),
                ])),
            )
            .to(7),
            field(
                "groups",
                array(&structure::<m::offset_fetch_request::OffsetFetchRequestGroup>(&[
                    field("group_id", TEXT).from(8),
                    field("member_id", NULLABLE_TEXT).from(9),
                    field("member_epoch", I32).from(9),
                    field(
                        "topics",
                        nullable_array(&structure::<m::offset_fetch_request::OffsetFetchRequestTopics>(&[
                            field("name", TEXT).from(8),
                            field("partition_indexes", array(&I32)).from(8),
                        ])),
                    )
                    .from(8),
                ])),
            )
            .from(8),
            field("require_stable", BOOL).from(7),
        ]),
    ),
    message(
        1,
        10,
        6,
        structure::<m::offset_fetch_response::OffsetFetchResponse>(&[
            field("throttle_time_ms", I32).from(3),
            field(
                "topics",
                array(&structure::<m::offset_fetch_response::OffsetFetchResponseTopic>(&[
                    field("name", TEXT).to(7),
                    field(
                        "partitions",
                        array(&structure::<m::offset_fetch_response::OffsetFetchResponsePartition>(&[
                            field("partition_index", I32).to(7),
                            field("committed_offset", I64).to(7),
                            field("committed_leader_epoch", I32).from(5).to(7),
                            field("metadata", NULLABLE_TEXT).to(7),
                            field("error_code", I16).to(7),
                        ])),
                    )
                    .to(7),
                ])),
            )
            .to(7),
            field("error_code", I16).from(2).to(7),
            field(
                "groups",
                array(&structure::<m::offset_fetch_response::OffsetFetchResponseGroup>(&[
                    field("group_id", TEXT).from(8),
                    field(
                        "topics",
                        array(&structure::<m::offset_fetch_response::OffsetFetchResponseTopics>(&[
                            field("name", TEXT).from(8).to(9),
                            field("topic_id", UUID).from(10),
                            field(
                                "partitions",
                                array(&structure::<m::offset_fetch_response::OffsetFetchResponsePartitions>(
                                    &[
                                        field("partition_index", I32).from(8),
                                        field("committed_offset", I64).from(8),
                                        field("committed_leader_epoch", I32).from(8),
                                        field("metadata", NULLABLE_TEXT).from(8),
                                        field("error_code", I16).from(8),
                                    ],
                                )),
                            )
                            .from(8),
                        ])),
                    )
                    .from(8),
                    field("error_code", I16).from(8),
                ])),
            )
            .from(8),
        ]),
    ),
);

pub(super) static TXN_OFFSET_COMMIT: Api = api(
    28,
    message(
        0,
        5,
        3,
        structure::<m::txn_offset_commit_request::TxnOffsetCommitRequest>(&[
            field("transactional_id", TEXT),
            field("group_id", TEXT),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("generation_id", I32).from(3),
            field("member_id", TEXT).from(3),
            field("group_instance_id", NULLABLE_TEXT).from(3),
            field(
                "topics",
                array(&structure::<m::txn_offset_commit_request::TxnOffsetCommitRequestTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::txn_offset_commit_request::TxnOffsetCommitRequestPartition>(
                            &[
                                field("partition_index", I32),
                                field("committed_offset", I64),
                                field("committed_leader_epoch", I32).from(2),
                                field("committed_metadata", NULLABLE_TEXT),
                            ],
                        )),
                    ),
                ])),
            ),
        ]),
    ),
    message(
        0,
        5,
        3,
        structure::<m::txn_offset_commit_response::TxnOffsetCommitResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::txn_offset_commit_response::TxnOffsetCommitResponseTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::txn_offset_commit_response::TxnOffsetCommitResponsePartition>(
                            &[field("partition_index", I32), field("error_code", I16)],
                        )),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static OFFSET_DELETE: Api = api(
    47,
    message(
        0,
        0,
        NEVER,
        structure::<m::offset_delete_request::OffsetDeleteRequest>(&[
            field("group_id", TEXT),
            field(
                "topics",
                array(&structure::<m::offset_delete_request::OffsetDeleteRequestTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::offset_delete_request::OffsetDeleteRequestPartition>(&[
                            field("partition_index", I32),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
    message(
        0,
        0,
        NEVER,
        structure::<m::offset_delete_response::OffsetDeleteResponse>(&[
            field("error_code", I16),
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::offset_delete_response::OffsetDeleteResponseTopic>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::offset_delete_response::OffsetDeleteResponsePartition>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);
