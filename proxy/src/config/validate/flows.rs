//! The entries of `inputs` that are flow telemetry.

use std::time::Duration;

use super::inputs::{Reader, split};
use crate::config::{
    document::{
        self, Connections, EbpfInput, Entry, Exporting, Flows, IpfixInput, Lines, NetflowInput, Proxied,
        SflowInput, default_port,
    },
    model::{
        ExporterId, FlowOutput, FlowSource, Input, MacFormat, Oversize, SflowSource, Source, TcpSource,
        UdpSource,
    },
};

impl Reader<'_> {
    pub(super) fn netflow(&mut self, entry: Entry<NetflowInput>) -> Option<Input> {
        let (head, mut config) = split(entry)?;
        config.common.port = config.common.port.or_else(|| usual_port("netflow"));
        let source = flows(&config.flows, &config.exporting, Some(udp(config.read_buffer_size)), None);
        self.input(head, &config.common, None, None, Source::Netflow(source))
    }

    pub(super) fn ipfix(&mut self, entry: Entry<IpfixInput>) -> Option<Input> {
        let (head, mut config) = split(entry)?;
        config.common.port = config.common.port.or_else(|| usual_port("ipfix"));
        let (has_udp, has_tcp) = self.transports(&config.protocol, &config.proxied);
        let tcp = has_tcp.then(|| self.connections(&config.connections, &config.proxied));
        let datagrams = has_udp.then(|| udp(config.read_buffer_size));
        let source = flows(&config.flows, &config.exporting, datagrams, tcp);
        self.input(head, &config.common, None, Some(&config.proxied), Source::Ipfix(source))
    }

    pub(super) fn sflow(&mut self, entry: Entry<SflowInput>) -> Option<Input> {
        let (head, mut config) = split(entry)?;
        config.common.port = config.common.port.or_else(|| usual_port("sflow"));
        let SflowInput { counters, drops, inner, .. } = config;
        let (output, mac_format) = shape(&config.flows);
        let udp = udp(config.read_buffer_size);
        let source = Source::Sflow(SflowSource { udp, output, mac_format, counters, drops, inner });
        self.input(head, &config.common, None, None, source)
    }

    pub(super) fn ebpf(&mut self, entry: Entry<EbpfInput>) -> Option<Input> {
        let (head, mut config) = split(entry)?;
        config.common.port = config.common.port.or_else(|| usual_port("ebpf"));
        let lines = Lines {
            data_hint: Some("ndjson".to_owned()),
            data_format: document::DataFormat::Auto,
            source_field: config.source_field,
        };
        let source = Source::Ebpf(udp(config.read_buffer_size));
        self.input(head, &config.common, Some(lines), None, source)
    }

    /// Messages say their own length, which is what a line may have; there is no other limit.
    fn connections(&mut self, written: &Connections, proxied: &Proxied) -> TcpSource {
        TcpSource {
            max_connections: written.max_connections as usize,
            max_connections_per_source: written.max_connections_per_source.map(|most| most as usize),
            read_timeout: (written.read_timeout > 0).then(|| Duration::from_secs(written.read_timeout)),
            max_line_size: usize::from(u16::MAX),
            oversize: Oversize::Close,
            delimiter: 0,
            tls: self.tls(proxied.tls.as_ref()),
        }
    }
}

fn usual_port(kind: &str) -> Option<u32> {
    default_port(kind).map(u32::from)
}

fn udp(read_buffer_size: u32) -> UdpSource {
    UdpSource { read_buffer_size: read_buffer_size as usize }
}

fn shape(written: &Flows) -> (FlowOutput, MacFormat) {
    let output = match written.output {
        document::FlowOutput::Fields => FlowOutput::Fields,
        document::FlowOutput::Legacy => FlowOutput::Legacy,
    };
    let mac = match written.mac_format {
        document::MacFormat::Number => MacFormat::Number,
        document::MacFormat::Text => MacFormat::Text,
    };
    (output, mac)
}

fn flows(
    written: &Flows,
    exporting: &Exporting,
    udp: Option<UdpSource>,
    tcp: Option<TcpSource>,
) -> FlowSource {
    let (output, mac_format) = shape(written);
    FlowSource {
        udp,
        tcp,
        output,
        mac_format,
        options_records: exporting.options_records,
        exporter_id: match exporting.exporter_id {
            document::ExporterId::Address => ExporterId::Address,
            document::ExporterId::AddressPort => ExporterId::AddressPort,
        },
        max_exporters: exporting.max_exporters as usize,
        max_template_fields: exporting.max_template_fields as usize,
        max_waiting_bytes: exporting.max_waiting_bytes as usize,
        max_waiting_file_bytes: exporting.max_waiting_file_bytes,
    }
}
