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
    collections::{HashMap, hash_map::Entry},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::{Input, Listen, Oversize, ServerTls, Source};
use crate::ids::DatasetKey;

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

/// Inputs that stand beside each other.
#[derive(Debug, Default)]
pub struct Sharing<'a> {
    datasets: HashMap<&'a DatasetKey, String>,
    claims: HashMap<(Transport, u16), Vec<Claim<'a>>>,
}

impl<'a> Sharing<'a> {
    /// Takes in one more, which `label` names in messages, unless it conflicts.
    pub fn add(&mut self, label: &str, input: &'a Input) -> Result<(), Conflict> {
        let Entry::Vacant(dataset) = self.datasets.entry(&input.key) else {
            let other = self.datasets.get(&input.key).map_or("", String::as_str);
            return Err(Conflict {
                key: "dataset_id",
                what: format!("{} is the dataset of {other} already", input.key),
                remedy: "write another `dataset_id`".to_owned(),
            });
        };
        let claims = claims(label, input);
        let held = |claim: &Claim<'_>| self.claims.get(&claim.place()).into_iter().flatten();
        if let Some(conflict) =
            claims.iter().find_map(|claim| held(claim).find_map(|earlier| conflict(claim, earlier)))
        {
            return Err(conflict);
        }
        dataset.insert(label.to_owned());
        for claim in claims {
            self.claims.entry(claim.place()).or_default().push(claim);
        }
        Ok(())
    }
}

/// What an input asks of one listener.
#[derive(Debug)]
struct Claim<'a> {
    label: String,
    input: &'a Input,
    transport: Transport,
    stream: Stream<'a>,
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

    /// http only; another path is another place.
    fn path(&self) -> Option<&str> {
        match &self.input.source {
            Source::Http(http) => Some(&http.path),
            _ => None,
        }
    }
}

fn claims<'a>(label: &str, input: &'a Input) -> Vec<Claim<'a>> {
    let proxies = input.proxy_protocol_from.as_deref();
    let udp = |kind| (Transport::Udp, Stream { kind, ..Stream::default() });
    let streams = match &input.source {
        Source::Udp(_) => vec![udp("udp")],
        Source::Tcp(tcp) => {
            let (tls, oversize, delimiter) = (tcp.tls.as_ref(), Some(tcp.oversize), tcp.delimiter);
            vec![(Transport::Tcp, Stream { kind: "tcp", tls, proxies, delimiter, oversize })]
        }
        Source::Http(http) => {
            let tls = http.tls.as_ref();
            vec![(Transport::Tcp, Stream { kind: "http", tls, proxies, ..Stream::default() })]
        }
        Source::Syslog(syslog) => {
            let tcp = syslog.tcp.as_ref().map(|tcp| {
                let (tls, oversize) = (tcp.tls.as_ref(), Some(tcp.oversize));
                (Transport::Tcp, Stream { kind: "syslog", tls, proxies, delimiter: 0, oversize })
            });
            syslog.udp.as_ref().map(|_| udp("syslog")).into_iter().chain(tcp).collect()
        }
    };
    let claim = |(transport, stream)| {
        let prefixes = input.prefixes();
        Claim { label: label.to_owned(), input, transport, stream, prefixes }
    };
    streams.into_iter().map(claim).collect()
}

fn conflict(claim: &Claim<'_>, earlier: &Claim<'_>) -> Option<Conflict> {
    let (own, theirs, other) = (claim.input.listen, earlier.input.listen, &earlier.label);
    let place = format!("{} port {}", claim.transport, own.port);
    let because = |key, what: String, remedy: &str| Some(Conflict { key, what, remedy: remedy.to_owned() });
    if !own.overlaps(&theirs) {
        return None;
    }
    if own != theirs {
        let what = format!("{} overlaps {} of {other} on {place}", own.host, theirs.host);
        return because("host", what, "write the same `host`, which shares the listener, or another port");
    }
    let (stream, other_stream) = (&claim.stream, &earlier.stream);
    if stream.kind != other_stream.kind {
        let what = format!("{place} is that of {other}, whose type is `{}`", other_stream.kind);
        return because("port", what, "write another port");
    }
    for (key, differs) in [
        ("tls", stream.tls != other_stream.tls),
        ("proxy_protocol_from", stream.proxies != other_stream.proxies),
        ("delimiter", stream.delimiter != other_stream.delimiter),
        ("oversize", stream.oversize != other_stream.oversize),
    ] {
        if differs {
            let what = format!("differs from that of {other}, which shares {place}");
            return because(key, what, &format!("write the same `{key}`, or another port"));
        }
    }
    if claim.path() != earlier.path() {
        return None;
    }
    let pairs = || claim.prefixes.iter().flat_map(|one| earlier.prefixes.iter().map(move |two| (one, two)));
    if claim.input.key.tenant != earlier.input.key.tenant {
        let (one, two) = pairs().find(|(one, two)| one.contains(*two) || two.contains(*one))?;
        let what = format!(
            "{one} overlaps {two} of {other} on {place}, which is tenant {}'s",
            earlier.input.key.tenant
        );
        return because("allowed_sources", what, "give tenants sources that do not overlap, or another port");
    }
    let (shared, _) = pairs().find(|(one, two)| one == two)?;
    let what = format!("{shared} belongs to {other} on {place} already");
    because(
        "allowed_sources",
        what,
        "give each input on this port its own `allowed_sources`, or another port",
    )
}
