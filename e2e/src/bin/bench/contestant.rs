//! Who is measured: the proxy, its peers from Debian, and a receiver that does nothing.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use e2e::{
    datagrams::Version,
    peers::Peer,
    process::{self, Proxy},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    flows::collectors::{self, Collector, Written},
    run,
};

/// Somebody to be measured.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The proxy with these settings laid over the bench's own; `{port}` is filled in.
    Proxy(Value),
    /// syslog-ng with `http()` and a reliable disk buffer: no gzip, no sync.
    SyslogNgHttp,
    /// syslog-ng into a file: far less work.
    SyslogNgFile,
    /// rsyslog into a file: far less work.
    RsyslogFile,
    /// Another collector of flows, for those of a version.
    Collector(Collector, Version),
    /// A loop over `recvmmsg` that counts.
    Null,
}

/// A running contestant.
pub struct Contestant {
    /// Where to send.
    pub target: SocketAddr,
    running: Running,
    folder: TempDir,
}

enum Running {
    Proxy(Box<Proxy>),
    Child(Child),
    Collector(Peer, Collector),
}

impl Contestant {
    /// Starts it and waits until it takes input.
    pub fn start(kind: &Kind, sink: &str) -> Result<Self> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, e2e::free_port()?));
        let folder = tempfile::Builder::new().prefix("bytefreezer-bench-").tempdir()?;
        let port = target.port();
        let running = match kind {
            Kind::Proxy(settings) => {
                Running::Proxy(Box::new(Proxy::start(sink, &with_port(settings, port))?))
            }
            Kind::Null => Running::Child(
                Command::new(std::env::current_exe()?).args(["--null", &port.to_string()]).spawn()?,
            ),
            Kind::SyslogNgHttp => syslog_ng(folder.path(), &syslog_ng_http(sink), port)?,
            Kind::SyslogNgFile => syslog_ng(folder.path(), &syslog_ng_file(folder.path()), port)?,
            Kind::RsyslogFile => rsyslog(folder.path(), port)?,
            Kind::Collector(collector, version) => {
                Running::Collector(collector.start(*version, folder.path(), port)?, *collector)
            }
        };
        let mut contestant = Self { target, running, folder };
        contestant.wait_for_socket()?;
        Ok(contestant)
    }

    fn wait_for_socket(&mut self) -> Result<()> {
        if matches!(self.running, Running::Proxy(_)) {
            return Ok(());
        }
        let port = self.target.port();
        e2e::until(Duration::from_secs(20), "the contestant's socket", || {
            UdpSocket::bind(("0.0.0.0", port)).is_err().then_some(())
        })
    }

    /// Process id.
    pub fn pid(&self) -> Result<u32> {
        match &self.running {
            Running::Proxy(proxy) => proxy.pid(),
            Running::Child(child) => Ok(child.id()),
            Running::Collector(peer, _) => Ok(peer.pid()),
        }
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> Result<f64> {
        match &self.running {
            Running::Collector(peer, _) => collectors::cpu(peer),
            _ => process::cpu(self.pid()?),
        }
    }

    /// Most resident bytes so far.
    pub fn peak(&self) -> Result<u64> {
        match &self.running {
            Running::Collector(peer, _) => collectors::peak(peer),
            _ => run::peak(self.pid()?),
        }
    }

    /// Ends a collector, and says what it wrote.
    pub fn written(&mut self) -> Result<Written> {
        let folder = self.folder.path();
        match &mut self.running {
            Running::Collector(peer, collector) => collector.written(peer, folder),
            _ => bail!("only collectors write records"),
        }
    }

    /// The file of a contestant that writes one, else nothing.
    pub fn file(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("out")).unwrap_or_default()
    }

    /// Bytes in it.
    pub fn file_len(&self) -> u64 {
        fs::metadata(self.folder.path().join("out")).map_or(0, |file| file.len())
    }

    /// The proxy's compression level now.
    pub fn level(&self) -> Option<u64> {
        let Running::Proxy(proxy) = &self.running else { return None };
        Some(proxy.metric("bytefreezer_proxy_compression_level", &[]).ok()? as u64)
    }

    /// The receive buffer that the proxy's sockets got.
    pub fn receive_buffer(&self) -> Option<u64> {
        let Running::Proxy(proxy) = &self.running else { return None };
        proxy.json("/api/v1/status").ok()?.pointer("/inputs/0/receive_buffer")?.as_u64()
    }

    /// Datagrams lost in front of its sockets, as the kernel counts them.
    pub fn kernel_drops(&self) -> Result<u64> {
        let port = format!(":{:04X}", self.target.port());
        let mut drops = 0;
        for table in ["/proc/net/udp", "/proc/net/udp6"] {
            for line in fs::read_to_string(table)?.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if fields.get(1).is_some_and(|local| local.ends_with(&port)) {
                    drops += fields.last().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
                }
            }
        }
        Ok(drops)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        if let Running::Child(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn with_port(settings: &Value, port: u16) -> Value {
    match settings {
        Value::String(text) if text == "{port}" => json!(port),
        Value::Array(items) => items.iter().map(|item| with_port(item, port)).collect(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), with_port(v, port))).collect(),
        other => other.clone(),
    }
}

fn syslog_ng_http(sink: &str) -> String {
    format!(
        "destination d {{ http(url(\"{sink}/acme/web\") method(\"POST\") batch-lines(5000) batch-bytes(1048576) batch-timeout(1000)
           body(\"$(format-json --scope nv-pairs --exclude MESSAGE --pair message=$MESSAGE)\") workers(2)
           disk-buffer(reliable(yes) mem-buf-size(16777216) disk-buf-size(1073741824))); }};"
    )
}

fn syslog_ng_file(folder: &Path) -> String {
    format!("destination d {{ file(\"{}/out\"); }};", folder.display())
}

fn syslog_ng(folder: &Path, destination: &str, port: u16) -> Result<Running> {
    let binary = peer("syslog-ng")?;
    let config = folder.join("syslog-ng.conf");
    fs::write(
        &config,
        format!(
            "@version: 3.38\n@include \"scl.conf\"\noptions {{ stats-freq(0); keep-hostname(yes); }};\n
source s {{ network(ip(127.0.0.1) port({port}) transport(\"udp\") so-rcvbuf(8388608) log-iw-size(100000) log-fetch-limit(1000)); }};\n
{destination}\nlog {{ source(s); destination(d); flags(flow-control); }};\n"
        ),
    )?;
    let child = Command::new(binary)
        .args(["--foreground", "--no-caps", "--cfgfile"])
        .arg(&config)
        .arg("--persist-file")
        .arg(folder.join("persist"))
        .arg("--pidfile")
        .arg(folder.join("pid"))
        .arg("--control")
        .arg(folder.join("control"))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log"))?)
        .spawn()?;
    Ok(Running::Child(child))
}

fn rsyslog(folder: &Path, port: u16) -> Result<Running> {
    let config = folder.join("rsyslog.conf");
    fs::write(
        &config,
        format!(
            "global(workDirectory=\"{0}\")\nmodule(load=\"imudp\" batchSize=\"128\")\n
ruleset(name=\"r\") {{ action(type=\"omfile\" file=\"{0}/out\" ioBufferSize=\"64k\" asyncWriting=\"on\") }}\n
input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" rcvbufSize=\"8m\" ruleset=\"r\")\n",
            folder.display()
        ),
    )?;
    // Unpacked beside the build by `make packages`: Debian's package excludes that of syslog-ng.
    let private = std::path::absolute("target/peers/rsyslog")?;
    let libraries = private.join("usr/lib/x86_64-linux-gnu");
    let mut command = if private.exists() {
        let mut command = Command::new(private.join("usr/sbin/rsyslogd"));
        command.arg("-M").arg(libraries.join("rsyslog")).env("LD_LIBRARY_PATH", &libraries);
        command
    } else {
        Command::new(peer("rsyslogd")?)
    };
    let child = command
        .args(["-n", "-f"])
        .arg(&config)
        .arg("-i")
        .arg(folder.join("pid"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log"))?)
        .spawn()?;
    Ok(Running::Child(child))
}

/// A peer's binary: `PEER_<NAME>` or the one on the PATH.
fn peer(name: &str) -> Result<String> {
    let variable = format!("PEER_{}", name.replace('-', "_").to_uppercase());
    if let Ok(path) = std::env::var(variable) {
        return Ok(path);
    }
    for folder in ["/usr/sbin", "/usr/bin", "/usr/local/sbin"] {
        let path = format!("{folder}/{name}");
        if Path::new(&path).exists() {
            return Ok(path);
        }
    }
    bail!("{name} is not installed; `make packages` does it")
}

/// The null receiver: `recvmmsg` in batches of 64 on one socket, nothing else.
pub fn null(port: u16) -> Result<()> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).context("null receiver")?;
    setsockopt(&socket, sockopt::RcvBuf, &(8 << 20))?;
    let mut buffers = vec![[0u8; 2048]; 64];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(64, None);
    loop {
        let mut slices: Vec<_> =
            buffers.iter_mut().map(|buffer| [std::io::IoSliceMut::new(buffer)]).collect();
        let got =
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        std::hint::black_box(got.count());
    }
}
