//! What shall be there: Secrets looked up, assets placed, the document written, the objects built.

use std::{collections::BTreeMap, sync::Arc};

use bytefreezer_crds::conditions::Reason;
use k8s_openapi::api::core::v1::ServicePort;

use super::{
    judge::Judged,
    memory::Memory,
    pass::{Context, PassError},
};
use crate::{
    acknowledge::PodReport,
    assets::{AssetUse, Plan, Shelf},
    build::{self, Input, Living, Objects, Ports},
    convert::{Admitted, Content, Rendered, assets_of, assets_of_proxy, render},
    gather::{Detail, Gathered, Kind},
    key::ObjectKey,
    secrets::Resolved,
    status::Trouble,
    validate::ValidatedProxy,
};

/// What shall be there.
pub(super) struct Desired {
    pub(super) proxy: ValidatedProxy,
    pub(super) objects: Objects,
    pub(super) plan: Plan,
    pub(super) rendered: Arc<Rendered>,
    /// What is wrong with the Proxy's own Secrets.
    pub(super) unresolved: Option<Trouble>,
    /// What is wrong with the datasets' Secrets.
    pub(super) datasets: BTreeMap<ObjectKey, Trouble>,
}

/// Builds it; `None` when the Proxy does not take part. Datasets that turn out to be invalid are rejected.
pub(super) async fn desired(
    context: &Context,
    memory: &mut Memory,
    gathered: &Gathered,
    judged: &mut Judged,
    reports: &[PodReport],
) -> Result<Option<Desired>, PassError> {
    let Some(proxy) = judged.proxy.clone() else { return Ok(None) };
    let contents: BTreeMap<&ObjectKey, Content<'_>> =
        gathered.own.datasets.iter().filter_map(|(key, row)| Some((key, row.content()?))).collect();
    let own = assets_of_proxy(&proxy);
    let uses: BTreeMap<&ObjectKey, Vec<AssetUse>> = judged
        .admitted
        .keys()
        .filter_map(|key| match contents.get_key_value(key)? {
            (key, Content::Spec(spec)) => Some((*key, assets_of(&key.namespace, spec))),
            (_, Content::Entry(_)) => None,
        })
        .collect();
    let all: Vec<AssetUse> = own.iter().chain(uses.values().flatten()).cloned().collect();
    let mut resolved = context.secrets.resolve(&proxy.key, &all).await?;
    if memory.shelf.is_none() {
        memory.shelf = Some(Shelf::read(&context.client, &proxy).await.map_err(PassError::Shelf)?);
    }
    let shelf = memory.shelf.get_or_insert_default();
    shelf.keep(contents.values().filter_map(|content| match content {
        Content::Entry(entry) => Some(*entry),
        Content::Spec(_) => None,
    }));
    let plan = shelf.plan(&mut resolved.assets, &all, reports);
    resolved.leave_out(&plan);

    let rendered = loop {
        let admitted: Vec<Admitted<'_>> = judged
            .admitted
            .keys()
            .filter_map(|key| Some(Admitted { key: key.clone(), content: *contents.get(key)? }))
            .collect();
        let rendered = match render(&proxy, &admitted, &resolved.assets, memory.rendered.as_ref()) {
            Ok(rendered) if rendered.invalid.is_empty() => break rendered,
            Ok(rendered) => rendered,
            Err(error) => {
                judged.give_up((Reason::Invalid, error.to_string()));
                return Ok(None);
            }
        };
        for (key, why) in &rendered.invalid {
            judged.reject(key, (Reason::Invalid, why.clone()));
        }
    };
    memory.rendered = Some(Arc::clone(&rendered));
    if !rendered.problems.is_empty() {
        judged.give_up((Reason::Invalid, rendered.problems.join("; ")));
        return Ok(None);
    }
    let ports: Ports = judged.admitted.values().collect();
    let input = Input {
        proxy: &proxy,
        rendered: &rendered,
        ports: &ports,
        files: &plan.files(),
        placement: &plan.placement,
        living: &living(gathered),
        runs: judged.runs,
    };
    let objects = match build::build(input) {
        Ok(objects) => objects,
        Err(error) => {
            judged.give_up((Reason::Invalid, error.to_string()));
            return Ok(None);
        }
    };
    let datasets = uses.iter().filter_map(|(key, uses)| Some(((*key).clone(), problem(&resolved, uses)?)));
    Ok(Some(Desired {
        unresolved: problem(&resolved, &own),
        datasets: datasets.collect(),
        proxy,
        objects,
        plan,
        rendered,
    }))
}

fn problem(resolved: &Resolved, uses: &[AssetUse]) -> Option<Trouble> {
    resolved.problem(uses).map(|(asset, problem)| (problem.reason(), problem.message(asset)))
}

/// What is there and cannot be changed any more.
fn living(gathered: &Gathered) -> Living {
    let mut living = Living::default();
    for ((kind, name), object) in &gathered.owned {
        match (kind, &object.detail) {
            (Kind::StatefulSet, Detail::Claims(claims)) if !claims.is_empty() => {
                living.claim_templates = Some(claims.clone());
            }
            (Kind::Service, Detail::Service(service)) => {
                let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone());
                living
                    .services
                    .insert(name.clone(), ports.unwrap_or_default().into_iter().map(wanted).collect());
            }
            _ => (),
        }
    }
    living
}

/// A port as it was asked for, without what the cluster chose.
fn wanted(port: ServicePort) -> ServicePort {
    ServicePort { node_port: None, app_protocol: None, ..port }
}
