//! Which listeners a list of inputs needs, and which inputs stand in each other's way. Pure.
//!
//! Inputs are taken in order; one that conflicts with an earlier one is left out as a whole, the rest run.
//!
//! - One listener per (protocol, address, port). `::` overlaps every address of its port, `0.0.0.0` every IPv4 one;
//!   listeners that overlap without being the same conflict.
//! - Inputs of one kind share a listener when their `allowed_sources` tell them apart: no prefix twice, and none
//!   inside that of another tenant. http inputs with different paths never meet.
//! - What a connection is before its sender's route is known (TLS, framing, PROXY protocol) must be the same;
//!   numbers need not, the largest holds.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::{HttpSource, Input, Listen, Oversize, ServerTls, Source, TcpSource, UdpSource};

/// The protocol a listener is bound for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

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

    /// Whether one of them would receive what is meant for the other.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.listen.host, other.listen.host);
        self.transport == other.transport
            && self.listen.port == other.listen.port
            && self.listen.port != 0
            && (one == two || covers(one, two) || covers(two, one))
    }
}

fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide == Ipv6Addr::UNSPECIFIED || (wide == Ipv4Addr::UNSPECIFIED && narrow.is_ipv4())
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
}

/// What a UDP listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UdpSettings {
    pub syslog: bool,
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
    fn udp(source: &UdpSource, syslog: bool) -> Self {
        Self::Udp(UdpSettings { syslog, read_buffer_size: source.read_buffer_size })
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

    /// Settings for both, or what they differ in.
    fn join(&self, other: &Self) -> Result<Self, &'static str> {
        match (self, other) {
            (Self::Udp(one), Self::Udp(two)) => one.join(two).map(Self::Udp),
            (Self::Lines(one), Self::Lines(two)) => one.join(two).map(Self::Lines),
            (Self::Http(one), Self::Http(two)) => one.join(two).map(Self::Http),
            _ => Err("type"),
        }
    }
}

impl UdpSettings {
    fn join(&self, other: &Self) -> Result<Self, &'static str> {
        if self.syslog != other.syslog {
            return Err("type");
        }
        let read_buffer_size = self.read_buffer_size.max(other.read_buffer_size);
        Ok(Self { read_buffer_size, ..self.clone() })
    }
}

impl LineSettings {
    fn join(&self, other: &Self) -> Result<Self, &'static str> {
        match (self.framing, other.framing) {
            (Framing::Lines(one), Framing::Lines(two)) if one != two => return Err("delimiter"),
            (one, two) if one != two => return Err("type"),
            _ => {}
        }
        if self.oversize != other.oversize {
            return Err("oversize");
        }
        same_stream(
            (self.tls.as_ref(), self.proxy_protocol_from.as_ref()),
            (other.tls.as_ref(), other.proxy_protocol_from.as_ref()),
        )?;
        Ok(Self {
            max_line_size: self.max_line_size.max(other.max_line_size),
            max_connections: self.max_connections.max(other.max_connections),
            max_connections_per_source: self.max_connections_per_source.max(other.max_connections_per_source),
            // None is never, the longest.
            read_timeout: self.read_timeout.zip(other.read_timeout).map(|(one, two)| one.max(two)),
            ..self.clone()
        })
    }
}

impl HttpSettings {
    fn join(&self, other: &Self) -> Result<Self, &'static str> {
        same_stream(
            (self.source.tls.as_ref(), self.proxy_protocol_from.as_ref()),
            (other.source.tls.as_ref(), other.proxy_protocol_from.as_ref()),
        )?;
        let (one, two) = (&self.source, &other.source);
        let source = HttpSource {
            max_payload_size: one.max_payload_size.max(two.max_payload_size),
            max_connections: one.max_connections.max(two.max_connections),
            max_connections_per_source: one.max_connections_per_source.max(two.max_connections_per_source),
            read_timeout: one.read_timeout.max(two.read_timeout),
            write_timeout: one.write_timeout.max(two.write_timeout),
            idle_timeout: one.idle_timeout.max(two.idle_timeout),
            ..one.clone()
        };
        Ok(Self { source, ..self.clone() })
    }
}

type StreamStart<'a> = (Option<&'a ServerTls>, Option<&'a Vec<IpNet>>);

fn same_stream(one: StreamStart<'_>, two: StreamStart<'_>) -> Result<(), &'static str> {
    if one.0 != two.0 {
        return Err("tls");
    }
    if one.1 != two.1 {
        return Err("proxy_protocol");
    }
    Ok(())
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
    let mut names = HashSet::new();
    for (index, input) in inputs.iter().enumerate() {
        let placed = if names.insert((&input.name, &input.key)) {
            plan.place(inputs, index)
        } else {
            Err(format!(
                "input {:?} with dataset {} is in the configuration twice; remove one",
                input.name, input.key
            ))
        };
        if let Err(reason) = placed {
            plan.conflicts.push(Conflict { input: index, reason });
        }
    }
    plan
}

impl Plan {
    /// Adds one input to all the listeners it needs, or to none.
    fn place(&mut self, inputs: &[Input], index: usize) -> Result<(), String> {
        let Some(input) = inputs.get(index) else { return Ok(()) };
        let mut places = Vec::new();
        for (key, settings) in endpoints(input) {
            let same = self.listeners.get(&key);
            if same.is_none() {
                self.check_overlap(inputs, &key)?;
            }
            let settings = match same {
                Some(planned) => joined(inputs, input, &key, &settings, planned)?,
                None => settings,
            };
            places.push((key, settings));
        }
        for (key, settings) in places {
            let planned = self
                .listeners
                .entry(key)
                .or_insert_with(|| Planned { settings: settings.clone(), inputs: Vec::new() });
            planned.settings = settings;
            planned.inputs.push(index);
        }
        Ok(())
    }

    fn check_overlap(&self, inputs: &[Input], key: &ListenerKey) -> Result<(), String> {
        let Some((other, planned)) = self.listeners.iter().find(|(other, _)| other.overlaps(key)) else {
            return Ok(());
        };
        let winner =
            planned.inputs.first().and_then(|index| inputs.get(*index)).map_or("", |input| &input.name);
        Err(format!(
            "{key} overlaps {other} of input {winner:?}; give both the same host (they then share the listener) or \
             another port"
        ))
    }
}

/// Settings of the listener with this input on it.
fn joined(
    inputs: &[Input],
    input: &Input,
    key: &ListenerKey,
    settings: &Settings,
    planned: &Planned,
) -> Result<Settings, String> {
    let others = || planned.inputs.iter().filter_map(|index| inputs.get(*index));
    let joined = planned.settings.join(settings).map_err(|what| {
        let winner = others().next().map_or("", |other| &other.name);
        format!("{key} is held by input {winner:?} with another `{what}`; make `{what}` the same or take another port")
    })?;
    let own = prefixes(input);
    for other in others().filter(|other| same_path(input, other)) {
        let theirs = prefixes(other);
        let pairs = || own.iter().flat_map(|one| theirs.iter().map(move |two| (one, two)));
        if let Some((prefix, _)) = pairs().find(|(one, two)| one == two) {
            return Err(format!(
                "{key} already gives what {prefix} sends to input {:?}; set `allowed_sources` so that they differ, or \
                 take another port",
                other.name
            ));
        }
        if other.key.tenant != input.key.tenant
            && let Some((one, two)) = pairs().find(|(one, two)| one.contains(*two) || two.contains(*one))
        {
            return Err(format!(
                "{one} on {key} overlaps {two} of input {:?}, which is tenant {}'s; tenants cannot share a range of \
                 senders, take another port or other `allowed_sources`",
                other.name, other.key.tenant
            ));
        }
    }
    Ok(joined)
}

fn same_path(one: &Input, two: &Input) -> bool {
    match (&one.source, &two.source) {
        (Source::Http(one), Source::Http(two)) => one.path == two.path,
        _ => true,
    }
}

/// The listeners that an input needs.
pub(super) fn endpoints(input: &Input) -> Vec<(ListenerKey, Settings)> {
    let udp = ListenerKey { transport: Transport::Udp, listen: input.listen };
    let tcp = ListenerKey { transport: Transport::Tcp, listen: input.listen };
    match &input.source {
        Source::Udp(source) => vec![(udp, Settings::udp(source, false))],
        Source::Tcp(source) => vec![(tcp, Settings::lines(source, Framing::Lines(source.delimiter), input))],
        Source::Syslog(source) => {
            let udp = source.udp.as_ref().map(|source| (udp, Settings::udp(source, true)));
            let tcp =
                source.tcp.as_ref().map(|source| (tcp, Settings::lines(source, Framing::Syslog, input)));
            udp.into_iter().chain(tcp).collect()
        }
        Source::Http(source) => {
            let proxy_protocol_from = input.proxy_protocol_from.clone();
            vec![(tcp, Settings::Http(HttpSettings { proxy_protocol_from, source: source.clone() }))]
        }
    }
}

/// Whose messages an input takes: everybody's when nothing is said. IPv4-mapped prefixes are IPv4.
pub(super) fn prefixes(input: &Input) -> Vec<IpNet> {
    if input.allowed_sources.is_empty() {
        return vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    }
    let mut nets: Vec<_> = input.allowed_sources.iter().map(canonical).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// The prefix without host bits, IPv4-mapped as IPv4.
fn canonical(net: &IpNet) -> IpNet {
    let net = net.trunc();
    if let IpNet::V6(six) = net
        && let Some(len) = six.prefix_len().checked_sub(96)
        && let Some(four) = six.network().to_ipv4_mapped()
        && let Ok(four) = Ipv4Net::new(four, len)
    {
        return IpNet::V4(four);
    }
    net
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
