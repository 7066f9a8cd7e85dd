//! Brings statuses to the API server: none that is there already, and at most one a second per object.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use crate::{apply::MANAGER, failpoint, key::ObjectKey};

/// Least time between two writes of one object.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// How long a watch may take to bring back what was written; until then our own word counts.
const ECHO: Duration = Duration::from_secs(10);

/// The statuses of one kind that were written last, by object.
#[derive(Debug)]
pub struct Written<S>(HashMap<ObjectKey, (S, Instant)>);

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<S: Clone> Written<S> {
    /// The status that an object has, given what the watch last brought; of one that cannot be read, that is old.
    pub fn now(&self, key: &ObjectKey, watched: S, is_broken: bool) -> S {
        let written = self.0.get(key).filter(|(_, at)| is_broken || at.elapsed() < ECHO);
        written.map_or(watched, |(status, _)| status.clone())
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets objects that are no longer there.
    pub fn retain(&mut self, is_there: impl Fn(&ObjectKey) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }

    /// When the object may be written; `None` when at once.
    fn not_before(&self, key: &ObjectKey) -> Option<Instant> {
        let next = self.0.get(key).map(|(_, at)| *at + LEAST_PAUSE);
        next.filter(|next| *next > Instant::now())
    }
}

/// What became of a write.
#[derive(Debug)]
pub enum Write {
    /// It is there already.
    Unchanged,
    /// It was written.
    Done,
    /// It has to wait until then.
    Later(Instant),
    /// The object is gone.
    Gone,
    /// The API server does not take a status on an object that is as broken as this one, since it judges the whole of it.
    Refused,
}

/// Writes statuses.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

impl Writer {
    /// Writes with `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether `wanted` has to be written now; `Ok` with the answer when not.
    pub fn is_due<S: Clone + PartialEq>(
        written: &Written<S>,
        key: &ObjectKey,
        before: &S,
        wanted: &S,
    ) -> Result<(), Write> {
        if before == wanted {
            return Err(Write::Unchanged);
        }
        written.not_before(key).map_or(Ok(()), |at| Err(Write::Later(at)))
    }

    /// Writes a status. Server-side apply needs an object that fits its schema, so one that cannot be read is patched.
    pub async fn write<K, S>(
        &self,
        key: &ObjectKey,
        status: &S,
        is_broken: bool,
    ) -> Result<Write, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        S: Serialize + Sync,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let (params, patch) = if is_broken {
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            (params, Patch::Merge(json!({"status": status})))
        } else {
            let object = json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": {"name": key.name, "namespace": key.namespace},
                "status": status,
            });
            (PatchParams::apply(MANAGER).force(), Patch::Apply(object))
        };
        match api.patch_status(&key.name, &params, &patch).await {
            // What cannot be read can be written, and answers with what cannot be read.
            Ok(_) | Err(kube::Error::SerdeError(_)) => (),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Write::Gone),
            Err(kube::Error::Api(status)) if is_broken && status.code == 422 => {
                warn!(object = %key, kind = %K::kind(&()), error = status.message, "takes no status, so an event says what is wrong");
                return Ok(Write::Refused);
            }
            Err(error) => return Err(error),
        }
        failpoint::pass(&format!("written.{}", K::kind(&())));
        Ok(Write::Done)
    }
}

impl<S> Written<S> {
    /// A status was written.
    pub fn note(&mut self, key: &ObjectKey, status: S) {
        self.0.insert(key.clone(), (status, Instant::now()));
    }
}
