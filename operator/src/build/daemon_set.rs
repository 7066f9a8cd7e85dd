//! DaemonSet: one pod per node, one node at a time. No surge: two pods cannot have the same ports of a node.

use k8s_openapi::{
    api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_selector, pod_template};
use crate::validate::ValidatedProxy;

pub(super) fn build(proxy: &ValidatedProxy) -> DaemonSet {
    DaemonSet {
        metadata: metadata(proxy, ""),
        spec: Some(DaemonSetSpec {
            selector: pod_selector(proxy),
            template: pod_template::build(proxy),
            min_ready_seconds: proxy.min_ready,
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::Int(1)),
                    max_surge: Some(IntOrString::Int(0)),
                }),
            }),
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    }
}
