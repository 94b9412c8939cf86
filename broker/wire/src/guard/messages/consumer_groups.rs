//! Groups of the new protocol (KIP-848), as the raw client sees them on a source.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static CONSUMER_GROUP_HEARTBEAT: Api = api(
    68,
    message(
        0,
        1,
        0,
        structure::<m::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest>(&[
            field("group_id", TEXT),
            field("member_id", TEXT),
            field("member_epoch", I32),
            field("instance_id", NULLABLE_TEXT),
            field("rack_id", NULLABLE_TEXT),
            field("rebalance_timeout_ms", I32),
            field("subscribed_topic_names", nullable_array(&TEXT)),
            field("subscribed_topic_regex", NULLABLE_TEXT).from(1),
            field("server_assignor", NULLABLE_TEXT),
            field(
                "topic_partitions",
                nullable_array(&structure::<m::consumer_group_heartbeat_request::TopicPartitions>(&[
                    field("topic_id", UUID),
                    field("partitions", array(&I32)),
                ])),
            ),
        ]),
    ),
    message(
        0,
        1,
        0,
        structure::<m::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("error_message", NULLABLE_TEXT),
            field("member_id", NULLABLE_TEXT),
            field("member_epoch", I32),
            field("heartbeat_interval_ms", I32),
            field(
                "assignment",
                optional(structure::<m::consumer_group_heartbeat_response::Assignment>(&[field(
                    "topic_partitions",
                    array(&structure::<m::consumer_group_heartbeat_response::TopicPartitions>(&[
                        field("topic_id", UUID),
                        field("partitions", array(&I32)),
                    ])),
                )])),
            ),
        ]),
    ),
);

pub(super) static CONSUMER_GROUP_DESCRIBE: Api =
    api(
        69,
        message(
            0,
            1,
            0,
            structure::<m::consumer_group_describe_request::ConsumerGroupDescribeRequest>(&[
                field("group_ids", array(&TEXT)),
                field("include_authorized_operations", BOOL),
            ]),
        ),
        message(
            0,
            1,
            0,
            structure::<m::consumer_group_describe_response::ConsumerGroupDescribeResponse>(&[
                field("throttle_time_ms", I32),
                field(
                    "groups",
                    array(&structure::<m::consumer_group_describe_response::DescribedGroup>(&[
                        field("error_code", I16),
                        field("error_message", NULLABLE_TEXT),
                        field("group_id", TEXT),
                        field("group_state", TEXT),
                        field("group_epoch", I32),
                        field("assignment_epoch", I32),
                        field("assignor_name", TEXT),
                        field(
                            "members",
                            array(&structure::<m::consumer_group_describe_response::Member>(&[
                                field("member_id", TEXT),
                                field("instance_id", NULLABLE_TEXT),
                                field("rack_id", NULLABLE_TEXT),
                                field("member_epoch", I32),
                                field("client_id", TEXT),
                                field("client_host", TEXT),
                                field("subscribed_topic_names", array(&TEXT)),
                                field("subscribed_topic_regex", NULLABLE_TEXT),
                                field(
                                    "assignment",
                                    structure::<m::consumer_group_describe_response::Assignment>(&[field(
                                        "topic_partitions",
                                        array(&structure::<
                                            m::consumer_group_describe_response::TopicPartitions,
                                        >(&[
                                            field("topic_id", UUID),
                                            field("topic_name", TEXT),
                                            field("partitions", array(&I32)),
                                        ])),
                                    )]),
                                ),
                                field(
                                    "target_assignment",
                                    structure::<m::consumer_group_describe_response::Assignment>(&[field(
                                        "topic_partitions",
                                        array(&structure::<
                                            m::consumer_group_describe_response::TopicPartitions,
                                        >(&[
                                            field("topic_id", UUID),
                                            field("topic_name", TEXT),
                                            field("partitions", array(&I32)),
                                        ])),
                                    )]),
                                ),
                                field("member_type", I8).from(1),
                            ])),
                        ),
                        field("authorized_operations", I32),
                    ])),
                ),
            ]),
        ),
    );
