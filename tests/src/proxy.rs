//! A proxy before an S3 server that spoils requests and answers as a bad network and a bad server do.
//!
//! Owns which fault hits which request: that follows from the seed, the request and how often it came before, not from
//! the order among others. Each connection carries one request.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What may happen to a request or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// 500, and nothing was done.
    ServerError,
    /// 503 with `SlowDown`, and nothing was done.
    SlowDown,
    /// 429, and nothing was done.
    TooMany,
    /// The connection is reset before anything was done.
    Reset,
    /// Nobody ever answers, and nothing was done.
    Blackhole,
    /// It was done, and the connection is closed without an answer.
    LostAnswer,
    /// It was done, and the answer never comes.
    HeldAnswer,
    /// The answer comes late.
    Late,
    /// The body comes in pieces with pauses.
    SlowBody,
    /// The body ends before its length.
    ShortBody,
    /// The body stops in the middle, and the connection stays.
    StalledBody,
    /// One bit of an object's bytes is another.
    FlippedBit,
    /// The entity tag is another.
    WrongTag,
    /// A list of objects as it was when it was first asked for.
    StaleList,
}

impl Fault {
    const EVERYWHERE: [Self; 6] =
        [Self::ServerError, Self::SlowDown, Self::TooMany, Self::Reset, Self::Blackhole, Self::Late];
    const CHANGES: [Self; 2] = [Self::LostAnswer, Self::HeldAnswer];
    const READS: [Self; 6] =
        [Self::SlowBody, Self::ShortBody, Self::StalledBody, Self::FlippedBit, Self::WrongTag, Self::StaleList];
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing is spoilt.
    Clear,
    /// So many requests of a hundred are.
    Storm(u64),
    /// Every put is done, and no answer to one comes.
    PutsUnanswered,
    /// Every other time an object is read, one bit is another.
    FlippedBits,
    /// Every connection is reset.
    Outage,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    sky: Arc<Sky>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Sky {
    seed: u64,
    upstream: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    /// How often each request came.
    seen: HashMap<String, u64>,
    fired: BTreeMap<Fault, u64>,
    lists: HashMap<String, Vec<u8>>,
}

impl Proxy {
    /// Starts one before the server at `upstream`, in clear weather.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(upstream: &str, seed: u64) -> Self {
        let state =
            State { weather: Weather::Clear, seen: HashMap::new(), fired: BTreeMap::new(), lists: HashMap::new() };
        let sky = Arc::new(Sky { seed, upstream: upstream.to_owned(), state: Mutex::new(state) });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        runtime.spawn(listen(listener, Arc::clone(&sky)));
        Self { address, sky, runtime: Some(runtime) }
    }

    /// Changes the weather.
    pub fn turn(&self, weather: Weather) {
        self.sky.state().weather = weather;
    }

    /// How often each fault happened.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        self.sky.state().fired.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Answers that never come must not be waited for.
            runtime.shutdown_background();
        }
    }
}

impl Sky {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to this request.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut state = self.state();
        let name = format!("{} {} {}", request.method, request.target, request.range);
        let nth = *state.seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
        let mut hasher = DefaultHasher::new();
        (self.seed, &name, nth).hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        let fault = match state.weather {
            Weather::Clear => None,
            Weather::Storm(percent) => (random.u64(..100) < percent).then(|| {
                let more = if request.method == "GET" { &Fault::READS[..] } else { &Fault::CHANGES[..] };
                let all: Vec<Fault> = Fault::EVERYWHERE.iter().chain(more).copied().collect();
                all[random.usize(..all.len())]
            }),
            Weather::PutsUnanswered if request.method == "PUT" => {
                Some(if random.bool() { Fault::LostAnswer } else { Fault::HeldAnswer })
            }
            Weather::FlippedBits if request.method == "GET" && nth.is_multiple_of(2) => Some(Fault::FlippedBit),
            Weather::PutsUnanswered | Weather::FlippedBits => None,
            Weather::Outage => Some(Fault::Reset),
        };
        if let Some(fault) = fault {
            *state.fired.entry(fault).or_default() += 1;
        }
        fault
    }
}

async fn listen(listener: TcpListener, sky: Arc<Sky>) {
    while let Ok((client, _)) = listener.accept().await {
        // A connection that breaks is what this is for.
        tokio::spawn(carry(client, Arc::clone(&sky)));
    }
}

struct Request {
    method: String,
    target: String,
    range: String,
    bytes: Vec<u8>,
}

/// Carries one request over and its answer back.
async fn carry(mut client: TcpStream, sky: Arc<Sky>) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let fault = sky.fault(&request);
    match fault {
        Some(Fault::ServerError) => return refuse(&mut client, "500 Internal Server Error", "InternalError").await,
        Some(Fault::SlowDown) => return refuse(&mut client, "503 Slow Down", "SlowDown").await,
        Some(Fault::TooMany) => return refuse(&mut client, "429 Too Many Requests", "TooManyRequests").await,
        Some(Fault::Reset) => return client.set_zero_linger(),
        Some(Fault::Blackhole) => return hold(&mut client).await,
        Some(Fault::Late) => tokio::time::sleep(Duration::from_millis(200)).await,
        _ => {}
    }
    let mut server = TcpStream::connect(&sky.upstream).await?;
    server.write_all(&request.bytes).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    let listed = request.target.contains("list-type=2");
    if listed {
        let first = sky.state().lists.entry(request.target.clone()).or_insert_with(|| answer.clone()).clone();
        if fault == Some(Fault::StaleList) {
            answer = first;
        }
    }
    let body = end_of_head(&answer).unwrap_or(answer.len());
    let middle = body + (answer.len() - body) / 2;
    match fault {
        Some(Fault::LostAnswer) => return Ok(()),
        Some(Fault::HeldAnswer) => return hold(&mut client).await,
        Some(Fault::SlowBody) => {
            client.write_all(&answer[..body]).await?;
            for piece in answer[body..].chunks((answer.len() - body).div_ceil(4).max(1)) {
                tokio::time::sleep(Duration::from_millis(30)).await;
                client.write_all(piece).await?;
            }
            return Ok(());
        }
        Some(Fault::ShortBody) => answer.truncate(middle),
        Some(Fault::StalledBody) => {
            client.write_all(&answer[..middle]).await?;
            return hold(&mut client).await;
        }
        Some(Fault::FlippedBit) if !listed && middle < answer.len() => answer[middle] ^= 1,
        Some(Fault::WrongTag) => {
            if let Some(tag) = find(&answer[..body], b"ETag: \"") {
                answer[tag + 7] ^= 1;
            }
        }
        _ => {}
    }
    client.write_all(&answer).await
}

async fn read_request(client: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = end_of_head(&bytes) {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length: usize = header(&text, "content-length").parse().unwrap_or(0);
    while bytes.len() < head + length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut words = text.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Request { method, target, range: header(&text, "range").to_owned(), bytes })
}

/// The value of a header, empty where there is none.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or_default()
}

/// Where the body begins.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

async fn refuse(client: &mut TcpStream, status: &str, code: &str) -> io::Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all((head + &body).as_bytes()).await
}

/// Says nothing until the client goes.
async fn hold(client: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 64];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}
