//! `source.tcp`.

use bytefreezer_crds::{dataset::Tcp, values::ValueError};
use bytefreezer_proxy::config::document::{Streams, TcpInput};

use super::{Context, common, lines, narrow, oversize, proxied};

pub(in super::super) fn tcp(context: &Context<'_>, tcp: &Tcp) -> Result<TcpInput, ValueError> {
    Ok(TcpInput {
        common: common(context, tcp.port)?,
        lines: lines(tcp.data_hint.as_ref(), tcp.data_format, tcp.source_field.as_ref()),
        proxied: proxied(context, tcp.tls.as_ref()),
        streams: Streams {
            max_connections: tcp.max_connections,
            max_connections_per_source: tcp.max_connections_per_source,
            read_timeout: tcp.read_timeout.units()?,
            max_line_size: narrow(tcp.max_line_size.bytes()?),
            oversize: oversize(tcp.oversize),
        },
        delimiter: tcp.delimiter.clone(),
    })
}
