//! One entry of `inputs`, by type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EbpfInput, IpfixInput, NetflowInput, SflowInput, Tls, YEAR};

/// One entry of `inputs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum InputDocument {
    /// Datagrams, one or more lines each.
    Udp(Entry<UdpInput>),
    /// Streams of lines.
    Tcp(Entry<TcpInput>),
    /// Syslog over UDP, TCP or TLS.
    Syslog(Entry<SyslogInput>),
    /// Requests whose bodies are lines. Answers 200 when they are safe on disk.
    Http(Entry<HttpInput>),
    /// NetFlow of versions 5, 7 and 9 over UDP; IPFIX too.
    Netflow(Entry<NetflowInput>),
    /// IPFIX over UDP, TCP or TLS; over UDP NetFlow too.
    Ipfix(Entry<IpfixInput>),
    /// sFlow of version 5 over UDP.
    Sflow(Entry<SflowInput>),
    /// JSON objects of eBPF agents over UDP, any number per datagram.
    Ebpf(Entry<EbpfInput>),
}

/// What every entry has.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Entry<T: Default> {
    /// Name for people, and the dataset when `dataset_id` is not given.
    #[serde(default)]
    pub name: Option<String>,
    /// `false` leaves the entry out.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// `true` keeps the listener and its sources; what arrives is counted and dropped.
    #[serde(default)]
    pub paused: bool,
    /// Settings of this type.
    #[serde(default)]
    pub config: T,
}

const fn yes() -> bool {
    true
}

/// What every type has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// Tenant. Default: the file's `tenant_id`.
    pub tenant_id: Option<String>,
    /// Dataset. Default: the entry's `name`.
    pub dataset_id: Option<String>,
    /// Old place of the tenant's upload token: use `tenants.<id>.bearer_token_file`.
    #[schemars(extend("deprecated" = true, "x-protects" = true))]
    pub bearer_token: Option<String>,
    /// Address to listen on; `::` serves IPv6 and IPv4. Default `0.0.0.0`.
    pub host: Option<String>,
    /// Port to listen on. Required, but for `netflow` (2055), `ipfix` (4739), `sflow` (6343) and `ebpf` (2056).
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// Senders that belong to this dataset, as addresses or CIDRs. Several datasets may share a port when these
    /// tell them apart; the longest prefix wins. Empty: everybody.
    #[schemars(extend("x-protects" = true))]
    pub allowed_sources: Vec<String>,
    /// Limits of this input's batches. Default: the file's `batching`.
    pub batching: Option<InputBatching>,
}

/// `batching` of one input: what is left out is taken from the file's.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InputBatching {
    /// As `batching.max_lines`.
    pub max_lines: Option<u64>,
    /// As `batching.max_bytes`.
    pub max_bytes: Option<u64>,
    /// As `batching.timeout_seconds`.
    #[schemars(range(min = 1, max = YEAR))]
    pub timeout_seconds: Option<u64>,
    /// As `batching.compression_enabled`.
    pub compression_enabled: Option<bool>,
    /// As `batching.compression_level`.
    #[schemars(range(min = 1, max = 9))]
    pub compression_level: Option<u32>,
    /// As `batching.compression_adaptive`.
    pub compression_adaptive: Option<bool>,
}

/// What the lines are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lines {
    /// What the lines are called downstream: `ndjson`, `raw`, `csv`, `apache`, ... Default `raw`.
    pub data_hint: Option<String>,
    /// What is done with a line.
    pub data_format: DataFormat,
    /// Member that receives the sender's address in JSON lines passed through. Default: none, lines stay as they are.
    pub source_field: Option<String>,
}

/// `data_format`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// A JSON object is passed through, any other line goes into an envelope.
    #[default]
    Auto,
    /// Every line is passed through.
    Ndjson,
    /// Every line goes into an envelope.
    Text,
}

/// What every TCP-based type has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Proxied {
    /// Expect a PROXY protocol header (v1 or v2) from the peers in `proxy_protocol_from`.
    #[schemars(extend("x-protects" = true))]
    pub proxy_protocol: bool,
    /// Load balancers whose PROXY header is believed, as addresses or CIDRs. Required with `proxy_protocol`.
    #[schemars(extend("x-protects" = true))]
    pub proxy_protocol_from: Vec<String>,
    /// Serve this port over TLS.
    #[schemars(extend("x-protects" = true))]
    pub tls: Option<Tls>,
}

/// `config` of a `udp` input.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UdpInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub lines: Lines,
    /// Receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
}

impl Default for UdpInput {
    fn default() -> Self {
        Self { common: Common::default(), lines: Lines::default(), read_buffer_size: 8 << 20 }
    }
}

/// What happens with a line above `max_line_size`; it is counted either way.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Oversize {
    /// Its first `max_line_size` bytes are kept.
    #[default]
    Cut,
    /// Nothing of it is kept.
    Drop,
    /// The connection is closed.
    Close,
}

/// What every stream of lines has.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Streams {
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
    /// TCP: longest line or message in bytes.
    #[schemars(range(min = 64, max = 10_485_759), extend("x-protects" = true))]
    pub max_line_size: u32,
    /// TCP: what happens with a longer line; it is counted either way.
    pub oversize: Oversize,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_connections_per_source: None,
            read_timeout: 300,
            max_line_size: 1 << 20,
            oversize: Oversize::Cut,
        }
    }
}

/// `config` of a `tcp` input.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub lines: Lines,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub proxied: Proxied,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub streams: Streams,
    /// Its first byte ends a line.
    pub delimiter: String,
}

impl Default for TcpInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            lines: Lines::default(),
            proxied: Proxied::default(),
            streams: Streams::default(),
            delimiter: "\n".to_owned(),
        }
    }
}

/// Transport of a syslog input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// One message per datagram.
    Udp,
    /// Octet counting or newlines, found out per connection; TLS when `tls` is set.
    Tcp,
}

/// Which syslog format is tried.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyslogMode {
    /// RFC 5424, then RFC 3164, then the line as it is.
    #[default]
    Auto,
    /// RFC 3164, then the line as it is.
    Rfc3164,
    /// RFC 5424, then the line as it is.
    Rfc5424,
}

/// Whether the line as it came is kept in a member `raw`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepRaw {
    /// Never.
    #[default]
    Drop,
    /// Always.
    Keep,
    /// When it was not understood completely.
    OnFailure,
}

/// A time zone for some senders.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SourceZone {
    /// Senders, as an address or CIDR.
    pub source: Option<String>,
    /// Their time zone, such as `Europe/Berlin`.
    pub timezone: Option<String>,
}

/// `config` of a `syslog` input. The hint is always `ndjson`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyslogInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub proxied: Proxied,
    /// Transport, one or a list.
    pub protocol: Vec<Protocol>,
    /// Which format is tried.
    pub syslog_mode: SyslogMode,
    /// Whether the line as it came is kept in a member `raw`.
    pub raw: KeepRaw,
    /// Time zone of senders that write none.
    pub timezone: String,
    /// The same for some senders; the longest prefix wins.
    pub timezones: Vec<SourceZone>,
    /// UDP: receive buffer asked of the kernel, in bytes, for each socket.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub read_buffer_size: u32,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub streams: Streams,
}

impl Default for SyslogInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            proxied: Proxied::default(),
            protocol: vec![Protocol::Udp],
            syslog_mode: SyslogMode::Auto,
            raw: KeepRaw::Drop,
            timezone: "UTC".to_owned(),
            timezones: Vec::new(),
            read_buffer_size: 8 << 20,
            streams: Streams::default(),
        }
    }
}

/// Who may post.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Auth {
    /// Token that clients send as `Authorization: Bearer`. Prefer `token_file`.
    #[schemars(extend("x-protects" = true))]
    pub token: Option<String>,
    /// File with the token.
    #[schemars(extend("x-protects" = true))]
    pub token_file: Option<String>,
}

/// `config` of an `http` input.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpInput {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub lines: Lines,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub proxied: Proxied,
    /// Path that takes POST requests; one that ends in `/` takes everything below it.
    pub path: String,
    /// Who may post. Default: everybody.
    #[schemars(extend("x-protects" = true))]
    pub auth: Option<Auth>,
    /// Old switch for `bearer_token` as the clients' token: use `auth.token_file`.
    #[schemars(extend("deprecated" = true, "x-protects" = true))]
    pub enable_authentication: bool,
    /// Largest body in bytes, after decompression.
    #[schemars(range(min = 1024, max = 1_073_741_824), extend("x-protects" = true))]
    pub max_payload_size: u32,
    /// Most lines of a body.
    #[schemars(range(min = 1), extend("x-protects" = true))]
    pub max_lines_per_request: u32,
    /// How many times larger a body may become by decompression.
    #[schemars(range(min = 1, max = 100_000), extend("x-protects" = true))]
    pub max_compression_ratio: u32,
    /// Most open connections.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-protects" = true))]
    pub max_connections: u32,
    /// Of these, most of one address (of one /64 with IPv6). Default: an address that holds a quarter of
    /// `max_connections` gets none of the last quarter, or of the last sixteenth while nobody else has any. Behind a
    /// balancer without PROXY protocol set it to `max_connections`.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-protects" = true))]
    pub max_connections_per_source: Option<u32>,
    /// Seconds for a whole request.
    #[schemars(range(min = 1, max = YEAR))]
    pub read_timeout: u64,
    /// Seconds for a response.
    #[schemars(range(min = 1, max = YEAR))]
    pub write_timeout: u64,
    /// Seconds between two requests of a connection.
    #[schemars(range(min = 1, max = YEAR))]
    pub idle_timeout: u64,
}

impl Default for HttpInput {
    fn default() -> Self {
        Self {
            common: Common::default(),
            lines: Lines::default(),
            proxied: Proxied::default(),
            path: "/webhook".to_owned(),
            auth: None,
            enable_authentication: false,
            max_payload_size: 1 << 20,
            max_lines_per_request: 1000,
            max_compression_ratio: 100,
            max_connections: 1000,
            max_connections_per_source: None,
            read_timeout: 30,
            write_timeout: 30,
            idle_timeout: 120,
        }
    }
}
