//! `source.http`.

use bytefreezer_crds::{dataset::Http, values::ValueError};
use bytefreezer_proxy::config::document::{Auth, HttpInput};

use super::{Context, common, lines, narrow, proxied};
use crate::assets::AssetRef;

pub(in super::super) fn http(context: &Context<'_>, http: &Http) -> Result<HttpInput, ValueError> {
    let auth = http.auth.as_ref().map(|auth| {
        let token = &auth.token_secret_ref;
        let asset = AssetRef::new(context.namespace, token.name.as_str(), token.key.as_str());
        Auth { token: None, token_file: Some(context.assets.path(&asset)) }
    });
    Ok(HttpInput {
        common: common(context, http.port)?,
        lines: lines(http.data_hint.as_ref(), http.data_format, http.source_field.as_ref()),
        proxied: proxied(context, http.tls.as_ref()),
        path: http.path.clone(),
        auth,
        max_payload_size: narrow(http.max_payload_size.bytes()?),
        max_lines_per_request: http.max_lines_per_request,
        max_compression_ratio: http.max_compression_ratio,
        max_connections: http.max_connections,
        max_connections_per_source: http.max_connections_per_source,
        read_timeout: http.read_timeout.units()?,
        write_timeout: http.write_timeout.units()?,
        idle_timeout: http.idle_timeout.units()?,
        ..HttpInput::default()
    })
}
