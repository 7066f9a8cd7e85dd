//! Exporters as the API lists them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Memory;
use crate::{
    config::Input,
    decode::{
        flow::{self, sequence::Tally},
        sflow::agents,
    },
    ids::{DatasetId, DatasetKey, TenantId},
    inputs::paging,
};

const NS: u64 = 1_000_000_000;

/// Which rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct ExporterQuery {
    /// Only this tenant.
    #[param(value_type = Option<String>)]
    pub tenant_id: Option<TenantId>,
    /// Only this dataset.
    #[param(value_type = Option<String>)]
    pub dataset_id: Option<DatasetId>,
    /// Only exporters that sent nothing for at least so many seconds.
    pub silent_for: Option<u64>,
    /// Rows left out at the start.
    pub offset: usize,
    /// Rows at most: 100 if absent, 1000 if more.
    pub limit: Option<usize>,
}

impl ExporterQuery {
    /// Rows of a page.
    pub fn page(&self) -> usize {
        paging::page(self.limit)
    }

    fn wants(&self, key: &DatasetKey) -> bool {
        paging::wants(self.tenant_id.as_ref(), self.dataset_id.as_ref(), key)
    }
}

/// An exporter of NetFlow or IPFIX, or a sub-agent of sFlow.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ExporterRow {
    /// Input.
    pub input: String,
    /// `type` of the input.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Tenant of the input.
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    /// Dataset of the input.
    #[schema(value_type = String)]
    pub dataset_id: DatasetId,
    /// Address it sends from.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Port, of a connection or with `exporter_id: address_port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// sFlow: the agent as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<IpAddr>,
    /// sFlow: which of its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_agent: Option<u32>,
    /// First datagram since the start of the proxy, RFC 3339; absent when only templates of before are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub first_seen: Option<Timestamp>,
    /// Last datagram, RFC 3339.
    #[schema(value_type = String)]
    pub last_seen: Timestamp,
    /// Seconds since the last datagram.
    pub silent_seconds: u64,
    /// Datagrams, or messages of a connection.
    pub datagrams: u64,
    /// Lines.
    pub records: u64,
    /// Lines per second, averaged over the last minute or so.
    pub records_per_second: f64,
    /// Parts of datagrams that were refused as malformed.
    pub malformed: u64,
    /// Options records.
    pub options_records: u64,
    /// Observation domains (source ids).
    pub domains: usize,
    /// Templates known.
    pub templates: usize,
    /// Sets of records that wait for their template.
    pub waiting: usize,
    /// Sets of records that had to wait, so far.
    pub waited: u64,
    /// Sets of records lost because their template did not come.
    pub lost_without_template: u64,
    /// Lost on the way, by sequence numbers: flows in v5 and v7, datagrams in v9 and sFlow, records in IPFIX.
    pub sequence_lost: u64,
    /// Came twice.
    pub sequence_duplicates: u64,
    /// Came after later ones.
    pub sequence_reordered: u64,
    /// How often the numbers began anew.
    pub sequence_restarts: u64,
}

/// One page of the exporters of these inputs as of now: by input, in order of their addresses.
pub fn query<'a>(
    inputs: impl Iterator<Item = (&'a Input, &'a Memory)>,
    query: &ExporterQuery,
) -> Vec<ExporterRow> {
    let now_ns = Timestamp::now().as_nanosecond().try_into().unwrap_or(0);
    inputs
        .filter(|(input, _)| query.wants(&input.key))
        .flat_map(|(input, memory)| rows(input, memory, now_ns))
        .filter(|row| query.silent_for.is_none_or(|seconds| row.silent_seconds >= seconds))
        .skip(query.offset)
        .take(query.limit.unwrap_or(paging::DEFAULT))
        .collect()
}

fn rows(input: &Input, memory: &Memory, now_ns: u64) -> Vec<ExporterRow> {
    match memory {
        Memory::Flow(memory) => {
            memory.shared().reports().iter().map(|report| of_exporter(input, report, now_ns)).collect()
        }
        Memory::Sflow(memory) => {
            memory.0.lock().reports().iter().map(|report| of_agent(input, report, now_ns)).collect()
        }
    }
}

fn of_exporter(input: &Input, report: &flow::Report, now_ns: u64) -> ExporterRow {
    let flow::Report { source, totals, .. } = report;
    ExporterRow {
        port: Some(source.port).filter(|port| *port > 0),
        datagrams: totals.datagrams,
        records: totals.records,
        records_per_second: report.rate.at(now_ns),
        malformed: totals.faults,
        options_records: totals.options,
        domains: report.domains,
        templates: report.templates,
        waiting: report.waiting,
        waited: totals.waited,
        lost_without_template: totals.unknown,
        ..row(input, source.address, (totals.first_ns, totals.last_ns, now_ns), report.sequence)
    }
}

fn of_agent(input: &Input, report: &agents::Report, now_ns: u64) -> ExporterRow {
    let agents::Report { key, totals, rate, sequence } = *report;
    ExporterRow {
        agent: key.agent,
        sub_agent: Some(key.sub_agent),
        datagrams: totals.datagrams,
        records: totals.lines,
        records_per_second: rate.at(now_ns),
        malformed: totals.damaged,
        ..row(input, key.source, (totals.first_ns, totals.last_ns, now_ns), sequence)
    }
}

fn row(input: &Input, address: IpAddr, (first, last, now): (u64, u64, u64), sequence: Tally) -> ExporterRow {
    ExporterRow {
        input: input.name.clone(),
        kind: input.source.kind(),
        tenant_id: input.key.tenant.clone(),
        dataset_id: input.key.dataset.clone(),
        address,
        port: None,
        agent: None,
        sub_agent: None,
        first_seen: (first > 0).then(|| time(first)),
        last_seen: time(last),
        silent_seconds: now.saturating_sub(last) / NS,
        datagrams: 0,
        records: 0,
        records_per_second: 0.0,
        malformed: 0,
        options_records: 0,
        domains: 0,
        templates: 0,
        waiting: 0,
        waited: 0,
        lost_without_template: 0,
        sequence_lost: sequence.lost,
        sequence_duplicates: sequence.duplicates,
        sequence_reordered: sequence.reordered,
        sequence_restarts: sequence.restarts,
    }
}

fn time(unix_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(unix_ns.into()).unwrap_or_default()
}
