//! A proxy with an input of each type, and how each is sent to.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
};

use e2e::{
    flows, free_port,
    http::Client,
    process::{Proxy, merge},
    receiver::{Batch, Receiver, Settings},
    until,
};
use serde_json::{Value, json};

use crate::common::{LIMIT, input_status};

pub const TYPES: [&str; 8] = ["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"];
pub const STREAMS: [&str; 4] = ["tcp", "syslog", "http", "ipfix"];
pub const DATAGRAMS: [&str; 6] = ["udp", "syslog", "netflow", "ipfix", "sflow", "ebpf"];

/// A proxy with one input of each of some types.
pub struct Rack {
    pub receiver: Receiver,
    pub proxy: Proxy,
    pub ports: BTreeMap<&'static str, u16>,
}

/// What an input is called, and its dataset; the type alone is a reserved word.
pub fn name(kind: &str) -> String {
    format!("in-{kind}")
}

pub fn rack(types: &[&'static str], config: impl Fn(&str) -> Value, process: &Value) -> Rack {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let ports: BTreeMap<_, _> = types.iter().map(|kind| (*kind, free_port().unwrap())).collect();
    let inputs: Vec<Value> = types
        .iter()
        .map(|kind| {
            let mut own = json!({"host": "127.0.0.1", "port": ports[kind]});
            merge(&mut own, &config(kind));
            json!({"type": kind, "name": name(kind), "config": own})
        })
        .collect();
    let mut all = json!({ "inputs": inputs });
    merge(&mut all, process);
    let proxy = Proxy::start(&receiver.url(), &all).unwrap();
    Rack { receiver, proxy, ports }
}

impl Rack {
    pub fn address(&self, kind: &str) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[kind]).into()
    }

    pub fn lines(&self, kind: &str, count: usize) -> Vec<String> {
        let lines = self.receiver.wait_text("acme", &name(kind), count, LIMIT);
        assert_eq!(self.receiver.violations(), [""; 0]);
        lines.unwrap_or_else(|error| panic!("{kind}: {error:#}\n{}", self.proxy.log_text()))
    }

    pub fn batches(&self, kind: &str) -> Vec<Batch> {
        self.receiver.batches().into_iter().filter(|batch| batch.key.dataset == name(kind)).collect()
    }

    pub fn refused(&self, kind: &str, cause: &str, count: u64) {
        until(LIMIT, &format!("{kind}: {count} refused: {cause}"), || {
            (input_status(&self.proxy, &name(kind))?["refused"][cause].as_u64()? >= count).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&self.proxy, &name(kind))));
    }

    pub fn connect(&self, kind: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address(kind)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

/// A line as the type's datagram.
pub fn datagram(kind: &str, line: &str) -> Vec<u8> {
    match kind {
        "netflow" | "ipfix" => flows::ipfix(line),
        "sflow" => flows::sflow(line),
        _ => line.as_bytes().to_vec(),
    }
}

/// Sends lines as the type takes them; over UDP what may come over both.
pub fn send(kind: &str, to: SocketAddr, lines: &[String]) {
    match kind {
        kind if DATAGRAMS.contains(&kind) => {
            let own: IpAddr = if to.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
            let socket = UdpSocket::bind((own, 0)).unwrap();
            for line in lines {
                let datagram = datagram(kind, line);
                assert_eq!(socket.send_to(&datagram, to).unwrap(), datagram.len());
            }
        }
        "tcp" => writeln!(TcpStream::connect(to).unwrap(), "{}", lines.join("\n")).unwrap(),
        _ => {
            let answer = Client::new(to).post("/webhook", lines.join("\n").as_bytes()).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
}

pub fn one(text: &str) -> [String; 1] {
    [text.to_owned()]
}

/// Whether the peer has ended the connection.
pub fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
