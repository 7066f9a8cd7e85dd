//! What a dataset wants of a listener, and when two cannot share one.
//!
//! The same rules as in the proxy's own validation, which runs on the result: one kind, TLS, framing and set of PROXY
//! peers per listener; no prefix twice; no overlap between tenants. Between namespaces of one tenant an overlap is a
//! conflict too, unless a rule of the Proxy grants the narrower range to whoever claims it.

use std::fmt;

use bytefreezer_crds::dataset::{Oversize, Protocol, SourceRef, Tls};
use bytefreezer_proxy::config::{self, Input, ServerTls, Source, TcpSource};
use ipnet::IpNet;

use super::{Claimant, Holder, pool::kind};

/// Transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose certificates a listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Those in these Secrets of a namespace.
    Of(String, Tls),
    /// Those that an entry of a document names. Nobody knows any more of which Secrets they are.
    Kept,
}

/// What a dataset wants of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// Name of the kind of source.
    pub kind: &'static str,
    /// Certificates.
    pub tls: Option<Certificates>,
    /// Peers whose PROXY header is believed, sorted.
    pub proxies: Option<Vec<IpNet>>,
    /// What ends a line, and what happens with a long one.
    pub framing: Option<(u8, Oversize)>,
    /// Path, for http.
    pub path: Option<String>,
    /// Whether all that one sender sends has to reach one pod, which has what the sender told before: its templates.
    pub sticky: bool,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.port)
    }
}

/// Of whatever is not between lines.
const NEWLINE: u8 = b'\n';

impl Listener {
    /// One for sources of this kind that wants nothing in particular.
    fn bare(kind: &'static str, transport: Transport, port: u16, proxies: Option<&[IpNet]>) -> Self {
        Self {
            transport,
            port,
            kind,
            tls: None,
            proxies: proxies.map(<[IpNet]>::to_vec).filter(|_| transport == Transport::Tcp),
            framing: None,
            path: None,
            // Over TCP templates live and die with their connection, but a source has one address for both.
            sticky: matches!(kind, "netflow" | "ipfix"),
        }
    }
}

/// The listeners that a source in `namespace` needs.
pub(super) fn of(namespace: &str, source: SourceRef<'_>, proxies: Option<&[IpNet]>) -> Vec<Listener> {
    let secrets = |tls: &Option<Tls>| tls.clone().map(|tls| Certificates::Of(namespace.to_owned(), tls));
    let bare = |transport, port| Listener::bare(kind(source), transport, port, proxies);
    let each = |protocols: &[Protocol], port, tcp: &dyn Fn(Listener) -> Listener| {
        let udp = protocols.contains(&Protocol::Udp).then(|| bare(Transport::Udp, port));
        let tcp = protocols.contains(&Protocol::Tcp).then(|| tcp(bare(Transport::Tcp, port)));
        udp.into_iter().chain(tcp).collect()
    };
    match source {
        SourceRef::Udp(udp) => vec![bare(Transport::Udp, udp.port)],
        SourceRef::Netflow(netflow) => vec![bare(Transport::Udp, netflow.port)],
        SourceRef::Sflow(sflow) => vec![bare(Transport::Udp, sflow.port)],
        SourceRef::Ebpf(ebpf) => vec![bare(Transport::Udp, ebpf.port)],
        SourceRef::Tcp(tcp) => vec![Listener {
            tls: secrets(&tcp.tls),
            framing: Some((tcp.delimiter.as_bytes().first().copied().unwrap_or(NEWLINE), tcp.oversize)),
            ..bare(Transport::Tcp, tcp.port)
        }],
        SourceRef::Http(http) => vec![Listener {
            tls: secrets(&http.tls),
            path: Some(http.path.clone()),
            ..bare(Transport::Tcp, http.port)
        }],
        SourceRef::Syslog(syslog) => each(&syslog.protocols, syslog.port, &|tcp| Listener {
            tls: secrets(&syslog.tls),
            framing: Some((NEWLINE, syslog.oversize)),
            ..tcp
        }),
        SourceRef::Ipfix(ipfix) => {
            each(&ipfix.protocols, ipfix.port, &|tcp| Listener { tls: secrets(&ipfix.tls), ..tcp })
        }
    }
}

/// The listeners that an entry of a document needs.
pub(super) fn of_entry(input: &Input, proxies: Option<&[IpNet]>) -> Vec<Listener> {
    let port = input.listen.port;
    let udp = |kind| Listener::bare(kind, Transport::Udp, port, proxies);
    let tcp = |kind, tls: &Option<ServerTls>| Listener {
        tls: tls.as_ref().map(|_| Certificates::Kept),
        ..Listener::bare(kind, Transport::Tcp, port, proxies)
    };
    let framing = |tcp: &TcpSource| {
        let oversize = match tcp.oversize {
            config::Oversize::Cut => Oversize::Cut,
            config::Oversize::Drop => Oversize::Drop,
            config::Oversize::Close => Oversize::Close,
        };
        Some((tcp.delimiter, oversize))
    };
    let both =
        |of_udp: Option<Listener>, of_tcp: Option<Listener>| of_udp.into_iter().chain(of_tcp).collect();
    match &input.source {
        Source::Udp(_) => vec![udp("udp")],
        Source::Sflow(_) => vec![udp("sflow")],
        Source::Ebpf(_) => vec![udp("ebpf")],
        Source::Tcp(lines) => vec![Listener { framing: framing(lines), ..tcp("tcp", &lines.tls) }],
        Source::Http(http) => vec![Listener { path: Some(http.path.clone()), ..tcp("http", &http.tls) }],
        Source::Syslog(syslog) => both(
            syslog.udp.as_ref().map(|_| udp("syslog")),
            syslog
                .tcp
                .as_ref()
                .map(|lines| Listener { framing: framing(lines), ..tcp("syslog", &lines.tls) }),
        ),
        Source::Netflow(flow) | Source::Ipfix(flow) => {
            let kind = if matches!(input.source, Source::Netflow(_)) { "netflow" } else { "ipfix" };
            both(flow.udp.as_ref().map(|_| udp(kind)), flow.tcp.as_ref().map(|flows| tcp(kind, &flows.tls)))
        }
    }
}

/// Whether two cannot have certificates in common. Where nobody knows, the proxy has the last word.
fn differ(own: Option<&Certificates>, theirs: Option<&Certificates>) -> bool {
    match (own, theirs) {
        (Some(Certificates::Kept), Some(_)) | (Some(_), Some(Certificates::Kept)) => false,
        (own, theirs) => own != theirs,
    }
}

/// Why the claimant cannot share the listener with its holder.
pub(super) fn conflict(
    (claimant, listener, granted): (&Claimant, &Listener, &[IpNet]),
    holder: &Holder<'_>,
) -> Option<String> {
    let winner = &holder.claimant.key;
    let theirs = holder
        .claimant
        .listeners
        .iter()
        .find(|theirs| theirs.transport == listener.transport && theirs.port == listener.port)?;
    if listener.kind != theirs.kind {
        return Some(format!("{listener} is taken for {} by {winner}: choose another port", theirs.kind));
    }
    for (differs, what) in [
        (differ(listener.tls.as_ref(), theirs.tls.as_ref()), "tls"),
        (listener.proxies != theirs.proxies, "proxyProtocol"),
        (listener.framing != theirs.framing, "delimiter and oversize"),
    ] {
        if differs {
            return Some(format!(
                "{listener} is shared with {winner}, whose {what} differs: write the same, or choose another port"
            ));
        }
    }
    if listener.path != theirs.path {
        return None;
    }
    let pairs = claimant
        .sources
        .iter()
        .flat_map(|own| holder.claimant.sources.iter().map(move |theirs| (own, theirs)));
    let (own, theirs) = pairs.into_iter().find(|(own, theirs)| {
        own == theirs || overlap(own, theirs) && !may_nest((claimant, own, granted), (holder, theirs))
    })?;
    Some(if own == theirs {
        format!(
            "{own} on {listener} belongs to {winner} already: claim other allowedSources, or choose another port"
        )
    } else {
        format!(
            "{own} on {listener} overlaps {theirs} of {winner}, which is another tenant's or namespace's: claim \
             allowedSources that do not overlap, or choose another port"
        )
    })
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether two prefixes, one inside the other, may both be held.
fn may_nest(
    (claimant, own, granted): (&Claimant, &IpNet, &[IpNet]),
    (holder, theirs): (&Holder<'_>, &IpNet),
) -> bool {
    if claimant.tenant != holder.claimant.tenant {
        return false;
    }
    let (narrow, granted) = if theirs.contains(own) { (own, granted) } else { (theirs, &holder.granted[..]) };
    claimant.key.namespace == holder.claimant.key.namespace
        || granted.iter().any(|range| range.contains(narrow))
}
