//! From a [`Document`] to a [`Config`]: ids, addresses, sums, and what belongs together. Everything that is wrong is
//! reported; what is wrong with one input concerns that input alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use super::{
    author::Author,
    document::{self, ConfigMode, Document, LogEncoding, LogLevel},
    former,
    model::{Batching, Config, Limits, Logging, Mode, Receiver, Secret, Server, ServerTls, Spooling, Tokens},
    problems::{Origin, Problems},
    refused::{self, RefusedInput},
    tree::Node,
};
use crate::ids::TenantId;

mod flows;
mod inputs;
mod listeners;
mod tokens;
mod values;

use inputs::InputContext;
pub(super) use inputs::legal_id;

/// What is known beside the document.
pub(super) struct Beside<'a> {
    /// The file as written.
    pub tree: &'a Node,
    /// Of each input of the document its place in the file.
    pub indices: &'a [usize],
    /// What runs.
    pub running: Option<&'a Config>,
    /// Of each entry under `inputs` its name for itself.
    pub hashes: &'a [String],
    /// Who wrote it.
    pub author: Author,
}

/// The configuration, unless something is wrong with the file as a whole, and the entries under `inputs` that do not
/// run as written.
pub(super) fn validate(
    document: Document,
    beside: &Beside<'_>,
    problems: &mut Problems,
) -> (Option<Config>, Vec<RefusedInput>) {
    mode(&document, problems);
    let tenant_id = document.tenant_id.as_deref().and_then(|id| tenant(id, "tenant_id", problems));
    let receiver = receiver(&document.receiver, problems);
    let batching = batching(&document.batching, &receiver, problems);
    let server = server(&document.server, problems);
    let limits = limits(&document.limits);
    let spooling = spooling(document.spooling, &batching, problems);
    let mut tokens = Tokens {
        global: secret(document.bearer_token, document.bearer_token_file, "bearer_token", problems),
        tenants: tenants(document.tenants, problems),
        known: BTreeSet::new(),
    };
    let total = document.inputs.len();
    let context = InputContext {
        tenant: tenant_id.as_ref(),
        tenant_written: document.tenant_id.is_some(),
        account: document.account_id.is_some(),
        batching: &batching,
        limits: &limits,
        receiver_payload: receiver.max_payload_size,
        hashes: beside.hashes,
    };
    tokens::add_old(beside.tree, tenant_id.as_ref(), &mut tokens, problems);
    let built = inputs::validate(document.inputs, beside.indices, &context, problems);
    let former = beside.running.map(|running| former::versions(beside.tree, running)).unwrap_or_default();
    let inputs = listeners::arrange(&built, &former, &server, problems);
    if let Some(running) = beside.running {
        tokens::keep(&former, running, &mut tokens, problems);
    }
    tokens.known = inputs.iter().map(|input| input.key.tenant.clone()).collect();
    let refused = refused::of(beside.tree, &former, beside.hashes, problems);
    if inputs.is_empty() && total == 0 && !beside.author.is_program() {
        problems.warning(
            "inputs",
            "are empty: nothing is listened on",
            "add an entry, such as `- {type: syslog, name: edge, config: {port: 5514}}`",
        );
    }
    let failed = problems.file_failed();
    let config = (!failed).then_some(Config {
        app_name: values::product(&document.app.name, problems),
        logging: logging(&document.logging),
        server,
        inputs,
        receiver,
        tokens,
        batching,
        spooling,
        limits,
        mode: Mode::LocalOnly,
        account_id: document.account_id.filter(|id| !id.is_empty()),
        tenant_id,
        schema_version: document.schema_version,
    });
    (config, refused)
}

fn mode(document: &Document, problems: &mut Problems) {
    const LINE: &str = "write `config_mode: local-only` and list what to listen on under `inputs`";
    let control = document.control_url.as_ref().is_some_and(|url| !url.is_empty());
    match document.config_mode {
        Some(ConfigMode::LocalOnly) => {
            if control {
                problems.notice("control_url", "has no effect in `local-only`", "leave it out");
            }
        }
        Some(ConfigMode::ControlOnly) => {
            problems.error("config_mode", "`control-only` is not in this version yet", LINE);
        }
        Some(ConfigMode::Hybrid) => {
            problems.error("config_mode", "`hybrid` is not in this version yet", LINE);
        }
        None if control => {
            problems.error(
                "control_url",
                "means `config_mode: control-only`, which is not in this version yet",
                LINE,
            );
        }
        None => problems.notice("config_mode", "is not given", "taken for `config_mode: local-only`"),
    }
}

fn tenant(id: &str, key: &str, problems: &mut Problems) -> Option<TenantId> {
    match id.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            problems.error(key, format!("{error}"), "write another id");
            None
        }
    }
}

/// Inline, or from a file. Given both ways in one place is a mistake; a variable beats a file's key.
fn secret(
    inline: Option<String>,
    file: Option<String>,
    key: &str,
    problems: &mut Problems,
) -> Option<Secret> {
    let file_key = format!("{key}_file");
    let from_variable =
        |problems: &Problems, key: &str| matches!(problems.origin(key), Origin::Environment(_));
    match (inline.filter(|value| !value.is_empty()), file.filter(|path| !path.is_empty())) {
        (None, None) => None,
        (Some(value), None) => Some(Secret::Inline(value)),
        (None, Some(path)) => Some(Secret::File(path.into())),
        (Some(value), Some(path)) => match (from_variable(problems, key), from_variable(problems, &file_key))
        {
            (true, false) => Some(Secret::Inline(value)),
            (false, true) => Some(Secret::File(path.into())),
            _ => {
                problems.error(key, format!("and `{file_key}` are both given"), "keep one of the two");
                None
            }
        },
    }
}

fn tenants(
    written: BTreeMap<String, document::Tenant>,
    problems: &mut Problems,
) -> BTreeMap<TenantId, Secret> {
    let mut tokens = BTreeMap::new();
    for (name, settings) in written {
        let key = format!("tenants.{name}");
        let Some(id) = tenant(&name, &key, problems) else { continue };
        let token_key = format!("{key}.bearer_token");
        if let Some(token) = secret(settings.bearer_token, settings.bearer_token_file, &token_key, problems) {
            tokens.insert(id, token);
        }
    }
    tokens
}

fn logging(written: &document::Logging) -> Logging {
    let level = match written.level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    Logging { level: level.to_owned(), json: matches!(written.encoding, LogEncoding::Json) }
}

fn server(written: &document::Server, problems: &mut Problems) -> Server {
    let api_host = values::host(&written.api_host, "server.api_host", problems);
    let port = |port: u32| u16::try_from(port).unwrap_or_default();
    let health_port = written.health_port.map(port);
    if health_port.is_some_and(|health| health != 0 && health == port(written.api_port)) {
        problems.error("server.health_port", "is the port of the API", "write another port or leave it out");
    }
    let token = |inline: &Option<String>, file: &Option<String>, key: &str, problems: &mut Problems| {
        secret(inline.clone(), file.clone(), key, problems)
    };
    Server {
        api_host: api_host.unwrap_or(IpAddr::from([0, 0, 0, 0])),
        api_port: port(written.api_port),
        health_port,
        read_token: token(&written.read_token, &written.read_token_file, "server.read_token", problems),
        admin_token: token(&written.admin_token, &written.admin_token_file, "server.admin_token", problems),
        tls: written.tls.as_ref().and_then(|tls| server_tls(tls, "server.tls", problems)),
        shutdown_delay: Duration::from_secs(written.shutdown_delay_seconds),
        shutdown_grace: Duration::from_secs(written.shutdown_grace_seconds),
    }
}

/// A certificate with its key; `None` with an error when one of them is missing.
fn server_tls(written: &document::Tls, key: &str, problems: &mut Problems) -> Option<ServerTls> {
    let path = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).map(PathBuf::from);
    let client_ca_file = path(&written.client_ca_file);
    if written.client_cert_required == Some(true) && client_ca_file.is_none() {
        problems.error(
            &format!("{key}.client_cert_required"),
            "needs the authorities of client certificates",
            "add `client_ca_file` beside it",
        );
    }
    let cert_file = path(&written.cert_file);
    let key_file = path(&written.key_file);
    for (name, given) in [("cert_file", &cert_file), ("key_file", &key_file)] {
        if given.is_none() {
            problems.error(
                &format!("{key}.{name}"),
                "is missing",
                format!("add `{name}: /path/to/file.pem`"),
            );
        }
    }
    Some(ServerTls {
        cert_file: cert_file?,
        key_file: key_file?,
        client_cert_required: written.client_cert_required.unwrap_or(client_ca_file.is_some()),
        client_ca_file,
    })
}

fn receiver(written: &document::Receiver, problems: &mut Problems) -> Receiver {
    let base_url = if let Some(url) = &written.base_url {
        values::base_url(url, "receiver.base_url", problems)
    } else {
        problems.error(
            "receiver.base_url",
            "is missing: batches have nowhere to go",
            "add `receiver: {base_url: \"https://receiver.example:8080\"}`",
        );
        String::new()
    };
    Receiver {
        base_url,
        timeout: Duration::from_secs(written.timeout_seconds),
        upload_worker_count: written.upload_worker_count as usize,
        max_idle_conns: written.max_idle_conns as usize,
        ca_file: written.ca_file.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from),
        max_payload_size: written.max_payload_size,
    }
}

fn batching(written: &document::Batching, receiver: &Receiver, problems: &mut Problems) -> Batching {
    Batching {
        max_lines: written.max_lines,
        max_bytes: batch_bytes(written.max_bytes, receiver.max_payload_size, "batching.max_bytes", problems),
        timeout: Duration::from_secs(written.timeout_seconds),
        compression_enabled: written.compression_enabled,
        compression_level: written.compression_level,
        compression_adaptive: written.compression_adaptive,
    }
}

/// A batch larger than what the Receiver takes would only come back as 413.
fn batch_bytes(written: u64, most: u64, key: &str, problems: &mut Problems) -> u64 {
    match written {
        0 => most,
        bytes if bytes > most => {
            problems.warning(
                key,
                format!("is above `receiver.max_payload_size`, {most}; that is used"),
                format!("write {most} or less"),
            );
            most
        }
        bytes => bytes,
    }
}

fn spooling(written: document::Spooling, batching: &Batching, problems: &mut Problems) -> Spooling {
    if written.enabled && !values::is_absolute(&written.directory) {
        problems.error(
            "spooling.directory",
            format!("{:?} is no absolute path", written.directory),
            "write a path that starts with `/`",
        );
    }
    if batching.max_bytes > written.max_size_bytes / 2 {
        problems.warning(
            "spooling.max_size_bytes",
            format!("holds fewer than two batches of `batching.max_bytes`, {}", batching.max_bytes),
            "raise it or lower `batching.max_bytes`",
        );
    }
    if !written.enabled {
        problems.warning(
            "spooling.enabled",
            "is false: what is not delivered when the process ends is lost",
            "write true unless that is wanted",
        );
    }
    Spooling {
        enabled: written.enabled,
        directory: PathBuf::from(written.directory),
        max_size_bytes: written.max_size_bytes,
        dlq_max_size_bytes: Some(written.dlq_max_size_bytes).filter(|bytes| *bytes > 0),
        retry_attempts: written.retry_attempts,
        retry_interval: Duration::from_secs(written.retry_interval_seconds),
        cleanup_interval: Duration::from_secs(written.cleanup_interval_seconds),
        max_age: Some(written.max_age_days)
            .filter(|days| *days > 0)
            .map(|days| Duration::from_secs(days.saturating_mul(86_400))),
        sync_interval: Duration::from_millis(written.sync_interval_ms),
        dlq_auto_retry: written.dlq_auto_retry,
    }
}

fn limits(written: &document::Limits) -> Limits {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    Limits {
        memory_bytes: written.memory_bytes,
        max_senders: written.max_senders as usize,
        receive_threads: written.receive_threads.map_or_else(cores, |threads| threads as usize),
    }
}
