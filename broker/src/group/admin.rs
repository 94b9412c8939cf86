//! ListGroups, DescribeGroups, DeleteGroups.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::cell::Cell;
use super::classic::{Effects, Now, State};
use super::coordinator::{Groups, Inner};
use super::records::Record;

/// The type of every group here, as ListGroups v5 names it (KIP-848 groups would be `consumer`).
const CLASSIC: &str = "classic";

/// One group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group: String,
    /// Its protocol type; empty when it never had members.
    pub protocol_type: String,
    /// Its state's name.
    pub state: &'static str,
    /// `classic`.
    pub group_type: &'static str,
}

/// One group in full.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    /// Its state's name.
    pub state: &'static str,
    /// Its protocol type; empty when it never had members.
    pub protocol_type: String,
    /// The protocol of its generation; empty outside of one.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// One member in full.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its metadata for the protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its part; empty unless the group is stable.
    pub assignment: Bytes,
}

impl Groups {
    /// All groups whose state and type are among those asked for (none named: all), compared without case.
    pub fn list(&self, states: &[String], types: &[String]) -> Result<Vec<ListedGroup>, ResponseError> {
        let inner = &self.inner;
        if !inner.loading.is_complete() {
            return Err(ResponseError::CoordinatorLoadInProgress);
        }
        let among = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        if !among(types, CLASSIC) {
            return Ok(Vec::new());
        }
        let mut groups = Vec::new();
        for cell in inner.all() {
            let cell = cell.lock();
            let state = cell.classic.state().name();
            if !cell.is_dead() && among(states, state) {
                groups.push(ListedGroup {
                    group: cell.name.clone(),
                    protocol_type: cell.classic.protocol_type().unwrap_or_default().to_owned(),
                    state,
                    group_type: CLASSIC,
                });
            }
        }
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(groups)
    }

    /// One group; `None` when it does not exist.
    pub fn describe(&self, group: &str) -> Result<Option<DescribedGroup>, ResponseError> {
        self.inner.loaded(group)?;
        let Some(cell) = self.inner.find(group) else { return Ok(None) };
        let cell = cell.lock();
        let classic = &cell.classic;
        let protocol = classic.protocol().filter(|_| classic.state() == State::Stable);
        let members = classic.members().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: protocol.map(|_| member.assignment.clone()).unwrap_or_default(),
        });
        Ok(Some(DescribedGroup {
            state: classic.state().name(),
            protocol_type: classic.protocol_type().unwrap_or_default().to_owned(),
            protocol: classic.protocol().unwrap_or_default().to_owned(),
            members: members.collect(),
        }))
    }

    /// Deletes a group without members, with its offsets. A group with a route belongs to its link, which can
    /// forget it first.
    pub async fn delete(&self, group: &str) -> Result<(), ResponseError> {
        self.inner.loaded(group)?;
        let cell = self.inner.find(group).ok_or(ResponseError::GroupIdNotFound)?;
        let write = self.inner.change(&cell, |cell, now, fx| {
            if cell.is_dead() {
                return Err(ResponseError::GroupIdNotFound);
            }
            if cell.route.is_some() {
                return Err(ResponseError::NonEmptyGroup);
            }
            delete(cell, &self.inner, now, fx)?;
            Ok(cell.pending_write())
        })?;
        // Not before its end is durable may the name begin anew: the cell stays, dead, until it is looked up.
        self.inner.durable(write).await?;
        let _ = self.inner.find(group);
        Ok(())
    }
}

/// Writes the end of a group, then marks it.
pub(super) fn delete(
    cell: &mut Cell,
    inner: &Inner,
    now: Now,
    _fx: &mut Effects,
) -> Result<(), ResponseError> {
    if cell.classic.state() != State::Empty || cell.classic.pending_count() > 0 {
        return Err(ResponseError::NonEmptyGroup);
    }
    let mut records = Vec::new();
    for (topic, partitions) in &cell.offsets {
        records.extend(partitions.keys().map(|index| Record::offset(&cell.name, topic, *index, None)));
    }
    if cell.is_written {
        records.push(Record::group(&cell.name, None));
    }
    if !records.is_empty() {
        cell.append(&*inner.backing, &records)?;
    }
    cell.offsets.clear();
    cell.classic.delete(now);
    Ok(())
}
