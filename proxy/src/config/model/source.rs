//! What types of inputs have in common.

use super::{Source, TcpSource, UdpSource};

impl Source {
    /// `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Tcp(_) => "tcp",
            Self::Syslog(_) => "syslog",
            Self::Http(_) => "http",
            Self::Netflow(_) => "netflow",
            Self::Ipfix(_) => "ipfix",
            Self::Sflow(_) => "sflow",
            Self::Ebpf(_) => "ebpf",
        }
    }

    /// Its datagrams.
    pub fn udp(&self) -> Option<&UdpSource> {
        match self {
            Self::Udp(udp) | Self::Ebpf(udp) => Some(udp),
            Self::Syslog(syslog) => syslog.udp.as_ref(),
            Self::Netflow(flows) | Self::Ipfix(flows) => flows.udp.as_ref(),
            Self::Sflow(sflow) => Some(&sflow.udp),
            Self::Tcp(_) | Self::Http(_) => None,
        }
    }

    /// Its streams of lines or messages.
    pub fn stream(&self) -> Option<&TcpSource> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Syslog(syslog) => syslog.tcp.as_ref(),
            Self::Netflow(flows) | Self::Ipfix(flows) => flows.tcp.as_ref(),
            Self::Udp(_) | Self::Http(_) | Self::Sflow(_) | Self::Ebpf(_) => None,
        }
    }
}
