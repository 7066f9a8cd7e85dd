//! A Receiver that does what a test tells it, down to the bytes, and remembers what it saw.

use std::{collections::BTreeMap, io::Read, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub at: std::time::Instant,
    /// The body came as a whole.
    pub whole: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `tenant/dataset`.
    pub fn key(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/')
    }

    pub fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Status line after `HTTP/1.1 `, further header lines, body.
    Say(&'static str, String, String),
    /// Read everything, answer nothing.
    Hang,
    /// Close after the head, body unread.
    Reset,
    /// Answer after the head, body unread, then close.
    Early(&'static str),
    /// The head of a 200 after the head of the request, the rest of it when all was read.
    Ahead,
    /// 200 with a body that never ends.
    Endless,
    /// 200 after a while.
    Slow(Duration),
}

impl Act {
    pub fn ok() -> Self {
        Self::say("200 OK", "{\"status\":\"success\"}")
    }

    pub fn say(status: &'static str, body: &str) -> Self {
        Self::Say(status, String::new(), body.to_owned())
    }
}

type Script = Arc<dyn Fn(&Request) -> Act + Send + Sync>;

/// The server; ends when dropped.
pub struct FakeReceiver {
    pub url: String,
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Script>>,
    task: AbortHandle,
}

impl Drop for FakeReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeReceiver {
    pub async fn new(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        Self::on(0, script).await
    }

    pub async fn on(port: u16, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(script)));
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), Arc::clone(&script))).abort_handle();
        Self { url: format!("http://127.0.0.1:{port}"), port, seen, script, task }
    }

    pub fn script(&self, script: impl Fn(&Request) -> Act + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(script);
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().clone()
    }

    pub fn of(&self, key: &str) -> Vec<Request> {
        self.seen().into_iter().filter(|request| request.key() == key).collect()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Request>>>, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        connections.spawn(async move { serve(stream, &seen, &script).await });
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, script: &Mutex<Script>) {
    let _ = stream.set_nodelay(true);
    talk(stream, seen, &|request: &Request| {
        let script = Arc::clone(&script.lock());
        script(request)
    })
    .await;
}

/// Serves one connection, plain or TLS.
pub async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: &Mutex<Vec<Request>>,
    script: &(dyn Fn(&Request) -> Act + Send + Sync),
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_head(&mut stream, &mut buffer).await {
        let early = script(&request);
        match &early {
            Act::Reset => {
                seen.lock().push(request);
                return;
            }
            Act::Early(status) => {
                seen.lock().push(request);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                return;
            }
            Act::Ahead => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head).await;
            }
            _ => {}
        }
        let len: usize = request.header("content-length").parse().unwrap_or(0);
        while buffer.len() < len {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        request.whole = buffer.len() >= len;
        request.body = buffer.drain(..len.min(buffer.len())).collect();
        let (whole, act) = (request.whole, if request.whole { script(&request) } else { Act::Reset });
        seen.lock().push(request);
        if !whole {
            return;
        }
        let (status, headers, body) = match act {
            Act::Say(status, headers, body) => (status, headers, body),
            Act::Slow(time) => {
                tokio::time::sleep(time).await;
                ("200 OK", String::new(), String::new())
            }
            Act::Ahead => {
                let _ = stream.write_all(b"0\r\n\r\n").await;
                continue;
            }
            Act::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                while stream.write_all(b"400\r\n").await.is_ok()
                    && stream.write_all(&[b'x'; 1024]).await.is_ok()
                    && stream.write_all(b"\r\n").await.is_ok()
                {}
                return;
            }
            Act::Hang | Act::Reset | Act::Early(_) => {
                let _ = stream.read_u8().await;
                return;
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Request { line, headers, body: Vec::new(), at: std::time::Instant::now(), whole: false })
}
