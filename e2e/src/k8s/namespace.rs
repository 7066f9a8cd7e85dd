//! A namespace for one test. It goes with its value, to the last object: the next test's operator serves all namespaces. When
//! the test failed, it first says what was in it.

use std::{
    env,
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace as Object};
use kube::{
    Api, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Cluster,
    cluster::{kubectl, kubectl_with},
};
use crate::receiver::{Receiver, Settings};

/// How long a test waits for what takes a cluster's components no more than seconds.
pub const LIMIT: Duration = Duration::from_mins(1);
/// How long a namespace may take to go: its pods end in order.
const LEAVE: Duration = Duration::from_mins(3);

/// A kind of object that can be read.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

/// A namespace.
pub struct Namespace {
    cluster: &'static Cluster,
    name: String,
}

impl Namespace {
    /// A new one; `test` is part of its name.
    pub fn new(test: &str) -> Result<Self> {
        Self::labelled(test, &json!({}))
    }

    /// A new one with labels.
    pub fn labelled(test: &str, labels: &Value) -> Result<Self> {
        let namespace = Self { cluster: Cluster::get()?, name: format!("e2e-{test}-{}", std::process::id()) };
        namespace.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name, "labels": labels},
        }))?;
        Ok(namespace)
    }

    /// One whose name is fixed, by the examples. Whatever an earlier run left there goes first.
    pub fn called(name: &str) -> Result<Self> {
        let namespace = Self { cluster: Cluster::get()?, name: name.to_owned() };
        kubectl(&["delete", "namespace", name, "--ignore-not-found", "--timeout", "120s"])?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// A Receiver that the pods reach.
    pub fn receiver(&self) -> Result<Receiver> {
        Receiver::start(Settings { address: self.cluster.address(), ..Settings::default() })
    }

    /// Makes an object what is given, by server-side apply; without a namespace it belongs to this one.
    pub fn apply(&self, object: &Value) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let kind = object.types.as_ref().context("no apiVersion and kind")?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(kind)?);
        let name = object.metadata.name.clone().context("no name")?;
        let api: Api<DynamicObject> = match (kind.kind.as_str(), &object.metadata.namespace) {
            ("Namespace", _) => Api::all_with(self.cluster.client(), &resource),
            (_, None) => Api::namespaced_with(self.cluster.client(), &self.name, &resource),
            (_, Some(other)) => Api::namespaced_with(self.cluster.client(), other, &resource),
        };
        let parameters = PatchParams::apply("e2e").force();
        let applied = self.cluster.wait(api.patch(&name, &parameters, &Patch::Apply(&object)));
        applied.with_context(|| format!("{} {name}", kind.kind))
    }

    /// Applies files as they are, with `kubectl`.
    pub fn apply_file(&self, text: &str) -> Result<String> {
        kubectl_with(&["--namespace", &self.name, "apply", "--server-side", "--filename", "-"], text)
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl(&[&["--namespace", &self.name][..], arguments].concat())
    }

    /// The objects of a kind.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// An object, if it is there.
    pub fn get<K: Kind>(&self, name: &str) -> Result<Option<K>> {
        Ok(self.cluster.wait(self.api().get_opt(name))?)
    }

    /// All of a kind.
    pub fn list<K: Kind>(&self) -> Result<Vec<K>> {
        Ok(self.cluster.wait(self.api().list(&ListParams::default()))?.items)
    }

    /// Deletes an object.
    pub fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        self.cluster.wait(self.api::<K>().delete(name, &DeleteParams::default()))?;
        Ok(())
    }

    /// Waits until an object of this name is as asked for; what the condition gives.
    pub fn wait<K: Kind, T>(
        &self,
        name: &str,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&K) -> Option<T>,
    ) -> Result<T> {
        let mut last = None;
        let found = self.until(limit, what, || {
            last = self.get::<K>(name)?;
            Ok(last.as_ref().and_then(&mut condition))
        });
        found.with_context(|| format!("last seen: {last:#?}"))
    }

    /// Waits until something is there. Errors of requests are not the end: API servers restart.
    pub fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            let found = condition();
            if let Ok(Some(found)) = found {
                return Ok(found);
            }
            if Instant::now() >= end {
                found.with_context(|| format!("waiting for {what} in {}", self.name))?;
                bail!("waited {limit:?} in vain for {what} in {}", self.name);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a failed test leaves behind.
    fn describe(&self) -> String {
        let pods = self.kubectl(&["get", "pods", "--output", "name"]).unwrap_or_default();
        let mut commands = vec![
            vec![
                "get",
                "proxies,proxydatasets,all,configmaps,secrets,persistentvolumeclaims,endpointslices",
                "--output",
                "wide",
            ],
            vec!["get", "events", "--sort-by", ".lastTimestamp"],
            vec!["get", "proxies,proxydatasets", "--output", "yaml", "--show-managed-fields=false"],
            vec!["describe", "pods"],
        ];
        commands.extend(
            pods.lines().map(|pod| vec!["logs", pod, "--all-containers", "--prefix", "--tail", "60"]),
        );
        commands.iter().fold(String::new(), |said, command| {
            let output = self.kubectl(command).unwrap_or_else(|error| format!("{error:#}\n"));
            said + "\n$ kubectl -n " + &self.name + " " + &command.join(" ") + "\n" + &output
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.describe());
        }
        if env::var_os("E2E_KEEP").is_some() {
            return eprintln!("kept: namespace {}", self.name);
        }
        let api: Api<Object> = Api::all(self.cluster.client());
        let gone = self.until(LEAVE, "the namespace's end", || {
            let there = self.cluster.wait(api.get_opt(&self.name))?;
            if there.as_ref().is_some_and(|object| object.metadata.deletion_timestamp.is_none()) {
                self.cluster.wait(api.delete(&self.name, &DeleteParams::default()))?;
            }
            Ok(there.is_none().then_some(()))
        });
        if let Err(error) = gone {
            eprintln!("namespace {} stays: {error:#}", self.name);
        }
    }
}
