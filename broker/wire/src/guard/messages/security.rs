//! Authentication, ACLs and telemetry subscriptions.

use kafka_protocol::messages as m;

use super::super::schema::*;

pub(super) static SASL_HANDSHAKE: Api = api(
    17,
    message(
        0,
        1,
        NEVER,
        structure::<m::sasl_handshake_request::SaslHandshakeRequest>(&[field("mechanism", TEXT)]),
    ),
    message(
        0,
        1,
        NEVER,
        structure::<m::sasl_handshake_response::SaslHandshakeResponse>(&[
            field("error_code", I16),
            field("mechanisms", array(&TEXT)),
        ]),
    ),
);

pub(super) static DESCRIBE_ACLS: Api = api(
    29,
    message(
        1,
        3,
        2,
        structure::<m::describe_acls_request::DescribeAclsRequest>(&[
            field("resource_type_filter", I8),
            field("resource_name_filter", NULLABLE_TEXT),
            field("pattern_type_filter", I8),
            field("principal_filter", NULLABLE_TEXT),
            field("host_filter", NULLABLE_TEXT),
            field("operation", I8),
            field("permission_type", I8),
        ]),
    ),
    message(
        1,
        3,
        2,
        structure::<m::describe_acls_response::DescribeAclsResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("error_message", NULLABLE_TEXT),
            field(
                "resources",
                array(&structure::<m::describe_acls_response::DescribeAclsResource>(&[
                    field("resource_type", I8),
                    field("resource_name", TEXT),
                    field("pattern_type", I8),
                    field(
                        "acls",
                        array(&structure::<m::describe_acls_response::AclDescription>(&[
                            field("principal", TEXT),
                            field("host", TEXT),
                            field("operation", I8),
                            field("permission_type", I8),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static CREATE_ACLS: Api = api(
    30,
    message(
        1,
        3,
        2,
        structure::<m::create_acls_request::CreateAclsRequest>(&[field(
            "creations",
            array(&structure::<m::create_acls_request::AclCreation>(&[
                field("resource_type", I8),
                field("resource_name", TEXT),
                field("resource_pattern_type", I8),
                field("principal", TEXT),
                field("host", TEXT),
                field("operation", I8),
                field("permission_type", I8),
            ])),
        )]),
    ),
    message(
        1,
        3,
        2,
        structure::<m::create_acls_response::CreateAclsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "results",
                array(&structure::<m::create_acls_response::AclCreationResult>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                ])),
            ),
        ]),
    ),
);

pub(super) static DELETE_ACLS: Api = api(
    31,
    message(
        1,
        3,
        2,
        structure::<m::delete_acls_request::DeleteAclsRequest>(&[field(
            "filters",
            array(&structure::<m::delete_acls_request::DeleteAclsFilter>(&[
                field("resource_type_filter", I8),
                field("resource_name_filter", NULLABLE_TEXT),
                field("pattern_type_filter", I8),
                field("principal_filter", NULLABLE_TEXT),
                field("host_filter", NULLABLE_TEXT),
                field("operation", I8),
                field("permission_type", I8),
            ])),
        )]),
    ),
    message(
        1,
        3,
        2,
        structure::<m::delete_acls_response::DeleteAclsResponse>(&[
            field("throttle_time_ms", I32),
            field(
                "filter_results",
                array(&structure::<m::delete_acls_response::DeleteAclsFilterResult>(&[
                    field("error_code", I16),
                    field("error_message", NULLABLE_TEXT),
                    field(
                        "matching_acls",
                        array(&structure::<m::delete_acls_response::DeleteAclsMatchingAcl>(&[
                            field("error_code", I16),
                            field("error_message", NULLABLE_TEXT),
                            field("resource_type", I8),
                            field("resource_name", TEXT),
                            field("pattern_type", I8),
                            field("principal", TEXT),
                            field("host", TEXT),
                            field("operation", I8),
                            field("permission_type", I8),
                        ])),
                    ),
                ])),
            ),
        ]),
    ),
);

pub(super) static SASL_AUTHENTICATE: Api = api(
    36,
    message(
        0,
        2,
        2,
        structure::<m::sasl_authenticate_request::SaslAuthenticateRequest>(&[field("auth_bytes", BLOB)]),
    ),
    message(
        0,
        2,
        2,
        structure::<m::sasl_authenticate_response::SaslAuthenticateResponse>(&[
            field("error_code", I16),
            field("error_message", NULLABLE_TEXT),
            field("auth_bytes", BLOB),
            field("session_lifetime_ms", I64).from(1),
        ]),
    ),
);

pub(super) static GET_TELEMETRY_SUBSCRIPTIONS: Api = api(
    71,
    message(
        0,
        0,
        0,
        structure::<m::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest>(&[field(
            "client_instance_id",
            UUID,
        )]),
    ),
    message(
        0,
        0,
        0,
        structure::<m::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponse>(&[
            field("throttle_time_ms", I32),
            field("error_code", I16),
            field("client_instance_id", UUID),
            field("subscription_id", I32),
            field("accepted_compression_types", array(&I8)),
            field("push_interval_ms", I32),
            field("telemetry_max_bytes", I32),
            field("delta_temporality", BOOL),
            field("requested_metrics", array(&TEXT)),
        ]),
    ),
);
