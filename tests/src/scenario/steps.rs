//! Which step is done by whom.

use anyhow::{Context, Result};

use super::model::Step;
use super::nodes::Fate;
use super::world::World;

impl World<'_> {
    /// Does one step.
    ///
    /// # Errors
    /// What could not be done, or did not hold.
    pub(super) async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Topic(step) => self.create_topic(step).await,
            Step::AlterTopic(step) => self.alter_topic(step).await,
            Step::DeleteTopic(step) => self.delete_topic(step).await,
            Step::DeleteRecords(step) => self.delete_records(step).await,
            Step::AwaitRecords(step) => self.await_records(step).await,
            Step::AwaitEnds(step) => self.await_ends(step).await,
            Step::Produce(step) => self.produce(step).await,
            Step::AwaitAcked(step) => self.await_acked(step).await,
            Step::Finish(step) => self.finish(step).await,
            Step::Consume(step) => self.consume(step).await,
            Step::AwaitConsumer(step) => self.await_consumer(step).await,
            Step::ExpectQuiet(step) => self.expect_quiet(step).await,
            Step::StopConsumer(step) => self.stop_consumer(step).await,
            Step::ExpectDelivered(step) => self.expect_delivered(step).await,
            Step::ExpectTopic(step) => self.expect_topic(step).await,
            Step::SameTopics(step) => self.same_topics(step).await,
            Step::ExpectOffsets(step) => self.expect_offsets(step).await,
            Step::Kill(node) => self.fate(node, Fate::Kill).await,
            Step::Stop(node) => self.fate(node, Fate::Stop).await,
            Step::Start(node) => self.fate(node, Fate::Start).await,
            Step::Pause(node) => self.fate(node, Fate::Pause).await,
            Step::Resume(node) => self.fate(node, Fate::Resume).await,
            Step::AwaitExit(step) => self.await_exit(step).await,
            Step::Environment(step) => self.environment(step),
            Step::ForEach(step) => {
                for value in &step.values {
                    self.set(step.name.clone(), value.clone());
                    self.do_all(&step.steps).await.with_context(|| format!("{} = {value}", step.name))?;
                }
                Ok(())
            }
            Step::Repeat(step) => {
                for _ in 0..step.times {
                    self.do_all(&step.steps).await?;
                }
                Ok(())
            }
            Step::Towpath(step) => self.towpath(step).await,
            Step::Shell(step) => self.shell(step).await,
            Step::Tool(step) => self.tool(step).await,
            Step::AwaitCommand(step) => self.await_command(step).await,
            Step::Metric(step) => self.metric(step).await,
        }
    }
}
