//! Brings the resource definitions to the API server: at first, and at every upgrade, since Helm never upgrades them.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use tokio::time::{Instant, sleep};

use crate::apply::MANAGER;

/// How long the API server may take until it serves a definition.
const DEADLINE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a definition is not served.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The definitions cannot be made.
    #[error("the definitions cannot be made: {0}")]
    Json(#[from] serde_json::Error),
    /// The API server refuses one.
    #[error("{0} is refused: {1}; whoever runs this needs get and patch on customresourcedefinitions")]
    Refused(String, Box<kube::Error>),
    /// One is not served in time.
    #[error("{0} is not served after {DEADLINE:?}: look at the conditions of `kubectl get crd {0} -o yaml`")]
    Late(String),
}

/// Applies both definitions and waits until they are served. Returns their names.
pub async fn apply(client: &Client) -> Result<Vec<String>, DefinitionError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for crd in bytefreezer_crds::crds()? {
        let name = crd.name_any();
        let refused = |error| DefinitionError::Refused(name.clone(), Box::new(error));
        let params = PatchParams::apply(MANAGER).force();
        let mut there = api.patch(&name, &params, &Patch::Apply(&crd)).await.map_err(refused)?;
        let end = Instant::now() + DEADLINE;
        while !is_served(&there) {
            if Instant::now() >= end {
                return Err(DefinitionError::Late(name));
            }
            sleep(LOOK_EVERY).await;
            there = api.get(&name).await.map_err(refused)?;
        }
        names.push(name);
    }
    Ok(names)
}

fn is_served(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Established" && one.status == "True")
}
