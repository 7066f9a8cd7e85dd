//! Which datasets may attach.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Cidr, Id, PortRange, rules};

fn namespace_rules() -> serde_json::Value {
    rules(&[
        (
            "self.from != 'Selector' || has(self.selector)",
            "from: Selector needs a selector: add selector: {matchLabels: {...}}, or write from: All",
        ),
        (
            "self.from == 'Selector' || !has(self.selector)",
            "selector has no effect with this from: write from: Selector, or leave selector out",
        ),
    ])
}

/// One rule: a dataset is allowed when every member that is given allows it. A member left out allows all.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedDatasets {
    /// Namespaces that datasets may come from. Default: the Proxy's own.
    pub namespaces: Namespaces,
    /// Tenants they may deliver for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub tenant_ids: Option<Vec<Id>>,
    /// Ports they may listen on: `514`, or a range such as `5000-5999`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub ports: Option<Vec<PortRange>>,
    /// Senders they may claim: their allowedSources must lie inside these. A range given here is also granted to them
    /// where a dataset of another namespace holds a wider one on the same port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub sources: Option<Vec<Cidr>>,
    /// How many datasets this rule takes; the oldest come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max: Option<u32>,
}

/// Namespaces that datasets may come from.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = namespace_rules()))]
pub struct Namespaces {
    /// Same: the Proxy's own. All: any. Selector: those whose labels fit selector.
    pub from: NamespaceFrom,
    /// Labels of the namespaces, with from: Selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum NamespaceFrom {
    /// The Proxy's own.
    #[default]
    Same,
    /// Any.
    All,
    /// Those that a selector fits.
    Selector,
}
