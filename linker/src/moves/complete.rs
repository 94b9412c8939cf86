//! `complete`: gives up the way back. The only destructive verb, so it asks for a durable stop at the source first.

use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use kafka_protocol::protocol::StrBytes;
use serde_json::json;
use towpath_plans::evidence::Body;
use towpath_plans::steps::complete_steps;
use towpath_plans::transition::{Effect, Event, GroupState, Next, transition};
use towpath_wire::client::To;

use super::effects::is_denied;
use super::mover::Mover;
use super::run::Run;
use crate::cluster::Cluster;
use crate::error::LinkerError;
use crate::groups::fence::Membership;
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
/// The principal that stands for everybody.
const EVERYBODY: &str = "User:*";

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
        transition(&record, &event, self.link.env.now_ms()).map_err(|refused| {
            let problem = format!("group {group} is {}: complete is refused", refused.state);
            LinkerError::refused(problem, refused.fix)
        })?;
        let denied = self.denied().await;
        let stop = match denied.everybody {
            true => format!("a deny ACL for {EVERYBODY} on group {group}"),
            false if accept_no_stop => {
                format!("accepted by {}: nothing durable stops it", request.actor.name)
            }
            false => return Err(no_stop(group, &self.link.source, &denied.others)),
        };
        if request.dry_run {
            self.settle_evidence(run).await;
            return Ok(Ending::done(document("would_complete", &stop)));
        }
        run.step(format!("durable stop at the source: {stop}"));
        self.own_fence(run).await?;
        // A fence that was set again is another membership.
        let record = self.record();
        let next = transition(&record, &event, self.link.env.now_ms())
            .map_err(|refused| LinkerError::Bug(refused.to_string()))?;
        self.carry_out(run, next).await?;
        run.bodies.push(Body::Completed { group: group.clone(), stop: stop.clone() });
        self.settle_evidence(run).await;
        Ok(Ending::done(document("completed", &stop)))
    }

    /// The fence that leaves must be this link's. One that lapsed is set again first: whoever moved meanwhile is told.
    async fn own_fence(&self, run: &mut Run<'_>) -> Result<(), LinkerError> {
        let record = self.record();
        if let Some(hold) = &record.fence {
            match self.fence.heartbeat(hold).await {
                Ok(Membership::Stands) => return Ok(()),
                Ok(Membership::Gone(_)) => {}
                // The stop that denies everybody denies this service too.
                Err(error) if is_denied(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.carry_out(run, Next { record, effects: vec![Effect::AdoptFence] }).await?;
        for alarm in std::mem::take(&mut run.alarms) {
            self.memory.lock().alarm("stragglers", alarm);
        }
        Ok(())
    }

    /// Whom the source's ACLs keep from joining the group.
    async fn denied(&self) -> Denied {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(GROUP)
            .with_resource_name_filter(Some(StrBytes::from_string(self.group.name.clone())))
            .with_pattern_type_filter(MATCH)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY_OPERATION)
            .with_permission_type(DENY);
        // A cluster without ACLs, or one that does not show them, proves nothing.
        match self.link.source.client.send(To::Any, request).await {
            Ok(answer) => Denied::by(&answer),
            Err(_) => Denied::default(),
        }
    }
}

/// Completing is refused as long as anybody could join the group at the source.
fn no_stop(group: &str, source: &Cluster, others: &[String]) -> LinkerError {
    let bootstrap = source.config.bootstrap.join(",");
    let others = match others {
        [] => String::new(),
        others => format!(" (deny ACLs for {} stop nobody else)", others.join(", ")),
    };
    LinkerError::refused(
        format!("nothing durable stops consumers of group {group} at {}{others}", source.name),
        stops(group, &bootstrap),
    )
}

fn stops(group: &str, bootstrap: &str) -> String {
    format!(
        "kafka-acls.sh --bootstrap-server {bootstrap} --add --deny-principal '{EVERYBODY}' --operation Read --group \
         '{group}'; or accept with --accept-no-stop that nothing stops them"
    )
}

/// Whom deny ACLs keep from joining a group.
#[derive(Debug, Default, PartialEq, Eq)]
struct Denied {
    /// Everybody, from everywhere. Super users of the source excepted: no ACL binds them.
    everybody: bool,
    /// Whom else; who the group's members are to the source, no answer of Kafka's tells.
    others: Vec<String>,
}

impl Denied {
    fn by(answer: &DescribeAclsResponse) -> Denied {
        let acls = answer.resources.iter().flat_map(|resource| &resource.acls);
        let stopping = acls.filter(|acl| acl.permission_type == DENY && STOPPING.contains(&acl.operation));
        let mut denied = Denied::default();
        for acl in stopping {
            match (acl.principal.as_str(), acl.host.as_str()) {
                (EVERYBODY, "*") => denied.everybody = true,
                (principal, "*") => denied.others.push(principal.to_owned()),
                (principal, host) => denied.others.push(format!("{principal} at {host}")),
            }
        }
        denied
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};

    use super::*;

    /// `ALLOW`, and `AclOperation.DESCRIBE`: looking at a group is not joining it.
    const ALLOW: i8 = 3;
    const DESCRIBE: i8 = 8;

    fn denied(principal: &'static str, host: &'static str, operation: i8, permission: i8) -> Denied {
        let acl = AclDescription::default()
            .with_principal(StrBytes::from_static_str(principal))
            .with_host(StrBytes::from_static_str(host))
            .with_operation(operation)
            .with_permission_type(permission);
        let resource = DescribeAclsResource::default().with_acls(vec![acl]);
        Denied::by(&DescribeAclsResponse::default().with_resources(vec![resource]))
    }

    #[test]
    fn only_a_deny_acl_for_everybody_from_everywhere_is_a_stop() {
        for operation in STOPPING {
            assert!(denied(EVERYBODY, "*", operation, DENY).everybody);
        }
        assert!(!denied(EVERYBODY, "10.0.0.7", 3, DENY).everybody);
        assert!(!denied(EVERYBODY, "*", DESCRIBE, DENY).everybody);
        assert!(!denied(EVERYBODY, "*", 3, ALLOW).everybody);
        let bob = denied("User:bob", "*", 3, DENY);
        assert_eq!(bob, Denied { everybody: false, others: vec!["User:bob".into()] });
        assert_eq!(denied("User:bob", "10.0.0.7", 3, DENY).others, ["User:bob at 10.0.0.7"]);
    }

    #[test]
    fn whoever_cannot_stop_the_group_learns_how_to_accept_that() {
        let fix = stops("ranker", "legacy:9092");
        assert!(fix.contains("--deny-principal") && fix.contains("--group 'ranker'"), "{fix}");
        assert!(fix.contains("--accept-no-stop"), "{fix}");
    }
}
