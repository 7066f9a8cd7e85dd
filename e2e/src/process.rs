//! The real proxy binary as a child process with a generated configuration.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Client;

/// Path of the binary: `PROXY_BINARY`, else the one beside a program, which whoever built that built too, else for a test the one of its
/// build, brought up to date once per test run.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| find_binary().map_err(|error| format!("{error:#}")));
    found.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PROXY_BINARY") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let mut folder = own.parent().context("no folder")?;
    let is_test = folder.ends_with("deps");
    if is_test {
        folder = folder.parent().context("no folder")?;
    }
    let path = folder.join("bytefreezer-proxy");
    if !is_test && path.exists() {
        return Ok(path);
    }
    // So that a test never judges an older build than its own sources.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // As `make test` builds it: another selection of packages has other features, and builds all dependencies again.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "bytefreezer-proxy"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.current_dir(manifest).status().context("cargo build")?;
    if !built.success() || !path.exists() {
        bail!("no proxy binary at {}", path.display());
    }
    Ok(path)
}

/// Lays `over` over `base`: objects member by member, everything else as a whole; `null` removes.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// What the configuration of a test names as the API's `admin_token` unless it says otherwise.
const TOKEN: &str = "admin-of-the-test";

/// A running (or stopped) proxy with a folder of its own for configuration and spool.
#[derive(Debug)]
pub struct Proxy {
    folder: TempDir,
    config: Value,
    environment: Vec<(String, String)>,
    through: Vec<String>,
    arguments: Vec<String>,
    elsewhere: Option<PathBuf>,
    child: Option<Child>,
    api: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Writes the configuration (`config` over test defaults), starts the binary and waits until it is ready.
    pub fn start(receiver: &str, config: &Value) -> Result<Self> {
        let mut proxy = Self::prepare(receiver, config)?;
        proxy.run()?;
        Ok(proxy)
    }

    /// The same without starting it.
    pub fn prepare(receiver: &str, config: &Value) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bytefreezer-proxy-").tempdir()?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()?));
        let mut all = json!({
            "config_mode": "local-only",
            "tenant_id": "acme",
            "logging": {"level": "info", "encoding": "json"},
            "server": {"api_host": "127.0.0.1", "api_port": api.port(), "admin_token": TOKEN},
            "receiver": {"base_url": receiver, "timeout_seconds": 5},
            "batching": {"timeout_seconds": 1},
            "spooling": {
                "enabled": true, "directory": folder.path().join("spool"), "retry_interval_seconds": 1,
            },
            "inputs": [],
        });
        merge(&mut all, config);
        let proxy = Self::new(folder, all, api);
        proxy.write_config()?;
        Ok(proxy)
    }

    /// Prepares a run from a file's text as it is; API port and spool come from the environment.
    pub fn from_text(text: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bytefreezer-proxy-").tempdir()?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()?));
        let mut proxy = Self::new(folder, Value::Null, api);
        proxy.env("BYTEFREEZER_PROXY_SERVER_API_HOST", "127.0.0.1");
        proxy.env("BYTEFREEZER_PROXY_SERVER_API_PORT", &api.port().to_string());
        proxy.env("BYTEFREEZER_PROXY_SPOOLING_DIRECTORY", &proxy.spool().display().to_string());
        fs::write(proxy.config_path(), text)?;
        Ok(proxy)
    }

    fn new(folder: TempDir, config: Value, api: SocketAddr) -> Self {
        Self {
            folder,
            config,
            environment: Vec::new(),
            through: Vec::new(),
            arguments: Vec::new(),
            elsewhere: None,
            child: None,
            api,
            log: Arc::default(),
        }
    }

    /// Sets an environment variable for the next start.
    pub fn env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the binary through this command from the next start on; it gets the binary and its arguments as its last
    /// arguments and must end with an `exec`, so that signals arrive.
    pub fn through(&mut self, command: &[&str]) {
        self.through = command.iter().map(|&word| word.to_owned()).collect();
    }

    /// Further arguments from the next start on.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    }

    /// The configuration is read from this file from the next start on; its content is the caller's affair.
    pub fn config_at(&mut self, file: &Path) {
        self.elsewhere = Some(file.to_owned());
    }

    /// The configuration as the next [`Self::reconfigure`] writes it.
    pub fn config(&self) -> &Value {
        &self.config
    }

    fn write_config(&self) -> Result<()> {
        // JSON is YAML. Renamed into place as an editor or a mounted volume would do it.
        let next = self.folder.path().join("next.yaml");
        fs::write(&next, serde_json::to_vec_pretty(&self.config)?)?;
        fs::rename(next, self.config_path())?;
        Ok(())
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("proxy.yaml")
    }

    /// The folder of this proxy.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The spool's folder.
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// The API's address.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Starts the binary and returns at once.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = match self.through.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary()?);
                command
            }
            None => Command::new(binary()?),
        };
        let mut child = command
            .arg("--config")
            .arg(self.elsewhere.clone().unwrap_or_else(|| self.config_path()))
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // A group of its own: Ctrl-C at the terminal is for the one who started us, who then ends the proxy.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(out) = child.stdout.take() {
            capture(out, self.log.clone());
        }
        if let Some(err) = child.stderr.take() {
            capture(err, self.log.clone());
        }
        self.child = Some(child);
        Ok(())
    }

    /// Starts the binary and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready(Duration::from_secs(20))
    }

    /// Waits for `/readyz`.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                bail!("the proxy ended with {status}:\n{}", self.log_text());
            }
            if self.get("/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > end {
                let answer = self.get("/readyz").map(|answer| (answer.status, answer.text()));
                bail!("not ready in {limit:?}: {answer:?}\n{}", self.log_text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lays `change` over the configuration and writes the file; the proxy sees it by itself or after SIGHUP.
    pub fn reconfigure(&mut self, change: &Value) -> Result<()> {
        merge(&mut self.config, change);
        self.write_config()
    }

    /// Process id.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("not running")?.id())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()? as i32), signal)?)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(limit)
    }

    /// Waits for the end.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("still running after {limit:?}:\n{}", self.log_text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Exit status when it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().context("not running")?.try_wait()?)
    }

    /// A client of the API that may do everything.
    pub fn client(&self) -> Client {
        Client::new(self.api)
            .with_header("authorization", &format!("Bearer {TOKEN}"))
            .with_header("content-type", "application/json")
    }

    /// `GET` from the API.
    pub fn get(&self, path: &str) -> Result<crate::http::Answer> {
        self.client().get(path)
    }

    /// `GET` as JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        self.get(path)?.json()
    }

    /// Sum of all series of a metric (full name) whose labels contain each of `labels`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(sum(&self.get("/metrics")?.text(), name, labels))
    }

    /// Log lines so far, of all runs.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// The same as one text.
    pub fn log_text(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Resident set in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
    }

    /// CPU seconds used so far, user and system.
    pub fn cpu(&self) -> Result<f64> {
        cpu(self.pid()?)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// CPU seconds of a process and of its children that have ended, user and system.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(ticks as f64 / 100.0)
}

fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let matches = found == name
                && labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")));
            matches.then(|| value.parse::<f64>().ok()).flatten()
        })
        .sum()
}

fn capture(stream: impl std::io::Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            log.lock().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_series_that_match() {
        let text =
            "# TYPE a counter\na_total{input=\"x\",cause=\"full\"} 2\na_total{input=\"y\"} 3\na_totals 9\n";
        assert!((sum(text, "a_total", &[]) - 5.0).abs() < f64::EPSILON);
        assert!((sum(text, "a_total", &[("input", "x")]) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_change_is_laid_over_member_by_member() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut base, &json!({"a": {"b": 3, "c": null}, "d": [2, 3]}));
        assert_eq!(base, json!({"a": {"b": 3}, "d": [2, 3]}));
    }
}
