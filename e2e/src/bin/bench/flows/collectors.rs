//! Other people's collectors of flows. They write to a file, neither compressed nor synced, and none of them uploads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    datagrams::Version,
    peers::{self, Peer},
    process,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::run;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    /// JSON to a file.
    Goflow2,
    /// nfdump's own format to a file: nfcapd, and sfcapd for sFlow.
    Nfdump,
    /// Flows that are alike are one; JSON to a file: nfacctd, and sfacctd for sFlow.
    Pmacct,
}

impl Collector {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Goflow2, Self::Nfdump, Self::Pmacct];

    /// Its name for a version.
    pub fn program(self, version: Version) -> &'static str {
        let is_sflow = version == Version::Sflow;
        match self {
            Self::Goflow2 => "goflow2",
            Self::Nfdump if is_sflow => "sfcapd",
            Self::Nfdump => "nfcapd",
            Self::Pmacct if is_sflow => "sfacctd",
            Self::Pmacct => "nfacctd",
        }
    }

    /// Records a second that it takes on half a processor or so, which is enough to tell what one costs it.
    pub fn rate(self) -> u64 {
        match self {
            Self::Goflow2 => 5_000,
            Self::Nfdump => 100_000,
            Self::Pmacct => 30_000,
        }
    }

    /// Starts it; what it writes goes to `out` in `folder`.
    pub fn start(self, version: Version, folder: &Path, port: u16) -> Result<Peer> {
        let program = self.program(version);
        let mut command = Command::new(peers::program(program)?);
        let out = folder.join("out");
        match self {
            Self::Goflow2 => {
                let scheme = if version == Version::Sflow { "sflow" } else { "netflow" };
                command.arg(format!("-listen={scheme}://127.0.0.1:{port}")).args(["-addr=", "-format=json"]);
                command.arg("-transport=file").arg(format!("-transport.file={}", out.display()));
            }
            Self::Nfdump => {
                fs::create_dir(&out)?;
                command.args(["-b", "127.0.0.1", "-B", "4194304", "-p", &port.to_string(), "-w"]).arg(out);
            }
            Self::Pmacct => {
                let config = folder.join("conf");
                fs::write(&config, pmacct(program, &out, port))?;
                command.arg("-f").arg(config);
            }
        }
        Peer::start(command, tempfile::Builder::new().prefix("bytefreezer-bench-").tempdir()?)
    }

    /// Ends it, and says how many records it wrote to how many bytes.
    pub fn written(self, peer: &mut Peer, folder: &Path) -> Result<Written> {
        peer.stop();
        // What its processes have not ended by themselves.
        let _ = killpg(Pid::from_raw(peer.pid() as i32), Signal::SIGKILL);
        let out = folder.join("out");
        let files: Vec<PathBuf> = if out.is_dir() {
            fs::read_dir(&out)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?
        } else {
            vec![out.clone()]
        };
        let said = |peer: &Peer| peer.log().lines().last().unwrap_or_default().to_owned();
        ensure!(files.iter().all(|file| file.exists()), "it wrote nothing: {}", said(peer));
        let sizes = files.iter().map(|file| Ok(fs::metadata(file)?.len()));
        let bytes = sizes.sum::<Result<u64>>()?;
        let records = if self == Self::Nfdump {
            flows(&out)?
        } else {
            memchr::memchr_iter(b'\n', &fs::read(out)?).count() as u64
        };
        ensure!(records > 0, "it wrote no record: {}", said(peer));
        Ok(Written { records, bytes })
    }
}

/// What a collector wrote.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Records.
    pub records: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

fn pmacct(program: &str, out: &Path, port: u16) -> String {
    format!(
        "daemonize: false\n{program}_ip: 127.0.0.1\n{program}_port: {port}\n{program}_as: netflow\n\
         {program}_net: netflow\n{program}_pipe_size: 4194304\nplugin_pipe_size: 33554432\nplugin_buffer_size: 8192\n\
         plugins: print\nprint_output: json\nprint_refresh_time: 1\nprint_cache_entries: 65537\n\
         print_output_file: {}\nprint_output_file_append: true\n\
         aggregate: peer_src_ip, src_host, dst_host, src_port, dst_port, proto, tos, tcpflags, in_iface, out_iface, \
         src_as, dst_as, timestamp_start, timestamp_end\n",
        out.display()
    )
}

/// Flows in a folder of nfdump's files.
fn flows(folder: &Path) -> Result<u64> {
    let shown = Command::new(peers::program("nfdump")?).arg("-R").arg(folder).arg("-I").output()?;
    let text = String::from_utf8_lossy(&shown.stdout);
    let count = text.lines().find_map(|line| line.strip_prefix("Flows:")?.trim().parse().ok());
    count.with_context(|| format!("nfdump -I: {text}{}", String::from_utf8_lossy(&shown.stderr)))
}

/// CPU seconds of all its processes.
pub fn cpu(peer: &Peer) -> Result<f64> {
    processes(peer)?.into_iter().map(process::cpu).sum()
}

/// Most resident bytes of each of its processes.
pub fn peak(peer: &Peer) -> Result<u64> {
    processes(peer)?.into_iter().map(run::peak).sum()
}

/// Its processes: they are a group.
fn processes(peer: &Peer) -> Result<Vec<u32>> {
    let group = peer.pid().to_string();
    let is_member = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // State, parent and group follow the name.
        stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(2)) == Some(&group)
    };
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(
            entry?.file_name().to_str().and_then(|name| name.parse().ok()).filter(|pid| is_member(*pid)),
        );
    }
    Ok(pids)
}

/// So long nothing has to arrive until everything has: pmacct writes once a second.
pub const QUIET: Duration = Duration::from_secs(3);
