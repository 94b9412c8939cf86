//! Which version of each API to speak: what this client understands, cut with what the broker offers (KIP-35).

use std::collections::HashMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, VersionRange};

use super::codec::api_name;
use super::error::ClientError;

/// The versions that one broker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersions {
    ranges: HashMap<i16, (i16, i16)>,
}

impl ApiVersions {
    pub(super) fn from_response(response: &ApiVersionsResponse) -> ApiVersions {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        ApiVersions { ranges: ranges.collect() }
    }

    /// The lowest and highest version offered of an API, if any.
    pub fn range(&self, api_key: i16) -> Option<(i16, i16)> {
        self.ranges.get(&api_key).copied()
    }

    /// Whether one version of an API is offered.
    pub fn supports(&self, api_key: i16, version: i16) -> bool {
        self.range(api_key).is_some_and(|(min, max)| (min..=max).contains(&version))
    }

    /// The highest version of `ours` that the broker offers.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] when there is none.
    pub(super) fn choose<R: Request>(&self, address: &str, ours: VersionRange) -> Result<i16, ClientError> {
        self.choose_key(R::KEY, api_name::<R>(), address, ours)
    }

    /// The version itself, if the broker offers it.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`].
    pub(super) fn demand<R: Request>(&self, address: &str, version: i16) -> Result<i16, ClientError> {
        self.choose::<R>(address, VersionRange { min: version, max: version })
    }

    /// [`ApiVersions::choose`] for an API outside the `kafka-protocol` crate.
    pub(super) fn choose_key(
        &self,
        api_key: i16,
        api: &'static str,
        address: &str,
        ours: VersionRange,
    ) -> Result<i16, ClientError> {
        let theirs = self.range(api_key);
        if let Some((min, max)) = theirs
            && ours.min <= max
            && min <= ours.max
        {
            return Ok(ours.max.min(max));
        }
        Err(ClientError::Unsupported {
            address: address.to_owned(),
            api,
            wanted: format!("version {ours}"),
            offered: theirs.map_or("none".to_owned(), |(min, max)| format!("{min}..{max}")),
        })
    }
}

/// The versions that [`super::Client::send`] chooses from.
///
/// Where a later version moves the request's content to other fields, the older shape is kept, so that a caller
/// can fill a request without knowing the broker; callers who want the newer shape name the version.
pub fn client_versions<R: Request>() -> VersionRange {
    let all = R::VERSIONS;
    let cap = |max: i16| VersionRange { min: all.min, max: all.max.min(max) };
    match ApiKey::try_from(R::KEY) {
        // 13 names topics by id only.
        Ok(ApiKey::Produce | ApiKey::Fetch) => cap(12),
        // 8 asks for several groups at once.
        Ok(ApiKey::OffsetFetch) => cap(7),
        // 4 asks for several keys at once.
        Ok(ApiKey::FindCoordinator) => cap(3),
        // 6 names topics by id or name in another list.
        Ok(ApiKey::DeleteTopics) => cap(5),
        // 4 carries several transactions, for brokers among themselves.
        Ok(ApiKey::AddPartitionsToTxn) => cap(3),
        // 3 lists members; before it there was one member id.
        Ok(ApiKey::LeaveGroup) => VersionRange { min: 3, max: all.max },
        _ => all,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{FetchRequest, LeaveGroupRequest, MetadataRequest};

    use super::*;

    fn offering(api_key: i16, min: i16, max: i16) -> ApiVersions {
        ApiVersions { ranges: HashMap::from([(api_key, (min, max))]) }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let ours = client_versions::<MetadataRequest>();
        assert_eq!(offering(3, 0, 9).choose::<MetadataRequest>("a:1", ours).unwrap(), 9);
        assert_eq!(
            offering(1, 0, 18).choose::<FetchRequest>("a:1", client_versions::<FetchRequest>()).unwrap(),
            12
        );
    }

    #[test]
    fn without_a_common_version_the_error_names_both_ranges() {
        let ours = client_versions::<LeaveGroupRequest>();
        let error = offering(13, 0, 2).choose::<LeaveGroupRequest>("a:1", ours).unwrap_err().to_string();
        assert!(error.contains("LeaveGroup version 3..5") && error.contains("0..2"), "{error}");
        let error = ApiVersions::default().choose::<LeaveGroupRequest>("a:1", ours).unwrap_err().to_string();
        assert!(error.contains("offers none"), "{error}");
    }
}
