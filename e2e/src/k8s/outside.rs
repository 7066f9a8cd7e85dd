//! The operator as a process of the test, outside the cluster and with the rights of the kubeconfig: what it uses can be measured, and it
//! can be made to die.

use std::{
    collections::BTreeMap,
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::cluster::images;
use crate::http::Client;

/// A running operator; killed with its value.
pub struct Outside {
    child: Child,
    health: SocketAddr,
    folder: TempDir,
}

impl Outside {
    /// Starts it for one namespace or, without one, for all. Further variables of the environment are for failpoints.
    pub fn start(namespace: Option<&str>, variables: &[(&str, &str)]) -> Result<Self> {
        let (registry, tag) = images()?;
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()?));
        let folder = tempfile::tempdir()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(binary()?);
        command.arg("run");
        command.arg(format!("--proxy-image={registry}/bytefreezer-proxy:{tag}"));
        command.arg(format!("--health-address={health}"));
        command.args(namespace.map(|namespace| format!("--namespace={namespace}")));
        // Always the same name, so that its successor need not wait for the lease to run out.
        command.env("POD_NAME", "outside").env("POD_NAMESPACE", namespace.unwrap_or("default"));
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child, health, folder })
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = crate::until(limit, "the operator's end", || self.child.try_wait().ok().flatten());
        ended.with_context(|| self.log())
    }

    /// Ends it in order.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        self.wait(Duration::from_secs(30))
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        metrics(self.health)
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> Result<f64> {
        crate::process::cpu(self.child.id())
    }

    /// Resident bytes: now, and at most so far.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operator's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Series with their labels, and values, of an operator's health port.
pub fn metrics(health: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let text = Client::new(health).get("/metrics")?.text();
    let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(series.collect())
}

/// Sum of a metric over its labels.
pub fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    let own = metrics.iter().filter(|(series, _)| series.split('{').next() == Some(name));
    own.map(|(_, value)| value).sum()
}

/// The program that is in the image, or `E2E_OPERATOR_BINARY`.
fn binary() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image/bin/bytefreezer-operator");
    let path = env::var_os("E2E_OPERATOR_BINARY").map_or(built, PathBuf::from);
    path.canonicalize().with_context(|| format!("{}: `make e2e` builds it", path.display()))
}
