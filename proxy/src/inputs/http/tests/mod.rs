//! Over real sockets, with a store whose answers the test decides.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    batch::Body,
    config::{Batching, DataFormat, HttpSource, Input, Listen, Source},
    ids::{DatasetKey, Hint},
    inputs::{
        InputStats,
        accept::{AcceptSettings, Acceptor, ByteStream},
    },
};

mod answers;
mod bodies;
mod curl;
mod kill;
mod limits;
mod peers;

const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what was committed, or refuses.
#[derive(Clone)]
pub struct Fake(Arc<FakeState>);

struct FakeState {
    full: AtomicBool,
    refuse: Mutex<Option<Refused>>,
    /// One permit per commit that may return.
    gate: Semaphore,
    waiting: AtomicBool,
    text: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self(Arc::new(FakeState {
            full: AtomicBool::new(false),
            refuse: Mutex::new(None),
            gate: Semaphore::new(1_000_000),
            waiting: AtomicBool::new(false),
            text: Mutex::default(),
        }))
    }
}

impl Store for Fake {
    fn has_room(&self) -> bool {
        !self.0.full.load(SeqCst)
    }

    async fn commit(&self, chunks: Vec<Chunk>) -> Result<(), Refused> {
        self.0.waiting.store(true, SeqCst);
        self.0.gate.acquire().await.unwrap().forget();
        if let Some(refused) = self.0.refuse.lock().clone() {
            return Err(refused);
        }
        for chunk in chunks {
            let raw = match chunk.body {
                Body::Raw(raw) => raw,
                Body::Member(member) => {
                    let mut raw = Vec::new();
                    flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut raw).unwrap();
                    raw
                }
            };
            assert_eq!(chunk.raw_len as usize, raw.len());
            assert_eq!(chunk.lines as usize, memchr::memchr_iter(b'\n', &raw).count());
            assert_eq!(chunk.stream.key.class, Class::Acknowledged);
            self.0.text.lock().push((chunk.stream.key.dataset.dataset.to_string(), raw));
        }
        Ok(())
    }
}

impl Fake {
    /// Everything stored for a dataset.
    fn stored(&self, dataset: &str) -> String {
        let text = self.0.text.lock();
        let all: Vec<u8> =
            text.iter().filter(|(of, _)| of == dataset).flat_map(|(_, raw)| raw.clone()).collect();
        String::from_utf8(all).unwrap()
    }
}

/// A dataset `web` on `/webhook` that stores lines as they come.
fn input(dataset: &str, change: impl FnOnce(&mut Input, &mut HttpSource)) -> Input {
    let mut source = HttpSource {
        path: "/webhook".to_owned(),
        max_payload_size: 1 << 20,
        max_lines_per_request: 1000,
        max_compression_ratio: 100,
        max_connections: 100,
        max_connections_per_source: None,
        read_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        auth: None,
        tls: None,
    };
    let mut input = Input {
        name: dataset.to_owned(),
        key: DatasetKey { tenant: "acme".parse().unwrap(), dataset: dataset.parse().unwrap() },
        paused: false,
        hint: Hint::raw(),
        format: DataFormat::Ndjson,
        source_field: None,
        listen: Listen { host: "127.0.0.1".parse().unwrap(), port: 0 },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: Batching {
            max_lines: 0,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            compression_enabled: true,
            compression_level: 1,
            compression_adaptive: true,
        },
        source: Source::Http(source.clone()),
        hash: String::new(),
    };
    change(&mut input, &mut source);
    input.source = Source::Http(source);
    input
}

struct Running {
    address: SocketAddr,
    store: Fake,
    http: Arc<Http<Fake>>,
    ledger: Arc<Ledger>,
    memory: MemoryBudget,
    stats: Vec<Arc<InputStats>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn routes(inputs: Vec<Input>) -> Vec<Arc<Route>> {
    inputs.into_iter().map(|input| Arc::new(Route::new(input, Arc::default()).unwrap())).collect()
}

fn start_with(inputs: Vec<Input>, host: &str, settings: AcceptSettings, memory: u64) -> Running {
    let (store, ledger, memory) = (Fake::default(), Arc::<Ledger>::default(), MemoryBudget::new(memory));
    let routes = routes(inputs);
    let stats = routes.iter().map(|route| Arc::clone(&route.stats)).collect();
    let shared = Shared {
        memory: memory.clone(),
        level: Arc::new(Level::new(&routes[0].input.batching)),
        ledger: Arc::clone(&ledger),
        senders: Arc::new(Senders::new(100)),
    };
    let http = Arc::new(Http::with_store(shared, store.clone(), &routes));
    let acceptor = Acceptor::bind(Listen { host: host.parse().unwrap(), port: 0 }, settings).unwrap();
    let (address, stop) = (acceptor.local_addr(), CancellationToken::new());
    let task = tokio::spawn(acceptor.run(Arc::clone(&http), stop.clone()));
    Running { address, store, http, ledger, memory, stats, stop, task }
}

fn start(inputs: Vec<Input>) -> Running {
    start_with(inputs, "127.0.0.1", AcceptSettings::default(), 64 << 20)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

/// A response as it came.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A client that sends bytes and reads responses.
struct Client {
    stream: Box<dyn ByteStream>,
}

impl Client {
    async fn to(address: SocketAddr) -> Self {
        Self { stream: Box::new(TcpStream::connect(address).await.unwrap()) }
    }

    async fn from(source: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self { stream: Box::new(socket.connect(address).await.unwrap()) }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next response; `None` when the server closed.
    async fn reply(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, self.stream.read_u8()).await.expect("no answer") {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return None,
                Err(error) => panic!("answer broke off: {error}: {}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        timeout(PATIENCE, self.stream.read_exact(&mut body)).await.expect("no body").unwrap();
        reply.body = String::from_utf8(body).unwrap();
        Some(reply)
    }

    /// Whether the server closes without another byte.
    async fn is_closed(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.stream.read_u8()).await, Ok(Err(_)))
    }

    async fn post(&mut self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send(post(path, headers, body)).await;
        self.reply().await.expect("closed without an answer")
    }
}

fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(path: &str, headers: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let mut all = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n")
        .into_bytes();
    for piece in pieces {
        all.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        all.extend_from_slice(piece);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

async fn once(running: &Running, request: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::to(running.address).await;
    client.send(request).await;
    client.reply().await.expect("closed without an answer")
}
