//! A small blocking HTTP/1.1 client over one kept connection: enough for the API and for load, and in full control of
//! what goes over the wire.

use std::{
    io::{BufRead, BufReader, IoSlice, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| self.text())
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    headers: String,
    timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client that connects at its first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, headers: String::new(), timeout: Duration::from_secs(20), stream: None }
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// Waits at most this long for connecting and for each read.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// `GET`.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.request("GET", path, &[])
    }

    /// `POST`.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        self.request("POST", path, body)
    }

    /// One request. Never repeated by itself: after an error nobody knows whether it was carried out.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{}content-length: {}\r\n\r\n",
            self.address,
            self.headers,
            body.len()
        );
        self.exchange(head.as_bytes(), body)
    }

    /// Sends bytes as they are and reads one answer.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<Answer> {
        self.exchange(bytes, &[])
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        // One system call for both, without a copy of the body.
        let sent = stream.get_mut().write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
        let (head_left, body_sent) = (head.get(sent..).unwrap_or_default(), sent.saturating_sub(head.len()));
        stream.get_mut().write_all(head_left)?;
        stream.get_mut().write_all(body.get(body_sent..).unwrap_or_default())?;
        let answer = read_answer(&mut stream)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

/// Reads one answer; a `100 Continue` before it is skipped.
pub fn read_answer(stream: &mut impl BufRead) -> Result<Answer> {
    loop {
        let status_line = read_line(stream)?;
        let status: u16 =
            status_line.split(' ').nth(1).and_then(|word| word.parse().ok()).context(status_line)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        if status == 100 {
            continue;
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            read_chunks(stream, &mut answer.body)?;
        } else if let Some(length) = answer.header("content-length").and_then(|v| v.parse().ok()) {
            answer.body.resize(length, 0);
            stream.read_exact(&mut answer.body)?;
        }
        return Ok(answer);
    }
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let size =
            usize::from_str_radix(read_line(stream)?.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            while !read_line(stream)?.is_empty() {}
            return Ok(());
        }
        stream.take(size as u64).read_to_end(body)?;
        read_line(stream)?;
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the connection ended");
    }
    Ok(line.trim_end().to_owned())
}
