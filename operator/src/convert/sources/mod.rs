//! One file per kind of source.

mod ebpf;
mod flows;
mod http;
mod ipfix;
mod netflow;
mod sflow;
mod syslog;
mod tcp;
mod udp;

use bytefreezer_crds::dataset::{self, Protocol, Tls};
use bytefreezer_proxy::config::document::{
    self, EbpfInput, Entry, HttpInput, IpfixInput, Lines, NetflowInput, Proxied, SflowInput, SyslogInput,
    TcpInput, UdpInput,
};
use serde_json::Value as Json;

pub(super) use ebpf::ebpf;
pub(super) use http::http;
pub(super) use ipfix::ipfix;
pub(super) use netflow::netflow;
pub(super) use sflow::sflow;
pub(super) use syslog::syslog;
pub(super) use tcp::tcp;
pub(super) use udp::udp;

use super::dataset::{Context, common};
use crate::assets::AssetRef;

/// An entry of the same type in which nothing was written.
pub(super) fn default_of(input: &Json) -> Result<Json, serde_json::Error> {
    fn entry<T: Default + serde::Serialize>() -> Result<Json, serde_json::Error> {
        serde_json::to_value(Entry { name: None, enabled: true, paused: false, config: T::default() })
    }
    match input["type"].as_str() {
        Some("udp") => entry::<UdpInput>(),
        Some("tcp") => entry::<TcpInput>(),
        Some("syslog") => entry::<SyslogInput>(),
        Some("http") => entry::<HttpInput>(),
        Some("netflow") => entry::<NetflowInput>(),
        Some("ipfix") => entry::<IpfixInput>(),
        Some("sflow") => entry::<SflowInput>(),
        Some("ebpf") => entry::<EbpfInput>(),
        _ => Ok(Json::Null),
    }
}

fn lines(hint: Option<&String>, format: dataset::DataFormat, field: Option<&String>) -> Lines {
    Lines {
        data_hint: hint.cloned(),
        data_format: match format {
            dataset::DataFormat::Auto => document::DataFormat::Auto,
            dataset::DataFormat::Ndjson => document::DataFormat::Ndjson,
            dataset::DataFormat::Text => document::DataFormat::Text,
        },
        source_field: field.cloned(),
    }
}

fn proxied(context: &Context<'_>, tls: Option<&Tls>) -> Proxied {
    let from = context.spec.proxy_protocol.as_ref().map(|proxy| &proxy.from);
    Proxied {
        proxy_protocol: from.is_some(),
        proxy_protocol_from: from.into_iter().flatten().map(|peer| peer.as_str().to_owned()).collect(),
        tls: tls.map(|tls| {
            let path = |secret: &str, key: &str| {
                Some(context.assets.path(&AssetRef::new(context.namespace, secret, key)))
            };
            document::Tls {
                cert_file: path(tls.secret_ref.name.as_str(), "tls.crt"),
                key_file: path(tls.secret_ref.name.as_str(), "tls.key"),
                client_ca_file: tls
                    .client_ca_secret_ref
                    .as_ref()
                    .and_then(|ca| path(ca.name.as_str(), ca.key.as_str())),
                client_cert_required: tls.client_certificate_required,
            }
        }),
    }
}

fn protocol(written: &[Protocol]) -> Vec<document::Protocol> {
    let one = |protocol: &Protocol| match protocol {
        Protocol::Udp => document::Protocol::Udp,
        Protocol::Tcp => document::Protocol::Tcp,
    };
    written.iter().map(one).collect()
}

fn oversize(written: dataset::Oversize) -> document::Oversize {
    match written {
        dataset::Oversize::Cut => document::Oversize::Cut,
        dataset::Oversize::Drop => document::Oversize::Drop,
        dataset::Oversize::Close => document::Oversize::Close,
    }
}

/// Bytes that the schema bounds to 32 bits.
fn narrow(bytes: u64) -> u32 {
    bytes.try_into().unwrap_or(u32::MAX)
}
