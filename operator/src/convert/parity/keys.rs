//! Which key of the file is which option of a resource.

/// How a value of the resource becomes one of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum As {
    /// The same.
    Same,
    /// `60s` is 60.
    Seconds,
    /// `200ms` is 200.
    Milliseconds,
    /// `48h` is 2.
    Days,
    /// `1Ki` is 1024.
    Bytes,
    /// `OnFailure` is `on_failure`, `UDP` is `udp`; one or a list.
    Word,
    /// Present in both, in shapes of their own: converted, and tested in `tests`.
    Shape,
}

/// Kinds of source.
pub(super) const KINDS: &[&str] = &["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"];
/// Those that may have connections.
pub(super) const STREAMS: &[&str] = &["tcp", "syslog", "http", "ipfix"];
/// Those whose records need templates.
const EXPORTING: &[&str] = &["netflow", "ipfix"];
/// Those of flow records.
const FLOWS: &[&str] = &["netflow", "ipfix", "sflow"];

/// Keys of every kind of source: file, resource.
pub(super) const SOURCES: &[(&str, &str, As, &[&str])] = &[
    ("port", "port", As::Same, &["udp", "tcp", "syslog", "http"]),
    // The file has one schema of the port for all kinds, and so no default in it.
    ("port", "port", As::Shape, &["netflow", "ipfix", "sflow", "ebpf"]),
    ("data_hint", "dataHint", As::Same, &["udp", "tcp", "http"]),
    ("data_format", "dataFormat", As::Word, &["udp", "tcp", "http"]),
    ("source_field", "sourceField", As::Same, &["udp", "tcp", "http", "ebpf"]),
    (
        "read_buffer_size",
        "readBufferSize",
        As::Bytes,
        &["udp", "syslog", "netflow", "ipfix", "sflow", "ebpf"],
    ),
    ("tls.cert_file", "tls.secretRef.name", As::Shape, STREAMS),
    ("tls.key_file", "tls.secretRef.name", As::Shape, STREAMS),
    ("tls.client_ca_file", "tls.clientCaSecretRef.name", As::Shape, STREAMS),
    ("tls.client_ca_file", "tls.clientCaSecretRef.key", As::Shape, STREAMS),
    ("tls.client_cert_required", "tls.clientCertificateRequired", As::Shape, STREAMS),
    ("max_connections", "maxConnections", As::Same, STREAMS),
    ("max_connections_per_source", "maxConnectionsPerSource", As::Same, STREAMS),
    ("read_timeout", "readTimeout", As::Seconds, STREAMS),
    ("max_line_size", "maxLineSize", As::Bytes, &["tcp", "syslog"]),
    ("oversize", "oversize", As::Word, &["tcp", "syslog"]),
    ("delimiter", "delimiter", As::Same, &["tcp"]),
    ("protocol", "protocols", As::Word, &["syslog", "ipfix"]),
    ("syslog_mode", "mode", As::Word, &["syslog"]),
    ("raw", "raw", As::Word, &["syslog"]),
    ("timezone", "timezone", As::Same, &["syslog"]),
    ("timezones", "timezones", As::Shape, &["syslog"]),
    ("path", "path", As::Same, &["http"]),
    ("auth.token_file", "auth.tokenSecretRef.name", As::Shape, &["http"]),
    ("auth.token_file", "auth.tokenSecretRef.key", As::Shape, &["http"]),
    ("max_payload_size", "maxPayloadSize", As::Bytes, &["http"]),
    ("max_lines_per_request", "maxLinesPerRequest", As::Same, &["http"]),
    ("max_compression_ratio", "maxCompressionRatio", As::Same, &["http"]),
    ("write_timeout", "writeTimeout", As::Seconds, &["http"]),
    ("idle_timeout", "idleTimeout", As::Seconds, &["http"]),
    ("output", "output", As::Word, FLOWS),
    ("mac_format", "macFormat", As::Word, FLOWS),
    ("options_records", "optionsRecords", As::Same, EXPORTING),
    ("exporter_id", "exporterId", As::Word, EXPORTING),
    ("max_exporters", "maxExporters", As::Same, EXPORTING),
    ("max_template_fields", "maxTemplateFields", As::Same, EXPORTING),
    ("max_waiting_bytes", "maxWaiting", As::Bytes, EXPORTING),
    ("max_waiting_file_bytes", "maxWaitingFile", As::Bytes, EXPORTING),
    ("counters", "counters", As::Same, &["sflow"]),
    ("drops", "drops", As::Same, &["sflow"]),
    ("inner", "inner", As::Same, &["sflow"]),
];

/// Keys that every input has, and the dataset's outside its source.
pub(super) const COMMON: &[(&str, &str, As)] = &[
    ("paused", "paused", As::Same),
    ("config.tenant_id", "tenantId", As::Same),
    ("config.dataset_id", "datasetId", As::Same),
    ("config.allowed_sources", "allowedSources", As::Same),
    ("config.batching.max_lines", "batching.maxLines", As::Same),
    ("config.batching.max_bytes", "batching.maxBytes", As::Bytes),
    ("config.batching.timeout_seconds", "batching.timeout", As::Seconds),
    ("config.batching.compression_enabled", "batching.compressionEnabled", As::Same),
    ("config.batching.compression_level", "batching.compressionLevel", As::Same),
    ("config.batching.compression_adaptive", "batching.compressionAdaptive", As::Same),
    ("config.proxy_protocol_from", "proxyProtocol.from", As::Shape),
    ("config.proxy_protocol", "proxyProtocol.from", As::Shape),
];

/// Keys outside inputs: file, resource.
pub(super) const PROXY: &[(&str, &str, As)] = &[
    ("logging.level", "logging.level", As::Word),
    ("logging.encoding", "logging.encoding", As::Word),
    ("bearer_token_file", "receiver.tokenSecretRef.name", As::Shape),
    ("bearer_token_file", "receiver.tokenSecretRef.key", As::Shape),
    ("tenants", "receiver.tenants", As::Shape),
    ("receiver.base_url", "receiver.url", As::Same),
    ("receiver.timeout_seconds", "receiver.timeout", As::Seconds),
    ("receiver.upload_worker_count", "receiver.concurrency", As::Same),
    ("receiver.max_idle_conns", "receiver.maxIdleConnections", As::Same),
    ("receiver.ca_file", "receiver.caSecretRef.name", As::Shape),
    ("receiver.ca_file", "receiver.caSecretRef.key", As::Shape),
    ("receiver.max_payload_size", "receiver.maxPayloadSize", As::Bytes),
    ("batching.max_lines", "batching.maxLines", As::Same),
    ("batching.max_bytes", "batching.maxBytes", As::Bytes),
    ("batching.timeout_seconds", "batching.timeout", As::Seconds),
    ("batching.compression_enabled", "batching.compressionEnabled", As::Same),
    ("batching.compression_level", "batching.compressionLevel", As::Same),
    ("batching.compression_adaptive", "batching.compressionAdaptive", As::Same),
    ("spooling.max_size_bytes", "spool.maxSize", As::Shape),
    ("spooling.dlq_max_size_bytes", "spool.dlqMaxSize", As::Shape),
    ("spooling.retry_attempts", "spool.retryAttempts", As::Same),
    ("spooling.retry_interval_seconds", "spool.retryInterval", As::Seconds),
    ("spooling.cleanup_interval_seconds", "spool.cleanupInterval", As::Seconds),
    ("spooling.max_age_days", "spool.maxAge", As::Days),
    ("spooling.sync_interval_ms", "spool.syncInterval", As::Milliseconds),
    ("spooling.dlq_auto_retry", "spool.dlqAutoRetry", As::Same),
    ("limits.memory_bytes", "limits.memory", As::Bytes),
    ("limits.max_senders", "limits.maxSenders", As::Same),
    ("limits.receive_threads", "limits.receiveThreads", As::Same),
    ("server.api_host", "exposure.listenAddress", As::Shape),
    ("server.api_port", "exposure.hostNetwork.apiPort", As::Shape),
    ("server.health_port", "exposure.hostNetwork.healthPort", As::Shape),
    ("server.shutdown_delay_seconds", "workload.shutdownDelay", As::Shape),
    ("server.shutdown_grace_seconds", "workload.shutdownGrace", As::Shape),
];

/// Keys of the file that no resource has, and why.
pub(super) const FILE_ALONE: &[(&str, &str)] = &[
    ("schema_version", "the operator says which keys it knows"),
    ("app.name", "the operator's pods are this program"),
    ("config_mode", "the operator writes local-only"),
    ("account_id", "Control is of a later version"),
    ("control_url", "Control is of a later version"),
    ("tenant_id", "every dataset names its tenant"),
    ("bearer_token", "secrets are files"),
    ("server.read_token", "secrets are files"),
    ("server.admin_token", "secrets are files"),
    ("server.read_token_file", "from the Secret <proxy>-api"),
    ("server.admin_token_file", "from the Secret <proxy>-api"),
    ("server.tls", "from the Secret <proxy>-api"),
    ("spooling.enabled", "pods always spool"),
    ("spooling.directory", "the volume's place"),
];

/// The same of an input.
pub(super) const INPUT_ALONE: &[(&str, &str)] = &[
    ("name", "the object's name"),
    ("enabled", "the object is there or not"),
    ("config.host", "exposure.listenAddress of the Proxy"),
    ("config.auth.token", "secrets are files"),
];

/// Parts of a Proxy that are none of the proxy's business, and why.
pub(super) const PROXY_ALONE: &[(&str, &str)] = &[
    ("configMode", "the operator's"),
    ("exposure", "Services"),
    ("workload", "pods"),
    ("spool.size", "the volume"),
    ("spool.storageClassName", "the volume"),
    ("spool.hostPath", "the volume"),
    ("allowedDatasets", "arbitration"),
];
