//! All that runs during a demo, in one place, so that it ends in order whatever happens.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use parking_lot::Mutex;
use tokio::time::timeout;
use towpath_env::Env;

use super::consume::{Member, MemberSpec, MemberState, WhenRefused};
use super::count::{Books, Side};
use super::desk::Desk;
use super::estate::{Estate, GROUPS};
use super::produce::Production;

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a member may take to leave its group and end.
const MEMBER_END_MAX: Duration = Duration::from_secs(15);

/// What runs.
pub struct Stage {
    /// Both clusters.
    pub estate: Estate,
    /// Clock.
    pub env: Env,
    /// What everybody counts in.
    pub books: Arc<Mutex<Books>>,
    /// The producers, once they run.
    pub production: Option<Production>,
    /// The linking service, once it runs.
    pub desk: Option<Desk>,
    /// Consumers that run or have ended.
    pub members: Vec<Member>,
    /// Whether something was created at the source.
    pub source_is_touched: bool,
}

impl Stage {
    /// Nothing runs yet but the clusters.
    pub fn new(estate: Estate, env: Env) -> Stage {
        let groups: Vec<(&str, &[usize])> = GROUPS.iter().map(|group| (group.name, group.topics)).collect();
        let books = Arc::new(Mutex::new(Books::new(&groups)));
        Stage {
            estate,
            env,
            books,
            production: None,
            desk: None,
            members: Vec::new(),
            source_is_touched: false,
        }
    }

    /// Starts consumers `numbers` of a group on `side`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start_members(
        &mut self,
        group: usize,
        side: Side,
        numbers: std::ops::Range<usize>,
        when_refused: WhenRefused,
    ) -> Result<()> {
        for number in numbers {
            let label = if side == Side::Source { "source" } else { "target" };
            let spec = MemberSpec {
                group,
                name: format!("{}-{label}-{number}", GROUPS[group].name),
                side,
                bootstrap: self.estate.bootstrap(side).to_owned(),
                when_refused,
            };
            self.members.push(Member::start(spec, Arc::clone(&self.books), self.env.clone())?);
        }
        Ok(())
    }

    /// Members of a group on `side` that were not asked to end.
    pub fn members(&self, group: usize, side: Side) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.spec.group == group && member.spec.side == side)
    }

    /// How many members of a group read on `side`.
    pub fn reading(&self, group: usize, side: Side) -> usize {
        self.members(group, side).filter(|it| matches!(it.state(), MemberState::Reading(_))).count()
    }

    /// Stops up to `count` members of a group on `side` and waits until they have left.
    pub async fn stop_members(&mut self, group: usize, side: Side, count: usize) {
        let mut stopping = Vec::new();
        let mut kept = Vec::new();
        for member in self.members.drain(..) {
            let is_one = member.spec.group == group && member.spec.side == side && stopping.len() < count;
            if is_one { stopping.push(member) } else { kept.push(member) }
        }
        self.members = kept;
        end_all(stopping).await;
    }

    /// Ends everything in order: producers, consumers, the linking service, what the source keeps, the brokers.
    ///
    /// # Errors
    /// The source could not be cleaned.
    pub async fn close(mut self) -> Result<()> {
        if let Some(mut production) = self.production.take() {
            // Its outcome counted where the story asked for it.
            let _ = tokio::task::spawn_blocking(move || production.stop()).await;
        }
        end_all(std::mem::take(&mut self.members)).await;
        if let Some(desk) = self.desk.take() {
            desk.close().await;
        }
        let cleaned = match self.source_is_touched && self.estate.is_legacy() {
            true => self.estate.clean_source().await,
            false => Ok(()),
        };
        self.estate.stop().await;
        cleaned
    }
}

async fn end_all(mut members: Vec<Member>) {
    for member in &members {
        member.ask_to_stop();
    }
    for member in &mut members {
        if timeout(MEMBER_END_MAX, member.ended()).await.is_err() {
            tracing::info!("{} does not end", member.spec.name);
        }
    }
}

/// Waits until `look` finds something.
///
/// # Errors
/// `look` fails, or finds nothing within `max`.
pub async fn until<T>(
    what: impl Display,
    max: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let found = timeout(max, async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => bail!("{what}: not within {} s", max.as_secs()),
    }
}
