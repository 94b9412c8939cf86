//! ApiVersions: fallback and choice.

use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::mock::{Call, Mock, Reply, answer, offering};
use crate::client::{ClientConfig, ErrorKind};

/// A broker that knows ApiVersions up to `max` and answers later ones in version 0 with error 35.
fn up_to(max: i16, refusal: ApiVersionsResponse) -> impl Fn(&Call) -> Option<Reply> {
    move |call| match call.api {
        ApiKey::ApiVersions if call.version > max => Some(answer::<ApiVersionsRequest>(0, &refusal)),
        ApiKey::ApiVersions => {
            let offered = offering(&[(ApiKey::ApiVersions, 0, max), (ApiKey::Metadata, 0, 5)]);
            Some(answer::<ApiVersionsRequest>(call.version, &offered))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_broker_that_names_its_versions_is_asked_again_in_its_highest() {
    let refusal = offering(&[(ApiKey::ApiVersions, 0, 2)]).with_error_code(35);
    let mock = Mock::start(up_to(2, refusal)).await;
    let client = mock.client().await;
    let asked: Vec<i16> = mock.calls(ApiKey::ApiVersions).iter().map(|call| call.version).collect();
    assert_eq!(asked, [3, 2]);
    // Metadata goes out in the broker's highest, not in ours.
    assert_eq!(mock.calls(ApiKey::Metadata)[0].version, 5);
    assert_eq!(client.cluster_id(), "mock");
    assert!(client.supports(ApiKey::Metadata as i16, 5) && !client.supports(ApiKey::Metadata as i16, 6));
}

#[tokio::test]
async fn a_broker_that_only_says_no_is_asked_again_in_version_0() {
    let mock = Mock::start(up_to(0, ApiVersionsResponse::default().with_error_code(35))).await;
    mock.client().await;
    let asked: Vec<i16> = mock.calls(ApiKey::ApiVersions).iter().map(|call| call.version).collect();
    assert_eq!(asked, [3, 0]);
}

#[tokio::test]
async fn a_broker_without_a_common_version_is_named_with_both_ranges() {
    let mock = Mock::start(|call: &Call| {
        let offered = offering(&[(ApiKey::ApiVersions, 0, 4), (ApiKey::Metadata, 90, 99)]);
        (call.api == ApiKey::ApiVersions).then(|| answer::<ApiVersionsRequest>(call.version, &offered))
    })
    .await;
    let error = mock.connect(ClientConfig::plaintext(&mock.address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Caller);
    assert!(error.to_string().contains("Metadata") && error.to_string().contains("90..99"), "{error}");
}
