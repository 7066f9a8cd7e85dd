//! Services for senders: `<proxy>`, or `<proxy>-tcp` and `<proxy>-udp` where a load balancer cannot mix protocols.
//!
//! Ports are named `<protocol>-<port>`, after nothing that reordering or another dataset could change. A Service that
//! would have no port keeps its last ones: 500 devices point at its address.

use std::collections::BTreeMap;

use bytefreezer_crds::proxy::{ExposureType, LoadBalancer, LoadBalancerProtocols, TrafficPolicy};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Ports, metadata, pod_labels};
use crate::{arbitrate::Transport, validate::ValidatedProxy};

/// Classes whose load balancers take one protocol per Service.
const CANNOT_MIX: &[&str] = &["service.k8s.aws/nlb"];

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
    let splits: &[(&str, &[Transport])] =
        if exposure.kind == ExposureType::LoadBalancer && is_split(&balancer) {
            &[("-tcp", &[Transport::Tcp]), ("-udp", &[Transport::Udp])]
        } else {
            &[("", &[Transport::Udp, Transport::Tcp])]
        };
    let one = |(suffix, transports): &(&str, &[Transport])| {
        let mut metadata = metadata(proxy, suffix);
        let wanted: Vec<ServicePort> =
            ports.iter().filter(|(transport, _)| transports.contains(transport)).map(service_port).collect();
        let ports = if wanted.is_empty() { living.get(metadata.name.as_deref()?)?.clone() } else { wanted };
        metadata.annotations = (!balancer.annotations.is_empty()).then(|| balancer.annotations.clone());
        let spec = ServiceSpec {
            type_: Some(kind.to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(pod_labels(proxy)),
            ports: Some(ports),
            ..ServiceSpec::default()
        };
        Some(Service {
            metadata,
            spec: Some(reachable(spec, exposure.kind, &balancer)),
            ..Service::default()
        })
    };
    splits.iter().filter_map(one).collect()
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
