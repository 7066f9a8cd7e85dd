//! From resources to the proxy's own document, in one place.
//!
//! ```text
//! ValidatedProxy + admitted datasets + assets -> Document --defaults left out--> YAML --the proxy's own checks--> pods
//! ```
//! - Everything is a value of the proxy's types that serde writes; no text of a user is ever pasted into another.
//! - What equals the proxy's default is left out, so a pod one version older is not shown a key that it does not know
//!   and that nobody set.
//! - The proxy's own validation runs on the result. What it has against one dataset is that dataset's `Invalid`.

mod dataset;
mod proxy;
mod sources;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bytefreezer_crds::{dataset::ProxyDatasetSpec, values::ValueError};
use bytefreezer_proxy::config::{self, Severity, document::Document};
use serde_json::Value as Json;

pub use dataset::assets as assets_of;
pub use proxy::assets as assets_of_proxy;

use crate::{assets::Assets, key::ObjectKey, validate::ValidatedProxy};

/// File names of the Secret `<proxy>-api`, which pods mount at [`API_FOLDER`].
pub const API_FOLDER: &str = "/etc/bytefreezer-proxy-api";
/// Where a pod's spool is mounted.
pub const SPOOL_FOLDER: &str = "/var/spool/bytefreezer-proxy";

/// A dataset that arbitration admitted.
#[derive(Clone, Debug)]
pub struct Admitted<'a> {
    /// The dataset's object.
    pub key: ObjectKey,
    /// What it holds.
    pub content: Content<'a>,
}

/// What a dataset holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A spec.
    Spec(&'a ProxyDatasetSpec),
    /// An entry of an earlier document, since its spec cannot be read.
    Entry(&'a Json),
}

/// The proxy's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// `config.yaml`.
    pub yaml: String,
    /// What a pod that runs it shows as `config_hash`.
    pub hash: String,
    /// What a pod shows as `hash` of a dataset's input while it runs it as it is in here.
    pub hashes: BTreeMap<ObjectKey, String>,
    /// Datasets that the proxy does not take, with its reason. The document holds them all the same.
    pub invalid: Vec<(ObjectKey, String)>,
    /// What is wrong beyond single datasets.
    pub problems: Vec<String>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A text that is no value of its type.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The document cannot be written as JSON.
    #[error("the document cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The document cannot be written as YAML.
    #[error("the document cannot be written: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// The document for a Proxy and its admitted datasets, in the order of their names. Where it is the `known` one, it is
/// not judged again: of a thousand datasets that takes longer than all else in a pass.
pub fn render(
    proxy: &ValidatedProxy,
    datasets: &[Admitted<'_>],
    assets: &Assets,
    known: Option<&Arc<Rendered>>,
) -> Result<Arc<Rendered>, ConvertError> {
    let mut order: Vec<&Admitted<'_>> = datasets.iter().collect();
    order.sort_by(|a, b| a.key.cmp(&b.key));
    let mut invalid = Vec::new();
    let mut keys = Vec::with_capacity(order.len());
    let mut entries = Vec::with_capacity(order.len());
    for one in order {
        let entry = match one.content {
            Content::Entry(entry) => entry.clone(),
            Content::Spec(spec) => match dataset::input(proxy, &one.key, spec, assets) {
                Ok(Some(input)) => serde_json::to_value(input)?,
                Ok(None) => {
                    invalid.push((one.key.clone(), "spec.source has no member".to_owned()));
                    continue;
                }
                Err(error) => {
                    invalid.push((one.key.clone(), error.to_string()));
                    continue;
                }
            },
        };
        entries.push(entry);
        keys.push(&one.key);
    }
    let yaml = serde_saphyr::to_string(&written(&proxy::document(proxy, assets)?, entries)?)?;
    if let Some(known) = known.filter(|known| known.yaml == yaml && invalid.is_empty()) {
        return Ok(Arc::clone(known));
    }
    let mut problems = Vec::new();
    let loaded = config::load("config.yaml", &yaml, []);
    let hashes = keys.iter().copied().cloned().zip(loaded.hashes).collect();
    for problem in loaded.problems.into_iter().filter(|problem| problem.severity == Severity::Error) {
        let text = format!("{} {}; {}", problem.key, problem.what, problem.remedy);
        match problem.input().and_then(|index| keys.get(index)) {
            Some(key) => {
                let own =
                    problem.key.split_once("].").map_or("", |(_, key)| key.trim_start_matches("config."));
                invalid.push(((*key).clone(), format!("{own} {}; {}", problem.what, problem.remedy)));
            }
            None => problems.push(text),
        }
    }
    Ok(Arc::new(Rendered { hash: config::document_hash(&yaml), yaml, hashes, invalid, problems }))
}

/// The document with these inputs, without what is the default anyway.
fn written(document: &Document, mut inputs: Vec<Json>) -> Result<Json, serde_json::Error> {
    let mut json = serde_json::to_value(document)?;
    without_defaults(&mut json, &serde_json::to_value(Document::default())?);
    for input in &mut inputs {
        let default = sources::default_of(input)?;
        without_defaults(input, &default);
    }
    if let Some(members) = json.as_object_mut() {
        members.insert("inputs".to_owned(), inputs.into());
    }
    Ok(json)
}

fn without_defaults(value: &mut Json, default: &Json) {
    let Some(members) = value.as_object_mut() else { return };
    members.retain(|name, value| {
        let default = default.get(name).unwrap_or(&Json::Null);
        if value == default || value.is_null() {
            return false;
        }
        without_defaults(value, default);
        !value.as_object().is_some_and(serde_json::Map::is_empty)
    });
}
