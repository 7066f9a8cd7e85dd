//! `source.udp`.

use bytefreezer_crds::{dataset::Udp, values::ValueError};
use bytefreezer_proxy::config::document::UdpInput;

use super::{Context, common, lines, narrow};

pub(in super::super) fn udp(context: &Context<'_>, udp: &Udp) -> Result<UdpInput, ValueError> {
    Ok(UdpInput {
        common: common(context, udp.port)?,
        lines: lines(udp.data_hint.as_ref(), udp.data_format, udp.source_field.as_ref()),
        read_buffer_size: narrow(udp.read_buffer_size.bytes()?),
    })
}
