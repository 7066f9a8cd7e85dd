//! What a dataset wants of a listener, and when two cannot share one.
//!
//! The same rules as in the proxy's own validation, which runs on the result: one kind, TLS, framing and set of PROXY
//! peers per listener; no prefix twice; no overlap between tenants. Between namespaces of one tenant an overlap is a
//! conflict too, unless a rule of the Proxy grants the narrower range to whoever claims it.

use std::fmt;

use bytefreezer_crds::dataset::{Oversize, Protocol, SourceRef, Tls};
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

/// What a dataset wants of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// Name of the kind of source.
    pub kind: &'static str,
    /// Certificates, with the namespace of their Secrets.
    pub tls: Option<(String, Tls)>,
    /// Peers whose PROXY header is believed, sorted.
    pub proxies: Option<Vec<IpNet>>,
    /// What ends a line, and what happens with a long one.
    pub framing: Option<(String, Oversize)>,
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

/// The listeners that a source in `namespace` needs.
pub(super) fn of(namespace: &str, source: SourceRef<'_>, proxies: Option<&[IpNet]>) -> Vec<Listener> {
    let secrets = |tls: &Option<Tls>| tls.clone().map(|tls| (namespace.to_owned(), tls));
    let bare = |transport, port| Listener {
        transport,
        port,
        kind: kind(source),
        tls: None,
        proxies: proxies.map(<[IpNet]>::to_vec).filter(|_| transport == Transport::Tcp),
        framing: None,
        path: None,
        // Over TCP templates live and die with their connection, but a source has one address for both.
        sticky: matches!(source, SourceRef::Netflow(_) | SourceRef::Ipfix(_)),
    };
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
            framing: Some((tcp.delimiter.clone(), tcp.oversize)),
            ..bare(Transport::Tcp, tcp.port)
        }],
        SourceRef::Http(http) => vec![Listener {
            tls: secrets(&http.tls),
            path: Some(http.path.clone()),
            ..bare(Transport::Tcp, http.port)
        }],
        SourceRef::Syslog(syslog) => each(&syslog.protocols, syslog.port, &|tcp| Listener {
            tls: secrets(&syslog.tls),
            framing: Some((String::new(), syslog.oversize)),
            ..tcp
        }),
        SourceRef::Ipfix(ipfix) => {
            each(&ipfix.protocols, ipfix.port, &|tcp| Listener { tls: secrets(&ipfix.tls), ..tcp })
        }
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
        (listener.tls != theirs.tls, "tls"),
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
