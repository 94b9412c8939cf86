//! ApiVersions: which APIs and versions this broker has (KIP-35, KIP-511).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use towpath_wire::versions::BROKER_VERSIONS;

use crate::server::{ClientContext, Shared};

/// Answers one ApiVersions request with the table.
pub async fn handle(
    _broker: &Shared,
    ctx: &ClientContext,
    version: i16,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if version >= 3
        && !(is_client_name(&request.client_software_name)
            && is_client_name(&request.client_software_version))
    {
        return table(ResponseError::InvalidRequest.code());
    }
    tracing::debug!(
        connection = ctx.connection_id,
        software = %request.client_software_name,
        version = %request.client_software_version,
        "client software"
    );
    table(0)
}

/// The answer, in version 0, to a version of ApiVersions that this broker does not know.
pub fn unsupported_version() -> ApiVersionsResponse {
    table(ResponseError::UnsupportedVersion.code())
}

fn table(error_code: i16) -> ApiVersionsResponse {
    let api_keys = BROKER_VERSIONS.iter().map(|(key, min, max)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
    });
    ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(api_keys.collect())
}

/// Kafka's rule for software names and versions: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_client_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names_are_judged_as_kip_511_says() {
        for good in ["apache-kafka-java", "4.1.1", "a"] {
            assert!(is_client_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä"] {
            assert!(!is_client_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_unknown_version_is_told_the_whole_table() {
        let response = unsupported_version();
        assert_eq!(response.error_code, 35);
        assert_eq!(response.api_keys.len(), BROKER_VERSIONS.len());
    }
}
