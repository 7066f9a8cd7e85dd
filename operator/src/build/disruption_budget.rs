//! PodDisruptionBudget: one pod at a time. Of a single pod it would block every drain, so that one has none.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_selector};
use crate::validate::ValidatedProxy;

pub(super) fn build(proxy: &ValidatedProxy) -> Option<PodDisruptionBudget> {
    (!proxy.is_daemon_set() && proxy.replicas() > 1).then(|| PodDisruptionBudget {
        metadata: metadata(proxy, ""),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pod_selector(proxy)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
