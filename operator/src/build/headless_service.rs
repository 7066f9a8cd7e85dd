//! Headless Service `<proxy>-pods`: gives the pods of a StatefulSet their names. Immutable there, so always the same.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_labels};
use crate::validate::ValidatedProxy;

pub(super) const SUFFIX: &str = "-pods";

pub(super) fn build(proxy: &ValidatedProxy) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(port.into())),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(proxy, SUFFIX),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            // The operator asks pods that are not ready too.
            publish_not_ready_addresses: Some(true),
            selector: Some(pod_labels(proxy)),
            ports: Some(vec![port("api", proxy.api_port), port("health", proxy.health_port)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
