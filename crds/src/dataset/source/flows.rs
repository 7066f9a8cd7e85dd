//! What sources of flow records have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Size;

/// How flow records are written.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Flows {
    /// Which lines records become. Fields: one JSON line per record with everything that is known of it. Legacy: the
    /// lines of the former program, for queries that were written for them.
    pub output: FlowOutput,
    /// How MAC addresses are written. Number: as a number of 48 bits. Text: as `02:00:5e:10:00:01`.
    pub mac_format: MacFormat,
}

/// What the sources have whose records mean nothing without a template that the exporter sent before.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Exporting {
    /// Whether options records (sampling, names of interfaces and applications) become lines too. What they say is put
    /// into the lines of flows in any case.
    pub options_records: bool,
    /// UDP: what tells exporters apart, whose templates must not be mixed up. Address: the address they send from.
    /// AddressPort: address and port, where several exporters share an address, as behind NAT or a load balancer that
    /// replaces addresses.
    pub exporter_id: ExporterId,
    /// Exporters that are known at a time. Beyond, those not heard for longest are forgotten, with their templates.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_exporters: u32,
    /// Fields of all templates, each about 100 bytes of memory; one exporter has an eighth of it at most. Beyond, those
    /// not needed for longest are forgotten.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub max_template_fields: u32,
    /// Memory of a pod for records that came before their template, which is decoded when it comes. They wait for an
    /// hour.
    pub max_waiting: Size<0, 1_073_741_824>,
    /// File on a pod's volume, beside the spool, for those that have no room there; 0 is no file. It also keeps what waits
    /// over a restart.
    pub max_waiting_file: Size<0, 68_719_476_736>,
}

impl Default for Exporting {
    fn default() -> Self {
        Self {
            options_records: false,
            exporter_id: ExporterId::default(),
            max_exporters: 16_384,
            max_template_fields: 1 << 19,
            max_waiting: Size::new(64 << 20),
            max_waiting_file: Size::new(256 << 20),
        }
    }
}

/// Which lines records become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FlowOutput {
    /// Everything that is known of a record.
    #[default]
    Fields,
    /// The lines of the former program.
    Legacy,
}

/// How MAC addresses are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MacFormat {
    /// A number of 48 bits.
    #[default]
    Number,
    /// `02:00:5e:10:00:01`.
    Text,
}

/// What tells exporters apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ExporterId {
    /// The address they send from.
    #[default]
    Address,
    /// Address and port.
    AddressPort,
}
