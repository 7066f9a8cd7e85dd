//! Makes the kubelet bring a changed document to the pods at once: it looks at a pod's volumes whenever the pod changes, so
//! an annotation of the pod is changed. Else it takes up to 65 s.
//!
//! The kubelet may look before it has the new document itself, so pods that still owe something are touched again after
//! 2, 5 and 15 s. After that they are left to the kubelet: at rest nothing is written.

use std::time::Duration;

use bytefreezer_crds::labels;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::follower::Heard;
use crate::apply::MANAGER;

/// When pods are touched.
const TOUCHES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];
/// Requests at a time.
const AT_A_TIME: usize = 8;

/// A pod that may owe something.
pub(super) struct Debtor {
    pub pod: String,
    pub uid: String,
    pub heard: watch::Receiver<Heard>,
}

/// Touches those who owe, until none does or it was tried often enough. `why` stands in the annotation.
pub(super) async fn refresh(
    api: Api<Pod>,
    why: String,
    debtors: Vec<Debtor>,
    owes: impl Fn(&Heard) -> bool + Send,
) {
    let start = Instant::now();
    for (touch, after) in TOUCHES.iter().enumerate() {
        sleep_until(start + *after).await;
        let owing = debtors.iter().filter(|debtor| owes(&debtor.heard.borrow()));
        let owing: Vec<_> = owing.map(|debtor| (debtor.pod.clone(), debtor.uid.clone())).collect();
        if owing.is_empty() {
            return;
        }
        let value = format!("{why}-{touch}");
        let touches = stream::iter(owing).map(|(pod, uid)| touch_pod(api.clone(), pod, uid, value.clone()));
        touches.for_each_concurrent(AT_A_TIME, |touch| touch).await;
    }
}

async fn touch_pod(api: Api<Pod>, pod: String, uid: String, value: String) {
    // With the UID this is refused when the pod of this name is another one by now.
    let patch = json!({"metadata": {"uid": uid, "annotations": {labels::REFRESH: value}}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&pod, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {}
        // The next touch, or the kubelet by itself.
        Err(error) => debug!(pod, %error, "a pod cannot be annotated"),
    }
}
