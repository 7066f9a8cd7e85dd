//! Volume claims that grow with `spool.size`. The claim template of a StatefulSet cannot be changed, so each claim is asked by
//! itself, those of new pods too.
//!
//! - Whether a claim can grow is the API server's to say: it knows class and quota. What it refuses is told on the Proxy
//!   (`SpoolNotGrown`) in its own words.
//! - A claim that asks for enough is left alone, and one that was asked is not asked again for [`AGAIN`]; so at rest nothing is
//!   written, and a class that is allowed to grow later is found all the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use crate::{apply::MANAGER, build::SPOOL, gather::Claim, validate::ValidatedProxy};

/// Pause between two requests for the same growth.
const AGAIN: Duration = Duration::from_mins(10);

/// What the claims of a Proxy were asked for, by name.
#[derive(Debug, Default)]
pub struct Growth(BTreeMap<String, Asked>);

/// One claim that was asked.
#[derive(Debug)]
struct Asked {
    /// Bytes.
    wanted: u64,
    /// Why the API server refuses.
    refused: Option<String>,
    at: Instant,
}

impl Growth {
    /// Asks the claims that are smaller than the Proxy wants them for the rest.
    pub async fn ask(
        &mut self,
        client: &Client,
        proxy: &ValidatedProxy,
        claims: &BTreeMap<String, Arc<Claim>>,
    ) -> Result<(), kube::Error> {
        let wanted = proxy.limits.size;
        let prefix = format!("{SPOOL}-{}-", proxy.key.name);
        let is_small = |(name, claim): &(&String, &Arc<Claim>)| {
            !proxy.is_daemon_set()
                && name.starts_with(&prefix)
                && claim.requested.is_some_and(|requested| requested < wanted)
        };
        let small: Vec<&String> = claims.iter().filter(is_small).map(|(name, _)| name).collect();
        self.0.retain(|name, asked| asked.wanted == wanted && small.contains(&name));
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &proxy.key.namespace);
        let size = proxy.spec.spool.size.as_str();
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        for name in small {
            if self.0.get(name).is_some_and(|asked| asked.at.elapsed() < AGAIN) {
                continue;
            }
            let refused = match api.patch(name, &params, &Patch::Merge(&patch)).await {
                Ok(_) => {
                    info!(claim = name, size, "a volume claim is to grow");
                    None
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    Some(status.message.clone())
                }
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            self.0.insert(name.clone(), Asked { wanted, refused, at: Instant::now() });
        }
        Ok(())
    }

    /// The message of `SpoolNotGrown`.
    pub fn message(&self) -> Option<String> {
        let refused: Vec<(&String, &String)> =
            self.0.iter().filter_map(|(name, asked)| Some((name, asked.refused.as_ref()?))).collect();
        let (first, why) = refused.first()?;
        let more = if refused.len() > 1 { format!(" and {} more", refused.len() - 1) } else { String::new() };
        Some(format!(
            "volume claim {first}{more} cannot grow to spool.size: {why}; let its StorageClass grow volumes \
             (allowVolumeExpansion), or move datasets to a second Proxy with larger volumes"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::{build::tests::proxy, mock};

    fn claims(sizes: &[(&str, &str, &str)]) -> BTreeMap<String, Arc<Claim>> {
        let one = |(name, size, phase): &(&str, &str, &str)| {
            let claim = json!({
                "metadata": {"name": name, "labels": {"bytefreezer.com/proxy": "edge"}},
                "spec": {"resources": {"requests": {"storage": size}}}, "status": {"phase": phase},
            });
            ((*name).to_owned(), Arc::new(Claim::of(&serde_json::from_value(claim).unwrap())))
        };
        sizes.iter().map(one).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn small_claims_are_asked_once_and_a_refusal_is_told_until_it_ends() {
        let refuses = Arc::new(AtomicBool::new(true));
        let answer = Arc::clone(&refuses);
        let (client, asked) = mock::server(move |_, uri| {
            let is_one = uri.contains("spool-edge-1");
            (is_one && answer.load(Relaxed)).then(|| mock::status(403, "Forbidden"))
        });
        let wants = proxy(&json!({"spool": {"size": "2Gi"}}));
        let all = claims(&[
            ("spool-edge-0", "1Gi", "Bound"),
            ("spool-edge-1", "1024Mi", "Bound"),
            ("spool-edge-2", "2Gi", "Bound"),
            ("spool-edge-3", "3G", "Bound"),
            ("spool-edge-4", "1Gi", "Pending"),
            ("of-somebody-else", "1Gi", "Bound"),
        ]);
        let mut growth = Growth::default();
        growth.ask(&client, &wants, &all).await.unwrap();
        growth.ask(&client, &wants, &all).await.unwrap();
        let requests = std::mem::take(&mut *asked.lock());
        let at = |name: &str| format!("PATCH /api/v1/namespaces/net/persistentvolumeclaims/{name}?");
        assert_eq!(requests.len(), 2, "{requests:?}");
        for ((line, body), name) in requests.iter().zip(["spool-edge-0", "spool-edge-1"]) {
            assert!(line.starts_with(&at(name)), "{line}");
            assert_eq!(*body, json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
        }
        let message = growth.message().unwrap();
        assert!(message.starts_with("volume claim spool-edge-1 cannot grow to spool.size: no;"), "{message}");

        // The class may have been changed meanwhile.
        refuses.store(false, Relaxed);
        tokio::time::advance(AGAIN).await;
        growth.ask(&client, &wants, &all).await.unwrap();
        assert_eq!(growth.message(), None);

        let grown = claims(&[("spool-edge-0", "2Gi", "Bound"), ("spool-edge-1", "2Gi", "Bound")]);
        asked.lock().clear();
        growth.ask(&client, &wants, &grown).await.unwrap();
        assert_eq!((asked.lock().len(), growth.0.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_daemon_set_has_no_claims_of_its_own() {
        let (client, asked) = mock::server(|_, _| None);
        let wants = proxy(&json!({
            "workload": {"kind": "DaemonSet"}, "exposure": {"type": "HostNetwork"}, "spool": {"size": "2Gi"},
        }));
        let left = claims(&[("spool-edge-0", "1Gi", "Bound")]);
        Growth::default().ask(&client, &wants, &left).await.unwrap();
        assert!(asked.lock().is_empty());
    }
}
