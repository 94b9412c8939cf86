//! What happens in a demo, from an empty source to a verified bundle.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::consume::{MemberState, WhenRefused};
use super::count::{Books, Pause, Side};
use super::desk::{Desk, FAMILY, Verb};
use super::estate::{GROUPS, Group, TOPICS};
use super::produce::Production;
use super::report::{DemoReport, MoveReport, Telling, thousands};
use super::stage::{Stage, until};

/// Index in [`GROUPS`] of the group that is evicted, moved back and moved again.
const RANKER: usize = 0;
/// Index in [`GROUPS`] of the group whose owner empties it.
const FEATURES: usize = 1;
/// How many members each group has.
const MEMBERS: [usize; 2] = [3, 2];
/// Records that are there before the link is.
const HISTORY: u64 = 30_000;
/// How long each part may take.
const PART_MAX: Duration = Duration::from_secs(60);
/// How long a group works on a side before it moves on.
const WORK: Duration = Duration::from_millis(1_500);

/// Tells the whole story.
///
/// # Errors
/// A part fails, or takes too long.
pub async fn tell(stage: &mut Stage, telling: &Telling, legacy: Option<&str>) -> Result<DemoReport> {
    open(stage, telling, legacy).await?;
    link(stage, telling).await?;
    let mut moves = move_by_eviction(stage, telling).await?;
    moves.push(move_by_waiting(stage, telling).await?);
    close_the_books(stage, telling, moves, legacy).await
}

/// Topics, producers, and both groups at work on the source.
async fn open(stage: &mut Stage, telling: &Telling, legacy: Option<&str>) -> Result<()> {
    telling.part("The estate");
    match legacy {
        Some(address) => {
            telling.step(&format!("source: Kafka at {address}, cluster {}", stage.estate.source_id()));
            stage.source_is_touched = true;
            stage.estate.clean_source().await?;
        }
        None => telling
            .step("source: an embedded stand-in, a second Towpath broker (a real Kafka: --legacy HOST:PORT)"),
    }
    telling.step(&format!("target: the bundled broker, its data in {}", stage.estate.store()));
    stage.source_is_touched = true;
    stage.estate.create_topics().await?;
    let source = stage.estate.bootstrap(Side::Source).to_owned();
    let books = std::sync::Arc::clone(&stage.books);
    stage.production = Some(Production::start(&source, HISTORY, books, stage.env.clone())?);
    for (group, members) in MEMBERS.into_iter().enumerate() {
        stage.start_members(group, Side::Source, 0..members, WhenRefused::Stop)?;
    }
    until("the producers write their history", PART_MAX, async || {
        producing(stage)?;
        Ok(stage.production.as_ref().is_some_and(Production::is_live).then_some(()))
    })
    .await?;
    let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    let records = stage.books.lock().records();
    telling.step(&format!("{} records in {}, more all the time", thousands(records), topics.join(", ")));
    for (group, members) in MEMBERS.into_iter().enumerate() {
        at_work(stage, group, Side::Source, members).await?;
        let Group { name, assignor, .. } = &GROUPS[group];
        telling.step(&format!("group {name}: {members} members at work on the source ({assignor})"));
    }
    Ok(())
}

/// The service, the link, and a first comparison.
async fn link(stage: &mut Stage, telling: &Telling) -> Result<()> {
    telling.part("Mirror and compare");
    stage.desk = Some(Desk::open(&stage.estate, &stage.env).await?);
    let desk = desk(stage)?;
    desk.link().await?;
    telling.step(&format!("towpath link: family {FAMILY}"));
    let records = until("the mirror catches up", PART_MAX, async || {
        producing(stage)?;
        desk.caught_up().await
    })
    .await?;
    telling.step(&format!("caught up: {} records mirrored at the same offsets", thousands(records)));
    let diff = desk.diff().await?;
    telling.step(&format!(
        "towpath diff: {} records compared, {} differences",
        thousands(diff.records),
        thousands(diff.differences)
    ));
    Ok(())
}

/// Cutover by eviction, rollback, cutover again.
async fn move_by_eviction(stage: &mut Stage, telling: &Telling) -> Result<Vec<Moved>> {
    let (name, members) = (GROUPS[RANKER].name, MEMBERS[RANKER]);
    telling.part(&format!("Move {name}, a live group, by eviction"));
    // One owner switches bootstrap.servers early; the others leave theirs running and start successors.
    stage.stop_members(RANKER, Side::Source, 1).await;
    stage.start_members(RANKER, Side::Target, 0..members, WhenRefused::Restart)?;
    held(stage, telling, RANKER, members).await?;
    let mut moves = vec![cutover(stage, telling, RANKER).await?];
    stage.stop_members(RANKER, Side::Source, members).await;
    stage.env.sleep(WORK).await;

    telling.step(&format!("the owners of {name} start consumers on the source again"));
    stage.start_members(RANKER, Side::Source, members..2 * members, WhenRefused::Restart)?;
    moves.push(moved(stage, telling, RANKER, Verb::Rollback).await?);
    at_work(stage, RANKER, Side::Source, members).await?;
    stage.env.sleep(WORK).await;

    held(stage, telling, RANKER, members).await?;
    for member in stage.members(RANKER, Side::Source) {
        member.replaced();
    }
    moves.push(cutover(stage, telling, RANKER).await?);
    stage.stop_members(RANKER, Side::Source, members).await;
    Ok(moves)
}

/// Cutover of a group whose owner stops the consumers on the source himself.
async fn move_by_waiting(stage: &mut Stage, telling: &Telling) -> Result<Moved> {
    let (name, members) = (GROUPS[FEATURES].name, MEMBERS[FEATURES]);
    telling.part(&format!("Move {name}, whose owners change bootstrap.servers themselves"));
    stage.start_members(FEATURES, Side::Target, 0..members, WhenRefused::Restart)?;
    held(stage, telling, FEATURES, members).await?;
    stage.books.lock().move_begins(FEATURES, Side::Target);
    let id = desk(stage)?.begin(Verb::Cutover, name).await?;
    until("the cutover waits for the group to be empty", PART_MAX, async || {
        desk(stage)?.waits_or_ended(&id).await
    })
    .await?;
    telling.step("the cutover waits; the owners stop their consumers on the source");
    stage.stop_members(FEATURES, Side::Source, members).await;
    finish(stage, telling, FEATURES, (Verb::Cutover, &id)).await
}

async fn cutover(stage: &Stage, telling: &Telling, group: usize) -> Result<Moved> {
    moved(stage, telling, group, Verb::Cutover).await
}

/// Runs a verb over a group to its end.
async fn moved(stage: &Stage, telling: &Telling, group: usize, verb: Verb) -> Result<Moved> {
    stage.books.lock().move_begins(group, verb.to());
    let id = desk(stage)?.begin(verb, GROUPS[group].name).await?;
    finish(stage, telling, group, (verb, &id)).await
}

async fn finish(stage: &Stage, telling: &Telling, group: usize, (verb, id): (Verb, &str)) -> Result<Moved> {
    let name = GROUPS[group].name;
    let service_pause_ms = desk(stage)?.moved(verb, id).await?;
    let number = stage.books.lock().moves(group) - 1;
    until(format!("{name} goes on behind the {verb}"), PART_MAX, async || {
        Ok(stage.books.lock().pause(group, number).map(drop))
    })
    .await?;
    let pause = service_pause_ms.map_or(String::new(), |ms| format!(", {ms} ms without service"));
    telling.step(&format!("towpath {verb} {FAMILY} --group {name}: done{pause}"));
    Ok(Moved { group, number, verb, service_pause_ms })
}

/// A move that is done.
struct Moved {
    group: usize,
    /// The group's first has number 0.
    number: usize,
    verb: Verb,
    service_pause_ms: Option<u64>,
}

impl Moved {
    /// As the consumers saw it.
    fn report(&self, books: &Books) -> MoveReport {
        let pause = books.pause(self.group, self.number);
        let ms = |of: fn(Pause) -> Duration| pause.map_or(0, |pause| of(pause).as_millis() as u64);
        MoveReport {
            group: GROUPS[self.group].name.into(),
            verb: self.verb.to_string(),
            pause_ms: ms(|pause| pause.pause),
            service_pause_ms: self.service_pause_ms,
            overlap_ms: ms(|pause| pause.overlap),
        }
    }
}

/// The shop closes; every group gets the rest; all is compared once more; the evidence is checked.
async fn close_the_books(
    stage: &mut Stage,
    telling: &Telling,
    moves: Vec<Moved>,
    legacy: Option<&str>,
) -> Result<DemoReport> {
    telling.part("Close the books");
    if let Some(mut production) = stage.production.take() {
        tokio::task::spawn_blocking(move || production.stop()).await??;
    }
    let records = stage.books.lock().records();
    telling.step(&format!("the producers stop after {} records", thousands(records)));
    let complete = until("every group has received every record", PART_MAX, async || {
        let books = stage.books.lock();
        Ok((0..GROUPS.len()).all(|group| books.is_complete(group)).then_some(()))
    });
    if let Err(error) = complete.await {
        // The books say how many are missing.
        telling.step(&error.to_string());
    }
    for group in [RANKER, FEATURES] {
        stage.stop_members(group, Side::Target, MEMBERS[group]).await;
    }
    let diff = desk(stage)?.diff().await?;
    telling.step(&format!("towpath diff: {} records compared", thousands(diff.records)));
    let (evidence, evidence_entries) = desk(stage)?.evidence(&stage.estate).await?;
    telling.step(&format!("towpath evidence export, verify: {evidence}"));
    let mut report = DemoReport {
        source: legacy.unwrap_or("embedded stand-in").into(),
        records,
        compared: diff.records,
        differences: diff.differences,
        evidence,
        evidence_entries,
        ..DemoReport::default()
    };
    let books = stage.books.lock();
    report.moves = moves.iter().map(|moved| moved.report(&books)).collect();
    report.count((0..GROUPS.len()).map(|group| books.totals(group)).collect());
    report.seconds = telling.seconds();
    Ok(report)
}

/// Waits until so many members of a group read on a side.
async fn at_work(stage: &Stage, group: usize, side: Side, members: usize) -> Result<()> {
    until(format!("{} is at work", GROUPS[group].name), PART_MAX, async || {
        producing(stage)?;
        let reading = stage.reading(group, side);
        let all_received = stage.members(group, side).all(|member| member.received() > 0);
        Ok((reading == members && all_received).then_some(()))
    })
    .await
}

/// Waits until the target holds so many members, and checks that they noticed nothing.
async fn held(stage: &Stage, telling: &Telling, group: usize, members: usize) -> Result<()> {
    let name = GROUPS[group].name;
    until(format!("{members} members of {name} are held at the target"), PART_MAX, async || {
        Ok((desk(stage)?.held(name).await? >= members).then_some(()))
    })
    .await?;
    if let Some(refused) = stage.members(group, Side::Target).find_map(|member| match member.state() {
        MemberState::Refused(error) => Some(error),
        _ => None,
    }) {
        bail!("a member of {name} that should be held at the target was refused: {refused}");
    }
    telling.step(&format!("{members} consumers of {name} wait at the target: held, no error, no record"));
    Ok(())
}

fn producing(stage: &Stage) -> Result<()> {
    match &stage.production {
        Some(production) if production.has_ended() => bail!("the producers gave up"),
        _ => Ok(()),
    }
}

fn desk(stage: &Stage) -> Result<&Desk> {
    stage.desk.as_ref().context("the linking service does not run")
}
