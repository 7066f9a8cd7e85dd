//! Other people's exporters, fed from a file of packets; each ends when it has sent what it made of them.

use std::{fs, net::UdpSocket, path::Path, process::Command, time::Duration};

use e2e::{
    free_port,
    peers::{Peer, program},
};
use tempfile::TempDir;

use crate::{
    common::LIMIT,
    packets::{Flow, flows},
    pcap,
};

/// An exporter and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// NetFlow 5 and 9, IPFIX (10).
    Softflowd(u8),
    /// The same from `nfprobe` of pmacct.
    Nfprobe(u8),
    /// sFlow from `sfprobe` of pmacct: every packet is sampled.
    Sfprobe,
}

/// What the agent of sFlow says it is.
pub const AGENT: &str = "192.0.2.254";

impl Probe {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Softflowd(5),
        Self::Softflowd(9),
        Self::Softflowd(10),
        Self::Nfprobe(5),
        Self::Nfprobe(9),
        Self::Nfprobe(10),
        Self::Sfprobe,
    ];

    /// Its name with what it speaks.
    pub fn name(self) -> String {
        match self {
            Self::Softflowd(version) => format!("softflowd-{version}"),
            Self::Nfprobe(version) => format!("nfprobe-{version}"),
            Self::Sfprobe => "sfprobe".to_owned(),
        }
    }

    /// Starts it: it sends to this port of loopback what it makes of [`flows`].
    pub fn start(self, port: u16) -> Peer {
        let folder = tempfile::Builder::new().prefix("probe-").tempdir().unwrap();
        let file = folder.path().join("packets");
        let frames: Vec<_> = flows().iter().flat_map(Flow::frames).collect();
        pcap::write(&file, &frames).unwrap();
        let command = match self {
            Self::Softflowd(version) => {
                let mut command = Command::new(program("softflowd").unwrap());
                command.args(["-d", "-T", "vlan", "-v", &version.to_string()]);
                command.arg("-n").arg(format!("127.0.0.1:{port}")).arg("-r").arg(&file);
                // Times of the packets, not of its own clock.
                if version > 5 {
                    command.args(["-A", "milli"]);
                }
                command
            }
            Self::Nfprobe(version) => {
                let keys = if version == 5 { "" } else { ", vlan, src_mac, dst_mac" };
                let more = format!(
                    "plugins: nfprobe\nnfprobe_receiver: 127.0.0.1:{port}\nnfprobe_version: {version}\n\
                     aggregate: src_host, dst_host, src_port, dst_port, proto, tos, tcpflags{keys}\n"
                );
                pmacctd(&folder, &file, &more)
            }
            Self::Sfprobe => {
                let more = format!(
                    "plugins: sfprobe\nsfprobe_receiver: 127.0.0.1:{port}\nsfprobe_agentip: {AGENT}\nsampling_rate: 1\n"
                );
                pmacctd(&folder, &file, &more)
            }
        };
        Peer::start(command, folder).unwrap()
    }

    /// The datagrams that it sends.
    pub fn record(self) -> Vec<Vec<u8>> {
        let port = free_port().unwrap();
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let mut peer = self.start(port);
        // What it returns says little: pmacctd may see its plugin end first and take that for a failure.
        peer.wait_all(LIMIT).unwrap_or_else(|error| panic!("{error}: {}", peer.log()));
        // Everything is in the socket's buffer by now.
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut datagrams = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut buffer) {
            datagrams.push(buffer[..length].to_vec());
        }
        assert!(!datagrams.is_empty(), "{} sent nothing: {}", self.name(), peer.log());
        datagrams
    }
}

fn pmacctd(folder: &TempDir, packets: &Path, more: &str) -> Command {
    let config = folder.path().join("pmacctd.conf");
    fs::write(&config, format!("daemonize: false\npcap_savefile: {}\n{more}", packets.display())).unwrap();
    let mut command = Command::new(program("pmacctd").unwrap());
    command.arg("-f").arg(config);
    command
}
