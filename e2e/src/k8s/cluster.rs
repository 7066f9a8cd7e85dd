//! The cluster: one connection for all tests of a process.

use std::{
    env,
    io::Write as _,
    net::{IpAddr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use nix::ifaddrs::getifaddrs;
use tokio::runtime::Runtime;

/// The connection.
pub struct Cluster {
    runtime: Runtime,
    client: Client,
    address: IpAddr,
}

impl Cluster {
    /// The one of this process.
    pub fn get() -> Result<&'static Self> {
        static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| Self::connect().map_err(|error| format!("{error:#}")));
        cluster.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn connect() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let config = runtime
            .block_on(kube::Config::infer())
            .context("no cluster: `make e2e` starts one, E2E_KUBECONFIG names another")?;
        let address = own_address(&config)?;
        let client = runtime.block_on(async { Client::try_from(config) })?;
        Ok(Self { runtime, client, address })
    }

    /// Runs a request to its end.
    pub fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    /// The client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// An address of this machine that pods reach.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// All addresses of the interface that has [`Self::address`]: on our own cluster a test can be many senders.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let all = getifaddrs()?.filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
            Some((one.interface_name, v4.or_else(v6)?))
        });
        let all: Vec<(String, IpAddr)> = all.collect();
        let own = all.iter().find(|(_, address)| *address == self.address).map(|(name, _)| name);
        let same = |(name, address): &(String, IpAddr)| {
            (Some(name) == own && address.is_ipv4() == self.address.is_ipv4()).then_some(*address)
        };
        Ok(all.iter().filter_map(same).collect())
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> Result<Vec<String>> {
        let nodes = self.wait(Api::<Node>::all(self.client()).list(&ListParams::default()))?;
        Ok(nodes.items.into_iter().filter_map(|node| node.metadata.name).collect())
    }

    /// At least so many nodes; our own cluster starts what is missing.
    pub fn at_least(&self, count: usize) -> Result<Vec<String>> {
        let nodes = self.nodes()?;
        if nodes.len() >= count {
            return Ok(nodes);
        }
        script(&["up", &count.to_string()])
            .with_context(|| format!("this takes {count} nodes, the cluster has {}", nodes.len()))?;
        self.nodes()
    }

    /// Leads a load balancer's address to a node, as one does that asks the nodes where pods are ready. For our own cluster nobody
    /// else does it: without this all addresses lead to the first node.
    pub fn lead(&self, address: IpAddr, node: &str) -> Result<()> {
        if env::var_os("E2E_KUBECONFIG").is_some() {
            return Ok(());
        }
        let node = self.wait(Api::<Node>::all(self.client()).get(node))?;
        let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
        let internal = addresses.iter().find(|one| one.type_ == "InternalIP");
        let via = &internal.context("a node without an address")?.address;
        run(Command::new("ip").args(["route", "replace", &address.to_string(), "via", via]), "")?;
        Ok(())
    }

    /// Starts a program in the network of the first node of our own cluster, beside its pods on the host network.
    pub fn on_first_node(&self, program: &[&str]) -> Result<Child> {
        let mut command = script_command(&[&["node", "1"][..], program].concat())?;
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))
    }

    /// Stops a daemon of our own cluster, such as `etcd` or `kube-apiserver`, and starts it again.
    pub fn restart(&self, daemon: &str) -> Result<()> {
        script(&["restart", daemon])?;
        crate::until(Duration::from_mins(1), "the API server", || {
            self.wait(self.client.apiserver_version()).ok()
        })?;
        Ok(())
    }
}

/// `kubectl`; what it prints.
pub fn kubectl(arguments: &[&str]) -> Result<String> {
    kubectl_with(arguments, "")
}

/// `kubectl` with something on its standard input.
pub fn kubectl_with(arguments: &[&str], input: &str) -> Result<String> {
    run(Command::new("kubectl").args(arguments), input)
}

/// `helm`; what it prints.
pub fn helm(arguments: &[&str]) -> Result<String> {
    helm_with(arguments, "")
}

/// `helm` with something on its standard input.
pub fn helm_with(arguments: &[&str], input: &str) -> Result<String> {
    run(Command::new("helm").args(arguments), input)
}

/// Registry and tag of the images, as `make e2e` loaded them.
pub fn images() -> Result<(String, String)> {
    let read = |name| {
        env::var(name).with_context(|| format!("{name} is not set; `make e2e` builds and loads images"))
    };
    Ok((read("E2E_REGISTRY")?, read("E2E_TAG")?))
}

fn script(arguments: &[&str]) -> Result<String> {
    run(&mut script_command(arguments)?, "")
}

/// `e2e/cluster/cluster`, which is not there for clusters of other people.
fn script_command(arguments: &[&str]) -> Result<Command> {
    if env::var_os("E2E_KUBECONFIG").is_some() {
        bail!("only our own cluster can do this, not the one of E2E_KUBECONFIG");
    }
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster"));
    command.args(arguments);
    Ok(command)
}

fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may have ended already; then its status says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

/// The address from which this machine talks to the API server, unless said otherwise.
fn own_address(config: &kube::Config) -> Result<IpAddr> {
    if let Ok(address) = env::var("E2E_ADDRESS") {
        return address.parse().context("E2E_ADDRESS");
    }
    let api = &config.cluster_url;
    let host = api.host().context("no host in the kubeconfig's server")?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((host, api.port_u16().unwrap_or(443)))?;
    let address = socket.local_addr()?.ip();
    if address.is_loopback() {
        bail!("pods cannot reach {address}: set E2E_ADDRESS to an address of this machine that they reach");
    }
    Ok(address)
}
