//! Which listeners a list of inputs needs, and which inputs are left out because another one is in their way, by the
//! rule of [`Sharing`]. Pure.
//!
//! Of the numbers of a shared listener the largest holds.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use ipnet::IpNet;

use crate::config::{
    HttpSource, Input, Listen, Oversize, ServerTls, Sharing, Source, TcpSource, Transport, UdpSource,
};

/// What the supervisor compares: one socket or set of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ListenerKey {
    pub transport: Transport,
    pub listen: Listen,
}

impl ListenerKey {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen.host, self.listen.port)
    }
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.address())
    }
}

/// How messages are told apart in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// At this byte.
    Lines(u8),
    /// Octet counting or line ends.
    Syslog,
    /// Messages that say their length.
    Ipfix,
}

/// What a UDP listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UdpSettings {
    pub read_buffer_size: usize,
}

/// What a listener for streams of lines is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineSettings {
    pub framing: Framing,
    pub oversize: Oversize,
    pub tls: Option<ServerTls>,
    pub proxy_protocol_from: Option<Vec<IpNet>>,
    pub max_line_size: usize,
    pub max_connections: usize,
    pub max_connections_per_source: Option<usize>,
    pub read_timeout: Option<Duration>,
}

/// What an http listener is. Of `source` only what concerns connections counts; the rest is each route's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpSettings {
    pub proxy_protocol_from: Option<Vec<IpNet>>,
    pub source: HttpSource,
}

/// Settings of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settings {
    Udp(UdpSettings),
    Lines(LineSettings),
    Http(HttpSettings),
}

impl Settings {
    fn udp(source: &UdpSource) -> Self {
        Self::Udp(UdpSettings { read_buffer_size: source.read_buffer_size })
    }

    fn lines(source: &TcpSource, framing: Framing, input: &Input) -> Self {
        Self::Lines(LineSettings {
            framing,
            oversize: source.oversize,
            tls: source.tls.clone(),
            proxy_protocol_from: input.proxy_protocol_from.clone(),
            max_line_size: source.max_line_size,
            max_connections: source.max_connections,
            max_connections_per_source: source.max_connections_per_source,
            read_timeout: source.read_timeout,
        })
    }

    /// For inputs that share a listener.
    fn join(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Udp(one), Self::Udp(two)) => Self::Udp(one.join(two)),
            (Self::Lines(one), Self::Lines(two)) => Self::Lines(one.join(two)),
            (Self::Http(one), Self::Http(two)) => Self::Http(one.join(two)),
            // Such inputs share none.
            (one, _) => one,
        }
    }
}

impl UdpSettings {
    fn join(self, other: &Self) -> Self {
        Self { read_buffer_size: self.read_buffer_size.max(other.read_buffer_size) }
    }
}

impl LineSettings {
    fn join(self, other: &Self) -> Self {
        Self {
            max_line_size: self.max_line_size.max(other.max_line_size),
            max_connections: self.max_connections.max(other.max_connections),
            max_connections_per_source: larger(
                self.max_connections_per_source,
                other.max_connections_per_source,
            ),
            read_timeout: larger(self.read_timeout, other.read_timeout),
            ..self
        }
    }
}

impl HttpSettings {
    fn join(self, other: &Self) -> Self {
        let (one, two) = (self.source, &other.source);
        let source = HttpSource {
            max_payload_size: one.max_payload_size.max(two.max_payload_size),
            max_connections: one.max_connections.max(two.max_connections),
            max_connections_per_source: larger(
                one.max_connections_per_source,
                two.max_connections_per_source,
            ),
            read_timeout: one.read_timeout.max(two.read_timeout),
            write_timeout: one.write_timeout.max(two.write_timeout),
            idle_timeout: one.idle_timeout.max(two.idle_timeout),
            ..one
        };
        Self { source, ..self }
    }
}

/// `None` is no limit, the largest.
fn larger<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
    one.zip(two).map(|(one, two)| one.max(two))
}

/// A listener with the inputs it serves, by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub settings: Settings,
    pub inputs: Vec<usize>,
}

/// Why an input does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Index of the input that is left out.
    pub input: usize,
    /// What is wrong, with the winner's name and what to do.
    pub reason: String,
}

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub listeners: BTreeMap<ListenerKey, Planned>,
    pub conflicts: Vec<Conflict>,
}

/// Plans the listeners of `inputs`.
pub(super) fn plan(inputs: &[Input]) -> Plan {
    let mut plan = Plan::default();
    let mut sharing = Sharing::default();
    for (index, input) in inputs.iter().enumerate() {
        match sharing.add(&format!("input {:?}", input.name), input) {
            Ok(()) => plan.place(index, input),
            Err(conflict) => plan.conflicts.push(Conflict { input: index, reason: conflict.to_string() }),
        }
    }
    plan
}

impl Plan {
    /// Adds an input to all the listeners it needs.
    fn place(&mut self, index: usize, input: &Input) {
        for (key, settings) in endpoints(input) {
            let planned = match self.listeners.remove(&key) {
                Some(planned) => Planned { settings: planned.settings.join(&settings), ..planned },
                None => Planned { settings, inputs: Vec::new() },
            };
            self.listeners.entry(key).or_insert(planned).inputs.push(index);
        }
    }
}

/// The listeners that an input needs.
pub(super) fn endpoints(input: &Input) -> Vec<(ListenerKey, Settings)> {
    let udp = ListenerKey { transport: Transport::Udp, listen: input.listen };
    let tcp = ListenerKey { transport: Transport::Tcp, listen: input.listen };
    if let Source::Http(source) = &input.source {
        let proxy_protocol_from = input.proxy_protocol_from.clone();
        return vec![(tcp, Settings::Http(HttpSettings { proxy_protocol_from, source: source.clone() }))];
    }
    let datagrams = input.source.udp().map(|source| (udp, Settings::udp(source)));
    let stream = input.source.stream().map(|source| {
        let framing = match &input.source {
            Source::Syslog(_) => Framing::Syslog,
            Source::Ipfix(_) => Framing::Ipfix,
            _ => Framing::Lines(source.delimiter),
        };
        (tcp, Settings::lines(source, framing, input))
    });
    datagrams.into_iter().chain(stream).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
