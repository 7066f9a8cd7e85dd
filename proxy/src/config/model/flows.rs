//! Inputs of flow telemetry.

use super::{TcpSource, UdpSource};

/// `output`: which lines records become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowOutput {
    /// With everything that is known.
    #[default]
    Fields,
    /// Those of the former program.
    Legacy,
}

/// `mac_format`: how MAC addresses are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacFormat {
    /// As a number of 48 bits, as known from before.
    #[default]
    Number,
    /// As `02:00:5e:10:00:01`.
    Text,
}

/// `exporter_id`: what tells exporters apart that send datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExporterId {
    /// Their address.
    #[default]
    Address,
    /// Address and port.
    AddressPort,
}

/// `netflow` and `ipfix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSource {
    /// Datagrams; `netflow` has always these.
    pub udp: Option<UdpSource>,
    /// Messages over connections; `ipfix` with `protocol: tcp`.
    pub tcp: Option<TcpSource>,
    /// `output`.
    pub output: FlowOutput,
    /// `mac_format`.
    pub mac_format: MacFormat,
    /// `options_records`. Default false.
    pub options_records: bool,
    /// `exporter_id`.
    pub exporter_id: ExporterId,
    /// `max_exporters`. Default 16384.
    pub max_exporters: usize,
    /// `max_template_fields` of all exporters. Default 524288.
    pub max_template_fields: usize,
    /// `max_waiting_bytes` in memory. Default 64 MiB.
    pub max_waiting_bytes: usize,
    /// `max_waiting_file_bytes`; 0 is no file. Default 256 MiB.
    pub max_waiting_file_bytes: u64,
}

/// `sflow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SflowSource {
    /// Datagrams.
    pub udp: UdpSource,
    /// `output`.
    pub output: FlowOutput,
    /// `mac_format`.
    pub mac_format: MacFormat,
    /// `counters`. Default true.
    pub counters: bool,
    /// `drops`. Default true.
    pub drops: bool,
    /// `inner`. Default false.
    pub inner: bool,
}
