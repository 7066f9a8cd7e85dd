//! `source.netflow`.

use bytefreezer_crds::{dataset::Netflow, values::ValueError};
use bytefreezer_proxy::config::document::NetflowInput;

use super::{
    Context, common,
    flows::{exporting, flows},
    narrow,
};

pub(in super::super) fn netflow(
    context: &Context<'_>,
    netflow: &Netflow,
) -> Result<NetflowInput, ValueError> {
    Ok(NetflowInput {
        common: common(context, netflow.port)?,
        flows: flows(&netflow.flows),
        exporting: exporting(&netflow.exporting)?,
        read_buffer_size: narrow(netflow.read_buffer_size.bytes()?),
    })
}
