//! The judgements, one function for each gate.

use super::observe::{MembersObserved, Observations, Observed};
use super::{Gate, GateName, GateReport, Verdict};
use crate::model::{Gates, GroupPlan, Plan, format_count, format_duration, format_rounded};
use crate::transition::Verb;

/// What the gates are evaluated for.
#[derive(Clone, Copy, Debug)]
pub struct GateContext<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The group.
    pub group: &'a GroupPlan,
    /// The verb.
    pub verb: Verb,
    /// Now, ms since the epoch.
    pub now_ms: i64,
    /// `--accept-outage`: the members-ready gate does not count.
    pub accept_outage: bool,
}

/// Evaluates every gate of a verb. A rollback is always allowed as far as members, way back, diff and lag go: it
/// asks only for what its steps need to work at all.
pub fn evaluate(context: &GateContext<'_>, seen: &Observations) -> GateReport {
    let judge = Judge { context: *context, limits: &context.plan.gates };
    let mut gates = vec![
        judge.permissions(seen),
        judge.evidence_writable(seen),
        judge.clock_skew(seen),
        judge.open_transactions(seen),
    ];
    if context.verb == Verb::Cutover {
        gates.extend([
            judge.mirror_lag(seen),
            judge.diff(seen),
            judge.diff_tail(seen),
            judge.members(seen),
            judge.members_ready(seen),
            judge.way_back(seen),
            judge.after(seen),
            judge.writes(),
        ]);
    }
    gates.sort_by_key(|gate| gate.name);
    GateReport::new(gates)
}

pub(super) struct Judge<'a> {
    pub(super) context: GateContext<'a>,
    pub(super) limits: &'a Gates,
}

/// A judgement before its age is known.
pub(super) struct Finding {
    verdict: Verdict,
    observed: String,
    reason: String,
    fix: String,
    catching_up: bool,
}

impl Finding {
    pub(super) fn pass(observed: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Pass,
            observed: observed.into(),
            reason: "the limit is met".into(),
            fix: String::new(),
            catching_up: false,
        }
    }

    pub(super) fn of(
        verdict: Verdict,
        observed: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (observed, reason, fix) = (observed.into(), reason.into(), fix.into());
        Self { verdict, observed, reason, fix, catching_up: false }
    }

    /// Something is behind, and catches up unless too much comes in.
    pub(super) fn behind(
        observed: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { catching_up: true, ..Self::fail(observed, reason, fix) }
    }

    pub(super) fn fail(
        observed: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::of(Verdict::Fail, observed, reason, fix)
    }
}

impl Judge<'_> {
    /// Judges an observation; one that is missing, from the future or too old is inconclusive.
    pub(super) fn gate<T>(
        &self,
        name: GateName,
        limit: String,
        seen: Option<&Observed<T>>,
        judge: impl FnOnce(&T) -> Finding,
    ) -> Gate {
        let again = format!("look at `towpath status {}`, then try again", self.context.plan.family);
        let Some(seen) = seen else {
            let reason = "it has not been observed".to_string();
            return unknown(name, limit, None, None, (reason, again));
        };
        let finding = judge(&seen.value);
        let age_ms = self.context.now_ms.saturating_sub(seen.at_ms);
        // A clock that runs ahead by less than the allowed skew gives a small negative age.
        let ahead_ms = u64::try_from(age_ms.saturating_neg()).unwrap_or(0);
        let age_ms = u64::try_from(age_ms).unwrap_or(0);
        if ahead_ms > self.limits.clock_skew_ms_max {
            let reason = format!("it was observed {} in the future", format_rounded(ahead_ms));
            return unknown(name, limit, Some(finding.observed), Some(0), (reason, "set the clocks".into()));
        }
        if age_ms > self.limits.observation_age_ms_max && finding.verdict == Verdict::Pass {
            let reason = format!("it was last observed {} ago", format_rounded(age_ms));
            return unknown(name, limit, Some(finding.observed), Some(age_ms), (reason, again));
        }
        Gate {
            name,
            limit,
            observed: Some(finding.observed),
            age_ms: Some(age_ms),
            verdict: finding.verdict,
            reason: finding.reason,
            fix: finding.fix,
            accepted: false,
            catching_up: finding.catching_up,
        }
    }

    fn open_transactions(&self, seen: &Observations) -> Gate {
        let limit_ms = self.limits.open_transaction_ms_max;
        let limit = format!("{}, and none that commits this group's offsets", format_duration(limit_ms));
        self.gate(GateName::OpenTransactions, limit, seen.transactions.as_ref(), |open| {
            let named = &self.context.group.transactional_ids;
            let observed = match open.iter().max_by_key(|transaction| transaction.open_ms) {
                Some(oldest) => {
                    format!("{} open, the oldest {}", open.len(), format_rounded(oldest.open_ms))
                }
                None => return Finding::pass("none open"),
            };
            for transaction in open {
                let id = transaction.transactional_id.as_deref().unwrap_or("an unknown transactional id");
                let at = format!("{}-{}", transaction.topic, transaction.partition);
                let offsets = transaction.topic == "__consumer_offsets";
                if offsets && !named.iter().any(|named| named == id) {
                    let reason =
                        format!("{id} (producer {}) may commit offsets on {at}", transaction.producer_id);
                    let fix = format!(
                        "stop it, or name it under groups[{}].transactional_ids",
                        self.context.group.name
                    );
                    return Finding::fail(observed, reason, fix);
                }
                if !offsets && transaction.open_ms > limit_ms {
                    let reason = format!("{id} (producer {}) hangs on {at}", transaction.producer_id);
                    let fix = "end it with kafka-transactions.sh abort, or raise gates.open_transaction_max";
                    return Finding::fail(observed, reason, fix);
                }
            }
            Finding::pass(observed)
        })
    }

    fn members(&self, seen: &Observations) -> Gate {
        let limit = "every topic that members read is mirrored".to_string();
        self.gate(GateName::Members, limit, seen.members.as_ref(), |members| {
            let topics = self.topics_of(members);
            let observed = format!("{}, reading {}", format_count(members.live, "member"), topics.join(", "));
            let missing: Vec<&str> = topics
                .iter()
                .map(String::as_str)
                .filter(|topic| !seen.mirrored.contains_key(*topic))
                .collect();
            if !missing.is_empty() {
                let missing = missing.join(", ");
                let fix =
                    format!("add {missing} to a plan's topics, and to `uses:` where another plan has it");
                return Finding::fail(observed, format!("no link mirrors {missing}"), fix);
            }
            if !members.unreadable.is_empty() {
                let reason = format!("the subscription of {} can not be read", members.unreadable.join(", "));
                let fix =
                    "they are no consumers; ask their owner what they read, and stop them before the cutover";
                return Finding::of(Verdict::Inconclusive, observed, reason, fix);
            }
            if topics.is_empty() {
                let fix = "check the group's name; it has neither members nor commits";
                return Finding::of(
                    Verdict::Inconclusive,
                    observed,
                    "nothing shows what the group reads",
                    fix,
                );
            }
            Finding::pass(observed)
        })
    }

    fn members_ready(&self, seen: &Observations) -> Gate {
        let limit = if self.limits.members_ready { "as many held as live" } else { "not asked for" };
        let mut gate = self.gate(GateName::MembersReady, limit.into(), seen.members.as_ref(), |members| {
            let observed = format!("{} held at the target, {} live on the source", members.held, members.live);
            if self.limits.members_ready && members.held < members.live {
                let fix = "start consumers with the target's bootstrap.servers, they are held until the switch; or \
                           cut over with --accept-outage";
                let waiting = format_count(members.live - members.held, "member");
                let reason = format!("{waiting} without a successor");
                return Finding::fail(observed, reason, fix);
            }
            Finding::pass(observed)
        });
        gate.accepted = self.context.accept_outage && gate.verdict != Verdict::Pass;
        gate
    }

    fn permissions(&self, seen: &Observations) -> Gate {
        let limit = "every right that the verb needs".to_string();
        self.gate(GateName::Permissions, limit, seen.permissions.as_ref(), |permissions| {
            let missing: Vec<_> = permissions.iter().filter(|permission| !permission.granted).collect();
            let observed = format!("{} of {} granted", permissions.len() - missing.len(), permissions.len());
            if missing.is_empty() {
                return Finding::pass(observed);
            }
            let what: Vec<&str> = missing.iter().map(|permission| permission.what.as_str()).collect();
            let grants: Vec<&str> = missing.iter().map(|permission| permission.grant.as_str()).collect();
            Finding::fail(observed, format!("missing: {}", what.join("; ")), grants.join("; "))
        })
    }

    fn clock_skew(&self, seen: &Observations) -> Gate {
        let limit_ms = self.limits.clock_skew_ms_max;
        self.gate(GateName::ClockSkew, format_duration(limit_ms), seen.clock_skew.as_ref(), |skew| {
            let mut observed = format_rounded(skew.largest_ms);
            if !skew.unseen.is_empty() {
                observed.push_str(&format!("; not to be seen: {}", skew.unseen.join(", ")));
            }
            if skew.largest_ms > limit_ms {
                let fix = "mend NTP on the machine whose clock is off, or raise gates.clock_skew_max";
                return Finding::fail(observed, "lag and pause could not be trusted", fix);
            }
            if skew.unseen.is_empty() {
                return Finding::pass(observed);
            }
            let reason = format!(
                "the clocks that show themselves meet the limit; that of the {} is not known, and keeps nobody from \
                 moving",
                skew.unseen.join(" and the ")
            );
            Finding { reason, ..Finding::pass(observed) }
        })
    }

    fn evidence_writable(&self, seen: &Observations) -> Gate {
        let limit = "a test entry can be written".to_string();
        self.gate(GateName::EvidenceWritable, limit, seen.evidence.as_ref(), |written| match written {
            Ok(()) => Finding::pass("written"),
            Err(error) => {
                let fix = "mend the store that `store:` names; a move without evidence is refused";
                Finding::fail("not written", error.clone(), fix)
            }
        })
    }

    fn way_back(&self, seen: &Observations) -> Gate {
        let limit_ms = self.limits.way_back_ms_min;
        let limit = format!("at least {}", format_duration(limit_ms));
        self.gate(GateName::WayBack, limit, seen.way_back.as_ref(), |way| {
            let Some(reaches_ms) = way.reaches_ms else { return Finding::pass("no limit") };
            let by = way.limited_by.as_deref().unwrap_or("an unknown partition");
            let observed = format!("{}, limited by {by}", format_rounded(reaches_ms));
            if reaches_ms < limit_ms {
                let fix = "raise the retention of that topic on the source, or lower gates.way_back_min";
                return Finding::fail(observed, "the way back would end too soon", fix);
            }
            Finding::pass(observed)
        })
    }

    fn after(&self, seen: &Observations) -> Gate {
        let after = &self.context.group.after;
        let limit = if after.is_empty() { "no group".to_string() } else { after.join(", ") };
        let now = Observed { value: (), at_ms: self.context.now_ms };
        self.gate(GateName::After, limit, Some(&now), |()| {
            match after.iter().find(|group| !seen.moved.get(*group).copied().unwrap_or(false)) {
                Some(group) => {
                    let fix = format!("cut {group} over first");
                    Finding::fail(format!("{group} is not on the target"), "the order of moves says so", fix)
                }
                None => Finding::pass("all on the target"),
            }
        })
    }

    /// A transaction cannot span two clusters (DESIGN §9): groups that write move with their producers, later.
    fn writes(&self) -> Gate {
        let now = Observed { value: (), at_ms: self.context.now_ms };
        self.gate(GateName::Writes, "no topic of a link".into(), Some(&now), |()| {
            let writes = &self.context.group.writes;
            let observed = if writes.is_empty() { "none".to_string() } else { writes.join(", ") };
            let plan = self.context.plan;
            match writes.iter().find(|topic| plan.mirrors(topic) || plan.uses.contains(topic)) {
                Some(topic) => {
                    let reason = format!("it writes {topic}, a mirror topic that only its link may write");
                    let fix = "leave this group on the source until producers can move with it";
                    Finding::fail(observed, reason, fix)
                }
                None => Finding::pass(observed),
            }
        })
    }

    pub(super) fn topics_read(&self, seen: &Observations) -> Vec<String> {
        seen.members.as_ref().map(|members| self.topics_of(&members.value)).unwrap_or_default()
    }

    fn topics_of(&self, members: &MembersObserved) -> Vec<String> {
        let mut topics = members.topics.clone();
        topics.sort();
        topics.dedup();
        topics
    }
}

fn unknown(
    name: GateName,
    limit: String,
    observed: Option<String>,
    age_ms: Option<u64>,
    (reason, fix): (String, String),
) -> Gate {
    Gate {
        name,
        limit,
        observed,
        age_ms,
        verdict: Verdict::Inconclusive,
        reason,
        fix,
        accepted: false,
        catching_up: false,
    }
}
