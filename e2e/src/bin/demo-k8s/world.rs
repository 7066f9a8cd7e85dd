//! The cluster as the demo sees it: the chart's release, its datasets and pods.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{
    Cluster,
    cluster::{helm, images, kubectl},
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

pub(crate) const NAMESPACE: &str = "bytefreezer-demo";
pub(crate) const RELEASE: &str = "bytefreezer";
const PROXY: &str = "edge";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/bytefreezer-proxy");
/// Images are there already; volumes, an address and two pods take seconds.
const LIMIT: Duration = Duration::from_mins(3);

/// The connection.
pub(crate) struct World {
    cluster: &'static Cluster,
}

/// Everything at one moment.
pub(crate) struct View {
    pub(crate) datasets: Vec<Dataset>,
    pods: Vec<Pod>,
}

/// A dataset at one moment.
pub(crate) struct Dataset {
    pub(crate) name: String,
    pub(crate) address: String,
    conditions: BTreeMap<String, Condition>,
    is_observed: bool,
}

impl World {
    pub(crate) fn connect() -> Result<Self> {
        Ok(Self { cluster: Cluster::get()? })
    }

    /// An address of this machine that pods reach.
    pub(crate) fn address(&self) -> IpAddr {
        self.cluster.address()
    }

    /// One `helm install` for operator, definitions, Proxy and datasets. What an interrupted demo left goes first.
    pub(crate) fn install(&self, receiver: &str, datasets: &[(&str, u16)]) -> Result<()> {
        Self::remove()?;
        let (registry, tag) = images()?;
        let datasets: BTreeMap<_, _> = datasets
            .iter()
            .map(|(name, port)| {
                let source = json!({"syslog": {"port": port, "protocols": ["UDP", "TCP"]}});
                (*name, json!({"tenantId": "acme", "source": source}))
            })
            .collect();
        let values = json!({
            "image": {"registry": registry, "tag": tag},
            "proxy": {"name": PROXY, "spec": {
                "receiver": {"url": receiver},
                "exposure": {"listenAddress": "0.0.0.0"},
                "workload": {"replicas": 2},
                "spool": {"size": "256Mi", "retryInterval": "2s"},
                "batching": {"timeout": "1s"},
            }},
            "datasets": datasets,
        });
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), serde_json::to_string_pretty(&values)?)?;
        let at = file.path().display().to_string();
        println!("chart          helm install {RELEASE} charts/bytefreezer-proxy --namespace {NAMESPACE}");
        let started = Instant::now();
        let chart = Path::new(CHART).display().to_string();
        helm(&["install", RELEASE, &chart, "--namespace", NAMESPACE, "--create-namespace", "--values", &at])?;
        Self::until("every dataset to be Ready", || {
            let view = self.look().ok()?;
            view.datasets.iter().all(Dataset::is_current).then_some(())
        })?;
        println!("               everything Ready after {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Where senders send, once that leads to the pods: nodes learn of ports a second or two after everybody else, those of
    /// TCP and UDP together.
    pub(crate) fn targets(&self, datasets: &[(&str, u16)]) -> Result<Vec<(String, SocketAddr)>> {
        let view = self.look()?;
        let target = |(name, _): &(&str, u16)| {
            let dataset = view.datasets.iter().find(|dataset| dataset.name == *name).context("gone")?;
            let address = dataset.address.split('/').next().unwrap_or_default();
            let address: SocketAddr =
                address.parse().with_context(|| format!("{name}: no address {address:?}"))?;
            // Not that of the first pod, which is the one that goes.
            if let Some(node) = view.pods.last().and_then(|pod| pod.spec.as_ref()?.node_name.as_ref()) {
                self.cluster.lead(address.ip(), node)?;
            }
            Self::until(&format!("a way to {address}"), || {
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop).ok()
            })?;
            Ok(((*name).to_owned(), address))
        };
        datasets.iter().map(target).collect()
    }

    /// A dataset that keeps its port and gets another setting.
    pub(crate) fn change() -> Result<()> {
        let patch = r#"{"spec": {"source": {"syslog": {"raw": "Keep"}}}}"#;
        kubectl(&[
            "--namespace",
            NAMESPACE,
            "patch",
            "proxydataset",
            "fw-logs",
            "--type",
            "merge",
            "--patch",
            patch,
        ])?;
        Ok(())
    }

    /// One of the two pods.
    pub(crate) fn delete_pod() -> Result<String> {
        let pod = format!("{PROXY}-0");
        kubectl(&["--namespace", NAMESPACE, "delete", "pod", &pod, "--wait=false"])?;
        Ok(pod)
    }

    pub(crate) fn look(&self) -> Result<View> {
        let client = self.cluster.client();
        let datasets: Api<ProxyDataset> = Api::namespaced(client.clone(), NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
        let proxies = ListParams::default().labels(&format!("bytefreezer.com/proxy={PROXY}"));
        Ok(View {
            datasets: self
                .cluster
                .wait(datasets.list(&ListParams::default()))?
                .into_iter()
                .map(Dataset::from)
                .collect(),
            pods: self.cluster.wait(pods.list(&proxies))?.items,
        })
    }

    /// The end: the release, then its namespace with the volumes.
    pub(crate) fn remove() -> Result<()> {
        helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"])?;
        kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])?;
        Ok(())
    }

    fn until(what: &str, condition: impl FnMut() -> Option<()>) -> Result<()> {
        e2e::until(LIMIT, what, condition).or_else(|late| {
            let there = kubectl(&[
                "--namespace",
                NAMESPACE,
                "get",
                "pods,services,proxies,proxydatasets",
                "--output",
                "wide",
            ]);
            Err(late).context(there.unwrap_or_default())
        })
    }
}

impl From<ProxyDataset> for Dataset {
    fn from(dataset: ProxyDataset) -> Self {
        let status = dataset.status.clone().unwrap_or_default();
        Self {
            name: dataset.name_any(),
            address: status.addresses.first().cloned().unwrap_or_default(),
            is_observed: status.observed_generation == dataset.metadata.generation,
            conditions: status.conditions.into_iter().map(|one| (one.type_.clone(), one)).collect(),
        }
    }
}

impl Dataset {
    /// Whether it is Ready as it is written now.
    pub(crate) fn is_current(&self) -> bool {
        let ready = self.conditions.get("Ready").is_some_and(|ready| ready.status == "True");
        self.is_observed && ready && !self.address.is_empty()
    }

    /// `True`, or why not.
    pub(crate) fn condition(&self, kind: &str) -> String {
        match self.conditions.get(kind) {
            Some(condition) if condition.status == "True" => "True".to_owned(),
            Some(condition) => condition.reason.clone(),
            None => "-".to_owned(),
        }
    }
}

impl View {
    /// The pods in a line.
    pub(crate) fn pods(&self) -> String {
        let pod = |pod: &Pod| {
            let status = pod.status.clone().unwrap_or_default();
            let ready = status
                .conditions
                .unwrap_or_default()
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            let state = match (&pod.metadata.deletion_timestamp, ready) {
                (Some(_), _) => "terminating",
                (None, true) => "ready",
                (None, false) => "starting",
            };
            format!("{} {state}", pod.name_any())
        };
        self.pods.iter().map(pod).collect::<Vec<_>>().join(", ")
    }

    /// How often containers were restarted.
    pub(crate) fn restarts(&self) -> String {
        let of = |pod: &Pod| {
            let statuses = pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
            statuses.iter().map(|container| container.restart_count).sum::<i32>()
        };
        match self.pods.iter().map(of).sum::<i32>() {
            0 => "no pod restarted".to_owned(),
            restarts => format!("{restarts} restarts"),
        }
    }
}
