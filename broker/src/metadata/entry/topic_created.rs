//! A topic comes into being.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PARTITIONS_MAX, Rejection};
use crate::metadata::config;
use crate::metadata::image::{Image, PartitionImage, TopicImage};
use crate::metadata::segments::PartitionSegments;
use crate::metadata::topic_name::{names_collide, validate_topic_name};

/// Creates a topic with empty partitions: leader epoch 0, log start 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCreated {
    /// Its name.
    pub name: String,
    /// Its id, fresh.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
    /// Configs set on the topic itself.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// Whether it belongs to the broker itself.
    #[serde(default)]
    pub internal: bool,
}

impl TopicCreated {
    pub(super) fn validate(&self) -> Result<(), Rejection> {
        validate_topic_name(&self.name)?;
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(Rejection::PartitionCount {
                topic: self.name.clone(),
                asked: self.partitions,
                held: 0,
            });
        }
        Ok(config::validate_topic(&self.configs)?)
    }

    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if image.topics_by_name.contains_key(&self.name) {
            return Err(Rejection::TopicExists(self.name.clone()));
        }
        if let Some(other) = image.topics_by_id.get(&self.id) {
            return Err(Rejection::TopicIdTaken(self.id, other.name.clone()));
        }
        if let Some(other) = colliding(image, &self.name) {
            return Err(Rejection::TopicCollides { name: self.name.clone(), other });
        }
        let count = usize::try_from(self.partitions).unwrap_or(0);
        let topic = Arc::new(TopicImage {
            name: self.name.clone(),
            id: self.id,
            partitions: vec![PartitionImage::default(); count],
            configs: self.configs.clone(),
            internal: self.internal,
            mirror: config::mirror_state(&self.configs),
        });
        Arc::make_mut(&mut image.topics_by_name).insert(self.name.clone(), topic.clone());
        Arc::make_mut(&mut image.topics_by_id).insert(self.id, topic);
        let empty = Arc::new(PartitionSegments::default());
        Arc::make_mut(&mut image.segments).insert(self.id, Arc::new(vec![empty; count]));
        Ok(())
    }
}

/// An existing topic whose name differs only in '.' and '_'. Looks at names with the same beginning only, up to
/// the first such character: creating many topics stays linear in practice.
fn colliding(image: &Image, name: &str) -> Option<String> {
    let stem = &name[..name.find(['.', '_'])?];
    image
        .topics_by_name
        .range::<str, _>((std::ops::Bound::Included(stem), std::ops::Bound::Unbounded))
        .map(|(other, _)| other)
        .take_while(|other| other.starts_with(stem))
        .find(|other| names_collide(other, name))
        .cloned()
}
