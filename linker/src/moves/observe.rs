//! What the gates look at, observed now. What cannot be seen is left out, and its gate is inconclusive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_plans::evidence::Body;
use towpath_plans::gates::{
    ClockSkewObserved, DiffObserved, GateContext, GateReport, LagObserved, MembersObserved, Observations,
    Observed, TransactionObserved, Verdict, WayBackObserved, evaluate,
};
use towpath_plans::transition::{Event, GroupMove, GroupState, Position, Verb};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::{describe_producers, list_transactions};

use super::clock::{self, Ahead};
use super::mover::Mover;
use super::run::Run;
use crate::error::{LinkerError, Side};
use crate::groups::members::{self, Members};
use crate::groups::positions::{committed, to_positions};
use crate::groups::route::{held, positions_of};
use crate::link::mirror::Placed;

/// A rebalance hides subscriptions for a moment; it is waited for.
const SETTLE_MAX: Duration = Duration::from_secs(5);
const SETTLE_AGAIN: Duration = Duration::from_millis(100);
/// An answer of the source that is older says nothing about lag: it polls several times a second.
const LAG_FRESH_MS: i64 = 5_000;
/// What is not known yet is looked at again for so long: a service that has just started catches up within seconds.
const KNOWN_MAX: Duration = Duration::from_secs(20);
const KNOWN_AGAIN: Duration = Duration::from_millis(250);
/// Where Kafka keeps committed offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The group on the side that it leaves, and who waits at the target.
struct Seen {
    members: MembersObserved,
    positions: Vec<Position>,
}

impl Mover {
    /// Evaluates the gates of the verb under way.
    pub(super) async fn preflight(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
    ) -> Result<Event, LinkerError> {
        self.memory.lock().forget();
        let until = self.link.env.elapsed() + KNOWN_MAX;
        let mut told = false;
        let report = loop {
            let report = self.evaluate_gates(run, record).await?;
            if !report.only_wants_time() || self.link.env.elapsed() >= until {
                break report;
            }
            if !std::mem::replace(&mut told, true) {
                let unknown: Vec<&str> = report.refusing().iter().map(|gate| gate.name.as_str()).collect();
                run.step(format!(
                    "not yet: {}; looking again for {} s",
                    unknown.join(", "),
                    KNOWN_MAX.as_secs()
                ));
            }
            // Only the last look is evidence.
            run.bodies.pop();
            self.link.env.sleep(KNOWN_AGAIN).await;
        };
        run.step(format!("gates: {}", report.verdict));
        if report.verdict != Verdict::Pass {
            let refusing: Vec<&str> = report.refusing().iter().map(|gate| gate.name.as_str()).collect();
            return Ok(Event::GatesRefused {
                reason: format!("{}: {}", report.verdict, refusing.join(", ")),
            });
        }
        let before = match record.verb {
            Some(Verb::Rollback) => positions_of(&self.target.describe().await?),
            _ => to_positions(&committed(&self.link.source.client, &self.group.name, false).await?),
        };
        Ok(Event::GatesPassed { before })
    }

    /// Observes, judges, and notes both as evidence.
    pub(super) async fn evaluate_gates(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
    ) -> Result<GateReport, LinkerError> {
        let verb = record.verb.unwrap_or(Verb::Cutover);
        let seen = self.observe(verb).await?;
        let topics = seen.members.as_ref().map(|members| members.value.topics.clone()).unwrap_or_default();
        run.topics = topics.into_iter().filter(|topic| seen.mirrored.contains_key(topic)).collect();
        let context = GateContext {
            plan: &self.link.plan,
            group: &self.group,
            verb,
            now_ms: self.link.env.now_ms(),
            accept_outage: run.accept_outage,
        };
        let report = evaluate(&context, &seen);
        run.bodies.push(Body::GatesEvaluated {
            group: self.group.name.clone(),
            verb,
            verdict: report.verdict,
            gates: report.records(),
        });
        run.report = Some(report.clone());
        Ok(report)
    }

    async fn observe(&self, verb: Verb) -> Result<Observations, LinkerError> {
        let group = match verb {
            Verb::Cutover => self.seen_at_source().await?,
            Verb::Rollback => self.seen_at_target().await?,
        };
        let topics = group.members.topics.clone();
        let placed = self.placed_of(&topics);
        let partitions: Vec<TopicPartition> =
            placed.iter().map(|placed| placed.replicator.id.clone()).collect();
        let unread = unread(&partitions, &group.positions);
        let (transactions, permissions, clock_skew, evidence, way_back) = tokio::join!(
            self.open_transactions(&partitions),
            self.permissions(),
            self.clock_skew(),
            self.link.ledger.writable(),
            self.way_back(&unread),
        );
        let now_ms = self.link.env.now_ms();
        let reaches = |until_ms: i64| u64::try_from(until_ms - now_ms).unwrap_or(0);
        let way_back = way_back
            .map(|way| WayBackObserved { reaches_ms: way.until_ms.map(reaches), limited_by: way.limited_by });
        Ok(Observations {
            lag: self.lag(&topics, &placed),
            diff: Some(Observed { value: self.compared(&topics), at_ms: now_ms }),
            transactions: self.at(now_ms, "open transactions", transactions),
            members: Some(Observed { value: group.members, at_ms: now_ms }),
            mirrored: self.mirrored(),
            permissions: self.at(now_ms, "permissions", permissions),
            clock_skew: self.at(now_ms, "clocks", clock_skew),
            evidence: Some(Observed { value: evidence, at_ms: now_ms }),
            way_back: self.at(now_ms, "the way back", way_back),
            moved: self.moved_before(),
        })
    }

    fn at<T>(&self, at_ms: i64, what: &str, seen: Result<T, LinkerError>) -> Option<Observed<T>> {
        match seen {
            Ok(value) => Some(Observed { value, at_ms }),
            Err(error) => {
                tracing::info!(group = self.group.name, error = error.one_line(), "cannot observe {what}");
                None
            }
        }
    }

    async fn seen_at_source(&self) -> Result<Seen, LinkerError> {
        let members = self.settled(Side::Source).await?;
        let positions = to_positions(&committed(&self.link.source.client, &self.group.name, false).await?);
        let waiting = held(&self.target.describe().await?);
        Ok(Seen { members: members_observed(&members, waiting, &positions), positions })
    }

    async fn seen_at_target(&self) -> Result<Seen, LinkerError> {
        let members = self.settled(Side::Target).await?;
        let mut positions = positions_of(&self.target.describe().await?);
        let seen = members_observed(&members, 0, &positions);
        // The gates of a rollback look at the source's numbering.
        positions.retain_mut(|at| {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            let there = self.translate(Side::Target, &id, at.offset);
            at.offset = *there.as_ref().unwrap_or(&-1);
            there.is_ok()
        });
        Ok(Seen { members: seen, positions })
    }

    /// The members, after a rebalance that may be under way.
    async fn settled(&self, side: Side) -> Result<Members, LinkerError> {
        let client = match side {
            Side::Source => &self.link.source.client,
            Side::Target => &self.link.target.client,
        };
        let until = self.link.env.elapsed() + SETTLE_MAX;
        loop {
            let seen = members::look(client, side, &self.group.name, self.fence.instance_id()).await?;
            if !seen.is_rebalancing() || self.link.env.elapsed() >= until {
                return Ok(seen);
            }
            self.link.env.sleep(SETTLE_AGAIN).await;
        }
    }

    /// Lag of these topics; `None` while one partition has never been seen caught up, or the link of another family
    /// that carries a topic does not run.
    fn lag(&self, topics: &[String], placed: &[Placed]) -> Option<Observed<Vec<LagObserved>>> {
        let carried = |topic: &&String| placed.iter().any(|placed| placed.replicator.id.topic == **topic);
        if let Some(topic) =
            topics.iter().filter(|topic| self.link.plan.uses.contains(topic)).find(|topic| !carried(topic))
        {
            tracing::info!(
                group = self.group.name,
                error = self.not_carried(topic).one_line(),
                "lag is not known"
            );
            return None;
        }
        let now_ms = self.link.env.now_ms();
        let mut oldest_ms = now_ms;
        let mut lag = Vec::new();
        for placed in placed {
            let id = &placed.replicator.id;
            let positions = placed.replicator.positions();
            let halted = placed.replicator.halted().map(|halt| halt.reason);
            let behind_ms = match positions.lag_ms(now_ms, LAG_FRESH_MS) {
                Some(ms) => ms,
                None if halted.is_some() => 0,
                None => return None,
            };
            if halted.is_none() {
                oldest_ms = oldest_ms.min(positions.source_answered_ms);
            }
            lag.push(LagObserved {
                topic: id.topic.clone(),
                partition: id.partition,
                lag_ms: u64::try_from(behind_ms).unwrap_or(0),
                lag_messages: u64::try_from(positions.lag_messages()).unwrap_or(0),
                halted,
            });
        }
        Some(Observed { value: lag, at_ms: oldest_ms })
    }

    /// What the diffs of all links that carry these topics have compared.
    fn compared(&self, topics: &[String]) -> Vec<DiffObserved> {
        let mirrored = self.mirrored();
        let carried = self.carriers().into_iter().flat_map(|carrier| {
            let of_it = |topic: &&String| mirrored.get(*topic).is_some_and(|by| by == carrier.link.family());
            let topics: Vec<String> = topics.iter().filter(of_it).cloned().collect();
            carrier.diff.observed(&topics)
        });
        carried.collect()
    }

    /// Transactions open on these partitions and on the partition that holds the group's offsets.
    async fn open_transactions(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<TransactionObserved>, LinkerError> {
        let failed = |error| LinkerError::cluster(Side::Source, "list open transactions")(error);
        let client = &self.link.source.client;
        let mut asked = partitions.to_vec();
        let metadata = client.metadata(&[OFFSETS_TOPIC]).await.map_err(failed)?;
        let count = metadata.topics.get(OFFSETS_TOPIC).map_or(0, |topic| topic.partitions.len() as i32);
        asked.extend(offsets_partition(&self.group.name, count));
        let now_ms = self.link.env.now_ms();
        let mut open = Vec::new();
        for (id, producers) in describe_producers(client, &asked).await.map_err(failed)? {
            for producer in producers.map_err(failed)? {
                if producer.transaction_start.is_some() {
                    open.push(TransactionObserved {
                        topic: id.topic.clone(),
                        partition: id.partition,
                        producer_id: producer.producer_id,
                        transactional_id: None,
                        open_ms: u64::try_from(now_ms - producer.last_timestamp_ms).unwrap_or(0),
                    });
                }
            }
        }
        if !open.is_empty() {
            let ids: BTreeSet<i64> = open.iter().map(|transaction| transaction.producer_id).collect();
            let ids: Vec<i64> = ids.into_iter().collect();
            let names: BTreeMap<i64, String> = list_transactions(client, &ids)
                .await
                .map_err(failed)?
                .into_iter()
                .map(|listed| (listed.producer_id, listed.transactional_id))
                .collect();
            for transaction in &mut open {
                transaction.transactional_id = names.get(&transaction.producer_id).cloned();
            }
        }
        Ok(open)
    }

    /// The target tells its clock with each answer about a group, the source through its controllers.
    async fn clock_skew(&self) -> Result<ClockSkewObserved, LinkerError> {
        let asked_ms = self.link.env.now_ms();
        let target_ms = self.target.describe().await?.now_ms;
        let answered_ms = self.link.env.now_ms();
        let (mut clocks, mut unseen) = (Vec::new(), Vec::new());
        match target_ms {
            0 => unseen.push(Side::Target.to_string()),
            shown_ms => clocks.push(Ahead::of(shown_ms, asked_ms, answered_ms)),
        }
        match clock::source_ahead(&self.link.source.client, &self.link.env).await {
            Some(source) => clocks.push(source),
            None => unseen.push(Side::Source.to_string()),
        }
        Ok(ClockSkewObserved { largest_ms: clock::skew_ms(&clocks), unseen })
    }

    /// Whether each group that must move first stands on the target, in any family of this service.
    fn moved_before(&self) -> BTreeMap<String, bool> {
        let moved = |group: &String| {
            self.link.journal.with(|recorded| {
                recorded
                    .families
                    .values()
                    .filter_map(|family| family.groups.get(group))
                    .any(|record| matches!(record.state, GroupState::OnTarget | GroupState::Completed))
            })
        };
        self.group.after.iter().map(|group| (group.clone(), moved(group))).collect()
    }
}

fn members_observed(members: &Members, waiting: u32, positions: &[Position]) -> MembersObserved {
    let mut topics = members.topics();
    topics.extend(positions.iter().map(|at| at.topic.clone()));
    MembersObserved {
        live: members.live.len() as u32,
        held: waiting,
        topics: topics.into_iter().collect(),
        unreadable: members.unreadable(),
    }
}

fn unread(partitions: &[TopicPartition], positions: &[Position]) -> BTreeMap<TopicPartition, i64> {
    let at = |id: &TopicPartition| {
        positions.iter().find(|at| at.topic == id.topic && at.partition == id.partition)
    };
    partitions.iter().filter_map(|id| Some((id.clone(), at(id)?.offset))).collect()
}

/// The partition that holds a group's offsets (`GroupMetadataManager.partitionFor`: Java's string hash).
fn offsets_partition(group: &str, count: i32) -> Option<TopicPartition> {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `Utils.abs`: the sign bit is dropped.
    (count > 0).then(|| TopicPartition::new(OFFSETS_TOPIC, (hash & i32::MAX) % count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_offsets_are_looked_for_where_kafka_keeps_them() {
        // "ranker".hashCode() is -938279463 in Java; without its sign bit 1209204185; % 50 is 35.
        assert_eq!(offsets_partition("ranker", 50), Some(TopicPartition::new(OFFSETS_TOPIC, 35)));
        assert_eq!(offsets_partition("a", 50), Some(TopicPartition::new(OFFSETS_TOPIC, 47)));
        assert_eq!(offsets_partition("ranker", 0), None);
    }
}
