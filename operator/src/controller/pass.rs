//! One look at one Proxy.
//!
//! ```text
//! gather -> judge (arbitrate) -> desired (convert, build) -> apply -> acknowledge -> status
//! ```
//! A pass begins with what is there and remembers nothing that it needs: whatever killed the one before, the next one
//! comes to the same end. A failure of the API server ends it; what a user can do something about becomes a condition.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use super::{
    desired::{Desired, desired},
    judge::{Judged, judge},
    memory::Memory,
    report::report,
};
use crate::{
    acknowledge::Followers,
    api_secret::{self, ApiSecretError},
    apply::{ApplyError, SECRETS_HOLD, apply},
    claims::Keeper,
    events::Events,
    failpoint,
    gather::{Gathered, World},
    jitter::jitter,
    key::ObjectKey,
    leader::fence::Fenced,
    metrics::Metrics,
    secrets,
    status::{Trouble, Writer},
    validate::Defaults,
};

/// What every pass needs.
pub struct Context {
    /// What there is.
    pub world: Arc<World>,
    /// What is the same for every Proxy.
    pub defaults: Defaults,
    /// A client that writes only while this replica leads.
    pub client: Client,
    /// Reads Secrets.
    pub secrets: secrets::Cache,
    /// Asks the pods.
    pub followers: Followers,
    /// Writes on claims.
    pub keeper: Arc<Keeper>,
    /// Writes statuses.
    pub writer: Writer,
    /// Makes events.
    pub events: Events,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// A Proxy is gone, with all that names it.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.followers.forget(key);
        self.secrets.forget(key);
    }

    /// This replica no longer leads: nobody is asked any more.
    pub(super) fn rest(&self) {
        for key in self.world.proxies() {
            self.forget(&key);
        }
    }
}

/// Why a pass ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// This replica does not lead.
    #[error("this replica does not lead")]
    Fenced,
    /// An object cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The Secret of the pods' API is not there.
    #[error(transparent)]
    ApiSecret(#[from] ApiSecretError),
    /// A Secret cannot be read.
    #[error(transparent)]
    Secret(#[from] secrets::Unknown),
    /// The Secrets with the assets cannot be read.
    #[error("the Secrets with the assets cannot be read: {0}")]
    Shelf(#[source] kube::Error),
    /// The volume claims cannot be asked to grow.
    #[error("the volume claims cannot be asked to grow: {0}")]
    Growth(#[source] Box<kube::Error>),
    /// A status cannot be written.
    #[error("the status of {0} cannot be written: {1}")]
    Status(ObjectKey, #[source] Box<kube::Error>),
}

impl PassError {
    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Apply(_) => "apply_failed",
            Self::ApiSecret(_) => "api_secret_failed",
            Self::Secret(_) => "secret_unread",
            Self::Shelf(_) => "assets_unread",
            Self::Growth(_) => "growth_failed",
            Self::Status(..) => "status_failed",
        }
    }

    /// What a user can do something about.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        use bytefreezer_crds::conditions::Reason::ApplyFailed;
        match self {
            Self::Apply(error) if error.is_refusal() => Some((ApplyFailed, error.to_string())),
            Self::ApiSecret(ApiSecretError::Api(..)) => None,
            Self::ApiSecret(error) => Some((ApplyFailed, error.to_string())),
            _ => None,
        }
    }

    fn is_fenced(&self) -> bool {
        let source = match self {
            Self::Fenced => return true,
            Self::Apply(error) => error.cause(),
            Self::ApiSecret(ApiSecretError::Api(_, _, error))
            | Self::Growth(error)
            | Self::Status(_, error) => Some(&**error),
            _ => None,
        };
        matches!(source, Some(kube::Error::Service(error)) if error.is::<Fenced>())
    }

    fn or_fenced(self) -> Self {
        if self.is_fenced() { Self::Fenced } else { self }
    }
}

/// Looks at a Proxy. Returns when to look again though nothing changes.
pub(super) async fn pass(
    context: &Context,
    key: &ObjectKey,
    memory: &mut Memory,
) -> Result<Option<Instant>, PassError> {
    let gathered = context.world.gather(key);
    memory.is_about(gathered.own.uid());
    failpoint::pass("gathered");

    let mut judged = judge(&gathered, &context.defaults);
    failpoint::pass("arbitrated");

    let reports = context.followers.reports(key);
    let desired = desired(context, memory, &gathered, &mut judged, &reports).await?;
    failpoint::pass("built");

    let applied = match &desired {
        Some(desired) => applied(context, memory, &gathered, desired).await.map_err(PassError::or_fenced),
        None => Ok(()),
    };
    if matches!(applied, Err(PassError::Fenced)) {
        return Err(PassError::Fenced);
    }
    failpoint::pass("applied");

    let reports = acknowledged(context, memory, &gathered, &judged, desired.as_ref());
    failpoint::pass("acknowledged");

    let trouble = applied.as_ref().err().and_then(PassError::trouble);
    let again = report(context, memory, &gathered, &judged, desired.as_ref(), &reports, trouble).await;
    applied?;
    let again = again.map_err(PassError::or_fenced)?;
    // Secrets are not watched, so what the operator put into them is looked at from time to time; sooner while old assets
    // wait for the last pod to let go of them.
    let resync = desired.map(|desired| {
        let pause = if desired.plan.waits() { SECRETS_HOLD / 2 } else { SECRETS_HOLD * 2 };
        Instant::now() + jitter(pause)
    });
    Ok(again.into_iter().chain(resync).min())
}

/// Applies what shall be there.
async fn applied(
    context: &Context,
    memory: &mut Memory,
    gathered: &Gathered,
    desired: &Desired,
) -> Result<(), PassError> {
    let Desired { proxy, objects, plan, rendered, .. } = desired;
    if memory.access.as_ref().is_none_or(|(_, at)| at.elapsed() >= SECRETS_HOLD) {
        let access = api_secret::ensure(&context.client, proxy).await?;
        memory.access = Some((access, Instant::now()));
    }
    let shelf = memory.shelf.get_or_insert_default();
    shelf.begin(plan.clone());
    apply(&context.client, proxy, objects, &gathered.owned, &mut memory.applied).await?;
    shelf.applied(&rendered.hash);
    memory.wants(&rendered.hash, &rendered.hashes, Timestamp::now());
    let growth = memory.growth.ask(&context.client, proxy, &gathered.claims).await;
    growth.map_err(|error| PassError::Growth(Box::new(error)))
}

/// Follows the pods, brings the document to them, and returns what they say.
fn acknowledged(
    context: &Context,
    memory: &Memory,
    gathered: &Gathered,
    judged: &Judged,
    desired: Option<&Desired>,
) -> Vec<crate::acknowledge::PodReport> {
    let key = &gathered.own.key;
    if judged.proxy.is_none() && gathered.own.proxy.is_none() {
        context.forget(key);
        return Vec::new();
    }
    if let Some((access, _)) = &memory.access {
        context.followers.follow(key, access, &gathered.pods);
    }
    if let (Some(desired), Some((wanted, _))) = (desired, memory.document.get())
        && wanted == desired.rendered.hash
    {
        context.followers.refresh(key, wanted);
    }
    context.followers.reports(key)
}
