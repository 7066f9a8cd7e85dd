//! Senders at a fixed rate. Every event has a number (see [`crate::sequence`]) and varied fields.

use std::{
    fmt::Write as _,
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use crate::{
    http::Client,
    sequence::{self, Promised, Sent},
};

/// What an event looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A line of text.
    Text,
    /// A JSON object.
    Json,
    /// RFC 3164 without a newline.
    Rfc3164,
    /// RFC 5424 with structured data.
    Rfc5424,
}

/// One stream of events.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// What.
    pub shape: Shape,
    /// Number of the stream.
    pub stream: u16,
    /// Events in all.
    pub count: u64,
    /// Events a second; 0 is as fast as it goes.
    pub rate: u64,
    /// Bytes of an event, at least what the shape needs.
    pub size: usize,
}

/// Control over running senders, and what they have done so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Ends senders early.
    pub stop: AtomicBool,
    /// Events sent.
    pub sent: AtomicU64,
    /// Most microseconds that an event was sent later than planned: how far the sender itself fell behind.
    pub late_us: AtomicU64,
}

const HOSTS: [&str; 8] =
    ["fw-01", "core-sw-2", "edge-rtr-7", "web-12", "db-3", "mail-1", "vpn-gw-4", "ap-lobby-9"];
const APPS: [&str; 6] = ["sshd", "kernel", "nginx", "dhcpd", "filterlog", "postfix"];
const TEXTS: [&str; 5] = [
    "connection accepted from 10.{a}.{b}.{c} port {d}",
    "session closed for user u{d} after {b} seconds, {d} bytes in, {a} bytes out",
    "DENY tcp 172.16.{a}.{b}:{d} -> 192.0.2.{c}:443 flags SYN ttl {c}",
    "lease 10.{b}.{c}.{a} renewed for 00:1b:21:{x}:{y}:{z}",
    "GET /api/v1/items/{d}?page={a} 200 {b}ms upstream 10.0.{c}.{a}:8080",
];

/// The event `number` of a stream, exactly `size` bytes unless the shape needs more.
pub fn event(shape: Shape, stream: u16, number: u64, size: usize) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(stream) << 40 | 1);
    let mut text = format!("{} ", sequence::mark(stream, number));
    fill(TEXTS[random.below(TEXTS.len())], &mut random, &mut text);
    let host = HOSTS[random.below(HOSTS.len())];
    let app = APPS[random.below(APPS.len())];
    let (pri, pid) = (random.below(192), random.below(30000) + 1);
    let (minute, second) = (random.below(60), random.below(60));
    let (head, tail) = match shape {
        Shape::Text => (String::new(), ""),
        Shape::Json => (format!(r#"{{"host":"{host}","app":"{app}","pid":{pid},"text":""#), r#""}"#),
        Shape::Rfc3164 => (format!("<{pri}>Oct 11 22:{minute:02}:{second:02} {host} {app}[{pid}]: "), ""),
        Shape::Rfc5424 => (
            format!(
                "<{pri}>1 2026-10-11T22:{minute:02}:{second:02}.{:03}Z {host} {app} {pid} ID{} [meta@32473 n=\"{}\"] ",
                random.below(1000),
                random.below(90),
                random.below(100_000)
            ),
            "",
        ),
    };
    let mut line = format!("{head}{text}").into_bytes();
    while line.len() + tail.len() < size {
        if line.len() % 9 == 0 {
            line.push(b' ');
        } else {
            line.push(b'a' + random.below(26) as u8);
        }
    }
    line.extend_from_slice(tail.as_bytes());
    line
}

fn fill(template: &str, random: &mut Random, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or(("", after));
        let _ = match name {
            "d" => write!(out, "{}", random.below(65536)),
            "x" | "y" | "z" => write!(out, "{:02x}", random.below(256)),
            _ => write!(out, "{}", random.below(256)),
        };
        rest = after;
    }
    out.push_str(rest);
}

/// Xorshift: quick, and the same events in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}

/// Gives out how many events are due, in turns of about a millisecond.
pub(crate) struct Pacer<'a> {
    rate: u64,
    count: u64,
    started: Instant,
    given: u64,
    progress: &'a Progress,
}

impl<'a> Pacer<'a> {
    pub(crate) fn new(rate: u64, count: u64, progress: &'a Progress) -> Self {
        Self { rate, count, started: Instant::now(), given: 0, progress }
    }

    /// Waits until events are due; `None` at the end.
    pub(crate) fn due(&mut self, most: u64) -> Option<u64> {
        loop {
            if self.given >= self.count || self.progress.stop.load(Relaxed) {
                return None;
            }
            let planned = match self.rate {
                0 => self.count,
                rate => (self.started.elapsed().as_micros() as u64).saturating_mul(rate) / 1_000_000,
            };
            let due = planned.min(self.count).saturating_sub(self.given);
            if due == 0 {
                thread::sleep(Duration::from_micros((1_000_000 / self.rate.max(1)).clamp(200, 1000)));
                continue;
            }
            if let Some(late) = due.saturating_mul(1_000_000).checked_div(self.rate) {
                self.progress.late_us.fetch_max(late, Relaxed);
            }
            let due = due.min(most);
            self.given += due;
            return Some(due);
        }
    }
}

/// Datagrams, many per system call (`UDP_SEGMENT`), from eight source ports in turn.
pub fn udp(plan: &Plan, progress: &Progress) -> Result<Sent> {
    const MOST: u64 = 60;
    let events = Events::new(plan);
    let size = events.size().max(1);
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let socket = UdpSocket::bind(if plan.target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(plan.target)?;
        setsockopt(&socket, UdpGsoSegment, &(size as i32))?;
        sockets.push(socket);
    }
    let most = MOST.min(60_000 / size as u64).max(1);
    let mut pacer = Pacer::new(plan.rate, plan.count, progress);
    let mut number = 0;
    let mut buffer = Vec::with_capacity(size * most as usize);
    for socket in sockets.iter().cycle() {
        let Some(due) = pacer.due(most) else { break };
        buffer.clear();
        for n in number..number + due {
            events.append(n, &mut buffer);
        }
        send(socket, &buffer)?;
        number += due;
        progress.sent.fetch_add(due, Relaxed);
    }
    Ok(Sent { stream: plan.stream, attempted: number, promised: Promised::All })
}

/// Sends once more what failed: a refused datagram (nobody listens) is reported on the next send of the socket.
pub(crate) fn send(socket: &UdpSocket, bytes: &[u8]) -> Result<()> {
    if socket.send(bytes).is_err() {
        socket.send(bytes)?;
    }
    Ok(())
}

/// Events made beforehand, of one length, whose number alone is changed: making them costs the sender nothing.
#[derive(Debug)]
pub struct Events(Vec<(Vec<u8>, usize)>);

impl Events {
    /// Those of a plan.
    pub fn new(plan: &Plan) -> Self {
        let prepared = (0..512).filter_map(|n| {
            let mut event = event(plan.shape, plan.stream, n, plan.size);
            event.truncate(plan.size);
            let at = sequence::position(&event)?;
            Some((event, at))
        });
        Self(prepared.collect())
    }

    /// Bytes of each.
    pub fn size(&self) -> usize {
        self.0.first().map_or(0, |(event, _)| event.len())
    }

    /// Appends the event with this number.
    pub fn append(&self, number: u64, out: &mut Vec<u8>) {
        let Some((event, at)) = self.0.get(number as usize % self.0.len().max(1)) else { return };
        let start = out.len();
        out.extend_from_slice(event);
        if let Some(event) = out.get_mut(start..) {
            sequence::renumber(event, *at, number);
        }
    }
}

/// How events are told apart on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A newline after each.
    Line,
    /// RFC 6587 octet counting.
    Octets,
}

/// Events over one TCP connection. Counts what was written; the peer acknowledges nothing.
pub fn tcp(plan: &Plan, framing: Framing, progress: &Progress) -> Result<Sent> {
    let mut stream = TcpStream::connect(plan.target)?;
    stream.set_nodelay(true)?;
    let events = Events::new(plan);
    let size = events.size();
    let mut pacer = Pacer::new(plan.rate, plan.count, progress);
    let mut number = 0;
    let mut buffer = Vec::new();
    while let Some(due) = pacer.due(256) {
        buffer.clear();
        for n in number..number + due {
            if framing == Framing::Octets {
                write!(buffer, "{size} ")?;
            }
            events.append(n, &mut buffer);
            if framing == Framing::Line {
                buffer.push(b'\n');
            }
        }
        stream.write_all(&buffer)?;
        number += due;
        progress.sent.fetch_add(due, Relaxed);
    }
    Ok(Sent { stream: plan.stream, attempted: number, promised: Promised::All })
}

/// Events over HTTP, `per_request` in a body, from one client. Goes on after refusals and broken connections; only
/// what was answered 200 is promised.
pub fn http(plan: &Plan, path: &str, per_request: u64, progress: &Progress) -> Result<Sent> {
    let mut client = Client::new(plan.target).with_timeout(Duration::from_secs(5));
    let events = Events::new(plan);
    let mut pacer = Pacer::new(plan.rate, plan.count, progress);
    let mut acknowledged = Vec::new();
    let mut number = 0;
    let mut body = Vec::new();
    while let Some(due) = pacer.due(per_request) {
        body.clear();
        for n in number..number + due {
            events.append(n, &mut body);
            body.push(b'\n');
        }
        match client.post(path, &body) {
            Ok(answer) if answer.status == 200 => acknowledged.extend(number..number + due),
            Ok(_) => {}
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
        number += due;
        progress.sent.fetch_add(due, Relaxed);
    }
    Ok(Sent { stream: plan.stream, attempted: number, promised: Promised::These(acknowledged) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_a_stream_has_the_asked_length_and_its_number() {
        for shape in [Shape::Text, Shape::Json, Shape::Rfc3164, Shape::Rfc5424] {
            for number in 0..200 {
                let event = event(shape, 7, number, 256);
                assert_eq!(event.len(), 256, "{}", String::from_utf8_lossy(&event));
                assert_eq!(sequence::find(&event).collect::<Vec<_>>(), [(7, number)]);
                if shape == Shape::Json {
                    serde_json::from_slice::<serde_json::Value>(&event).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_sender_keeps_its_rate_and_sends_each_number_once() {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let plan = Plan {
            target: sink.local_addr().unwrap(),
            shape: Shape::Rfc3164,
            stream: 1,
            count: 400,
            rate: 2000,
            size: 200,
        };
        sink.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let started = Instant::now();
        let sender = thread::spawn(move || udp(&plan, &Progress::default()).unwrap());
        let mut buffer = [0; 2000];
        for _ in 0..400 {
            assert_eq!(sink.recv(&mut buffer).unwrap(), 200);
        }
        assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
        assert_eq!(sender.join().unwrap().attempted, 400);
    }
}
