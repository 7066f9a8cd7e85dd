//! Other people's programs as senders, each a child process that ends with its value.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// A running peer with a folder of its own; ends with the value.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts `command` in a fresh folder with `file` (name, text) in it. Output goes to `log` there.
    pub fn start(mut command: Command, folder: TempDir) -> Result<Self> {
        let log = fs::File::create(folder.path().join("log"))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, folder })
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// How it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        crate::until(limit, "the end", || self.child.try_wait().ok().flatten())
    }

    /// Until it has ended, and every process that it started.
    pub fn wait_all(&mut self, limit: Duration) -> Result<()> {
        let group = self.child.id().to_string();
        crate::until(limit, "the end of all its processes", || {
            let is_over = self.child.try_wait().is_ok_and(|ended| ended.is_some()) && !is_group_alive(&group);
            is_over.then_some(())
        })
    }

    /// Ends it in order: SIGTERM, and SIGKILL after five seconds.
    pub fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let ended = crate::until(Duration::from_secs(5), "end", || self.child.try_wait().ok().flatten());
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a process of the group runs: zombies do not.
fn is_group_alive(group: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes.into_iter().any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // State, parent and group follow the name.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        fields.next().is_some_and(|state| state != "Z") && fields.nth(1) == Some(group)
    })
}

/// A program of `PATH` or of the places that are not in everybody's `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("{name} is missing: `make packages` as root installs it"))
}

/// Sends `messages` with the system's `logger`, one process for all of them.
pub fn logger(port: u16, arguments: &[&str], messages: &[String]) -> Result<()> {
    let mut child = Command::new(program("logger")?)
        .args(["-n", "127.0.0.1", "-P", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        for message in messages {
            writeln!(input, "{message}")?;
        }
    }
    let output = child.wait_with_output()?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!("logger: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// rsyslog with a file as its source: what is appended to the returned path is forwarded by `action`.
pub fn rsyslog(action: &str) -> Result<(Peer, PathBuf)> {
    let folder = tempfile::Builder::new().prefix("rsyslog-").tempdir()?;
    let source = folder.path().join("source");
    fs::write(&source, "")?;
    let config = folder.path().join("rsyslog.conf");
    let at = folder.path().display();
    fs::write(
        &config,
        format!(
            "global(workDirectory=\"{at}\")\nmodule(load=\"imfile\")\n\
             input(type=\"imfile\" File=\"{at}/source\" Tag=\"unit7:\" Severity=\"warning\" Facility=\"local3\")\n\
             {action}\n"
        ),
    )?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/rsyslog");
    let library = fs::read_dir(root.join("usr/lib"))
        .with_context(|| format!("{} is missing: `make packages` as root makes it", root.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.join("rsyslog").is_dir())
        .context("no rsyslog modules")?;
    let mut command = Command::new(root.join("usr/sbin/rsyslogd"));
    command
        .arg("-n")
        .arg("-f")
        .arg(config)
        .arg("-i")
        .arg(folder.path().join("pid"))
        .arg("-M")
        .arg(library.join("rsyslog"))
        .env("LD_LIBRARY_PATH", &library);
    Ok((Peer::start(command, folder)?, source))
}

/// syslog-ng with a file as its source and `destination` as its sink.
pub fn syslog_ng(destination: &str) -> Result<(Peer, PathBuf)> {
    let folder = tempfile::Builder::new().prefix("syslog-ng-").tempdir()?;
    let source = folder.path().join("source");
    fs::write(&source, "")?;
    let config = folder.path().join("syslog-ng.conf");
    let at = folder.path().display();
    fs::write(
        &config,
        format!(
            "@version: 3.38\noptions {{ keep-hostname(yes); stats-freq(0); }};\n\
             source s {{ file(\"{at}/source\" follow-freq(0.1) flags(no-parse) program-override(\"unit7\") \
             default-facility(local3) default-priority(warning)); }};\n\
             destination d {{ {destination} }};\nlog {{ source(s); destination(d); }};\n"
        ),
    )?;
    Ok((start_syslog_ng(&config, folder)?, source))
}

/// syslog-ng with a configuration file as it is.
pub fn start_syslog_ng(config: &Path, folder: TempDir) -> Result<Peer> {
    let mut command = Command::new(program("syslog-ng")?);
    command
        .args(["--foreground", "--no-caps", "--stderr"])
        .arg("--cfgfile")
        .arg(config)
        .arg("--persist-file")
        .arg(folder.path().join("persist"))
        .arg("--pidfile")
        .arg(folder.path().join("pid"))
        .arg("--control")
        .arg(folder.path().join("control"))
        .current_dir(folder.path());
    Peer::start(command, folder)
}

/// Sends `bytes` over TLS with `openssl s_client`, which ends when they are sent; returns what it said.
pub fn openssl(port: u16, ca: &str, arguments: &[&str], bytes: &[u8]) -> Result<String> {
    let mut child = Command::new(program("openssl")?)
        .args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-verify_hostname", "localhost"])
        .args(["-CAfile", ca, "-connect", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // It may have ended already, refused.
        let _ = input.write_all(bytes);
    }
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// `curl` with a body; returns status and body of the answer.
pub fn curl(arguments: &[&str], url: &str) -> Result<(u16, String)> {
    let output = Command::new(program("curl")?)
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').context("no status")?;
    if !output.status.success() {
        bail!("curl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((status.parse()?, body.to_owned()))
}

/// Whether somebody accepts connections.
pub fn accepts(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// A program that is built once from its Go module into the cache of `e2e/cluster`.
pub fn built(name: &str) -> Result<PathBuf> {
    let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
    let output =
        Command::new(&cluster).arg("path").output().with_context(|| cluster.display().to_string())?;
    let path = String::from_utf8(output.stdout)?;
    let found = path.trim().split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is missing: `e2e/cluster/cluster build {name}` builds it"))
}
