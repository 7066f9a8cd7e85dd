//! Inputs that cannot stand beside each other: the one that comes first in the file keeps its place.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::inputs::Built;
use crate::{
    config::{
        model::{Input, Oversize, Server, ServerTls, Source},
        problems::Problems,
    },
    ids::TenantId,
};

/// Transport of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// What an input asks of one listener.
struct Claim<'a> {
    index: usize,
    transport: Transport,
    host: IpAddr,
    port: u16,
    kind: &'static str,
    tls: Option<&'a ServerTls>,
    proxies: Option<&'a [IpNet]>,
    delimiter: u8,
    oversize: Option<Oversize>,
    path: &'a str,
    tenant: &'a TenantId,
    sources: Vec<IpNet>,
}

/// The inputs that remain when every one that conflicts with an earlier one is reported and left out.
pub(super) fn without_conflicts(built: Vec<Built>, server: &Server, problems: &mut Problems) -> Vec<Input> {
    let mut datasets = HashSet::new();
    let mut lost = HashSet::new();
    let mut held: BTreeMap<(Transport, u16), Vec<Claim<'_>>> = BTreeMap::new();
    for one in &built {
        let config = format!("inputs[{}].config", one.index);
        if !datasets.insert(&one.input.key) {
            problems.error(
                &format!("{config}.dataset_id"),
                format!("{} is another input's dataset already", one.input.key),
                "write another `dataset_id`",
            );
            lost.insert(one.index);
            continue;
        }
        let claims = claims(one);
        let conflict = claims.iter().find_map(|claim| {
            own_port(claim, server).or_else(|| {
                held.get(&(claim.transport, claim.port))?.iter().find_map(|earlier| conflict(claim, earlier))
            })
        });
        if let Some((key, what, remedy)) = conflict {
            problems.error(&format!("{config}.{key}"), what, remedy);
            lost.insert(one.index);
            continue;
        }
        for claim in claims {
            held.entry((claim.transport, claim.port)).or_default().push(claim);
        }
    }
    drop(held);
    built.into_iter().filter(|one| !lost.contains(&one.index)).map(|one| one.input).collect()
}

fn claims(one: &Built) -> Vec<Claim<'_>> {
    let Built { index, input } = one;
    let sources = if input.allowed_sources.is_empty() {
        vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
    } else {
        input.allowed_sources.clone()
    };
    let claim = |transport, kind, tls, delimiter, path| Claim {
        index: *index,
        transport,
        host: input.listen.host,
        port: input.listen.port,
        kind,
        tls,
        proxies: input.proxy_protocol_from.as_deref(),
        delimiter,
        oversize: None,
        path,
        tenant: &input.key.tenant,
        sources: sources.clone(),
    };
    match &input.source {
        Source::Udp(_) => vec![Claim { proxies: None, ..claim(Transport::Udp, "udp", None, 0, "") }],
        Source::Tcp(tcp) => {
            let claim = claim(Transport::Tcp, "tcp", tcp.tls.as_ref(), tcp.delimiter, "");
            vec![Claim { oversize: Some(tcp.oversize), ..claim }]
        }
        Source::Http(http) => vec![claim(Transport::Tcp, "http", http.tls.as_ref(), 0, &http.path)],
        Source::Syslog(syslog) => {
            let udp = Claim { proxies: None, ..claim(Transport::Udp, "syslog", None, 0, "") };
            let tcp = syslog.tcp.as_ref().map(|tcp| Claim {
                oversize: Some(tcp.oversize),
                ..claim(Transport::Tcp, "syslog", tcp.tls.as_ref(), 0, "")
            });
            syslog.udp.as_ref().map(|_| udp).into_iter().chain(tcp).collect()
        }
    }
}

/// Whether two sockets with these addresses would compete for the same packets.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) => wide.is_unspecified(),
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
    };
    a == b || covers(a, b) || covers(b, a)
}

type Conflict = (&'static str, String, String);

fn own_port(claim: &Claim<'_>, server: &Server) -> Option<Conflict> {
    let taken = [(Some(server.api_port), "server.api_port"), (server.health_port, "server.health_port")];
    let (_, name) = taken.into_iter().find(|(port, _)| {
        claim.transport == Transport::Tcp && *port == Some(claim.port) && overlap(claim.host, server.api_host)
    })?;
    Some(("port", format!("TCP {} is `{name}`", claim.port), "write another port".to_owned()))
}

fn conflict(claim: &Claim<'_>, earlier: &Claim<'_>) -> Option<Conflict> {
    if !overlap(claim.host, earlier.host) {
        return None;
    }
    let (transport, port, other) = (claim.transport, claim.port, format!("inputs[{}]", earlier.index));
    let differs = |key, what: &str| {
        Some((
            key,
            format!("differs from that of {other}, which shares {transport} {port}"),
            format!("write the same {what}, or another port"),
        ))
    };
    if claim.host != earlier.host {
        return Some((
            "host",
            format!("{} overlaps {} of {other} on {transport} {port}", claim.host, earlier.host),
            "write the same host, or another port".to_owned(),
        ));
    }
    if claim.kind != earlier.kind {
        return Some((
            "port",
            format!("{transport} {port} is that of {other}, whose type is `{}`", earlier.kind),
            "write another port".to_owned(),
        ));
    }
    if claim.tls != earlier.tls {
        return differs("tls", "`tls`");
    }
    if claim.proxies != earlier.proxies {
        return differs("proxy_protocol_from", "`proxy_protocol_from`");
    }
    if claim.delimiter != earlier.delimiter {
        return differs("delimiter", "`delimiter`");
    }
    if claim.oversize != earlier.oversize {
        return differs("oversize", "`oversize`");
    }
    if claim.path != earlier.path {
        return None;
    }
    if claim.tenant != earlier.tenant {
        let pairs =
            claim.sources.iter().flat_map(|own| earlier.sources.iter().map(move |theirs| (own, theirs)));
        let (own, theirs) =
            pairs.into_iter().find(|(own, theirs)| own.contains(*theirs) || theirs.contains(*own))?;
        return Some((
            "allowed_sources",
            format!("{own} overlaps {theirs} of {other} on {transport} {port}, which is another tenant's"),
            "give tenants sources that do not overlap, or another port".to_owned(),
        ));
    }
    let shared = claim.sources.iter().find(|source| earlier.sources.contains(source))?;
    Some((
        "allowed_sources",
        format!("{shared} belongs to {other} on {transport} {port} already"),
        "give each input on this port its own `allowed_sources`, or another port".to_owned(),
    ))
}
