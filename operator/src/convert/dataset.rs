//! One dataset's entry under `inputs`.

use bytefreezer_crds::{
    dataset::{DatasetBatching, ProxyDatasetSpec, SourceRef, Tls},
    values::{Size, Span, ValueError},
};
use bytefreezer_proxy::config::document::{Common, Entry, InputBatching, InputDocument};

use super::sources;
use crate::{
    assets::{AssetKind, AssetRef, AssetUse, Assets, Delivery},
    key::ObjectKey,
    validate::ValidatedProxy,
};

/// What the sources share when they are converted.
pub(super) struct Context<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a ProxyDatasetSpec,
    pub listen_address: &'static str,
    pub assets: &'a Assets,
}

/// Secrets of its own namespace that a dataset refers to.
pub fn assets(namespace: &str, spec: &ProxyDatasetSpec) -> Vec<AssetUse> {
    let (tls, token) = match spec.source.get() {
        Some(SourceRef::Tcp(tcp)) => (tcp.tls.as_ref(), None),
        Some(SourceRef::Syslog(syslog)) => (syslog.tls.as_ref(), None),
        Some(SourceRef::Http(http)) => {
            (http.tls.as_ref(), http.auth.as_ref().map(|auth| &auth.token_secret_ref))
        }
        Some(SourceRef::Ipfix(ipfix)) => (ipfix.tls.as_ref(), None),
        Some(SourceRef::Udp(_) | SourceRef::Netflow(_) | SourceRef::Sflow(_) | SourceRef::Ebpf(_)) | None => {
            (None, None)
        }
    };
    let used = |secret: &str, key: &str, kind| AssetUse {
        asset: AssetRef::new(namespace, secret, key),
        kind,
        delivery: Delivery::No,
    };
    let of_tls = tls.into_iter().flat_map(|tls: &Tls| {
        let pair = [("tls.crt", AssetKind::Certificate), ("tls.key", AssetKind::Key)];
        let pair = pair.map(|(key, kind)| used(tls.secret_ref.name.as_str(), key, kind));
        let ca = tls.client_ca_secret_ref.as_ref();
        pair.into_iter().chain(ca.map(|ca| used(ca.name.as_str(), ca.key.as_str(), AssetKind::Authorities)))
    });
    let token = token.map(|token| used(token.name.as_str(), token.key.as_str(), AssetKind::Token));
    of_tls.chain(token).collect()
}

/// The entry; `None` without a source.
pub(super) fn input(
    proxy: &ValidatedProxy,
    key: &ObjectKey,
    spec: &ProxyDatasetSpec,
    assets: &Assets,
) -> Result<Option<InputDocument>, ValueError> {
    let context = Context {
        namespace: &key.namespace,
        name: &key.name,
        spec,
        listen_address: proxy.spec.exposure.listen_address.as_str(),
        assets,
    };
    let Some(source) = spec.source.get() else { return Ok(None) };
    // One whose Secrets are missing keeps port and prefixes; what arrives is counted and dropped.
    let unresolved = self::assets(context.namespace, spec).iter().any(|used| !assets.has(&used.asset));
    let entry = Head { name: key.to_string(), paused: spec.paused || unresolved };
    Ok(Some(match source {
        SourceRef::Udp(udp) => InputDocument::Udp(entry.with(sources::udp(&context, udp)?)),
        SourceRef::Tcp(tcp) => InputDocument::Tcp(entry.with(sources::tcp(&context, tcp)?)),
        SourceRef::Syslog(syslog) => InputDocument::Syslog(entry.with(sources::syslog(&context, syslog)?)),
        SourceRef::Http(http) => InputDocument::Http(entry.with(sources::http(&context, http)?)),
        SourceRef::Netflow(netflow) => {
            InputDocument::Netflow(entry.with(sources::netflow(&context, netflow)?))
        }
        SourceRef::Ipfix(ipfix) => InputDocument::Ipfix(entry.with(sources::ipfix(&context, ipfix)?)),
        SourceRef::Sflow(sflow) => InputDocument::Sflow(entry.with(sources::sflow(&context, sflow)?)),
        SourceRef::Ebpf(ebpf) => InputDocument::Ebpf(entry.with(sources::ebpf(&context, ebpf)?)),
    }))
}

struct Head {
    name: String,
    paused: bool,
}

impl Head {
    fn with<T: Default>(self, config: T) -> Entry<T> {
        Entry { name: Some(self.name), enabled: true, paused: self.paused, config }
    }
}

/// What every source has. The object's name stands for a dataset id that is not given.
pub(super) fn common(context: &Context<'_>, port: u16) -> Result<Common, ValueError> {
    let spec = context.spec;
    Ok(Common {
        tenant_id: Some(spec.tenant_id.as_str().to_owned()),
        dataset_id: Some(spec.dataset_id.as_ref().map_or(context.name, |id| id.as_str()).to_owned()),
        host: Some(context.listen_address.to_owned()),
        port: Some(port.into()),
        allowed_sources: spec.allowed_sources.iter().map(|source| source.as_str().to_owned()).collect(),
        batching: spec.batching.as_ref().map(batching).transpose()?,
        ..Common::default()
    })
}

fn batching(written: &DatasetBatching) -> Result<InputBatching, ValueError> {
    Ok(InputBatching {
        max_lines: written.max_lines,
        max_bytes: written.max_bytes.as_ref().map(Size::bytes).transpose()?,
        timeout_seconds: written.timeout.as_ref().map(Span::units).transpose()?,
        compression_enabled: written.compression_enabled,
        compression_level: written.compression_level,
        compression_adaptive: written.compression_adaptive,
    })
}
