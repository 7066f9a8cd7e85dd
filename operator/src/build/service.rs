//! Services for senders: `<proxy>`, and `<proxy>-flow` for sources that keep what an exporter told before, which holds each
//! sender to one pod. With `-tcp` and `-udp` behind these where a load balancer cannot mix protocols.
//!
//! Ports are named `<protocol>-<port>`, after nothing that reordering or another dataset could change. A Service is made
//! for its first port; later, when it would have none, it keeps its last ones: 500 devices point at its address.

use std::collections::BTreeMap;

use bytefreezer_crds::proxy::{Exposure, ExposureType, LoadBalancer, LoadBalancerProtocols, TrafficPolicy};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Ports, metadata, pod_labels};
use crate::{arbitrate::Transport, validate::ValidatedProxy};

/// Classes whose load balancers take one protocol per Service.
const CANNOT_MIX: &[&str] = &["service.k8s.aws/nlb"];
/// `sessionAffinity` of a Service that holds each sender to one pod.
pub const STICKY: &str = "ClientIP";

pub(super) fn build(
    proxy: &ValidatedProxy,
    ports: &Ports,
    living: &BTreeMap<String, Vec<ServicePort>>,
) -> Vec<Service> {
    let exposure = &proxy.spec.exposure;
    let kind = match exposure.kind {
        ExposureType::HostNetwork => return Vec::new(),
        ExposureType::LoadBalancer => "LoadBalancer",
        ExposureType::NodePort => "NodePort",
        ExposureType::ClusterIP => "ClusterIP",
    };
    let balancer = exposure.load_balancer.clone().unwrap_or_default();
    let one = |part: &Part| {
        let mut metadata = metadata(proxy, part.suffix);
        let wanted = ports.of(part.sticky).filter(|(transport, _)| part.transports.contains(transport));
        let wanted: Vec<ServicePort> = wanted.map(service_port).collect();
        let ports = if wanted.is_empty() { living.get(metadata.name.as_deref()?)?.clone() } else { wanted };
        metadata.annotations = (!balancer.annotations.is_empty()).then(|| balancer.annotations.clone());
        let spec = ServiceSpec {
            type_: Some(kind.to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(pod_labels(proxy)),
            session_affinity: Some(if part.sticky { STICKY } else { "None" }.to_owned()),
            ports: Some(ports),
            ..ServiceSpec::default()
        };
        Some(Service {
            metadata,
            spec: Some(reachable(spec, exposure.kind, &balancer)),
            ..Service::default()
        })
    };
    parts(exposure, &balancer).iter().filter_map(one).collect()
}

/// Which ports a Service takes.
struct Part {
    /// Its name after the Proxy's.
    suffix: &'static str,
    sticky: bool,
    transports: &'static [Transport],
}

fn parts(exposure: &Exposure, balancer: &LoadBalancer) -> &'static [Part] {
    const fn part(suffix: &'static str, sticky: bool, transports: &'static [Transport]) -> Part {
        Part { suffix, sticky, transports }
    }
    const BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];
    const MIXED: &[Part] = &[part("", false, BOTH), part("-flow", true, BOTH)];
    const SPLIT: &[Part] = &[
        part("-tcp", false, &[Transport::Tcp]),
        part("-udp", false, &[Transport::Udp]),
        part("-flow-tcp", true, &[Transport::Tcp]),
        part("-flow-udp", true, &[Transport::Udp]),
    ];
    if exposure.kind == ExposureType::LoadBalancer && is_split(balancer) { SPLIT } else { MIXED }
}

fn is_split(balancer: &LoadBalancer) -> bool {
    match balancer.protocols {
        LoadBalancerProtocols::Separate => true,
        LoadBalancerProtocols::Mixed => false,
        LoadBalancerProtocols::Auto => {
            balancer.class.as_deref().is_some_and(|class| CANNOT_MIX.contains(&class))
        }
    }
}

/// Adds what belongs to traffic from outside.
fn reachable(spec: ServiceSpec, kind: ExposureType, balancer: &LoadBalancer) -> ServiceSpec {
    let policy = |policy| match policy {
        TrafficPolicy::Local => "Local".to_owned(),
        TrafficPolicy::Cluster => "Cluster".to_owned(),
    };
    match kind {
        ExposureType::LoadBalancer => ServiceSpec {
            external_traffic_policy: Some(policy(balancer.external_traffic_policy)),
            load_balancer_class: balancer.class.clone(),
            load_balancer_source_ranges: (!balancer.source_ranges.is_empty())
                .then(|| balancer.source_ranges.iter().map(|range| range.as_str().to_owned()).collect()),
            ..spec
        },
        ExposureType::NodePort => {
            ServiceSpec { external_traffic_policy: Some(policy(TrafficPolicy::Local)), ..spec }
        }
        ExposureType::ClusterIP | ExposureType::HostNetwork => spec,
    }
}

fn service_port((transport, port): (Transport, u16)) -> ServicePort {
    ServicePort {
        name: Some(format!("{}-{port}", transport.as_str().to_ascii_lowercase())),
        port: port.into(),
        protocol: Some(transport.as_str().to_owned()),
        target_port: Some(IntOrString::Int(port.into())),
        ..ServicePort::default()
    }
}
