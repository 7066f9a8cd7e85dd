//! What sources of flow records have in common.

use bytefreezer_crds::{
    dataset::{self, Exporting, Flows},
    values::ValueError,
};
use bytefreezer_proxy::config::document;

use super::narrow;

pub(super) fn flows(written: &Flows) -> document::Flows {
    document::Flows {
        output: match written.output {
            dataset::FlowOutput::Fields => document::FlowOutput::Fields,
            dataset::FlowOutput::Legacy => document::FlowOutput::Legacy,
        },
        mac_format: match written.mac_format {
            dataset::MacFormat::Number => document::MacFormat::Number,
            dataset::MacFormat::Text => document::MacFormat::Text,
        },
    }
}

pub(super) fn exporting(written: &Exporting) -> Result<document::Exporting, ValueError> {
    Ok(document::Exporting {
        options_records: written.options_records,
        exporter_id: match written.exporter_id {
            dataset::ExporterId::Address => document::ExporterId::Address,
            dataset::ExporterId::AddressPort => document::ExporterId::AddressPort,
        },
        max_exporters: written.max_exporters,
        max_template_fields: written.max_template_fields,
        max_waiting_bytes: narrow(written.max_waiting.bytes()?),
        max_waiting_file_bytes: written.max_waiting_file.bytes()?,
    })
}
