//! Starting: on nothing, and after a kill with data that was acknowledged a moment ago.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::future::LocalBoxFuture;
use towpath_env::Env;
use towpath_tests::folder::Folder;
use towpath_tests::mirroring::ends;

use super::super::contender::Contender;
use super::super::cores::on_broker_cores;
use super::super::load::batches::Batches;
use super::super::proc::resident_mb;
use super::super::results::{Metric, Values, Who};
use super::super::turn::{Turn, values};
use super::{BATCH_BYTES, BROKERS, PARTITIONS, RECORD_BYTES, Scenario};

/// More than is written: nothing is uploaded before the kill, all of it lies in the write-ahead log.
const UNUPLOADED_BYTES: u64 = 4 << 30;
const AGE_MS: u64 = 3_600_000;
/// A GiB, of the usual amount.
const GIB_OF_BULK: f64 = 1.073_741_824;

pub const SCENARIO: Scenario = Scenario {
    name: "start",
    title: "Start, and start after SIGKILL",
    about: "A fresh broker, from the start of its process until it answers; its memory once it is quiet. Then 1 GiB is \
            written to six partitions, which Towpath is told not to upload, the broker is killed, and started again: \
            until it tells the right end of every partition.",
    who: BROKERS,
    metrics: &[
        Metric::less("start_s", "start on nothing, s"),
        Metric::less("idle_mb", "memory when idle, MB"),
        Metric::less("restart_s", "start after SIGKILL, s"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &mut Turn<'_>) -> Result<Values> {
    let (folder, settings, pinned) = (Folder::new("towpath-bench-")?, turn.settings, turn.pinned);
    let keep: BTreeMap<String, u64> = [
        ("unuploaded_bytes_max", UNUPLOADED_BYTES),
        ("segment_bytes", UNUPLOADED_BYTES),
        ("segment_age_max_ms", AGE_MS),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let env = Env::real();
    let mut fresh = on_broker_cores(pinned, async || match turn.who {
        Who::Towpath => Contender::towpath(settings, folder.path(), &keep).await,
        _ => Contender::kafka(settings).await,
    })
    .await?;
    let start_s = env.elapsed().as_secs_f64();
    fresh.quiet().await?;
    let idle_mb = resident_mb(fresh.process_id)?;

    let batches = Batches::new(RECORD_BYTES, BATCH_BYTES)?;
    let topic = turn.topic();
    let expected = {
        let turn = Turn { contender: Some(&mut fresh), ..*turn };
        turn.create(&topic, PARTITIONS).await?;
        let bytes = (turn.sizes.bulk_mb as f64 * 1e6 * GIB_OF_BULK) as u64;
        turn.fill_with(&topic, PARTITIONS, &batches, bytes).await?;
        ends(turn.client()?, &topic).await?
    };
    let restarted = on_broker_cores(pinned, async || fresh.kill_and_start(&topic, &expected).await).await?;
    fresh.stop().await?;
    Ok(values([("start_s", start_s), ("idle_mb", idle_mb), ("restart_s", restarted.as_secs_f64())]))
}
