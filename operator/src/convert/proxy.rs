//! The parts of the document that come from the Proxy alone.

use bytefreezer_crds::{
    proxy::{Batching, LogEncoding, LogLevel},
    values::SecretKeyRef,
};
use bytefreezer_proxy::config::{
    SCHEMA_VERSION,
    document::{self, ConfigMode, Document},
};

use super::{API_FOLDER, ConvertError, SPOOL_FOLDER};
use crate::{
    assets::{AssetKind, AssetRef, AssetUse, Assets, Delivery},
    validate::ValidatedProxy,
};

/// Secrets of its own namespace that the Proxy refers to.
pub fn assets(proxy: &ValidatedProxy) -> Vec<AssetUse> {
    let receiver = &proxy.spec.receiver;
    let used = |secret: &SecretKeyRef, kind, delivery| AssetUse {
        asset: AssetRef::new(&proxy.key.namespace, secret.name.as_str(), secret.key.as_str()),
        kind,
        delivery,
    };
    let token = receiver.token_secret_ref.iter();
    let token = token.map(|secret| used(secret, AssetKind::Token, Delivery::Any));
    let authorities = receiver.ca_secret_ref.iter();
    let authorities = authorities.map(|secret| used(secret, AssetKind::Authorities, Delivery::Any));
    let tenants = receiver.tenants.iter().map(|tenant| {
        let delivery = Delivery::Tenant(tenant.tenant_id.as_str().to_owned());
        used(&tenant.token_secret_ref, AssetKind::Token, delivery)
    });
    token.chain(authorities).chain(tenants).collect()
}

/// The document without inputs.
pub(super) fn document(proxy: &ValidatedProxy, assets: &Assets) -> Result<Document, ConvertError> {
    let receiver = &proxy.spec.receiver;
    let path = |secret: &SecretKeyRef| {
        assets.path(&AssetRef::new(&proxy.key.namespace, secret.name.as_str(), secret.key.as_str()))
    };
    let tenants = receiver.tenants.iter().map(|tenant| {
        let bearer_token_file = Some(path(&tenant.token_secret_ref));
        (
            tenant.tenant_id.as_str().to_owned(),
            document::Tenant { bearer_token_file, ..document::Tenant::default() },
        )
    });
    Ok(Document {
        schema_version: Some(SCHEMA_VERSION),
        logging: logging(proxy),
        server: server(proxy),
        config_mode: Some(ConfigMode::LocalOnly),
        bearer_token_file: receiver.token_secret_ref.as_ref().map(path),
        tenants: tenants.collect(),
        receiver: document::Receiver {
            base_url: Some(receiver.url.clone()),
            timeout_seconds: receiver.timeout.units()?,
            upload_worker_count: receiver.concurrency,
            max_idle_conns: receiver.max_idle_connections,
            ca_file: receiver.ca_secret_ref.as_ref().map(path),
            max_payload_size: receiver.max_payload_size.bytes()?,
        },
        batching: batching(&proxy.spec.batching)?,
        spooling: spooling(proxy)?,
        limits: document::Limits {
            memory_bytes: proxy.spec.limits.memory.bytes()?,
            max_senders: proxy.spec.limits.max_senders,
            receive_threads: proxy.spec.limits.receive_threads,
        },
        ..Document::default()
    })
}

fn logging(proxy: &ValidatedProxy) -> document::Logging {
    document::Logging {
        level: match proxy.spec.logging.level {
            LogLevel::Debug => document::LogLevel::Debug,
            LogLevel::Info => document::LogLevel::Info,
            LogLevel::Warn => document::LogLevel::Warn,
            LogLevel::Error => document::LogLevel::Error,
        },
        encoding: match proxy.spec.logging.encoding {
            LogEncoding::Json => document::LogEncoding::Json,
            LogEncoding::Console => document::LogEncoding::Console,
        },
    }
}

/// The API of a pod takes only whoever shows a token of the Secret `<proxy>-api`, over TLS.
fn server(proxy: &ValidatedProxy) -> document::Server {
    let file = |name: &str| Some(format!("{API_FOLDER}/{name}"));
    document::Server {
        api_host: proxy.spec.exposure.listen_address.as_str().to_owned(),
        api_port: proxy.api_port.into(),
        health_port: Some(proxy.health_port.into()),
        read_token_file: file("read-token"),
        admin_token_file: file("admin-token"),
        tls: Some(document::Tls {
            cert_file: file("tls.crt"),
            key_file: file("tls.key"),
            ..document::Tls::default()
        }),
        shutdown_delay_seconds: proxy.shutdown_delay,
        shutdown_grace_seconds: proxy.shutdown_grace,
        ..document::Server::default()
    }
}

fn batching(written: &Batching) -> Result<document::Batching, ConvertError> {
    Ok(document::Batching {
        max_lines: written.max_lines,
        max_bytes: written.max_bytes.bytes()?,
        timeout_seconds: written.timeout.units()?,
        compression_enabled: written.compression_enabled,
        compression_level: written.compression_level,
        compression_adaptive: written.compression_adaptive,
    })
}

fn spooling(proxy: &ValidatedProxy) -> Result<document::Spooling, ConvertError> {
    let spool = &proxy.spec.spool;
    Ok(document::Spooling {
        directory: SPOOL_FOLDER.to_owned(),
        max_size_bytes: proxy.limits.queue,
        dlq_max_size_bytes: proxy.limits.dlq,
        retry_attempts: spool.retry_attempts,
        retry_interval_seconds: spool.retry_interval.units()?,
        cleanup_interval_seconds: spool.cleanup_interval.units()?,
        max_age_days: spool.max_age.units()?,
        sync_interval_ms: spool.sync_interval.units()?,
        dlq_auto_retry: spool.dlq_auto_retry,
        ..document::Spooling::default()
    })
}
