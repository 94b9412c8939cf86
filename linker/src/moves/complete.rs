//! `complete`: gives up the way back. The only destructive verb, so it asks for a durable stop at the source first.

use kafka_protocol::messages::DescribeAclsRequest;
use kafka_protocol::protocol::StrBytes;
use serde_json::json;
use towpath_plans::evidence::Body;
use towpath_plans::steps::complete_steps;
use towpath_plans::transition::{Event, GroupState, transition};
use towpath_wire::client::To;

use super::mover::Mover;
use super::run::Run;
use crate::cluster::Cluster;
use crate::error::LinkerError;
use crate::operation::{Ending, Request};

/// `org.apache.kafka.common.resource.ResourceType.GROUP`.
const GROUP: i8 = 3;
/// `PatternType.MATCH`: literal, wildcard and prefixed patterns that cover the name.
const MATCH: i8 = 2;
/// `AclOperation.ANY` and `AclPermissionType.DENY`.
const ANY_OPERATION: i8 = 1;
const DENY: i8 = 2;
/// `AclOperation.ALL` and `AclOperation.READ`: what joining a group needs.
const STOPPING: [i8; 2] = [2, 3];

impl Mover {
    pub(super) async fn give_up_way_back(
        &self,
        run: &mut Run<'_>,
        request: &Request,
        accept_no_stop: bool,
    ) -> Result<Ending, LinkerError> {
        let record = self.record();
        let group = &self.group.name;
        let document = |result: &str, stop: &str| {
            json!({
                "group": group, "verb": "complete", "result": result, "stop": stop,
                "dry_run": request.dry_run, "steps": complete_steps(&self.link.plan, &self.group),
            })
        };
        if record.state == GroupState::Completed {
            return Ok(Ending::done(document("nothing_to_do", "")));
        }
        let event = Event::Complete { actor: request.actor.name.clone(), reason: request.reason.clone() };
        let next = transition(&record, &event, self.link.env.now_ms()).map_err(|refused| {
            let problem = format!("group {group} is {:?}: complete is refused", refused.state);
            LinkerError::refused(problem, refused.fix)
        })?;
        let stop = match self.deny_acl().await {
            Some(stop) => stop,
            None if accept_no_stop => format!("accepted by {}: nothing durable stops it", request.actor.name),
            None => return Err(no_stop(group, &self.link.source)),
        };
        if request.dry_run {
            self.settle_evidence(run).await;
            return Ok(Ending::done(document("would_complete", &stop)));
        }
        run.step(format!("durable stop at the source: {stop}"));
        self.carry_out(run, next).await?;
        run.bodies.push(Body::Completed { group: group.clone(), stop: stop.clone() });
        self.settle_evidence(run).await;
        Ok(Ending::done(document("completed", &stop)))
    }

    /// A deny ACL of the source that keeps somebody from joining the group, in words.
    async fn deny_acl(&self) -> Option<String> {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(GROUP)
            .with_resource_name_filter(Some(StrBytes::from_string(self.group.name.clone())))
            .with_pattern_type_filter(MATCH)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY_OPERATION)
            .with_permission_type(DENY);
        // A cluster without ACLs, or one that does not show them, proves nothing.
        let answer = self.link.source.client.send(To::Any, request).await.ok()?;
        let acls = answer.resources.iter().flat_map(|resource| &resource.acls);
        let acl =
            acls.into_iter().find(|acl| STOPPING.contains(&acl.operation) && acl.host.as_str() == "*")?;
        Some(format!("a deny ACL for {} on group {}", acl.principal.as_str(), self.group.name))
    }
}

/// Completing is refused as long as anybody could join the group at the source.
fn no_stop(group: &str, source: &Cluster) -> LinkerError {
    let bootstrap = source.config.bootstrap.join(",");
    LinkerError::refused(
        format!("nothing durable stops consumers of group {group} at {}", source.name),
        stops(group, &bootstrap),
    )
}

fn stops(group: &str, bootstrap: &str) -> String {
    format!(
        "kafka-acls.sh --bootstrap-server {bootstrap} --add --deny-principal 'User:*' --operation Read --group \
         '{group}'; or accept with --accept-no-stop that nothing stops them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_stop_the_group_learns_how_to_accept_that() {
        let fix = stops("ranker", "legacy:9092");
        assert!(fix.contains("--deny-principal") && fix.contains("--group 'ranker'"), "{fix}");
        assert!(fix.contains("--accept-no-stop"), "{fix}");
    }
}
