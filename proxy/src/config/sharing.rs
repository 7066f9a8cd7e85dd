//! Which inputs may stand beside each other. The first one keeps its place; one that conflicts loses as a whole.
//!
//! - A dataset has one input.
//! - One listener per (protocol, address, port). `::` overlaps every address of its port, `0.0.0.0` every IPv4 one;
//!   listeners that overlap without being the same conflict.
//! - Inputs of one type share a listener when their `allowed_sources` tell them apart: no prefix twice, and none
//!   inside that of another tenant. http inputs with different paths never meet.
//! - What a connection is before its sender's route is known (TLS, framing, PROXY protocol) must be the same;
//!   numbers need not.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::{Input, Listen, Oversize, ServerTls, Source};
use crate::ids::{DatasetKey, TenantId};

/// The protocol a listener is bound for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
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

impl Listen {
    /// Whether one of two sockets with these addresses would receive what is meant for the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let covers = |wide: IpAddr, narrow: IpAddr| {
            wide == Ipv6Addr::UNSPECIFIED || (wide == Ipv4Addr::UNSPECIFIED && narrow.is_ipv4())
        };
        let (one, two) = (self.host, other.host);
        self == other || (self.port == other.port && self.port != 0 && (covers(one, two) || covers(two, one)))
    }
}

impl Input {
    /// Whose messages it takes: everybody's when nothing is said.
    pub fn prefixes(&self) -> Vec<IpNet> {
        if self.allowed_sources.is_empty() {
            return vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
        }
        let mut nets = self.allowed_sources.clone();
        nets.sort_unstable();
        nets.dedup();
        nets
    }
}

/// Why an input cannot stand beside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The key under `config` that is to be changed.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}; {}", self.key, self.what, self.remedy)
    }
}

/// Inputs that stand beside each other. Whoever comes is compared with one input per address of its port and with the
/// prefixes around and inside its own, so thousands can share a port.
#[derive(Debug, Default)]
pub struct Sharing<'a> {
    inputs: Vec<(String, &'a Input)>,
    datasets: HashMap<&'a DatasetKey, usize>,
    listeners: HashMap<(Transport, u16), Vec<Listener<'a>>>,
}

/// Inputs at one address of a port.
#[derive(Debug)]
struct Listener<'a> {
    /// The one that came first; the others want the same.
    first: usize,
    listen: Listen,
    stream: Stream<'a>,
    /// By path, which http alone has, the holder of each prefix.
    routes: HashMap<Option<&'a str>, BTreeMap<IpNet, usize>>,
}

impl<'a> Sharing<'a> {
    /// Takes in one more, which `label` names in messages, unless it conflicts.
    pub fn add(&mut self, label: &str, input: &'a Input) -> Result<(), Conflict> {
        if let Some(holder) = self.datasets.get(&input.key) {
            return Err(Conflict {
                key: "dataset_id",
                what: format!("{} is the dataset of {} already", input.key, self.label(*holder)),
                remedy: "write another `dataset_id`".to_owned(),
            });
        }
        let claims = claims(input);
        if let Some(conflict) = claims.iter().find_map(|claim| self.conflict(claim)) {
            return Err(conflict);
        }
        let own = self.inputs.len();
        self.inputs.push((label.to_owned(), input));
        self.datasets.insert(&input.key, own);
        for claim in claims {
            let beside = self.listeners.entry(claim.place()).or_default();
            let at = beside.iter().position(|one| one.listen == input.listen).unwrap_or_else(|| {
                let (listen, routes) = (input.listen, HashMap::new());
                beside.push(Listener { first: own, listen, stream: claim.stream, routes });
                beside.len() - 1
            });
            if let Some(listener) = beside.get_mut(at) {
                let route = listener.routes.entry(claim.path).or_default();
                route.extend(claim.prefixes.into_iter().map(|prefix| (prefix, own)));
            }
        }
        Ok(())
    }

    fn label(&self, holder: usize) -> &str {
        self.inputs.get(holder).map_or("", |(label, _)| label)
    }

    fn tenant(&self, holder: usize) -> Option<&TenantId> {
        self.inputs.get(holder).map(|(_, input)| &input.key.tenant)
    }

    fn conflict(&self, claim: &Claim<'_>) -> Option<Conflict> {
        let beside = self.listeners.get(&claim.place()).into_iter().flatten();
        beside.filter(|listener| claim.input.listen.overlaps(&listener.listen)).find_map(|listener| {
            self.other_listener(claim, listener).or_else(|| {
                let route = listener.routes.get(&claim.path)?;
                claim.prefixes.iter().find_map(|prefix| self.held(claim, prefix, route))
            })
        })
    }

    /// Why the claim and the inputs of a listener cannot share a socket.
    fn other_listener(&self, claim: &Claim<'_>, listener: &Listener<'_>) -> Option<Conflict> {
        let (own, theirs, other) = (claim.input.listen, listener.listen, self.label(listener.first));
        let place = claim.name();
        if own != theirs {
            let what = format!("{} overlaps {} of {other} on {place}", own.host, theirs.host);
            return Some(because(
                "host",
                what,
                "write the same `host`, which shares the listener, or another port",
            ));
        }
        let (stream, other_stream) = (&claim.stream, &listener.stream);
        if stream.kind != other_stream.kind {
            let what = format!("{place} is that of {other}, whose type is `{}`", other_stream.kind);
            return Some(because("port", what, "write another port"));
        }
        let (key, _) = [
            ("tls", stream.tls != other_stream.tls),
            ("proxy_protocol_from", stream.proxies != other_stream.proxies),
            ("delimiter", stream.delimiter != other_stream.delimiter),
            ("oversize", stream.oversize != other_stream.oversize),
        ]
        .into_iter()
        .find(|(_, differs)| *differs)?;
        let what = format!("differs from that of {other}, which shares {place}");
        Some(because(key, what, &format!("write the same `{key}`, or another port")))
    }

    /// Why `own` cannot be had beside the prefixes of a route.
    fn held(&self, claim: &Claim<'_>, own: &IpNet, route: &BTreeMap<IpNet, usize>) -> Option<Conflict> {
        let place = claim.name();
        let tenant = Some(&claim.input.key.tenant);
        if let Some((theirs, holder)) = meeting(own, route).find(|(_, holder)| self.tenant(*holder) != tenant)
        {
            let owner = self.tenant(holder).map(ToString::to_string).unwrap_or_default();
            let what = format!(
                "{own} overlaps {theirs} of {} on {place}, which is tenant {owner}'s",
                self.label(holder)
            );
            return Some(because(
                "allowed_sources",
                what,
                "give tenants sources that do not overlap, or another port",
            ));
        }
        let what = format!("{own} belongs to {} on {place} already", self.label(*route.get(own)?));
        Some(because(
            "allowed_sources",
            what,
            "give each input on this port its own `allowed_sources`, or another port",
        ))
    }
}

fn because(key: &'static str, what: String, remedy: &str) -> Conflict {
    Conflict { key, what, remedy: remedy.to_owned() }
}

/// The prefixes that contain this one or are inside it.
fn meeting(own: &IpNet, route: &BTreeMap<IpNet, usize>) -> impl Iterator<Item = (IpNet, usize)> {
    let around = std::iter::successors(own.supernet(), IpNet::supernet)
        .filter_map(|prefix| Some((prefix, *route.get(&prefix)?)));
    // Those inside follow it in order.
    let inside = route.range(*own..).take_while(|(prefix, _)| own.contains(*prefix));
    around.chain(inside.map(|(prefix, holder)| (*prefix, *holder)))
}

/// What an input asks of one listener.
#[derive(Debug)]
struct Claim<'a> {
    input: &'a Input,
    transport: Transport,
    stream: Stream<'a>,
    /// http only; another path is another place.
    path: Option<&'a str>,
    prefixes: Vec<IpNet>,
}

/// What is the same for all who send to a listener.
#[derive(Debug, Default)]
struct Stream<'a> {
    kind: &'static str,
    tls: Option<&'a ServerTls>,
    proxies: Option<&'a [IpNet]>,
    delimiter: u8,
    oversize: Option<Oversize>,
}

impl Claim<'_> {
    fn place(&self) -> (Transport, u16) {
        (self.transport, self.input.listen.port)
    }

    fn name(&self) -> String {
        format!("{} port {}", self.transport, self.input.listen.port)
    }
}

fn claims(input: &Input) -> Vec<Claim<'_>> {
    let (kind, proxies) = (input.source.kind(), input.proxy_protocol_from.as_deref());
    let udp = input.source.udp().map(|_| (Transport::Udp, Stream { kind, ..Stream::default() }));
    let tcp = match &input.source {
        Source::Http(http) => {
            let tls = http.tls.as_ref();
            Some((Transport::Tcp, Stream { kind, tls, proxies, ..Stream::default() }))
        }
        source => source.stream().map(|tcp| {
            let delimiter = if matches!(source, Source::Tcp(_)) { tcp.delimiter } else { 0 };
            let (tls, oversize) = (tcp.tls.as_ref(), Some(tcp.oversize));
            (Transport::Tcp, Stream { kind, tls, proxies, delimiter, oversize })
        }),
    };
    let path = match &input.source {
        Source::Http(http) => Some(http.path.as_str()),
        _ => None,
    };
    let claim = |(transport, stream)| Claim { input, transport, stream, path, prefixes: input.prefixes() };
    udp.into_iter().chain(tcp).map(claim).collect()
}
