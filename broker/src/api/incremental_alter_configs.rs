//! IncrementalAlterConfigs: sets, removes, and adds to or takes from lists (KIP-339).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::describe_configs::resource;
use super::refusal::Refused;
use crate::metadata::config::{self, ConfigDef, ConfigType};
use crate::metadata::entry::{ConfigResource, ConfigsAltered};
use crate::metadata::{Entry, Image};
use crate::server::{ClientContext, Shared};

/// Operations on the wire (Kafka's `AlterConfigOp.OpType`).
mod operation {
    pub const SET: i8 = 0;
    pub const DELETE: i8 = 1;
    pub const APPEND: i8 = 2;
    pub const SUBTRACT: i8 = 3;
}

/// Answers one IncrementalAlterConfigs request. Each resource succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut times_named = HashMap::new();
    for asked in &request.resources {
        *times_named.entry((asked.resource_type, asked.resource_name.clone())).or_insert(0) += 1;
    }
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in request.resources {
        let key = (asked.resource_type, asked.resource_name.clone());
        let altered = if times_named[&key] > 1 {
            Err(Refused::new(ResponseError::InvalidRequest, "the request names this resource twice"))
        } else {
            alter(broker, &asked, request.validate_only).await
        };
        let response =
            AlterConfigsResourceResponse::default().with_resource_type(key.0).with_resource_name(key.1);
        responses.push(match altered {
            Ok(()) => response,
            Err(refused) => response.with_error_code(refused.code()).with_error_message(refused.text()),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

/// Alters configs, or only judges whether they could be.
pub async fn apply(broker: &Shared, altered: ConfigsAltered, validate_only: bool) -> Result<(), Refused> {
    let entry = Entry::ConfigsAltered(altered);
    if validate_only {
        entry.validate()?;
        return Ok(Image::clone(&broker.metadata.image()).apply(&entry)?);
    }
    broker.metadata.propose(entry).await?;
    Ok(())
}

/// The resource of a request, and the configs that it sets now.
pub fn find(
    broker: &Shared,
    resource_type: i8,
    name: &str,
) -> Result<(ConfigResource, BTreeMap<String, String>), Refused> {
    let image = broker.metadata.image();
    match resource_type {
        resource::TOPIC => match image.topic(name) {
            Some(topic) => Ok((ConfigResource::Topic(name.to_owned()), topic.configs.clone())),
            None => {
                let message = format!("no topic is named '{name}'");
                Err(Refused::new(ResponseError::UnknownTopicOrPartition, message))
            }
        },
        resource::GROUP if name.is_empty() => {
            Err(Refused::new(ResponseError::InvalidRequest, "a group has a name that is not empty"))
        }
        resource::GROUP => {
            let set = image.group_configs.get(name).cloned().unwrap_or_default();
            Ok((ConfigResource::Group(name.to_owned()), set))
        }
        resource::BROKER => {
            let set = image.broker_configs.get(name).cloned().unwrap_or_default();
            Ok((ConfigResource::Broker(name.to_owned()), set))
        }
        other => Err(Refused::new(
            ResponseError::InvalidRequest,
            format!("configs of resource type {other} can't be altered; fix: topics (2) and groups (32) can"),
        )),
    }
}

async fn alter(broker: &Shared, asked: &AlterConfigsResource, validate_only: bool) -> Result<(), Refused> {
    let (resource, set_now) = find(broker, asked.resource_type, &asked.resource_name)?;
    let mut altered = ConfigsAltered { resource, set: BTreeMap::new(), removed: Vec::new() };
    let mut seen = BTreeSet::new();
    for config in &asked.configs {
        if !seen.insert(config.name.clone()) {
            let message = format!("config {} is named twice", config.name);
            return Err(Refused::new(ResponseError::InvalidRequest, message));
        }
        change(&mut altered, config, &set_now)?;
    }
    apply(broker, altered, validate_only).await
}

fn change(
    altered: &mut ConfigsAltered,
    config: &AlterableConfig,
    set_now: &BTreeMap<String, String>,
) -> Result<(), Refused> {
    let name = config.name.to_string();
    let def = definition(&altered.resource, &name);
    if config.config_operation == operation::DELETE {
        if let Some(def) = def.filter(|def| def.read_only) {
            let error = config::InvalidConfig::ReadOnly { name: def.name.to_owned() };
            return Err(Refused::new(ResponseError::InvalidConfig, error.to_string()));
        }
        altered.removed.push(name);
        return Ok(());
    }
    let Some(value) = &config.value else {
        let message = format!("null value not supported for config {name}");
        return Err(Refused::new(ResponseError::InvalidConfig, message));
    };
    let is_list = def.is_some_and(|def| def.kind == ConfigType::List);
    let now = set_now.get(&name).map(String::as_str).or(def.and_then(|def| def.default)).unwrap_or_default();
    let value = match config.config_operation {
        operation::SET => value.to_string(),
        operation::APPEND if is_list => with_items(now, value),
        operation::SUBTRACT if is_list => without_items(now, value),
        operation::APPEND | operation::SUBTRACT => {
            let message = format!("config {name} is not a list: it can be set and deleted");
            return Err(Refused::new(ResponseError::InvalidConfig, message));
        }
        other => {
            return Err(Refused::new(
                ResponseError::InvalidRequest,
                format!("unknown operation {other} on {name}"),
            ));
        }
    };
    altered.set.insert(name, value);
    Ok(())
}

fn definition(resource: &ConfigResource, name: &str) -> Option<&'static ConfigDef> {
    match resource {
        ConfigResource::Topic(_) => config::topic_config(name),
        ConfigResource::Group(_) => config::group_config(name),
        ConfigResource::Broker(_) => config::broker_config(name),
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn with_items(now: &str, added: &str) -> String {
    let mut all: Vec<&str> = items(now).collect();
    for item in items(added) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all.join(",")
}

fn without_items(now: &str, removed: &str) -> String {
    let removed: Vec<&str> = items(removed).collect();
    items(now).filter(|item| !removed.contains(item)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_without_repeating_and_shrink_to_nothing() {
        assert_eq!(with_items("delete", "compact, delete"), "delete,compact");
        assert_eq!(with_items("", "compact"), "compact");
        assert_eq!(without_items("delete,compact", "delete"), "compact");
        assert_eq!(without_items("delete", "delete"), "");
    }
}
