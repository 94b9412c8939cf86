//! The one task of a broker that appends to the metadata log and replays it.
//!
//! Proposals are judged against the image at the end of the log and appended to exactly that end; when another
//! broker was there first, its entries are replayed and the proposals judged anew. So what is appended is valid
//! where it stands, and a refusal is one that the log itself would have given.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use towpath_env::Env;
use towpath_shared_log::{Appended, LogError, Polling, SharedLog, Tail};

use super::checkpoint;
use super::entry::codec::{decode_slot, encode_group, encode_slot};
use super::entry::{ClusterCreated, Entry, Rejection};
use super::image::Image;
use super::service::{OpenError, ProposeError, Published};

/// A checkpoint is written every so many slots: what a start replays beside the checkpoint is at most about this.
const CHECKPOINT_EVERY: u64 = 1_000;
/// Proposals are gathered into one slot up to this size.
const SLOT_BYTES_MAX: usize = 4 << 20;

/// What the handles ask of the writer.
pub(super) enum Request {
    Propose(Proposal),
    Refresh(oneshot::Sender<Answer>),
    SetPolling(Polling, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// Entries that take effect together.
pub(super) struct Proposal {
    pub(super) entries: Vec<Entry>,
    pub(super) encoded: Bytes,
    pub(super) reply: oneshot::Sender<Answer>,
}

type Answer = Result<Arc<Image>, ProposeError>;

pub(super) struct Writer {
    log: SharedLog,
    env: Env,
    node_id: i32,
    published: Arc<Published>,
    /// The image at the end of the log as far as it is read. Shared with the readers.
    image: Arc<Image>,
    tail: Tail,
    polling: Option<Polling>,
    /// The `upto` of the newest checkpoint that is known.
    checkpointed: u64,
    checkpointing: Option<JoinHandle<()>>,
}

impl Writer {
    /// Replays the log to its end and sees to the cluster's id.
    pub(super) async fn start(
        log: SharedLog,
        env: Env,
        node_id: i32,
        published: Arc<Published>,
    ) -> Result<Writer, OpenError> {
        let mut writer = Writer::at_the_end(log, env, node_id, published).await?;
        writer.log.nothing_behind(writer.image.version).await?;
        while writer.image.cluster_id.is_empty() {
            let cluster_id = URL_SAFE_NO_PAD.encode(writer.env.uuid().as_bytes());
            let created = ClusterCreated { cluster_id, store_id: writer.env.uuid() };
            let slot = encode_slot(&[encode_group(&[created.into()])]);
            writer.log.append_at(writer.image.version, slot).await?;
            writer.catch_up().await?;
        }
        writer.publish();
        writer.checkpoint_when_due().await;
        Ok(writer)
    }

    /// The image at the end of the log. Writes nothing.
    pub(super) async fn replayed(log: SharedLog, env: Env) -> Result<Arc<Image>, OpenError> {
        let nobody = -1;
        let writer = Writer::at_the_end(log, env, nobody, Arc::new(Published::new())).await?;
        Ok(writer.image)
    }

    async fn at_the_end(
        log: SharedLog,
        env: Env,
        node_id: i32,
        published: Arc<Published>,
    ) -> Result<Writer, OpenError> {
        let tail = Tail::new(Polling::Never);
        let image = Arc::default();
        let mut writer = Writer {
            log,
            env,
            node_id,
            published,
            image,
            tail,
            polling: None,
            checkpointed: 0,
            checkpointing: None,
        };
        writer.load_checkpoint().await?;
        writer.catch_up().await?;
        Ok(writer)
    }

    /// Serves until every handle is dropped or one asks to close.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    None => break,
                    Some(request) => {
                        let batch = gather(request, &mut queue);
                        if let Some(closed) = self.serve(batch).await {
                            self.finish_checkpoint().await;
                            let _ = closed.send(());
                            return;
                        }
                    }
                },
                () = self.tail.due(&self.env) => {
                    let found = self.catch_up_and_publish().await;
                    if let Err(error) = &found {
                        tracing::warn!(%error, "the metadata log cannot be followed; trying again");
                    }
                    self.tail.found(found.unwrap_or(false));
                }
            }
        }
        self.finish_checkpoint().await;
    }

    async fn serve(&mut self, batch: Batch) -> Option<oneshot::Sender<()>> {
        if let Some((polling, reply)) = batch.polling {
            self.polling = Some(polling);
            self.tail.set(polling);
            let _ = reply.send(());
        }
        let refreshed = if batch.refreshes.is_empty() {
            None
        } else {
            Some(self.catch_up_and_publish().await.map(drop).map_err(Arc::new))
        };
        for reply in batch.refreshes {
            let answer = match &refreshed {
                Some(Err(error)) => Err(ProposeError::Log(error.clone())),
                _ => Ok(self.image.clone()),
            };
            let _ = reply.send(answer);
        }
        if !batch.proposals.is_empty() {
            self.append(batch.proposals).await;
            self.checkpoint_when_due().await;
        }
        batch.close
    }

    /// Brings the proposals into the log or refuses them; every one is answered.
    async fn append(&mut self, proposals: Vec<Proposal>) {
        let mut at_end = false;
        loop {
            let (next, verdicts) = self.judge(&proposals);
            let refuses = verdicts.iter().any(Result::is_err);
            // A refusal counts only at the end of the log: the image may lag behind other brokers.
            if refuses && !at_end {
                at_end = true;
                match self.catch_up_and_publish().await {
                    Ok(false) => {}
                    Ok(true) => continue,
                    Err(error) => return fail_all(proposals, &ProposeError::Log(Arc::new(error))),
                }
            }
            let accepted = proposals.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
            let groups = accepted.map(|(proposal, _)| proposal.encoded.clone()).collect::<Vec<_>>();
            if groups.is_empty() {
                return self.answer(proposals, verdicts);
            }
            match self.log.append_at(self.image.version, encode_slot(&groups)).await {
                Ok(Appended::Written) => {
                    self.image = Arc::new(next);
                    self.publish();
                    return self.answer(proposals, verdicts);
                }
                Ok(Appended::Taken) => {
                    at_end = true;
                    self.tail.found(true);
                    if let Err(error) = self.catch_up_and_publish().await {
                        return fail_all(proposals, &ProposeError::Log(Arc::new(error)));
                    }
                }
                // Refusals too: they may rest on an entry of this very batch.
                Err(error @ LogError::Unknown { .. }) => {
                    return fail_all(proposals, &ProposeError::Unknown(Arc::new(error)));
                }
                Err(error) => return fail_all(proposals, &ProposeError::Log(Arc::new(error))),
            }
        }
    }

    /// What appending these at the next slot would give.
    fn judge(&self, proposals: &[Proposal]) -> (Image, Vec<Result<(), Rejection>>) {
        let mut next = Image::clone(&self.image);
        let verdicts = proposals.iter().map(|proposal| apply_group(&mut next, &proposal.entries)).collect();
        next.version += 1;
        (next, verdicts)
    }

    fn answer(&self, proposals: Vec<Proposal>, verdicts: Vec<Result<(), Rejection>>) {
        for (proposal, verdict) in proposals.into_iter().zip(verdicts) {
            let _ = proposal.reply.send(verdict.map(|()| self.image.clone()).map_err(ProposeError::Rejected));
        }
    }

    async fn catch_up_and_publish(&mut self) -> Result<bool, LogError> {
        let before = self.image.version;
        let result = self.catch_up().await;
        if self.image.version != before {
            self.publish();
        }
        match result {
            Ok(()) => Ok(self.image.version != before),
            Err(OpenError::Log(error)) => Err(error),
            Err(OpenError::Unreadable { index, .. }) => Err(LogError::Corrupt {
                index,
                path: self.log.prefix().to_owned(),
                reason: "it does not read: a newer version may have written it",
            }),
        }
    }

    /// Replays what stands behind the image, to the end of the log.
    async fn catch_up(&mut self) -> Result<(), OpenError> {
        loop {
            let entries = match self.log.read_from(self.image.version).await {
                Ok(entries) => entries,
                // This broker slept through a trim: what it missed is in a checkpoint.
                Err(error @ LogError::Trimmed { .. }) => {
                    let before = self.image.version;
                    self.load_checkpoint().await?;
                    if self.image.version <= before {
                        return Err(error.into());
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if entries.is_empty() {
                return Ok(());
            }
            for (index, payload) in entries {
                self.replay(index, payload)?;
            }
        }
    }

    fn replay(&mut self, index: u64, payload: Bytes) -> Result<(), OpenError> {
        let groups = decode_slot(payload);
        let groups = groups.map_err(|error| OpenError::Unreadable { index, reason: error.0.to_owned() })?;
        let image = Arc::make_mut(&mut self.image);
        for group in groups {
            if let Err(rejection) = apply_group(image, &group) {
                tracing::debug!(index, %rejection, "an entry of the metadata log takes no effect");
            }
        }
        image.version = index + 1;
        Ok(())
    }

    async fn load_checkpoint(&mut self) -> Result<(), OpenError> {
        let Some((upto, body)) = self.log.latest_checkpoint().await? else { return Ok(()) };
        let image = checkpoint::decode(upto, body);
        let image =
            image.map_err(|error| OpenError::Unreadable { index: upto, reason: error.0.to_owned() })?;
        self.image = Arc::new(image);
        self.checkpointed = upto;
        Ok(())
    }

    fn publish(&mut self) {
        self.published.publish(self.image.clone());
        let alone = self.image.brokers.keys().all(|node_id| *node_id == self.node_id);
        let by_rule = if alone { Polling::Never } else { Polling::ADAPTIVE };
        self.tail.set(self.polling.unwrap_or(by_rule));
    }

    /// Writes a checkpoint beside the work, and gives up what the one before made needless: readers that are a
    /// little behind still find their entries.
    async fn checkpoint_when_due(&mut self) {
        if self.image.version - self.checkpointed < CHECKPOINT_EVERY {
            return;
        }
        if self.checkpointing.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        self.finish_checkpoint().await;
        let (log, image, before) = (self.log.clone(), self.image.clone(), self.checkpointed);
        self.checkpointed = image.version;
        self.checkpointing = Some(tokio::spawn(async move {
            let upto = image.version;
            let written = async {
                let body = match tokio::task::spawn_blocking(move || checkpoint::encode(&image)).await {
                    Ok(body) => body,
                    Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
                    Err(_) => return Ok(()), // the runtime is going down
                };
                log.checkpoint(upto, body).await?;
                log.trim(before).await
            };
            if let Err(error) = written.await {
                tracing::warn!(%error, upto, "no checkpoint of the metadata; the next is tried in time");
            }
        }));
    }

    async fn finish_checkpoint(&mut self) {
        // A panic in it is one of the writer, which stops the broker: without checkpoints the log grows for ever.
        if let Some(running) = self.checkpointing.take()
            && let Err(ended) = running.await
            && ended.is_panic()
        {
            std::panic::resume_unwind(ended.into_panic());
        }
    }
}

/// Applies entries that take effect together or not at all.
fn apply_group(image: &mut Image, entries: &[Entry]) -> Result<(), Rejection> {
    if let [entry] = entries {
        return image.apply(entry);
    }
    let before = image.clone();
    for entry in entries {
        if let Err(rejection) = image.apply(entry) {
            *image = before;
            return Err(rejection);
        }
    }
    Ok(())
}

fn fail_all(proposals: Vec<Proposal>, error: &ProposeError) {
    for proposal in proposals {
        let _ = proposal.reply.send(Err(error.clone()));
    }
}

/// What is served at once.
#[derive(Default)]
struct Batch {
    proposals: Vec<Proposal>,
    refreshes: Vec<oneshot::Sender<Answer>>,
    polling: Option<(Polling, oneshot::Sender<()>)>,
    close: Option<oneshot::Sender<()>>,
}

/// Takes what waits in the queue, up to what fits a slot.
fn gather(first: Request, queue: &mut mpsc::Receiver<Request>) -> Batch {
    let (mut batch, mut bytes, mut next) = (Batch::default(), 0, Some(first));
    while let Some(request) = next {
        match request {
            Request::Propose(proposal) => {
                bytes += proposal.encoded.len();
                batch.proposals.push(proposal);
            }
            Request::Refresh(reply) => batch.refreshes.push(reply),
            Request::SetPolling(polling, reply) => batch.polling = Some((polling, reply)),
            Request::Close(reply) => {
                batch.close = Some(reply);
                return batch;
            }
        }
        next = if bytes < SLOT_BYTES_MAX { queue.try_recv().ok() } else { None };
    }
    batch
}
