//! Producer ids and transactions.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static INIT_PRODUCER_ID: Api = api(
    22,
    message(
        0,
        5,
        2,
        structure::<m::init_producer_id_request::InitProducerIdRequest>(&[
            field("transactional_id", NULLABLE_TEXT),
            field("transaction_timeout_ms", I32),
            field("producer_id", I64).from(3),
            field("producer_epoch", I16).from(3),
        ]),
    ),
    message(
        0,
        6,
        2,
        structure::<m::init_producer_id_response::InitProducerIdResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("ongoing_txn_producer_id", I64).from(6),
            field("ongoing_txn_producer_epoch", I16).from(6),
        ]),
    ),
);

pub(super) static ADD_PARTITIONS_TO_TXN: Api =
    api(
        24,
        message(
            0,
            5,
            3,
            structure::<m::add_partitions_to_txn_request::AddPartitionsToTxnRequest>(&[
                field(
                    "transactions",
                    array(&structure::<m::add_partitions_to_txn_request::AddPartitionsToTxnTransaction>(&[
                        field("transactional_id", TEXT).from(4),
                        field("producer_id", I64).from(4),
                        field("producer_epoch", I16).from(4),
                        field("verify_only", BOOL).from(4),
                        field(
                            "topics",
                            array(&structure::<m::add_partitions_to_txn_request::AddPartitionsToTxnTopic>(
                                &[field("name", TEXT), field("partitions", array(&I32))],
                            )),
                        )
                        .from(4),
                    ])),
                )
                .from(4),
                field("v3_and_below_transactional_id", TEXT).to(3),
                field("v3_and_below_producer_id", I64).to(3),
                field("v3_and_below_producer_epoch", I16).to(3),
                field(
                    "v3_and_below_topics",
                    array(&structure::<m::add_partitions_to_txn_request::AddPartitionsToTxnTopic>(&[
                        field("name", TEXT),
                        field("partitions", array(&I32)),
                    ])),
                )
                .to(3),
            ]),
        ),
        message(
            0,
            5,
            3,
            structure::<m::add_partitions_to_txn_response::AddPartitionsToTxnResponse>(&[
                field("throttle_time_ms", I32),
                field("error_code", I16).from(4),
                field(
                    "results_by_transaction",
                    array(&structure::<m::add_partitions_to_txn_response::AddPartitionsToTxnResult>(&[
                        field("transactional_id", TEXT).from(4),
                        field(
                            "topic_results",
                            array(&structure::<
                                m::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult,
                            >(&[
                                field("name", TEXT),
                                field(
                                    "results_by_partition",
                                    array(&structure::<
                                        m::add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult,
                                    >(&[
                                        field("partition_index", I32),
                                        field("partition_error_code", I16),
                                    ])),
                                ),
                            ])),
                        )
                        .from(4),
                    ])),
                )
                .from(4),
                field(
                    "results_by_topic_v3_and_below",
                    array(&structure::<m::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult>(&[
                        field("name", TEXT),
                        field(
                            "results_by_partition",
                            array(&structure::<
                                m::add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult,
                            >(&[
                                field("partition_index", I32),
                                field("partition_error_code", I16),
                            ])),
                        ),
                    ])),
                )
                .to(3),
            ]),
        ),
    );

pub(super) static ADD_OFFSETS_TO_TXN: Api = api(
    25,
    message(
        0,
        4,
        3,
        structure::<m::add_offsets_to_txn_request::AddOffsetsToTxnRequest>(&[
            field("transactional_id", TEXT),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("group_id", TEXT),
        ]),
    ),
    message(
        0,
        4,
        3,
        structure::<m::add_offsets_to_txn_response::AddOffsetsToTxnResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
        ]),
    ),
);

pub(super) static END_TXN: Api = api(
    26,
    message(
        0,
        5,
        3,
        structure::<m::end_txn_request::EndTxnRequest>(&[
            field("transactional_id", TEXT),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("committed", BOOL),
        ]),
    ),
    message(
        0,
        5,
        3,
        structure::<m::end_txn_response::EndTxnResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("producer_id", I64).from(5),
            field("producer_epoch", I16).from(5),
        ]),
    ),
);

pub(super) static DESCRIBE_PRODUCERS: Api = api(
    61,
    message(
        0,
        0,
        0,
        structure::<m::describe_producers_request::DescribeProducersRequest>(&[field(
            "topics",
            array(&structure::<m::describe_producers_request::TopicRequest>(&[
                field("name", TEXT),
                field("partition_indexes", array(&I32)),
            ])),
        )]),
    ),
    message(
        0,
        0,
        0,
        structure::<m::describe_producers_response::DescribeProducersResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "topics",
                array(&structure::<m::describe_producers_response::TopicResponse>(&[
                    field("name", TEXT),
                    field(
                        "partitions",
                        array(&structure::<m::describe_producers_response::PartitionResponse>(&[
                            field("partition_index", I32),
                            field("error_code", I16),
                            field("error_message", NULLABLE_TEXT),
                            field(
                                "active_producers",
                                array(&structure::<m::describe_producers_response::ProducerState>(&[
                                    field("producer_id", I64),
                                    field("producer_epoch", I32),
                                    field("last_sequence", I32),
                                    field("last_timestamp", I64),
                                    field("coordinator_epoch", I32),
                                    field("current_txn_start_offset", I64),
                                ])),
                            ),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static DESCRIBE_TRANSACTIONS: Api = api(
    65,
    message(
        0,
        0,
        0,
        structure::<m::describe_transactions_request::DescribeTransactionsRequest>(&[field(
            "transactional_ids",
            array(&TEXT),
        )]),
    ),
    message(
        0,
        0,
        0,
        structure::<m::describe_transactions_response::DescribeTransactionsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "transaction_states",
                array(&structure::<m::describe_transactions_response::TransactionState>(&[
                    field("error_code", I16),
                    field("transactional_id", TEXT),
                    field("transaction_state", TEXT),
                    field("transaction_timeout_ms", I32),
                    field("transaction_start_time_ms", I64),
                    field("producer_id", I64),
                    field("producer_epoch", I16),
                    field(
                        "topics",
                        array(&structure::<m::describe_transactions_response::TopicData>(&[
                            field("topic", TEXT),
                            field("partitions", array(&I32)),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static LIST_TRANSACTIONS: Api = api(
    66,
    message(
        0,
        2,
        0,
        structure::<m::list_transactions_request::ListTransactionsRequest>(&[
            field("state_filters", array(&TEXT)),
            field("producer_id_filters", array(&I64)),
            field("duration_filter", I64).from(1),
            field("transactional_id_pattern", NULLABLE_TEXT).from(2),
        ]),
    ),
    message(
        0,
        2,
        0,
        structure::<m::list_transactions_response::ListTransactionsResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("unknown_state_filters", array(&TEXT)),
            field(
                "transaction_states",
                array(&structure::<m::list_transactions_response::TransactionState>(&[
                    field("transactional_id", TEXT),
                    field("producer_id", I64),
                    field("transaction_state", TEXT),
                ])),
            ),
        ]),
    ),
);
