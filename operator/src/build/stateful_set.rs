//! StatefulSet: pods with a volume claim each.
//!
//! What cannot be changed later is right from the start: all pods at once (a hole in the row must not hold up the rest),
//! the headless Service's name, a constant selector, claims that stay when pods or the Proxy go.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::{headless_service, metadata, pod_labels, pod_selector, pod_template};
use crate::validate::ValidatedProxy;

pub(super) fn build(proxy: &ValidatedProxy, living: Option<Vec<PersistentVolumeClaim>>) -> StatefulSet {
    let retain = || Some("Retain".to_owned());
    StatefulSet {
        metadata: metadata(proxy, ""),
        spec: Some(StatefulSetSpec {
            replicas: Some(proxy.replicas()),
            pod_management_policy: Some("Parallel".to_owned()),
            service_name: Some(format!("{}{}", proxy.key.name, headless_service::SUFFIX)),
            selector: pod_selector(proxy),
            template: pod_template::build(proxy),
            min_ready_seconds: proxy.min_ready,
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: retain(),
                when_scaled: retain(),
            }),
            volume_claim_templates: Some(living.unwrap_or_else(|| vec![claim(proxy)])),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim(proxy: &ValidatedProxy) -> PersistentVolumeClaim {
    let spool = &proxy.spec.spool;
    let storage = BTreeMap::from([("storage".to_owned(), Quantity(spool.size.as_str().to_owned()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(pod_template::SPOOL.to_owned()),
            labels: Some(pod_labels(proxy)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: spool.storage_class_name.as_ref().map(|name| name.as_str().to_owned()),
            resources: Some(VolumeResourceRequirements { requests: Some(storage), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
