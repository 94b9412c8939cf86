//! Configs of a topic, a group or a broker change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::config;
use crate::metadata::image::Image;

/// Whose configs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A consumer group, by id.
    Group(String),
    /// A broker, by node id as text; empty: the cluster-wide default.
    Broker(String),
}

/// Sets some keys and removes others (back to the default), in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigsAltered {
    /// Whose.
    pub resource: ConfigResource,
    /// Keys to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys to remove; those that are not set do not matter.
    #[serde(default)]
    pub removed: Vec<String>,
}

impl ConfigsAltered {
    pub(super) fn validate(&self) -> Result<(), Rejection> {
        let judged = match &self.resource {
            ConfigResource::Topic(_) => config::validate_topic(&self.set),
            ConfigResource::Group(_) => config::validate_group(&self.set),
            ConfigResource::Broker(_) => config::validate_broker(&self.set),
        };
        judged.map_err(Rejection::Config)
    }

    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        match &self.resource {
            ConfigResource::Topic(name) => {
                let Some(id) = image.topics_by_name.get(name).map(|topic| topic.id) else {
                    return Err(Rejection::UnknownTopicName(name.clone()));
                };
                image.change_topic(id, |topic| self.change(&mut topic.configs));
            }
            ConfigResource::Group(name) => self.change_named(&mut image.group_configs, name),
            ConfigResource::Broker(name) => self.change_named(&mut image.broker_configs, name),
        }
        Ok(())
    }

    fn change_named(&self, all: &mut Arc<BTreeMap<String, BTreeMap<String, String>>>, name: &str) {
        let all = Arc::make_mut(all);
        let mut configs = all.remove(name).unwrap_or_default();
        self.change(&mut configs);
        if !configs.is_empty() {
            all.insert(name.to_owned(), configs);
        }
    }

    fn change(&self, configs: &mut BTreeMap<String, String>) {
        for key in &self.removed {
            configs.remove(key);
        }
        configs.extend(self.set.clone());
    }
}
