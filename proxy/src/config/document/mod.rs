//! The file as it is written: every key optional, plain types, defaults filled in by serde.
//!
//! This is the single source of key names, defaults, ranges and descriptions. The reference, the JSON schema, the
//! names of environment variables and the suggestions for misspelt keys are all derived from it (see
//! [`super::schema`]). Durations are whole seconds, sizes bytes, as users know them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod flows;
mod inputs;

pub use flows::*;
pub use inputs::*;

/// Longest duration in seconds that a key takes: one year. Keeps sums of instants inside their range.
pub(super) const YEAR: u64 = 31_536_000;

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Document {
    /// Version of the keys, in a file that a program writes; this version knows 1. Then an input with an unknown key
    /// or word does not run and the rest does, also when no input is left. Leave it out in a file written by hand.
    #[schemars(range(min = 1))]
    pub schema_version: Option<u32>,
    /// The program's name.
    pub app: App,
    /// What is logged, and how.
    pub logging: Logging,
    /// The HTTP API, health and the end of the process.
    pub server: Server,
    /// Where inputs come from. `local-only`: from this file. The other modes are not in this version yet.
    pub config_mode: Option<ConfigMode>,
    /// Account at ByteFreezer Control. Not used in `local-only`.
    pub account_id: Option<String>,
    /// Tenant of every input that names none.
    pub tenant_id: Option<String>,
    /// Base address of ByteFreezer Control. Not in this version yet: leave it out.
    pub control_url: Option<String>,
    /// Upload token for every tenant without one of its own. Prefer `bearer_token_file`.
    #[schemars(extend("x-protects" = true))]
    pub bearer_token: Option<String>,
    /// File with the upload token; read at each use, so rotation needs no reload.
    #[schemars(extend("x-protects" = true))]
    pub bearer_token_file: Option<String>,
    /// Settings by tenant id.
    pub tenants: BTreeMap<String, Tenant>,
    /// Where batches go.
    pub receiver: Receiver,
    /// How lines become batches.
    pub batching: Batching,
    /// The spool and its dead-letter queue.
    pub spooling: Spooling,
    /// What bounds memory and threads.
    pub limits: Limits,
    /// What is listened on.
    pub inputs: Vec<InputDocument>,
}

/// `app`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct App {
    /// First half of the upload's User-Agent.
    pub name: String,
}

impl Default for App {
    fn default() -> Self {
        Self { name: "bytefreezer-proxy".to_owned() }
    }
}

/// `logging`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logging {
    /// Least severe level that is written. Changes without a restart.
    pub level: LogLevel,
    /// Shape of a log line.
    pub encoding: LogEncoding,
}

/// `logging.level`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator wants to see.
    #[default]
    Info,
    /// Something is wrong, nothing is lost.
    Warn,
    /// Data is lost.
    Error,
}

/// `logging.encoding`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogEncoding {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text for people.
    Console,
}

/// `config_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigMode {
    /// Inputs come from this file.
    LocalOnly,
    /// Inputs come from Control. Not in this version yet.
    ControlOnly,
    /// Inputs come from both. Not in this version yet.
    Hybrid,
}

/// `server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// Address of the API. Without a token only loopback peers are answered.
    pub api_host: String,
    /// Port of the API; 0 lets the system choose.
    #[schemars(range(min = 0, max = 65535))]
    pub api_port: u32,
    /// A second port with `/livez`, `/readyz` and `/metrics` alone, which needs no token.
    #[schemars(range(min = 0, max = 65535))]
    pub health_port: Option<u32>,
    /// Token for reading. Prefer `read_token_file`.
    #[schemars(extend("x-protects" = true))]
    pub read_token: Option<String>,
    /// File with the token for reading.
    #[schemars(extend("x-protects" = true))]
    pub read_token_file: Option<String>,
    /// Token for everything. Prefer `admin_token_file`.
    #[schemars(extend("x-protects" = true))]
    pub admin_token: Option<String>,
    /// File with the token for everything.
    #[schemars(extend("x-protects" = true))]
    pub admin_token_file: Option<String>,
    /// Serve the API port over TLS.
    #[schemars(extend("x-protects" = true))]
    pub tls: Option<Tls>,
    /// After SIGTERM everything stays as it is for this long, so that load balancers notice. Unless 0, intake then goes on
    /// for 7 seconds in which `/readyz` fails.
    #[schemars(range(max = YEAR))]
    pub shutdown_delay_seconds: u64,
    /// Then delivery goes on for at most this long. What is left stays in the spool.
    #[schemars(range(max = YEAR))]
    pub shutdown_grace_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            api_host: "0.0.0.0".to_owned(),
            api_port: 8008,
            health_port: None,
            read_token: None,
            read_token_file: None,
            admin_token: None,
            admin_token_file: None,
            tls: None,
            shutdown_delay_seconds: 0,
            shutdown_grace_seconds: 10,
        }
    }
}

/// A serving certificate. Its files are read again when they change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    #[schemars(extend("x-protects" = true))]
    pub cert_file: Option<String>,
    /// PEM file with the private key.
    #[schemars(extend("x-protects" = true))]
    pub key_file: Option<String>,
    /// PEM file with the authorities of client certificates.
    #[schemars(extend("x-protects" = true))]
    pub client_ca_file: Option<String>,
    /// Whether a client without a certificate is refused. Default: true when `client_ca_file` is set.
    #[schemars(extend("x-protects" = true))]
    pub client_cert_required: Option<bool>,
}

/// `tenants.<id>`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tenant {
    /// Upload token of this tenant. Prefer `bearer_token_file`.
    #[schemars(extend("x-protects" = true))]
    pub bearer_token: Option<String>,
    /// File with the upload token of this tenant.
    #[schemars(extend("x-protects" = true))]
    pub bearer_token_file: Option<String>,
}

/// `receiver`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Receiver {
    /// Address of the Receiver, such as `https://receiver.example:8080`. Required.
    pub base_url: Option<String>,
    /// Longest time for one upload.
    #[schemars(range(min = 1, max = YEAR))]
    pub timeout_seconds: u64,
    /// Uploads in flight per tenant.
    #[schemars(range(min = 1, max = 1024))]
    pub upload_worker_count: u32,
    /// Idle connections kept open.
    #[schemars(range(max = 4096))]
    pub max_idle_conns: u32,
    /// PEM file with authorities to trust beside the built-in ones.
    pub ca_file: Option<String>,
    /// Largest body the Receiver takes, compressed.
    #[schemars(range(min = 65536))]
    pub max_payload_size: u64,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            base_url: None,
            timeout_seconds: 30,
            upload_worker_count: 5,
            max_idle_conns: 10,
            ca_file: None,
            max_payload_size: 10 << 20,
        }
    }
}

/// `batching`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Batching {
    /// Most lines of a batch; 0 is no limit.
    pub max_lines: u64,
    /// Most bytes of a batch, compressed; 0 means `receiver.max_payload_size`.
    pub max_bytes: u64,
    /// A batch is closed this long after its first line.
    #[schemars(range(min = 1, max = YEAR))]
    pub timeout_seconds: u64,
    /// `false` stores the lines uncompressed; the body stays gzip.
    pub compression_enabled: bool,
    /// Compression level at rest.
    #[schemars(range(min = 1, max = 9))]
    pub compression_level: u32,
    /// Whether the level falls towards 1 while queues fill.
    pub compression_adaptive: bool,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_lines: 0,
            max_bytes: 1 << 20,
            timeout_seconds: 30,
            compression_enabled: true,
            compression_level: 6,
            compression_adaptive: true,
        }
    }
}

/// `spooling`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spooling {
    /// `false` keeps batches in memory only, inside `limits.memory_bytes`.
    pub enabled: bool,
    /// The spool's directory.
    pub directory: String,
    /// Most bytes on disk without the dead-letter queue.
    #[schemars(range(min = 1_048_576))]
    pub max_size_bytes: u64,
    /// Most bytes of the dead-letter queue, never more than 30 % of the volume; 0 is no other limit.
    pub dlq_max_size_bytes: u64,
    /// Failed uploads of a batch before it goes to the dead-letter queue; 0 sends it there at the first failure.
    pub retry_attempts: u32,
    /// Least time between two attempts of one batch.
    #[schemars(range(min = 1, max = YEAR))]
    pub retry_interval_seconds: u64,
    /// How often age and dead-letter limits are applied.
    #[schemars(range(min = 1, max = YEAR))]
    pub cleanup_interval_seconds: u64,
    /// Older batches go to the dead-letter queue; 0 is never.
    #[schemars(range(max = 36500))]
    pub max_age_days: u64,
    /// Longest time a line without acknowledgement (UDP, TCP) waits for `fdatasync`.
    #[schemars(range(min = 1, max = 60_000))]
    pub sync_interval_ms: u64,
    /// Whether dead-letter entries whose cause can pass return by themselves.
    pub dlq_auto_retry: bool,
}

impl Default for Spooling {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: "/var/spool/bytefreezer-proxy".to_owned(),
            max_size_bytes: 1 << 30,
            dlq_max_size_bytes: 10 << 30,
            retry_attempts: 5,
            retry_interval_seconds: 60,
            cleanup_interval_seconds: 300,
            max_age_days: 0,
            sync_interval_ms: 200,
            dlq_auto_retry: true,
        }
    }
}

/// `limits`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// One budget for all bytes between sockets and spool.
    #[schemars(range(min = 1_048_576))]
    pub memory_bytes: u64,
    /// Rows of the table of senders.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_senders: u32,
    /// Receiver and decoder pairs of UDP. Default: the number of cores, at most 8.
    #[schemars(range(min = 1, max = 64))]
    pub receive_threads: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, max_senders: 10_000, receive_threads: None }
    }
}
