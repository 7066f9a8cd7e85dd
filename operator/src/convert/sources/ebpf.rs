//! `source.ebpf`.

use bytefreezer_crds::{dataset::Ebpf, values::ValueError};
use bytefreezer_proxy::config::document::EbpfInput;

use super::{Context, common, narrow};

pub(in super::super) fn ebpf(context: &Context<'_>, ebpf: &Ebpf) -> Result<EbpfInput, ValueError> {
    Ok(EbpfInput {
        common: common(context, ebpf.port)?,
        source_field: ebpf.source_field.clone(),
        read_buffer_size: narrow(ebpf.read_buffer_size.bytes()?),
    })
}
