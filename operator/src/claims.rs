//! Volume claims that outlive their pods, and what of their data was not delivered.
//!
//! - A pod that ends says how many bytes it leaves behind, in its container's termination message. The operator writes the
//!   number on the claim ([`labels::UNDELIVERED`]), since the pod is gone a moment later.
//! - A claim without the annotation was left by a pod that nobody heard: unknown counts as undelivered. So a number from an
//!   earlier life is taken away as soon as a pod uses the claim again.
//! - Stranded is a claim that no pod uses and none will by itself (its number is above `replicas`), unless it says 0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytefreezer_crds::labels;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PersistentVolumeClaim, Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::{
    apply::MANAGER,
    build::{CONTAINER, SPOOL},
    key::ObjectKey,
};

/// Notes that may wait. One that finds no room leaves its claim without a number, which counts as undelivered.
const MOST_WAITING: usize = 1024;
/// Most names in a text.
const MOST_NAMES: usize = 5;

/// What the operator reads of a termination message.
#[derive(Deserialize)]
struct Message {
    undelivered_bytes: Option<u64>,
}

/// What a pod left on its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The claim.
    pub claim: ObjectKey,
    /// Bytes; `None` when it did not say.
    pub undelivered: Option<u64>,
}

/// What a pod that has ended left behind; `None` while it runs, or when it has no claim.
pub fn left(pod: &Pod) -> Option<Left> {
    let end = ended(pod)?;
    let namespace = pod.metadata.namespace.clone()?;
    let message = end.message.as_deref().and_then(|text| serde_json::from_str::<Message>(text).ok());
    let undelivered = message.and_then(|message| message.undelivered_bytes);
    Some(Left { claim: ObjectKey::new(namespace, claim(pod)?), undelivered })
}

/// How the pod's container ended, and does not start again.
fn ended(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let status = pod.status.as_ref()?;
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if !is_over && pod.metadata.deletion_timestamp.is_none() {
        return None;
    }
    let container = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER)?;
    container.state.as_ref()?.terminated.as_ref()
}

/// Name of the claim with the pod's spool.
fn claim(pod: &Pod) -> Option<&str> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    let spool = volumes.iter().find(|volume| volume.name == SPOOL)?;
    Some(spool.persistent_volume_claim.as_ref()?.claim_name.as_str())
}

/// A claim that holds data which nobody delivers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranded {
    /// Number of the pod that would use it.
    number: u32,
    /// Name of the claim.
    pub claim: String,
    /// Bytes; `None` when nobody knows.
    pub undelivered: Option<u64>,
}

impl fmt::Display for Stranded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.undelivered {
            Some(bytes) => write!(f, "{} ({bytes} bytes)", self.claim),
            None => write!(f, "{} (nobody knows how much)", self.claim),
        }
    }
}

/// How the claims of a Proxy fare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Claims that hold data which nobody delivers, in the order of their numbers.
    pub stranded: Vec<Stranded>,
    /// Claims in use with a number from an earlier life: give them to [`Keeper::forget`].
    pub outdated: Vec<String>,
}

impl Judgement {
    /// The message of `SpoolStranded`.
    pub fn message(&self) -> Option<String> {
        let most = self.stranded.iter().map(|one| one.number).max()?;
        let mut names: Vec<_> = self.stranded.iter().take(MOST_NAMES).map(ToString::to_string).collect();
        let more = self.stranded.len() - names.len();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        Some(format!(
            "volume claims without a pod hold data that was not delivered: {}; raise workload.replicas to {} until their \
             pods have delivered it, or delete the claims and their data",
            names.join(", "),
            u64::from(most) + 1
        ))
    }
}

/// Judges the claims of the Proxy called `proxy`, given by name with their annotations. `replicas` is 0 for a DaemonSet.
pub fn judge<'a>(
    proxy: &str,
    replicas: u32,
    claims: impl IntoIterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
    pods: &[Arc<Pod>],
) -> Judgement {
    let used: BTreeSet<&str> =
        pods.iter().filter(|pod| ended(pod).is_none()).filter_map(|pod| claim(pod)).collect();
    let mut judgement = Judgement::default();
    for (name, annotations) in claims {
        let written = annotations.get(labels::UNDELIVERED);
        if used.contains(name) {
            judgement.outdated.extend(written.map(|_| name.to_owned()));
            continue;
        }
        let number = name.strip_prefix(&format!("{SPOOL}-{proxy}-")).and_then(|number| number.parse().ok());
        let undelivered = written.and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|number| *number >= replicas && undelivered != Some(0)) {
            judgement.stranded.push(Stranded { number, claim: name.to_owned(), undelivered });
        }
    }
    judgement.stranded.sort();
    judgement
}

/// Writes on claims. Dropping it ends that.
#[derive(Debug)]
pub struct Keeper {
    notes: mpsc::Sender<Left>,
    _task: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Needs a runtime around it.
    pub fn start(client: Client) -> Self {
        let (notes, waiting) = mpsc::channel(MOST_WAITING);
        Self { notes, _task: AbortOnDropHandle::new(tokio::spawn(write(client, waiting))) }
    }

    /// For every event of a pod, deletions with the pod as it was last included. One that has ended is noted on its claim.
    pub fn saw(&self, pod: &Pod) {
        if let Some(left) = left(pod) {
            self.note(left);
        }
    }

    /// Takes outdated numbers away.
    pub fn forget(&self, namespace: &str, outdated: &[String]) {
        for claim in outdated {
            self.note(Left { claim: ObjectKey::new(namespace, claim), undelivered: None });
        }
    }

    fn note(&self, left: Left) {
        if self.notes.try_send(left).is_err() {
            warn!("more pods end than can be noted; their claims count as undelivered");
        }
    }
}

/// The last note of a claim is remembered, since a pod's last event comes several times.
async fn write(client: Client, mut waiting: mpsc::Receiver<Left>) {
    let mut last: Option<Left> = None;
    while let Some(left) = waiting.recv().await {
        if last.as_ref() == Some(&left) {
            continue;
        }
        let Left { claim, undelivered } = &left;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace);
        let value = undelivered.map(|bytes| bytes.to_string());
        let patch = json!({"metadata": {"annotations": {labels::UNDELIVERED: value}}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&claim.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {
                if let Some(bytes) = undelivered.filter(|bytes| *bytes > 0) {
                    info!(%claim, bytes, "a pod has ended and left undelivered data on its claim");
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                warn!(%claim, %error, "a claim cannot be annotated; its data counts as undelivered");
                continue;
            }
        }
        last = Some(left);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::mock::{self, Asked};

    fn pod(name: &str, changes: &Json) -> Pod {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "net", "uid": "1"},
            "spec": {"containers": [{"name": "proxy"}],
                     "volumes": [{"name": "spool", "persistentVolumeClaim": {"claimName": format!("spool-{name}")}}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]},
        });
        mock::merge(&mut pod, changes);
        serde_json::from_value(pod).unwrap()
    }

    fn ending(name: &str, message: &str) -> Pod {
        let changes = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"containerStatuses": [
            {"name": "proxy", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"terminated": {"exitCode": 0, "message": message}}}]}});
        pod(name, &changes)
    }

    fn claim(number: u32, undelivered: Option<&str>) -> (String, BTreeMap<String, String>) {
        let annotations = undelivered.map(|text| (labels::UNDELIVERED.to_owned(), text.to_owned()));
        (format!("spool-edge-{number}"), annotations.into_iter().collect())
    }

    fn judged(replicas: u32, claims: &[(String, BTreeMap<String, String>)], pods: Vec<Pod>) -> Judgement {
        let pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
        judge("edge", replicas, claims.iter().map(|(name, annotations)| (name.as_str(), annotations)), &pods)
    }

    #[test]
    fn a_pod_that_has_ended_says_what_it_leaves() {
        let of = |message: &str| left(&ending("edge-1", message)).unwrap();
        assert_eq!(of(r#"{"undelivered_bytes": 7, "tenants": {"acme": 7}}"#).undelivered, Some(7));
        assert_eq!(of(r#"{"undelivered_bytes": 0}"#).claim, ObjectKey::new("net", "spool-edge-1"));
        for unknown in ["", "Error", "{}", r#"{"undelivered_bytes": null}"#, r#"{"undelivered_bytes": -1}"#] {
            assert_eq!(of(unknown).undelivered, None, "{unknown}");
        }
        assert_eq!(left(&pod("edge-1", &json!({}))), None);
        let mut restarts = ending("edge-1", r#"{"undelivered_bytes": 7}"#);
        restarts.metadata.deletion_timestamp = None;
        assert_eq!(left(&restarts), None, "its container starts again on the same claim");
    }

    #[test]
    fn unknown_counts_as_undelivered_and_nothing_left_does_not() {
        let claims =
            [claim(0, None), claim(1, Some("0")), claim(2, None), claim(3, Some("12")), claim(10, Some("x"))];
        let judgement = judged(1, &claims, vec![]);
        let names: Vec<_> = judgement.stranded.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "spool-edge-2 (nobody knows how much)",
                "spool-edge-3 (12 bytes)",
                "spool-edge-10 (nobody knows how much)"
            ],
            "the first one's pod comes back by itself"
        );
        let message = judgement.message().unwrap();
        assert!(message.contains("raise workload.replicas to 11"), "{message}");
    }

    #[test]
    fn a_claim_in_use_is_not_stranded_and_loses_its_number() {
        let claims = [claim(1, Some("12")), claim(2, None), claim(3, None)];
        let judgement = judged(
            1,
            &claims,
            vec![pod("edge-1", &json!({})), pod("edge-2", &json!({})), ending("edge-3", "")],
        );
        assert_eq!(judgement.outdated, ["spool-edge-1"]);
        assert_eq!(judgement.stranded.len(), 1);
        assert_eq!(judgement.stranded[0].claim, "spool-edge-3");
        assert_eq!(judged(4, &claims, vec![]).message(), None);
    }

    #[tokio::test]
    async fn numbers_are_written_once_and_taken_away() {
        let (client, asked) = mock::server(|_, _| None);
        let keeper = Keeper::start(client);
        for _ in 0..3 {
            keeper.saw(&ending("edge-1", r#"{"undelivered_bytes": 7}"#));
        }
        keeper.saw(&pod("edge-2", &json!({})));
        keeper.forget("net", &["spool-edge-2".to_owned()]);
        let patches = mock::eventually(|| {
            let asked: Asked = Arc::clone(&asked);
            async move { Some(asked.lock().clone()).filter(|asked| asked.len() == 2) }
        })
        .await;
        let (line, body) = &patches[0];
        assert!(
            line.starts_with("PATCH /api/v1/namespaces/net/persistentvolumeclaims/spool-edge-1?"),
            "{line}"
        );
        assert_eq!(*body, json!({"metadata": {"annotations": {"bytefreezer.com/undelivered-bytes": "7"}}}));
        assert_eq!(
            patches[1].1,
            json!({"metadata": {"annotations": {"bytefreezer.com/undelivered-bytes": null}}})
        );
    }
}
