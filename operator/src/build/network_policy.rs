//! NetworkPolicy: listeners and health for everybody, the API for the operator. Pods on the host network are beyond its
//! reach, so they get none.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Ports, metadata, pod_selector};
use crate::{arbitrate::Transport, validate::ValidatedProxy};

pub(super) fn build(proxy: &ValidatedProxy, ports: &Ports) -> Option<NetworkPolicy> {
    if proxy.on_host_network() {
        return None;
    }
    let port = |(transport, port): (Transport, u16)| NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some(transport.as_str().to_owned()),
        end_port: None,
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(
                "app.kubernetes.io/name".to_owned(),
                "bytefreezer-operator".to_owned(),
            )])),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    let health = (Transport::Tcp, proxy.health_port);
    Some(NetworkPolicy {
        metadata: metadata(proxy, ""),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pod_selector(proxy)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from: None,
                    ports: Some(ports.iter().chain([health]).map(port).collect()),
                },
                NetworkPolicyIngressRule {
                    from: Some(vec![operator]),
                    ports: Some(vec![port((Transport::Tcp, proxy.api_port))]),
                },
            ]),
            ..NetworkPolicySpec::default()
        }),
    })
}
