//! AlterConfigs: the old verb that replaces all configs of a resource.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::incremental_alter_configs::{apply, find};
use super::refusal::Refused;
use crate::metadata::entry::ConfigsAltered;
use crate::server::{ClientContext, Shared};

/// Keys of this broker's own, which old tools don't know and so never repeat: to leave them out must not turn a
/// mirror topic into an ordinary one.
const OWN_KEYS: &str = "towpath.";

/// Answers one AlterConfigs request. Each resource succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in request.resources {
        let altered = alter(broker, &asked, request.validate_only).await;
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name);
        responses.push(match altered {
            Ok(()) => response,
            Err(refused) => response.with_error_code(refused.code()).with_error_message(refused.text()),
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter(broker: &Shared, asked: &AlterConfigsResource, validate_only: bool) -> Result<(), Refused> {
    let (resource, set_now) = find(broker, asked.resource_type, &asked.resource_name)?;
    let mut set = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            let message = format!("null value not supported for config {}", config.name);
            return Err(Refused::new(ResponseError::InvalidConfig, message));
        };
        set.insert(config.name.to_string(), value.to_string());
    }
    let removed =
        set_now.into_keys().filter(|key| !set.contains_key(key) && !key.starts_with(OWN_KEYS)).collect();
    apply(broker, ConfigsAltered { resource, set, removed }, validate_only).await
}
