//! Group membership.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static FIND_COORDINATOR: Api = api(
    10,
    message(
        0,
        6,
        3,
        structure::<m::find_coordinator_request::FindCoordinatorRequest>(&[
            field("key", TEXT).to(3),
            field("key_type", I8).from(1),
            field("coordinator_keys", array(&TEXT)).from(4),
        ]),
    ),
    message(
        0,
        6,
        3,
        structure::<m::find_coordinator_response::FindCoordinatorResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field("error_code", I16).to(3),
            field("error_message", NULLABLE_TEXT).from(1).to(3),
            field("node_id", I32).to(3),
            field("host", TEXT).to(3),
            field("port", I32).to(3),
            field(
                "coordinators",
                array(&structure::<m::find_coordinator_response::Coordinator>(&[
                    field("key", TEXT).from(4),
                    field("node_id", I32).from(4),
                    field("host", TEXT).from(4),
                    field("port", I32).from(4),
                    field("error_code", I16).from(4),
                    field("error_message", NULLABLE_TEXT).from(4),
                ])),
            )
            .from(4),
        ]),
    ),
);

pub(super) static JOIN_GROUP: Api = api(
    11,
    message(
        0,
        9,
        6,
        structure::<m::join_group_request::JoinGroupRequest>(&[
            field("group_id", TEXT),
            field("session_timeout_ms", I32),
            field("rebalance_timeout_ms", I32).from(1),
            field("member_id", TEXT),
            field("group_instance_id", NULLABLE_TEXT).from(5),
            field("protocol_type", TEXT),
            field(
                "protocols",
                array(&structure::<m::join_group_request::JoinGroupRequestProtocol>(&[
                    field("name", TEXT),
                    field("metadata", BLOB),
                ])),
            ),
            field("reason", NULLABLE_TEXT).from(8),
        ]),
    ),
    message(
        0,
        9,
        6,
        structure::<m::join_group_response::JoinGroupResponse>(&[
            field("throttle_time_ms", I32).from(2),
            field("error_code", I16),
            field("generation_id", I32),
            field("protocol_type", NULLABLE_TEXT).from(7),
            field("protocol_name", NULLABLE_TEXT),
            field("leader", TEXT),
            field("skip_assignment", BOOL).from(9),
            field("member_id", TEXT),
            field(
                "members",
                array(&structure::<m::join_group_response::JoinGroupResponseMember>(&[
                    field("member_id", TEXT),
                    field("group_instance_id", NULLABLE_TEXT).from(5),
                    field("metadata", BLOB),
                ])),
            ),
        ]),
    ),
);

pub(super) static HEARTBEAT: Api = api(
    12,
    message(
        0,
        4,
        4,
        structure::<m::heartbeat_request::HeartbeatRequest>(&[
            field("group_id", TEXT),
            field("generation_id", I32),
            field("member_id", TEXT),
            field("group_instance_id", NULLABLE_TEXT).from(3),
        ]),
    ),
    message(
        0,
        4,
        4,
        structure::<m::heartbeat_response::HeartbeatResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field("error_code", I16),
        ]),
    ),
);

pub(super) static LEAVE_GROUP: Api = api(
    13,
    message(
        0,
        5,
        4,
        structure::<m::leave_group_request::LeaveGroupRequest>(&[
            field("group_id", TEXT),
            field("member_id", TEXT).to(2),
            field(
                "members",
                array(&structure::<m::leave_group_request::MemberIdentity>(&[
                    field("member_id", TEXT).from(3),
                    field("group_instance_id", NULLABLE_TEXT).from(3),
                    field("reason", NULLABLE_TEXT).from(5),
                ])),
            )
            .from(3),
        ]),
    ),
    message(
        0,
        5,
        4,
        structure::<m::leave_group_response::LeaveGroupResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field("error_code", I16),
            field(
                "members",
                array(&structure::<m::leave_group_response::MemberResponse>(&[
                    field("member_id", TEXT).from(3),
                    field("group_instance_id", NULLABLE_TEXT).from(3),
                    field("error_code", I16).from(3),
                ])),
            )
            .from(3),
        ]),
    ),
);

pub(super) static SYNC_GROUP: Api = api(
    14,
    message(
        0,
        5,
        4,
        structure::<m::sync_group_request::SyncGroupRequest>(&[
            field("group_id", TEXT),
            field("generation_id", I32),
            field("member_id", TEXT),
            field("group_instance_id", NULLABLE_TEXT).from(3),
            field("protocol_type", NULLABLE_TEXT).from(5),
            field("protocol_name", NULLABLE_TEXT).from(5),
            field(
                "assignments",
                array(&structure::<m::sync_group_request::SyncGroupRequestAssignment>(&[
                    field("member_id", TEXT),
                    field("assignment", BLOB),
                ])),
            ),
        ]),
    ),
    message(
        0,
        5,
        4,
        structure::<m::sync_group_response::SyncGroupResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field("error_code", I16),
            field("protocol_type", NULLABLE_TEXT).from(5),
            field("protocol_name", NULLABLE_TEXT).from(5),
            field("assignment", BLOB),
        ]),
    ),
);

pub(super) static DESCRIBE_GROUPS: Api = api(
    15,
    message(
        0,
        6,
        5,
        structure::<m::describe_groups_request::DescribeGroupsRequest>(&[
            field("groups", array(&TEXT)),
            field("include_authorized_operations", BOOL).from(3),
        ]),
    ),
    message(
        0,
        6,
        5,
        structure::<m::describe_groups_response::DescribeGroupsResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field(
                "groups",
                array(&structure::<m::describe_groups_response::DescribedGroup>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT).from(6),
                    field("group_id", TEXT),
                    field("group_state", TEXT),
                    field("protocol_type", TEXT),
                    field("protocol_data", TEXT),
                    field(
                        "members",
                        array(&structure::<m::describe_groups_response::DescribedGroupMember>(&[
                            field("member_id", TEXT),
                            field("group_instance_id", NULLABLE_TEXT).from(4),
                            field("client_id", TEXT),
                            field("client_host", TEXT),
                            field("member_metadata", BLOB),
                            field("member_assignment", BLOB),
                        ])),
                    ),
                    field("authorized_operations", I32).from(3),
                ])),
            ),
        ]),
    ),
);

pub(super) static LIST_GROUPS: Api = api(
    16,
    message(
        0,
        5,
        3,
        structure::<m::list_groups_request::ListGroupsRequest>(&[
            field("states_filter", array(&TEXT)).from(4),
            field("types_filter", array(&TEXT)).from(5),
        ]),
    ),
    message(
        0,
        5,
        3,
        structure::<m::list_groups_response::ListGroupsResponse>(&[
            field("throttle_time_ms", I32).from(1),
            field("error_code", I16),
            field(
                "groups",
                array(&structure::<m::list_groups_response::ListedGroup>(&[
                    field("group_id", TEXT),
                    field("protocol_type", TEXT),
                    field("group_state", TEXT).from(4),
                    field("group_type", TEXT).from(5),
                ])),
            ),
        ]),
    ),
);

pub(super) static DELETE_GROUPS: Api = api(
    42,
    message(
        0,
        2,
        2,
        structure::<m::delete_groups_request::DeleteGroupsRequest>(&[field("groups_names", array(&TEXT))]),
    ),
    message(
        0,
        2,
        2,
        structure::<m::delete_groups_response::DeleteGroupsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "results",
                array(&structure::<m::delete_groups_response::DeletableGroupResult>(&[
                    field("group_id", TEXT),
                    field("error_code", I16),
                ])),
            ),
        ]),
    ),
);
