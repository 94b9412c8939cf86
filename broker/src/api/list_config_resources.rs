//! ListConfigResources: what has configs (KIP-1142). `kafka-configs` asks it before it describes a group.

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::resource;
use crate::server::{ClientContext, Shared};

/// Answers one ListConfigResources request. Version 0 lists client metrics only, of which there are none.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let asked = |kind: i8| {
        version >= 1 && (request.resource_types.is_empty() || request.resource_types.contains(&kind))
    };
    let image = broker.metadata.image();
    let mut resources = Vec::new();
    if asked(resource::TOPIC) {
        resources.extend(image.topics_by_name.keys().map(|name| named(resource::TOPIC, name)));
    }
    if asked(resource::BROKER) {
        resources.push(named(resource::BROKER, &broker.config.node_id.to_string()));
    }
    if asked(resource::GROUP) {
        resources.extend(image.group_configs.keys().map(|name| named(resource::GROUP, name)));
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}

fn named(kind: i8, name: &str) -> ConfigResource {
    ConfigResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name.to_owned()))
}
