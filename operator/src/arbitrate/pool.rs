//! A Proxy and those who want to attach to it, reduced to what the rules look at.

use std::collections::BTreeMap;

use bytefreezer_crds::{ProxyDataset, conditions::Reason, dataset::SourceRef, labels, values::Cidr};
use bytefreezer_proxy::config::Input;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    Refusal, Rule, Verdict,
    listeners::{self, Listener, Transport},
};
use crate::key::ObjectKey;

/// A Proxy with the datasets that name it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The Proxy.
    pub key: ObjectKey,
    /// When it was made, in seconds since 1970; `None` is newest.
    pub created: Option<i64>,
    /// TCP ports of API and health.
    pub own_ports: [u16; 2],
    /// Set on the host network.
    pub host: Option<Host>,
    /// `allowedDatasets`.
    pub rules: Vec<Rule>,
    /// Datasets that name it.
    pub claimants: Vec<Claimant>,
}

/// What matters on the host network.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Whether ports below 1024 may be used.
    pub privileged: bool,
    /// `workload.nodeSelector`.
    pub nodes: BTreeMap<String, String>,
}

/// A dataset that wants to attach.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The dataset's object.
    pub key: ObjectKey,
    /// Whether it came from Control.
    pub synced: bool,
    /// When it was made, in seconds since 1970; `None` is newest.
    pub created: Option<i64>,
    /// Labels of its namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// Tenant.
    pub tenant: String,
    /// Dataset of the tenant.
    pub dataset: String,
    /// What it wants to listen on.
    pub listeners: Vec<Listener>,
    /// Prefixes it wants; never empty.
    pub sources: Vec<IpNet>,
}

/// Everybody.
fn everybody() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

impl Claimant {
    /// What a dataset claims; `None` when its source or a network in it cannot be read, which `convert` reports.
    pub fn of(object: &ProxyDataset, namespace_labels: BTreeMap<String, String>) -> Option<Self> {
        let metadata = &object.metadata;
        let name = metadata.name.clone()?;
        let spec = &object.spec;
        let networks =
            |list: &[Cidr]| list.iter().map(|one| one.network().map(unmapped)).collect::<Result<Vec<_>, _>>();
        let sources = networks(&spec.allowed_sources).ok()?;
        let proxies = match &spec.proxy_protocol {
            Some(from) => {
                let mut proxies = networks(&from.from).ok()?;
                proxies.sort_unstable();
                Some(proxies)
            }
            None => None,
        };
        let namespace = metadata.namespace.clone().unwrap_or_default();
        Some(Self {
            listeners: listeners::of(&namespace, spec.source.get()?, proxies.as_deref()),
            key: ObjectKey::new(namespace, name.clone()),
            synced: synced(metadata),
            created: created(metadata),
            namespace_labels,
            tenant: spec.tenant_id.as_str().to_owned(),
            dataset: spec.dataset_id.as_ref().map_or(name, |id| id.as_str().to_owned()),
            sources: if sources.is_empty() { everybody() } else { sources },
        })
    }

    /// What a dataset claims of which an entry of a document is all that is known, and its metadata.
    pub fn of_entry(
        key: ObjectKey,
        metadata: &ObjectMeta,
        input: &Input,
        namespace_labels: BTreeMap<String, String>,
    ) -> Self {
        let mut proxies = input.proxy_protocol_from.clone();
        if let Some(proxies) = &mut proxies {
            proxies.sort_unstable();
        }
        Self {
            key,
            synced: synced(metadata),
            created: created(metadata),
            namespace_labels,
            tenant: input.tenant().to_string(),
            dataset: input.dataset().to_string(),
            listeners: listeners::of_entry(input, proxies.as_deref()),
            sources: input.prefixes(),
        }
    }

    /// Who comes first.
    pub(super) fn rank(&self) -> (bool, bool, Option<i64>, &ObjectKey) {
        (self.synced, self.created.is_none(), self.created, &self.key)
    }

    pub(super) fn id(&self) -> (String, String) {
        (self.tenant.clone(), self.dataset.clone())
    }
}

/// Whether it came from Control.
fn synced(metadata: &ObjectMeta) -> bool {
    let origin = metadata.labels.as_ref().and_then(|labels| labels.get(labels::ORIGIN));
    origin.is_some_and(|origin| origin == labels::ORIGIN_CONTROL)
}

fn created(metadata: &ObjectMeta) -> Option<i64> {
    metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}

/// IPv4-mapped networks are IPv4.
fn unmapped(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|address| IpNet::new(address.into(), v6.prefix_len() - 96).ok())
            .unwrap_or(network),
        other => other,
    }
}

impl Pool {
    /// What one of the Proxy's own ports is for.
    pub(super) fn own_port(&self, port: u16) -> Option<&'static str> {
        let [api, health] = self.own_ports;
        [(api, "API"), (health, "health")].into_iter().find(|(own, _)| *own == port).map(|(_, name)| name)
    }

    /// Whether the two may have pods on one node, as far as their node selectors tell.
    pub(super) fn may_share_node(&self, other: &Self) -> bool {
        let (Some(here), Some(there)) = (&self.host, &other.host) else { return false };
        !here.nodes.iter().any(|(label, value)| there.nodes.get(label).is_some_and(|other| other != value))
    }

    /// Whether the ports are not the Proxy's own, and not privileged without leave.
    pub(super) fn permits_ports(&self, claimant: &Claimant) -> Result<(), Refusal> {
        for listener in &claimant.listeners {
            if let Some(own) = self.own_port(listener.port).filter(|_| listener.transport == Transport::Tcp) {
                return Err(Refusal::new(
                    Reason::PortNotPermitted,
                    format!("{listener} is the {own} port of Proxy {}: choose another port", self.key),
                ));
            }
            if listener.port < 1024 && self.host.as_ref().is_some_and(|host| !host.privileged) {
                return Err(Refusal::new(
                    Reason::PrivilegedPortNotAllowed,
                    format!(
                        "{listener} is below 1024 and Proxy {} is on the host network: choose a port from 1024 on, or set \
                         exposure.hostNetwork.privilegedPorts: true there",
                        self.key
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Of two Proxies that claim one port for API or health and may share a node, the younger gets no workload.
pub(super) fn host_ports(pools: &[Pool]) -> BTreeMap<ObjectKey, Verdict> {
    let mut order: Vec<&Pool> = pools.iter().collect();
    order.sort_by_key(|pool| (pool.created.is_none(), pool.created, &pool.key));
    let mut running: Vec<&Pool> = Vec::new();
    let mut verdicts = BTreeMap::new();
    for pool in order {
        let shared = running.iter().filter(|other| pool.may_share_node(other)).find_map(|other| {
            let port = pool.own_ports.iter().find(|port| other.own_ports.contains(port))?;
            Some((*other, port))
        });
        let verdict = if let Some((winner, port)) = shared {
            let message = format!(
                "TCP {port} of the nodes belongs to Proxy {}, which may share a node: set other ports in \
                 exposure.hostNetwork.apiPort and healthPort, or keep the Proxies apart by nodeSelector",
                winner.key
            );
            Verdict::Refused(Refusal::new(Reason::HostPortConflict, message).by(&winner.key))
        } else {
            running.push(pool);
            Verdict::Admitted
        };
        verdicts.insert(pool.key.clone(), verdict);
    }
    verdicts
}

/// The name of a kind of source.
pub(super) fn kind(source: SourceRef<'_>) -> &'static str {
    match source {
        SourceRef::Udp(_) => "udp",
        SourceRef::Tcp(_) => "tcp",
        SourceRef::Syslog(_) => "syslog",
        SourceRef::Http(_) => "http",
        SourceRef::Netflow(_) => "netflow",
        SourceRef::Ipfix(_) => "ipfix",
        SourceRef::Sflow(_) => "sflow",
        SourceRef::Ebpf(_) => "ebpf",
    }
}
