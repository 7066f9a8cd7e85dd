//! `bytefreezer-operator run`: everything put together, and taken apart again in the right order.
//!
//! ```text
//! watches -> world, queue -> passes (in the replica that leads) -> API server
//!                              ^-- pods and Secrets that have news
//! ```
//! At the end: no new passes, those under way finish, then the lease is released, then the rest stops.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use kube::{Client, Config, client::ClientBuilder};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    acknowledge::Followers,
    apply::MANAGER,
    claims::Keeper,
    controller::{self, Context, Queue, SETTLE},
    events::events,
    gather::{Feeder, Scope, Watches, World},
    health::{self, Health},
    key::ObjectKey,
    leader::{Candidate, Standing, fence::FenceLayer},
    metrics::Metrics,
    secrets::Cache,
    status::Writer,
    validate::Defaults,
};

/// Proxies with news that may wait to be queued.
const NEWS: usize = 1024;

/// How the operator runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Image of the proxy, for every Proxy that names none.
    #[arg(long, env = "BYTEFREEZER_PROXY_IMAGE")]
    pub proxy_image: String,
    /// Look after this namespace alone. Default: after all of them.
    #[arg(long, env = "BYTEFREEZER_NAMESPACE")]
    pub namespace: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "BYTEFREEZER_HEALTH_ADDRESS", default_value = "0.0.0.0:8081")]
    pub health_address: SocketAddr,
    /// Name of this pod, and in the election. Default: a random one.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Namespace of this pod, in which the lease is. Default: that of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let config = Config::infer()
        .await
        .context("no cluster: set KUBECONFIG, or run in a pod with a service account")?;
    let end = ends()?;
    let listener = health::listen(options.health_address).await.with_context(|| {
        format!("{} cannot be opened: choose another --health-address", options.health_address)
    })?;
    let (metrics, standing) = (Arc::new(Metrics::default()), Standing::default());
    let open: Client = ClientBuilder::try_from(config.clone())?.build();
    let fence = FenceLayer::new(standing.clone(), Arc::clone(&metrics));
    let client: Client = ClientBuilder::try_from(config)?.with_layer(&fence).build();

    let (world, watches) = (Arc::new(World::default()), Arc::new(Watches::default()));
    let queue = Arc::new(Queue::new(SETTLE));
    let keeper = Arc::new(Keeper::start(client.clone()));
    let namespace = options.namespace.filter(|name| !name.is_empty());
    let scope = namespace.clone().map_or(Scope::All, Scope::Namespace);
    let identity = identity(options.pod_name);
    let (events, publisher) = events(client.clone(), identity.clone(), Arc::clone(&metrics));
    let (changed, news) = mpsc::channel(NEWS);

    let mut tasks = JoinSet::new();
    let feeder = Feeder {
        client: open.clone(),
        scope,
        world: Arc::clone(&world),
        queue: Arc::clone(&queue),
        watches: Arc::clone(&watches),
        keeper: Arc::clone(&keeper),
        standing: standing.clone(),
        metrics: Arc::clone(&metrics),
    };
    feeder.start(&mut tasks);
    tasks.spawn(publisher.run());
    tasks.spawn(forward(news, Arc::clone(&queue)));
    let health = Health {
        watches: Arc::clone(&watches),
        world: Arc::clone(&world),
        queue: Arc::clone(&queue),
        standing: standing.clone(),
        metrics: Arc::clone(&metrics),
    };
    tasks.spawn(async move {
        let served = health::serve(listener, health, CancellationToken::new()).await;
        tracing::error!(?served, "health is no longer served");
    });

    let leave = CancellationToken::new();
    let home = options.pod_namespace.unwrap_or_else(|| open.default_namespace().to_owned());
    let candidate = Candidate::new(open, &home, MANAGER, identity, standing.clone());
    let election = tokio::spawn(candidate.run(leave.clone()));
    let context = Context {
        world,
        defaults: Defaults { image: options.proxy_image, namespace },
        secrets: Cache::start(client.clone(), changed.clone()),
        followers: Followers::new(client.clone(), changed),
        keeper,
        writer: Writer::new(client.clone()),
        events,
        metrics,
        client,
    };
    let passes = async {
        tokio::select! {
            () = watches.listed() => controller::run(Arc::new(context), queue, standing, end.clone()).await,
            () = end.cancelled() => (),
        }
    };
    let result = tokio::select! {
        () = passes => Ok(()),
        Some(ended) = tasks.join_next() => Err(anyhow::anyhow!("a task that never ends has ended: {ended:?}")),
    };
    leave.cancel();
    election.await.context("the election ended before its time")?;
    tasks.shutdown().await;
    info!("the operator ends");
    result
}

/// Cancelled by SIGTERM or SIGINT.
fn ends() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = CancellationToken::new();
    let token = end.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        info!("told to end");
        token.cancel();
    });
    Ok(end)
}

/// The pod's name, which no other replica has. After a crash it is the same one's, who is gone for sure, so it leads again
/// at once.
fn identity(pod: Option<String>) -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    pod.unwrap_or_else(|| format!("{MANAGER}_{:016x}", RandomState::new().build_hasher().finish()))
}

/// Pods and Secrets have news of these Proxies.
async fn forward(mut news: mpsc::Receiver<ObjectKey>, queue: Arc<Queue>) {
    while let Some(key) = news.recv().await {
        queue.add(key);
    }
    std::future::pending::<()>().await;
}
