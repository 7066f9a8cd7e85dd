//! `source.sflow`.

use bytefreezer_crds::{dataset::Sflow, values::ValueError};
use bytefreezer_proxy::config::document::SflowInput;

use super::{Context, common, flows::flows, narrow};

pub(in super::super) fn sflow(context: &Context<'_>, sflow: &Sflow) -> Result<SflowInput, ValueError> {
    Ok(SflowInput {
        common: common(context, sflow.port)?,
        flows: flows(&sflow.flows),
        counters: sflow.counters,
        drops: sflow.drops,
        inner: sflow.inner,
        read_buffer_size: narrow(sflow.read_buffer_size.bytes()?),
    })
}
