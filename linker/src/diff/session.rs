//! Reading stretches of partitions to their ends, and knowing that the end was reached.
//!
//! Offsets have gaps: control batches are not shown, compaction leaves holes. A stretch is read through when a
//! record at or behind its last offset came, when librdkafka's position is behind it (control batches move that
//! without being shown), when the partition's end was reported, or when a fetch of our own proves that nothing is
//! there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_wire::client::Client;

use super::client::Quiet;
use super::gap;
use super::places::Places;
use super::reader::{ReadError, Stretch};
use crate::error::{LinkerError, Side};
use crate::source::pace::Pace;

/// How long one poll waits: a job notices within it that it was asked to stop.
const POLL: Duration = Duration::from_millis(5);
/// Records between two looks at whether a job was asked to stop.
const RECORDS_PER_LOOK: u32 = 64;
/// Bytes between two payments to the bandwidth bound.
const BYTES_PER_PAYMENT: u64 = 64 << 10;
/// After this silence a stretch may end in a gap that librdkafka does not tell of: it is looked up.
const GAP_SUSPECTED: Duration = Duration::from_millis(200);
/// After this silence a job fails.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the visitor of a job sees.
pub(super) enum Seen<'a> {
    /// A record of the stretch with this index.
    Record(usize, &'a BorrowedMessage<'a>),
    /// The stretch with this index was read through.
    Through(usize),
}

/// How a job reads.
#[derive(Clone)]
pub(super) struct Manner {
    /// Bytes per second; 0: no bound.
    pub(super) bytes_per_s: u64,
    /// Gives the job up.
    pub(super) stop: CancellationToken,
}

/// What a reader's thread owns.
pub(super) struct Session {
    pub(super) side: Side,
    pub(super) env: Env,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) client: Client,
    pub(super) consumer: BaseConsumer<Quiet>,
    /// What this reader has paused and not taken back.
    pub(super) paused: RefCell<BTreeSet<(String, i32)>>,
}

impl Session {
    /// Hears librdkafka out while nothing is read.
    pub(super) fn listen(&self) {
        while let Some(heard) = self.consumer.poll(Duration::ZERO) {
            if let Err(error) = heard {
                tracing::debug!(side = %self.side, %error, "idle reader");
            }
        }
    }

    /// Gives up what is assigned; the connections stay.
    pub(super) fn release(&self) {
        if let Err(error) = self.consumer.assign(&TopicPartitionList::new()) {
            tracing::info!(side = %self.side, %error, "the diff's reader cannot give up its partitions");
        }
    }

    /// Takes back every pause. librdkafka remembers one whatever is assigned afterwards, and then reads nothing of
    /// that partition. Taken back behind the assignment it would cost a second now and then: librdkafka throws
    /// away what it has begun to fetch.
    fn wake(&self) {
        let paused = std::mem::take(&mut *self.paused.borrow_mut());
        let mut list = TopicPartitionList::with_capacity(paused.len());
        for (topic, partition) in &paused {
            list.add_partition(topic, *partition);
        }
        if !paused.is_empty()
            && let Err(error) = self.consumer.resume(&list)
        {
            tracing::debug!(side = %self.side, %error, "cannot take a pause back");
        }
    }

    /// Reads every stretch to its end, in any order between them and in order within each.
    ///
    /// # Errors
    /// Asked to stop, an offset that is gone, a cluster that fails or keeps silent, or what the visitor says.
    pub(super) fn read(
        &self,
        stretches: &[Stretch],
        manner: &Manner,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut reading = Reading {
            session: self,
            stretches,
            manner,
            pace: Pace::new(manner.bytes_per_s),
            unpaid_bytes: 0,
            at: stretches.iter().map(|stretch| stretch.from).collect(),
            open: vec![false; stretches.len()],
            left: 0,
            closed: Vec::new(),
        };
        let mut all = Vec::new();
        for (index, stretch) in stretches.iter().enumerate() {
            match stretch.from < stretch.to {
                true => all.push(index),
                false => visit(Seen::Through(index))?,
            }
        }
        if reading.pass(&all, visit)? {
            return Ok(());
        }
        // The end of a partition is reported by its number, without its topic. What that left undecided is read
        // on topic by topic, where a number says enough.
        let mut by_topic: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for index in all.into_iter().filter(|&index| reading.open[index]) {
            by_topic.entry(&stretches[index].id.topic).or_default().push(index);
        }
        for indexes in by_topic.into_values() {
            reading.pass(&indexes, visit)?;
        }
        Ok(())
    }

    fn failed(&self, problem: String, fix: &str) -> ReadError {
        ReadError::Failed(LinkerError::Answer { side: self.side, problem, fix: fix.into() })
    }
}

/// One job under way.
struct Reading<'a> {
    session: &'a Session,
    stretches: &'a [Stretch],
    manner: &'a Manner,
    pace: Pace,
    unpaid_bytes: u64,
    /// By stretch: the next offset that may come.
    at: Vec<i64>,
    /// By stretch: assigned and not yet read through.
    open: Vec<bool>,
    left: usize,
    /// Read through, and librdkafka still reads ahead in them.
    closed: Vec<usize>,
}

impl Reading<'_> {
    /// Reads these stretches on from where they are; `false`: some could not be told from others.
    fn pass(
        &mut self,
        indexes: &[usize],
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let mut places = self.assign(indexes)?;
        let mut heard_at = self.session.env.elapsed();
        let mut records: u32 = 0;
        let mut undecided = false;
        while self.left > 0 {
            if records.is_multiple_of(RECORDS_PER_LOOK) && self.manner.stop.is_cancelled() {
                return Err(ReadError::Stopped);
            }
            match self.session.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    records = records.wrapping_add(1);
                    if records.is_multiple_of(RECORDS_PER_LOOK) {
                        heard_at = self.session.env.elapsed();
                    }
                    if let Some(index) = places.find(&message) {
                        self.take(index, &message, visit)?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    undecided |= self.at_end(indexes, number, visit)?;
                }
                Some(Err(error)) => self.judge(error)?,
                None => {
                    records = 0;
                    self.pause_closed();
                    self.settle_by_position(&places, visit)?;
                    if undecided && self.left > 0 {
                        return Ok(false);
                    }
                    let silence = self.session.env.elapsed().saturating_sub(heard_at);
                    self.bear(silence, indexes, visit)?;
                }
            }
        }
        Ok(true)
    }

    fn assign(&mut self, indexes: &[usize]) -> Result<Places, ReadError> {
        let mut list = TopicPartitionList::with_capacity(indexes.len());
        let mut places = Places::default();
        for &index in indexes {
            let id = &self.stretches[index].id;
            list.add_partition_offset(&id.topic, id.partition, Offset::Offset(self.at[index]))
                .map_err(|error| self.session.failed(format!("assign {id}: {error}"), "report this"))?;
            places.add(id, index);
            self.open[index] = true;
        }
        self.left = indexes.len();
        self.closed.clear();
        self.session.wake();
        self.session.consumer.assign(&list).map_err(|error| {
            self.session.failed(format!("assign {} partitions: {error}", indexes.len()), "report this")
        })?;
        Ok(places)
    }

    fn take(
        &mut self,
        index: usize,
        message: &BorrowedMessage<'_>,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let stretch = &self.stretches[index];
        let offset = message.offset();
        if !self.open[index] || offset < self.at[index] {
            self.pause_closed();
            return Ok(());
        }
        if offset < stretch.to {
            self.at[index] = offset + 1;
            visit(Seen::Record(index, message))?;
            self.unpaid_bytes += (message.payload_len() + message.key_len()) as u64;
        }
        if offset + 1 >= stretch.to {
            self.close(index, visit)?;
        }
        self.pay()
    }

    fn close(
        &mut self,
        index: usize,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if std::mem::take(&mut self.open[index]) {
            self.left -= 1;
            self.closed.push(index);
            visit(Seen::Through(index))?;
        }
        Ok(())
    }

    /// Reads no further in partitions that were read through while others go on.
    fn pause_closed(&mut self) {
        if self.left == 0 || self.closed.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(self.closed.len());
        for index in self.closed.drain(..) {
            let id = &self.stretches[index].id;
            list.add_partition(&id.topic, id.partition);
        }
        if let Err(error) = self.session.consumer.pause(&list) {
            tracing::debug!(side = %self.session.side, %error, "reads on behind the stretch");
        }
        self.session.paused.borrow_mut().extend(list.to_topic_map().into_keys());
    }

    /// The end of a partition with this number; answers whether it may have been another topic's.
    fn at_end(
        &mut self,
        indexes: &[usize],
        number: i32,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let stretches = self.stretches;
        let mut same = indexes.iter().copied().filter(|&index| stretches[index].id.partition == number);
        match (same.next(), same.next()) {
            (Some(index), None) => self.close(index, visit).map(|()| false),
            (first, second) => {
                let open = |index: usize| self.open[index];
                Ok(first.is_some_and(open) || second.is_some_and(open) || same.any(open))
            }
        }
    }

    /// Closes what librdkafka has passed without showing anything: control batches.
    fn settle_by_position(
        &mut self,
        places: &Places,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let Ok(positions) = self.session.consumer.position() else { return Ok(()) };
        for element in positions.elements() {
            let Some(index) = places.get(element.topic(), element.partition()) else { continue };
            if let (true, Offset::Offset(position)) = (self.open[index], element.offset()) {
                let to = self.stretches[index].to;
                self.at[index] = self.at[index].max(position.min(to));
                if position >= to {
                    self.close(index, visit)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing came for a while.
    fn bear(
        &mut self,
        silence: Duration,
        indexes: &[usize],
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if silence < GAP_SUSPECTED {
            return Ok(());
        }
        let open: Vec<usize> = indexes.iter().copied().filter(|&index| self.open[index]).collect();
        for &index in &open {
            let (id, at, to) = (&self.stretches[index].id, self.at[index], self.stretches[index].to);
            let proof = gap::reaches(&self.session.client, id, at, to);
            // A proof that fails is no proof; silence has a bound of its own.
            if self.session.runtime.block_on(proof).unwrap_or(false) {
                self.close(index, visit)?;
            }
        }
        if silence > SILENCE_MAX
            && let Some(&index) = open.first()
        {
            let (id, at) = (&self.stretches[index].id, self.at[index]);
            let complaint = self.session.consumer.context().complaint().unwrap_or_default();
            let silence = SILENCE_MAX.as_secs();
            let problem = format!("nothing of {id} from offset {at} on came in {silence} s: {complaint}");
            return Err(self
                .session
                .failed(problem, "check that the cluster is up and readable by this service"));
        }
        Ok(())
    }

    fn judge(&self, error: KafkaError) -> Result<(), ReadError> {
        use RDKafkaErrorCode as Code;
        let Some(code) = error.rdkafka_error_code() else {
            return Err(self.session.failed(error.to_string(), "see the service's log"));
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Err(ReadError::OutOfRange),
            Code::TopicAuthorizationFailed => Err(self.session.failed(
                "the diff may not read a topic of the family".into(),
                "grant READ and DESCRIBE on the plan's topics to this service's principal",
            )),
            Code::BadMessage | Code::InvalidMessage => Err(self.session.failed(
                format!("a batch does not check: {error}"),
                "check that partition's log on the broker (kafka-dump-log)",
            )),
            // Leaders move, connections break, the group (never used) has no coordinator: librdkafka tries again,
            // and silence has a bound.
            _ => {
                tracing::debug!(side = %self.session.side, %error, "the diff's reader tries again");
                Ok(())
            }
        }
    }

    fn pay(&mut self) -> Result<(), ReadError> {
        if self.unpaid_bytes < BYTES_PER_PAYMENT {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.unpaid_bytes);
        let wait = self.pace.after(bytes, None, self.session.env.elapsed());
        if wait.is_zero() {
            return Ok(());
        }
        let (env, stop) = (&self.session.env, &self.manner.stop);
        self.session.runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => Err(ReadError::Stopped),
                () = env.sleep(wait) => Ok(()),
            }
        })
    }
}
