//! `source.syslog`.

use bytefreezer_crds::{
    dataset::{KeepRaw, Syslog, SyslogMode},
    values::ValueError,
};
use bytefreezer_proxy::config::document::{self, SourceZone, Streams, SyslogInput};

use super::{Context, common, narrow, oversize, protocol, proxied};

pub(in super::super) fn syslog(context: &Context<'_>, syslog: &Syslog) -> Result<SyslogInput, ValueError> {
    let zones = syslog.timezones.iter().map(|zone| SourceZone {
        source: Some(zone.source.as_str().to_owned()),
        timezone: Some(zone.timezone.clone()),
    });
    Ok(SyslogInput {
        common: common(context, syslog.port)?,
        proxied: proxied(context, syslog.tls.as_ref()),
        protocol: protocol(&syslog.protocols),
        syslog_mode: match syslog.mode {
            SyslogMode::Auto => document::SyslogMode::Auto,
            SyslogMode::Rfc3164 => document::SyslogMode::Rfc3164,
            SyslogMode::Rfc5424 => document::SyslogMode::Rfc5424,
        },
        raw: match syslog.raw {
            KeepRaw::Drop => document::KeepRaw::Drop,
            KeepRaw::Keep => document::KeepRaw::Keep,
            KeepRaw::OnFailure => document::KeepRaw::OnFailure,
        },
        timezone: syslog.timezone.clone(),
        timezones: zones.collect(),
        read_buffer_size: narrow(syslog.read_buffer_size.bytes()?),
        streams: Streams {
            max_connections: syslog.max_connections,
            max_connections_per_source: syslog.max_connections_per_source,
            read_timeout: syslog.read_timeout.units()?,
            max_line_size: narrow(syslog.max_line_size.bytes()?),
            oversize: oversize(syslog.oversize),
        },
    })
}
