//! `source.ipfix`.

use bytefreezer_crds::{dataset::Ipfix, values::ValueError};
use bytefreezer_proxy::config::document::{Connections, IpfixInput};

use super::{
    Context, common,
    flows::{exporting, flows},
    narrow, protocol, proxied,
};

pub(in super::super) fn ipfix(context: &Context<'_>, ipfix: &Ipfix) -> Result<IpfixInput, ValueError> {
    Ok(IpfixInput {
        common: common(context, ipfix.port)?,
        proxied: proxied(context, ipfix.tls.as_ref()),
        flows: flows(&ipfix.flows),
        exporting: exporting(&ipfix.exporting)?,
        connections: Connections {
            max_connections: ipfix.max_connections,
            max_connections_per_source: ipfix.max_connections_per_source,
            read_timeout: ipfix.read_timeout.units()?,
        },
        protocol: protocol(&ipfix.protocols),
        read_buffer_size: narrow(ipfix.read_buffer_size.bytes()?),
    })
}
