//! Inputs for what network devices tell about traffic, and for events of eBPF agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Common, Protocol, Proxied, YEAR};

/// The port of an input of this type that names none.
pub fn default_port(kind: &str) -> Option<u16> {
    match kind {
        "netflow" => Some(2055),
        "ipfix" => Some(4739),
        "sflow" => Some(6343),
        "ebpf" => Some(2056),
        _ => None,
    }
}

/// Which lines records become.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowOutput {
    /// One line per record with everything that is known, see the page of the type.
    #[default]
    Fields,
    /// The lines of the former program.
    Legacy,
}

/// How MAC addresses are written.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MacFormat {
    /// As a number of 48 bits.
    #[default]
    Number,
    /// As `02:00:5e:10:00:01`.
    Text,
}

/// What tells exporters apart.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExporterId {
    /// The address they send from.
    #[default]
    Address,
    /// Address and port, where several exporters share an address.
    AddressPort,
}

/// How flow records are written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Flows {
    /// Which lines records become.
    pub output: FlowOutput,
    /// How MAC addresses are written.
    pub mac_format: MacFormat,
}

/// What `netflow` and `ipfix` have: exporters with templates.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Exporting {
    /// Whether options records (sampling, names of interfaces and applications) become lines too. They are used for the
    /// lines of flows in any case.
    pub options_records: bool,
    /// UDP: what tells exporters apart, whose templates must not be mixed up.
    pub exporter_id: ExporterId,
    /// Exporters that are known at a time; beyond, those not heard for longest are forgotten.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-protects" = true))]
    pub max_exporters: u32,
    /// Fields of all templates, each about 100 bytes of memory; an exporter has an eighth of it at most. Beyond, those
    /// not needed for longest are forgotten.
    #[schemars(range(min = 1024, max = 16_777_216), extend("x-protects" = true))]
    pub max_template_fields: u32,
    /// Bytes of memory for records that came before their template. They wait for an hour.
    #[schemars(range(max = 1_073_741_824))]
    pub max_waiting_bytes: u32,
    /// Bytes of the file beside the spool for those that have no room there; 0 is no file. It keeps what waits over a
    /// restart too.
    #[schemars(range(max = 68_719_476_736_u64))]
    pub max_waiting_file_bytes: u64,
}

impl Default for Exporting {
    fn default() -> Self {
        Self {
            options_records: false,
            exporter_id: ExporterId::Address,
            max_exporters: 16_384,
            max_template_fields: 1 << 19,
            max_waiting_bytes: 64 << 20,
            max_waiting_file_bytes: 256 << 20,
        }
    }
}

/// Connections that carry messages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Connections {
    /// TCP: most open connections.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-protects" = true))]
    pub max_connections: u32,
    /// TCP: of these, most of one address (of one /64 with IPv6). Default: an address that holds a quarter of
    /// `max_connections` gets none of the last quarter, or of the last sixteenth while nobody else has any. Behind a
    /// balancer without PROXY protocol set it to `max_connections`.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-protects" = true))]
    pub max_connections_per_source: Option<u32>,
    /// TCP: seconds of silence after which a connection is closed; 0 is never.
    #[schemars(range(max = YEAR))]
    pub read_timeout: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max_connections: 1000, max_connections_per_source: None, read_timeout: 0 }
    }
}

/// `config` of a `netflow` input. The hint is always `ndjson`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetflowInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub exporting: Exporting,
    /// Receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
}

impl Default for NetflowInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            flows: Flows::default(),
            exporting: Exporting::default(),
            read_buffer_size: 8 << 20,
        }
    }
}

/// `config` of an `ipfix` input. The hint is always `ndjson`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpfixInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub proxied: Proxied,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub exporting: Exporting,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub connections: Connections,
    /// Transport, one or a list.
    pub protocol: Vec<Protocol>,
    /// UDP: receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
}

impl Default for IpfixInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            proxied: Proxied::default(),
            flows: Flows::default(),
            exporting: Exporting::default(),
            connections: Connections::default(),
            protocol: vec![Protocol::Udp],
            read_buffer_size: 8 << 20,
        }
    }
}

/// `config` of an `sflow` input. The hint is always `ndjson`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SflowInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub flows: Flows,
    /// Whether counter samples become lines.
    pub counters: bool,
    /// Whether notifications of dropped packets become lines.
    pub drops: bool,
    /// Whether the packet inside a tunnel (VXLAN, GRE, IP in IP) is parsed too.
    pub inner: bool,
    /// Receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
}

impl Default for SflowInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            flows: Flows::default(),
            counters: true,
            drops: true,
            inner: false,
            read_buffer_size: 8 << 20,
        }
    }
}

/// `config` of an `ebpf` input. The hint is always `ndjson`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EbpfInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Member that receives the sender's address. Default: none, objects stay as they are.
    pub source_field: Option<String>,
    /// Receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
}

impl Default for EbpfInput {
    fn default() -> Self {
        Self { common: Common::default(), source_field: None, read_buffer_size: 8 << 20 }
    }
}
