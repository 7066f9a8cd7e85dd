//! What of the Helm chart is generated from the code: definitions, rights and the schema of its values. Tests alone:
//! the chart is read by Helm, never by the operator.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Every value of the chart; defaults stand in values.yaml.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Values {
    /// Of a parent chart, for all its children; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global: Option<BTreeMap<String, Json>>,
    image: Image,
    scope: Scope,
    secret_namespaces: Vec<String>,
    operator: Operator,
    service_account: ServiceAccount,
    crds: Definitions,
    aggregate_roles: bool,
    network_policy: Policy,
    proxy: DefaultProxy,
    /// By name.
    datasets: BTreeMap<String, Json>,
    test: Test,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    registry: String,
    #[schemars(length(min = 1))]
    operator: String,
    #[schemars(length(min = 1))]
    proxy: String,
    tag: String,
    pull_policy: PullPolicy,
    pull_secrets: Vec<LocalObjectReference>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
enum Scope {
    Cluster,
    Namespace,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Operator {
    #[schemars(range(min = 0, max = 16))]
    replicas: u8,
    #[schemars(length(min = 1))]
    log_level: String,
    resources: ResourceRequirements,
    node_selector: BTreeMap<String, String>,
    tolerations: Vec<Toleration>,
    affinity: Affinity,
    priority_class_name: String,
    pod_labels: BTreeMap<String, String>,
    pod_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceAccount {
    name: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Definitions {
    upgrade: bool,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policy {
    enabled: bool,
    #[schemars(length(min = 1))]
    api_server_ports: Vec<u16>,
    proxy_api_ports: Vec<u16>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultProxy {
    #[schemars(length(min = 1, max = 40))]
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Empty for no Proxy.
    spec: Json,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Test {
    dataset: String,
    #[schemars(range(min = 1, max = 3600))]
    timeout: u32,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/bytefreezer-proxy")
}

/// The schema that Helm checks values against before it renders. Specs are those of the definitions, without what
/// only an API server understands.
fn schema() -> Json {
    let mut schema = serde_json::to_value(schemars::schema_for!(Values)).unwrap();
    schema["$comment"] =
        json!("Generated from operator/src/chart.rs: `UPDATE=1 make generate`. Do not edit.");
    let [mut proxy, dataset] = bytefreezer_crds::crds().unwrap().map(|crd| {
        let json = serde_json::to_value(crd).unwrap();
        json.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
    });
    // An empty spec stands for no Proxy.
    proxy.as_object_mut().unwrap().remove("required");
    schema["$defs"]["DefaultProxy"]["properties"]["spec"] = proxy;
    schema["properties"]["datasets"]["additionalProperties"] = dataset;
    schema["$defs"]["io.k8s.apimachinery.pkg.api.resource.Quantity"] = json!({"type": ["string", "number"]});
    for_helm(&mut schema);
    schema
}

/// Takes out what JSON Schema does not know, and refuses unknown members.
fn for_helm(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            let open = members.get("x-kubernetes-preserve-unknown-fields").is_some();
            members.retain(|name, _| !name.starts_with("x-kubernetes-"));
            let known_format = |format: &Json| format == "date-time";
            if members.get("format").is_some_and(|format| format.is_string() && !known_format(format)) {
                members.remove("format");
            }
            if members.get("properties").is_some_and(Json::is_object)
                && members.get("type").is_some_and(|kind| kind == "object")
                && !open
            {
                members.entry("additionalProperties").or_insert(Json::Bool(false));
            }
            members.values_mut().for_each(for_helm);
        }
        Json::Array(items) => items.iter_mut().for_each(for_helm),
        _ => {}
    }
}

/// Compares a generated file with the one checked in, or writes it under `UPDATE=1`.
fn is_generated(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{name} is not what the code says: run UPDATE=1 make generate");
}

#[test]
fn reference_definitions_of_the_chart() {
    let crds = bytefreezer_crds::crds().unwrap();
    for (crd, name) in crds.iter().zip(["proxies", "proxydatasets"]) {
        let text = bytefreezer_crds::yaml(crd).unwrap();
        is_generated(&format!("crds/bytefreezer.com_{name}.yaml"), &text);
    }
    assert_eq!(std::fs::read_dir(folder().join("crds")).unwrap().count(), crds.len());
}

#[test]
fn reference_rights_of_the_chart() {
    is_generated("rbac.yaml", &crate::rbac::yaml());
}

#[test]
fn reference_schema_of_the_charts_values() {
    is_generated("values.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
}

#[test]
fn values_are_those_of_the_schema() {
    let text = std::fs::read_to_string(folder().join("values.yaml")).unwrap();
    let values: Values = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(values.proxy.spec, json!({}), "no Proxy unless somebody asks for it");
    assert!(values.datasets.is_empty());
}

#[test]
fn the_charts_versions_are_those_of_the_workspace() {
    let text = std::fs::read_to_string(folder().join("Chart.yaml")).unwrap();
    let chart: Json = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    // The feature of k8s-openapi in Cargo.toml; docs/kubernetes/install.md says the same.
    assert_eq!(chart["kubeVersion"], ">=1.33.0-0");
}
