//! A proxy between a broker and its store that does to requests what networks and busy stores do: by chance, from a
//! seed, or by a script. It reads one request, decides its fate, and gives each answer on a connection of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use towpath_env::Env;

use crate::ports::Port;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A slow answer comes in so many pieces.
const SLOW_PIECES: usize = 20;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with 503 SlowDown, not passed on.
    SlowDown,
    /// Passed on after so long.
    Delay(Duration),
    /// Passed on at once, answered piece by piece over so long.
    SlowAnswer(Duration),
    /// The connection is reset before the request was passed on.
    ResetBefore,
    /// The request takes effect, and the connection is reset instead of an answer: an unknown outcome.
    ResetAfter,
}

/// What happens to requests by chance: how often of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// [`Fault::SlowDown`].
    pub slow_downs: u32,
    /// [`Fault::ResetBefore`].
    pub resets_before: u32,
    /// [`Fault::ResetAfter`].
    pub resets_after: u32,
    /// [`Fault::Delay`] of up to `delay_max`.
    pub delays: u32,
    /// [`Fault::SlowAnswer`] of up to `delay_max`.
    pub slow_answers: u32,
    /// Longest delay and slowest answer.
    pub delay_max: Duration,
    /// Every connection is reset at once.
    pub outage: bool,
}

impl Weather {
    /// Every fault now and then: what a kill run with faults has.
    pub const ROUGH: Weather = Weather {
        slow_downs: 50,
        resets_before: 30,
        resets_after: 30,
        delays: 100,
        slow_answers: 20,
        delay_max: Duration::from_millis(300),
        outage: false,
    };
}

/// The next request whose method and path fit meets a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// `PUT`, `GET`, …
    pub method: &'static str,
    /// A part of its path.
    pub path_part: String,
    /// What it meets.
    pub fault: Fault,
}

/// What came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were read.
    pub requests: u64,
    /// Those that met a fault.
    pub faults: u64,
    /// Connections refused in an outage.
    pub refused: u64,
}

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    fates: Arc<Fates>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Fates {
    upstream: String,
    env: Env,
    weather: Mutex<Weather>,
    script: Mutex<VecDeque<Scripted>>,
    counts: Mutex<Counts>,
}

impl Proxy {
    /// Starts a proxy to the server at `upstream`, in fair weather.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream: String, seed: u64) -> Result<Proxy> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind(port.address()).await?;
        let fates = Arc::new(Fates {
            upstream,
            env: Env::seeded(seed, 0),
            weather: Mutex::default(),
            script: Mutex::default(),
            counts: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, fates.clone()));
        Ok(Proxy { port, fates, task })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Another weather from the next request on.
    pub fn set_weather(&self, weather: Weather) {
        *self.fates.weather.lock() = weather;
    }

    /// One more scripted fault, behind those that still wait for their request.
    pub fn script(&self, scripted: Scripted) {
        self.fates.script.lock().push_back(scripted);
    }

    /// Scripted faults that still wait for their request.
    pub fn scripted_left(&self) -> usize {
        self.fates.script.lock().len()
    }

    /// What came by so far.
    pub fn counts(&self) -> Counts {
        *self.fates.counts.lock()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fates {
    fn of(&self, request: &Request) -> Option<Fault> {
        let mut script = self.script.lock();
        let fits = |scripted: &Scripted| {
            scripted.method == request.method && request.path.contains(&scripted.path_part)
        };
        if let Some(at) = script.iter().position(fits) {
            return script.remove(at).map(|scripted| scripted.fault);
        }
        let weather = *self.weather.lock();
        let some_delay = || {
            let max_ms = weather.delay_max.as_millis() as u64;
            Duration::from_millis(self.env.random_u64() % (max_ms + 1))
        };
        let kinds = [
            (weather.slow_downs, Fault::SlowDown),
            (weather.resets_before, Fault::ResetBefore),
            (weather.resets_after, Fault::ResetAfter),
            (weather.delays, Fault::Delay(some_delay())),
            (weather.slow_answers, Fault::SlowAnswer(some_delay())),
        ];
        let mut left = (self.env.random_u64() % 1_000) as u32;
        for (share, fault) in kinds {
            if left < share {
                return Some(fault);
            }
            left -= share;
        }
        None
    }
}

async fn serve(listener: TcpListener, fates: Arc<Fates>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if fates.weather.lock().outage {
            fates.counts.lock().refused += 1;
            reset(stream);
            continue;
        }
        let fates = fates.clone();
        // A client that goes away, or a server that is stopped, is no fault of the proxy's.
        connections.spawn(async move { drop(exchange(stream, &fates).await) });
    }
}

/// One request and its fate.
async fn exchange(mut client: TcpStream, fates: &Fates) -> Result<()> {
    let request = Request::read(&mut client).await?;
    let fault = fates.of(&request);
    {
        let mut counts = fates.counts.lock();
        counts.requests += 1;
        counts.faults += u64::from(fault.is_some());
    }
    match fault {
        Some(Fault::SlowDown) => return Ok(client.write_all(SLOW_DOWN.as_bytes()).await?),
        Some(Fault::ResetBefore) => {
            reset(client);
            return Ok(());
        }
        Some(Fault::Delay(delay)) => fates.env.sleep(delay).await,
        Some(Fault::SlowAnswer(_) | Fault::ResetAfter) | None => {}
    }
    let answer = request.pass_to(&fates.upstream).await;
    if fates.weather.lock().outage {
        reset(client);
        return Ok(());
    }
    let answer = answer?;
    match fault {
        Some(Fault::ResetAfter) => reset(client),
        Some(Fault::SlowAnswer(over)) => {
            for piece in answer.chunks(answer.len().div_ceil(SLOW_PIECES).max(1)) {
                client.write_all(piece).await?;
                fates.env.sleep(over / SLOW_PIECES as u32).await;
            }
        }
        _ => client.write_all(&answer).await?,
    }
    Ok(())
}

const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 79\r\n\
                         Connection: close\r\n\r\n\
                         <Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";

/// Ends a connection so that its peer sees a reset.
fn reset(stream: TcpStream) {
    // A connection that is gone is what was wanted.
    let _ = stream.set_zero_linger();
}

/// A request, whole.
struct Request {
    method: String,
    path: String,
    /// As it came, without what it says of its connection.
    bytes: Vec<u8>,
}

impl Request {
    async fn read(stream: &mut TcpStream) -> Result<Request> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
                bail!("no whole head of a request");
            }
        };
        let body = bytes.split_off(head_end);
        let head = String::from_utf8(bytes).context("a head is text")?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let mut length = 0;
        let mut passed = format!("{first}\r\n");
        for line in lines {
            let (name, value) = line.split_once(':').context("a header has a colon")?;
            match name.to_ascii_lowercase().as_str() {
                "connection" => continue,
                "content-length" => length = value.trim().parse().context("a length is a number")?,
                "transfer-encoding" => bail!("a request in chunks"),
                _ => {}
            }
            passed.push_str(line);
            passed.push_str("\r\n");
        }
        passed.push_str("Connection: close\r\n\r\n");
        let mut bytes = passed.into_bytes();
        let whole = bytes.len() + length;
        bytes.extend(body);
        while bytes.len() < whole {
            if stream.read_buf(&mut bytes).await? == 0 {
                bail!("no whole body of a request");
            }
        }
        Ok(Request { method, path, bytes })
    }

    /// The answer, whole; the server closes the connection behind it.
    async fn pass_to(&self, upstream: &str) -> Result<Vec<u8>> {
        let mut server = TcpStream::connect(upstream).await?;
        server.write_all(&self.bytes).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}
