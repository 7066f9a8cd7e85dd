//! What datasets hold that this process was never able to read: their entries in the documents that pods have.
//!
//! An object that can no longer be read keeps what it last held, but only in memory. Whoever begins to lead looks into the
//! documents before the first pass would write them anew, without such a dataset.

use std::{collections::HashMap, time::Duration};

use bytefreezer_proxy::config::{self, Input};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::Value as Json;
use tracing::{info, warn};

use super::World;
use crate::{apply::is_controlled, build, jitter::jitter, key::ObjectKey};

/// Between two attempts to read a document.
const PAUSE: Duration = Duration::from_secs(1);

/// What a dataset holds that could never be read.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The Proxy in whose document it is.
    pub proxy: ObjectKey,
    /// Its entry, with all defaults.
    pub entry: Json,
    /// What the proxy makes of the entry.
    pub input: Input,
}

impl Kept {
    /// Every entry of the document of `proxy` that runs, by dataset.
    pub fn all(proxy: &ObjectKey, document: &str) -> Vec<(ObjectKey, Self)> {
        let mut loaded = config::load("config.yaml", document, []);
        let inputs = loaded.config.into_iter().flat_map(|config| config.inputs);
        let mut inputs: HashMap<String, Input> = inputs.map(|input| (input.name.clone(), input)).collect();
        let entries = loaded.effective.get_mut("inputs").and_then(Json::as_array_mut).map(std::mem::take);
        let one = |entry: Json| {
            let input = inputs.remove(entry.get("name")?.as_str()?)?;
            let key = input.name.parse().ok()?;
            Some((key, Self { proxy: proxy.clone(), entry, input }))
        };
        entries.into_iter().flatten().filter_map(one).collect()
    }
}

/// Gives datasets that could never be read what the documents of the Proxies have of them. Ends once every document was
/// read, and at once when there are no such datasets.
pub async fn recall(world: &World, client: &Client) {
    if !world.has_unread() {
        return;
    }
    for (proxy, uid) in world.uids() {
        let kept = loop {
            match document(client, &proxy, &uid).await {
                Ok(document) => break Kept::all(&proxy, &document.unwrap_or_default()),
                Err(error) => {
                    warn!(%proxy, %error, "the document cannot be read, and is waited for: datasets that cannot be read go on by it");
                    tokio::time::sleep(jitter(PAUSE)).await;
                }
            }
        };
        for dataset in world.keep(kept) {
            info!(%proxy, %dataset, "cannot be read; goes on as it is in the document of the pods");
        }
    }
}

/// The document of the pods of a Proxy.
async fn document(client: &Client, proxy: &ObjectKey, uid: &str) -> Result<Option<String>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &proxy.namespace);
    let there = api.get_opt(&build::config_name(&proxy.name)).await?;
    Ok(there.filter(|there| is_controlled(&there.metadata, uid)).and_then(|there| build::document(&there)))
}
