//! The validated configuration: every default filled in, every id checked, every secret a reference.
//!
//! Field names and defaults are those of the configuration reference (`docs/reference/config.md`, generated).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use crate::ids::{DatasetId, DatasetKey, Hint, TenantId};

mod flows;
mod source;

pub use flows::{ExporterId, FlowOutput, FlowSource, MacFormat, SflowSource};

/// A secret: inline (from the file or the environment) or in a file that is read at each use, so that rotation
/// needs no reload. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value itself.
    Inline(String),
    /// Where to read it; trailing white space is cut.
    File(PathBuf),
}

impl Secret {
    /// The value now.
    pub fn read(&self) -> std::io::Result<String> {
        match self {
            Self::Inline(value) => Ok(value.clone()),
            Self::File(path) => Ok(std::fs::read_to_string(path)?.trim_end().to_owned()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(********)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Everything the process needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `app.name`: first half of the upload's User-Agent. Default `bytefreezer-proxy`.
    pub app_name: String,
    /// `logging`.
    pub logging: Logging,
    /// `server`.
    pub server: Server,
    /// `inputs`, in file order; disabled ones are absent, paused ones present.
    pub inputs: Vec<Input>,
    /// `receiver`.
    pub receiver: Receiver,
    /// `bearer_token*` and `tenants.<id>.bearer_token*`.
    pub tokens: Tokens,
    /// `batching`: the default for every input.
    pub batching: Batching,
    /// `spooling`.
    pub spooling: Spooling,
    /// `limits`.
    pub limits: Limits,
    /// `config_mode`.
    pub mode: Mode,
    /// `account_id`.
    pub account_id: Option<String>,
    /// `tenant_id`: default of the inputs.
    pub tenant_id: Option<TenantId>,
    /// `schema_version`: a program wrote the document, and follows what becomes of it.
    pub schema_version: Option<u32>,
}

/// `config_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Inputs come from the file.
    LocalOnly,
}

/// `logging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `debug`, `info`, `warn` or `error`. Default `info`.
    pub level: String,
    /// `json` (default) or `console`.
    pub json: bool,
}

/// `server`: the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address of the API. Default `0.0.0.0`; without a token it answers loopback peers only.
    pub api_host: IpAddr,
    /// Port of the API. Default 8008; 0 lets the system choose.
    pub api_port: u16,
    /// `health_port`: a second port with health and metrics only, no token.
    pub health_port: Option<u16>,
    /// `read_token*`: for GET.
    pub read_token: Option<Secret>,
    /// `admin_token*`: for everything.
    pub admin_token: Option<Secret>,
    /// `tls`: serve the API port over TLS.
    pub tls: Option<ServerTls>,
    /// `shutdown_delay_seconds`: after SIGTERM everything stays as it is for this long, then not ready for a while. Default 0.
    pub shutdown_delay: Duration,
    /// `shutdown_grace_seconds`: then delivery goes on for this long. Default 10.
    pub shutdown_grace: Duration,
}

/// A serving certificate, re-read when its files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// `cert_file`: PEM chain.
    pub cert_file: PathBuf,
    /// `key_file`: PEM key.
    pub key_file: PathBuf,
    /// `client_ca_file`: when set, clients may present a certificate of these authorities.
    pub client_ca_file: Option<PathBuf>,
    /// `client_cert_required`: refuse clients without one. Default true when `client_ca_file` is set.
    pub client_cert_required: bool,
}

/// `receiver`: where batches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// `base_url` without a trailing slash.
    pub base_url: String,
    /// `timeout_seconds` of one upload. Default 30.
    pub timeout: Duration,
    /// `upload_worker_count`: uploads in flight per tenant. Default 5.
    pub upload_worker_count: usize,
    /// `max_idle_conns`. Default 10.
    pub max_idle_conns: usize,
    /// `ca_file`: extra authorities (PEM) beside the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// `max_payload_size`: what the Receiver takes at most, compressed. Default 10 MiB.
    pub max_payload_size: u64,
}

/// Upload tokens, looked up at send time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tokens {
    /// For every tenant without an own one.
    pub global: Option<Secret>,
    /// Own tokens.
    pub tenants: BTreeMap<TenantId, Secret>,
    /// Tenants of the inputs: where there is no token for one of them, its batches go out without.
    pub known: BTreeSet<TenantId>,
}

/// `batching`, also per input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// `max_lines` of a batch; 0 is no limit. Default 0... the file may say 10000.
    pub max_lines: u64,
    /// `max_bytes` of a batch, compressed. Default 1 MiB.
    pub max_bytes: u64,
    /// `timeout_seconds`: a batch is closed this long after its first line. Default 30.
    pub timeout: Duration,
    /// `compression_enabled`. Default true; false means level 0 (stored), the body stays gzip.
    pub compression_enabled: bool,
    /// `compression_level` at rest, 1 to 9. Default 6.
    pub compression_level: u32,
    /// `compression_adaptive`: fall towards 1 under load. Default true.
    pub compression_adaptive: bool,
}

/// `spooling`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooling {
    /// `enabled`. Default true; false keeps batches in memory only, inside `limits.memory_bytes`.
    pub enabled: bool,
    /// `directory`. Default `/var/spool/bytefreezer-proxy`.
    pub directory: PathBuf,
    /// `max_size_bytes` of log and batch files without the DLQ. Default 1 GiB.
    pub max_size_bytes: u64,
    /// `dlq_max_size_bytes`; `None` is unlimited (0 in the file). Default 10 GiB.
    pub dlq_max_size_bytes: Option<u64>,
    /// `retry_attempts`. Default 5.
    pub retry_attempts: u32,
    /// `retry_interval_seconds`: least distance of two attempts of one batch. Default 60.
    pub retry_interval: Duration,
    /// `cleanup_interval_seconds`: age and DLQ limits are applied this often. Default 300.
    pub cleanup_interval: Duration,
    /// `max_age_days`: older undelivered batches go to the DLQ; `None` (0 in the file) is never.
    pub max_age: Option<Duration>,
    /// `sync_interval_ms`: how long a line without acknowledgement may wait for `fdatasync`. Default 200.
    pub sync_interval: Duration,
    /// `dlq_auto_retry`. Default true.
    pub dlq_auto_retry: bool,
}

/// `limits`: what bounds memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `memory_bytes`: one budget for all bytes between sockets and spool. Default 64 MiB.
    pub memory_bytes: u64,
    /// `max_senders`: rows of the sender table. Default 10000.
    pub max_senders: usize,
    /// `receive_threads`: receiver and decoder pairs. Default: cores, at most 8.
    pub receive_threads: usize,
}

/// One stream: a dataset and the listener it comes in on.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// `name`; unique by (tenant, dataset) rather than by this.
    pub name: String,
    /// Tenant and dataset.
    pub key: DatasetKey,
    /// `paused`: keeps its prefixes; what arrives is counted and dropped.
    pub paused: bool,
    /// `data_hint`.
    pub hint: Hint,
    /// `data_format`.
    pub format: DataFormat,
    /// `source_field`: JSON member that receives the sender's address in lines passed through; `None` leaves them.
    pub source_field: Option<String>,
    /// `host` and `port`.
    pub listen: Listen,
    /// `allowed_sources`; empty means everybody.
    pub allowed_sources: Vec<IpNet>,
    /// `proxy_protocol` with `proxy_protocol_from`; `None` is off. TCP-based sources only.
    pub proxy_protocol_from: Option<Vec<IpNet>>,
    /// Per-input `batching`, or the global one.
    pub batching: Batching,
    /// What is specific to the type.
    pub source: Source,
    /// Names the entry of the document that this was made from.
    pub hash: String,
}

/// Address and port of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listen {
    /// `host`. Default `0.0.0.0`; `::` serves IPv4 as well.
    pub host: IpAddr,
    /// `port`.
    pub port: u16,
}

/// `data_format` of text-like inputs, decided per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// JSON object: passed through. Anything else: envelope.
    Auto,
    /// Every line passed through as it is.
    Ndjson,
    /// Every line in an envelope.
    Text,
}

/// The type of an input with its own settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `udp`.
    Udp(UdpSource),
    /// `tcp`.
    Tcp(TcpSource),
    /// `syslog`.
    Syslog(SyslogSource),
    /// `http`.
    Http(HttpSource),
    /// `netflow`.
    Netflow(FlowSource),
    /// `ipfix`.
    Ipfix(FlowSource),
    /// `sflow`.
    Sflow(SflowSource),
    /// `ebpf`.
    Ebpf(UdpSource),
}

/// What every UDP socket has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSource {
    /// `read_buffer_size` asked of the kernel. Default 8 MiB.
    pub read_buffer_size: usize,
}

/// What every stream of lines has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSource {
    /// `max_connections`. Default 1000.
    pub max_connections: usize,
    /// `max_connections_per_source`. Default: a share that depends on how many there are.
    pub max_connections_per_source: Option<usize>,
    /// `read_timeout` seconds of silence after which a connection is closed. Default 300; 0 never.
    pub read_timeout: Option<Duration>,
    /// `max_line_size` bytes. Default 1 MiB, below 10 MiB.
    pub max_line_size: usize,
    /// `oversize`: what happens with a longer line.
    pub oversize: Oversize,
    /// `delimiter`, its first byte ends a line. Default `\n`.
    pub delimiter: u8,
    /// `tls`.
    pub tls: Option<ServerTls>,
}

/// What happens with a line above the limit; counted either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// The first `max_line_size` bytes are kept, the rest skipped.
    Cut,
    /// Nothing of the line is kept; the connection goes on at the next line.
    Drop,
    /// The connection is closed.
    Close,
}

/// `syslog`.
#[derive(Clone, Debug, PartialEq)]
pub struct SyslogSource {
    /// `protocol` contains `udp` (the default).
    pub udp: Option<UdpSource>,
    /// `protocol` contains `tcp`; with `tls` set the port speaks TLS.
    pub tcp: Option<TcpSource>,
    /// `syslog_mode`.
    pub mode: SyslogMode,
    /// `raw`: keep the line as it came in a member `raw`.
    pub raw: KeepRaw,
    /// `timezone` of senders that write none. Default UTC.
    pub timezone: String,
    /// `timezones`: the same per source, longest prefix first.
    pub timezones: Vec<(IpNet, String)>,
}

/// `syslog_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogMode {
    /// 5424, then 3164, then raw.
    Auto,
    /// 3164 or raw.
    Rfc3164,
    /// 5424 or raw.
    Rfc5424,
}

/// `raw` of a syslog input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepRaw {
    /// Never (default).
    Drop,
    /// Always.
    Keep,
    /// When the line was not understood completely.
    OnFailure,
}

/// `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// `path`. Default `/webhook`; one that ends in `/` matches everything below it.
    pub path: String,
    /// `max_payload_size` after decompression. Default 1 MiB.
    pub max_payload_size: usize,
    /// `max_lines_per_request`. Default 1000.
    pub max_lines_per_request: usize,
    /// `max_compression_ratio` of a request body. Default 100.
    pub max_compression_ratio: usize,
    /// `max_connections`. Default 1000.
    pub max_connections: usize,
    /// `max_connections_per_source`. Default: a share that depends on how many there are.
    pub max_connections_per_source: Option<usize>,
    /// `read_timeout` seconds for a whole request. Default 30.
    pub read_timeout: Duration,
    /// `write_timeout` seconds for a response. Default 30.
    pub write_timeout: Duration,
    /// `idle_timeout` seconds between requests. Default 120.
    pub idle_timeout: Duration,
    /// `auth.token_file` or the old `bearer_token` with `enable_authentication`.
    pub auth: Option<Secret>,
    /// `tls`.
    pub tls: Option<ServerTls>,
}

impl Input {
    /// Tenant of the stream.
    pub fn tenant(&self) -> &TenantId {
        &self.key.tenant
    }

    /// Dataset of the stream.
    pub fn dataset(&self) -> &DatasetId {
        &self.key.dataset
    }
}
