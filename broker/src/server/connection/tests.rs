use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prometheus::{IntGauge, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Limits;
use crate::server::budget::ByteBudget;
use crate::server::response::head;

/// Produce: pipelines here too.
const PRODUCE: i16 = 0;
/// Metadata, version 0: does not.
const METADATA: i16 = 3;
/// Answered once the test says so.
const ORDERING: i16 = 1;

/// Started requests, each with what releases its answer.
type Releases = mpsc::UnboundedReceiver<(i32, oneshot::Sender<Answer>)>;

/// Hands every request to the test.
struct Scripted {
    started: mpsc::UnboundedSender<(i32, oneshot::Sender<Answer>)>,
    /// Ordered parts of [`ORDERING`] requests end when the test drops its lock.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Handler for Scripted {
    fn start(&mut self, request: Request) -> Started {
        let (release, answer) = oneshot::channel();
        self.started.send((request.head.correlation_id, release)).unwrap();
        let answer = async { answer.await.unwrap() }.boxed();
        if request.head.api_key != ORDERING {
            return Started::Ordered(answer);
        }
        Started::Ordering(gated(Arc::clone(&self.gate), answer).boxed())
    }

    fn pipelines(&self, api_key: i16) -> bool {
        matches!(api_key, PRODUCE | ORDERING)
    }
}

async fn gated(
    gate: Arc<tokio::sync::Mutex<()>>,
    answer: BoxFuture<'static, Answer>,
) -> BoxFuture<'static, Answer> {
    let _open = gate.lock().await;
    answer
}

struct Bench {
    client: DuplexStream,
    started: Releases,
    gate: Arc<tokio::sync::Mutex<()>>,
    stopping: CancellationToken,
    closed: CancellationToken,
    inflight_bytes: IntGauge,
    ended: JoinHandle<CloseReason>,
}

fn bench(inflight_max: usize) -> Bench {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (started, releases) = mpsc::unbounded_channel();
    let (stopping, inflight_bytes) = (CancellationToken::new(), IntGauge::new("held", "held").unwrap());
    let closed = stopping.child_token();
    let gate = Arc::default();
    let context = ConnectionContext {
        read: ReadLimits {
            bytes_max: 1024,
            idle_timeout: Duration::from_secs(600),
            frame_timeout: Duration::from_secs(30),
            budget: ByteBudget::new(4096, inflight_bytes.clone()),
        },
        write_timeout: Duration::from_secs(60),
        inflight_max,
        stopping: stopping.clone(),
        closed: closed.clone(),
        metrics: ServerMetrics::new(&Registry::new(), &Limits::default()).unwrap(),
        env: Env::seeded(1, 0),
    };
    let (reader, writer) = tokio::io::split(server);
    let handler = Scripted { started, gate: Arc::clone(&gate) };
    let ended = tokio::spawn(Connection::new(reader, writer, handler, context).run());
    Bench { client, started: releases, gate, stopping, closed, inflight_bytes, ended }
}

impl Bench {
    async fn send(&mut self, api_key: i16, correlation_id: i32) {
        let mut frame = Vec::new();
        frame.put_i32(10);
        frame.put_i16(api_key);
        // A version whose header is not flexible.
        frame.put_i16(if api_key == METADATA { 0 } else { 4 });
        frame.put_i32(correlation_id);
        frame.put_i16(-1);
        self.client.write_all(&frame).await.unwrap();
    }

    async fn next_started(&mut self) -> (i32, oneshot::Sender<Answer>) {
        self.started.recv().await.unwrap()
    }

    /// Lets everything that can run do so: on a paused clock this returns once all tasks wait.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn read_correlation_id(&mut self) -> i32 {
        assert_eq!(self.client.read_i32().await.unwrap(), 4);
        self.client.read_i32().await.unwrap()
    }
}

fn send(correlation_id: i32) -> Answer {
    Answer::Send(Response::frame(head(correlation_id, 0, 0), Vec::<Bytes>::new()))
}

#[tokio::test(start_paused = true)]
async fn produces_start_before_the_first_is_durable_and_are_answered_in_order() {
    let mut bench = bench(10);
    for id in 1..=3 {
        bench.send(PRODUCE, id).await;
    }
    let (one, release_one) = bench.next_started().await;
    let (two, release_two) = bench.next_started().await;
    let (three, release_three) = bench.next_started().await;
    assert_eq!((one, two, three), (1, 2, 3));
    release_three.send(send(3)).ok();
    release_two.send(Answer::Silent).ok();
    bench.settle().await;
    assert!(bench.client.read_i32().now_or_never().is_none(), "answered before the first");
    release_one.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    assert_eq!(bench.read_correlation_id().await, 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_produces_are_in_flight_than_the_bound() {
    let mut bench = bench(2);
    for id in 1..=3 {
        bench.send(PRODUCE, id).await;
    }
    let (_, release) = bench.next_started().await;
    let _second = bench.next_started().await;
    bench.settle().await;
    assert!(bench.started.try_recv().is_err());
    release.send(send(1)).ok();
    assert_eq!(bench.next_started().await.0, 3);
}

#[tokio::test(start_paused = true)]
async fn any_other_request_waits_for_those_before_it_and_holds_up_those_behind_it() {
    let mut bench = bench(10);
    for (api_key, id) in [(PRODUCE, 1), (METADATA, 2), (PRODUCE, 3)] {
        bench.send(api_key, id).await;
    }
    for expected in 1..=3 {
        let (id, release) = bench.next_started().await;
        assert_eq!(id, expected);
        bench.settle().await;
        assert!(bench.started.try_recv().is_err(), "started behind {expected}");
        release.send(send(id)).ok();
        assert_eq!(bench.read_correlation_id().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_ordered_part_is_not_overtaken() {
    let mut bench = bench(10);
    let gate = Arc::clone(&bench.gate);
    let shut = gate.lock().await;
    bench.send(ORDERING, 1).await;
    bench.send(PRODUCE, 2).await;
    let (_, release) = bench.next_started().await;
    bench.settle().await;
    assert!(bench.started.try_recv().is_err());
    drop(shut);
    let (id, release_next) = bench.next_started().await;
    assert_eq!(id, 2);
    release_next.send(send(2)).ok();
    release.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    assert_eq!(bench.read_correlation_id().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_frame_ends_the_connection_after_the_answers_before_it() {
    let mut bench = bench(10);
    bench.send(PRODUCE, 1).await;
    bench.client.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
    let (_, release) = bench.next_started().await;
    bench.closed.cancelled().await;
    release.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    assert_eq!(bench.ended.await.unwrap().label(), "frame_size");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_its_long_wait() {
    let mut bench = bench(10);
    bench.send(METADATA, 1).await;
    let (_, release) = bench.next_started().await;
    bench.client.shutdown().await.unwrap();
    bench.closed.cancelled().await;
    release.send(send(1)).ok();
    assert_eq!(bench.ended.await.unwrap().label(), "client");
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_is_in_flight_and_takes_nothing_more() {
    let mut bench = bench(10);
    bench.send(PRODUCE, 1).await;
    let (_, release) = bench.next_started().await;
    bench.stopping.cancel();
    bench.settle().await;
    bench.send(PRODUCE, 2).await;
    release.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    assert_eq!(bench.ended.await.unwrap().label(), "stopping");
    assert!(bench.started.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_is_not_idle_and_who_asks_nothing_is() {
    let mut bench = bench(10);
    bench.send(METADATA, 1).await;
    let (_, release) = bench.next_started().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!bench.ended.is_finished());
    release.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    assert_eq!(bench.ended.await.unwrap().label(), "idle");
}

#[tokio::test(start_paused = true)]
async fn a_requests_bytes_are_in_flight_until_it_is_answered() {
    let mut bench = bench(10);
    bench.send(PRODUCE, 1).await;
    let (_, release) = bench.next_started().await;
    assert_eq!(bench.inflight_bytes.get(), 10);
    release.send(send(1)).ok();
    assert_eq!(bench.read_correlation_id().await, 1);
    bench.settle().await;
    assert_eq!(bench.inflight_bytes.get(), 0);
}
