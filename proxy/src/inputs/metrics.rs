//! Metrics of inputs, read from their counters at each scrape; a removed input has no series any more.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    InputState, InputStats, Refusal,
    supervisor::{Board, Record},
};
use crate::{decode::flow::Summary, metrics::Metrics};

/// Registers the inputs on `board`.
pub(super) fn register(metrics: &Metrics, board: &Arc<Board>) {
    let inputs = Inputs(Arc::clone(board));
    metrics.register(|registry| registry.register_collector(Box::new(inputs)));
}

#[derive(Debug)]
struct Inputs(Arc<Board>);

type Read = fn(&InputStats) -> u64;

const COUNTERS: [(&str, &str, Read); 4] = [
    ("input_messages", "Datagrams, messages of streams, or requests that arrived", |stats| {
        stats.messages.load(Relaxed)
    }),
    ("input_bytes", "Bytes that arrived", |stats| stats.bytes.load(Relaxed)),
    ("input_lines", "Lines handed to the spool", |stats| stats.lines.load(Relaxed)),
    (
        "input_kernel_drops",
        "Datagrams the kernel dropped because the receive buffer was full; inputs that share a listener show the same",
        |stats| stats.kernel_drops.load(Relaxed),
    ),
];

const GAUGES: [(&str, &str, Read); 3] = [
    ("input_receive_buffer_bytes", "Receive buffer of each UDP socket as the kernel gave it", |stats| {
        stats.receive_buffer.load(Relaxed)
    }),
    ("input_connections", "Open connections", |stats| stats.connections.load(Relaxed)),
    ("input_up", "1 while the input listens", |stats| {
        u64::from(matches!(stats.state().0, InputState::Listening | InputState::Paused))
    }),
];

impl Collector for Inputs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut shown = self.0.shown();
        shown.inputs.retain(|record| record.stats.state().0 != InputState::Rejected);
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for record in &shown.inputs {
                counter(metric.encode_family(&labels(record))?, read(&record.stats))?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for record in &shown.inputs {
                metric.encode_family(&labels(record))?.encode_gauge(&read(&record.stats))?;
            }
        }
        let help =
            "Messages kept though not understood, by cause: their format, or an octet count that is wrong";
        let mut metric = encoder.encode_descriptor("input_undecoded", help, None, MetricType::Counter)?;
        for record in &shown.inputs {
            let stats = &record.stats;
            for (cause, messages) in [("format", &stats.undecoded), ("framing", &stats.misframed)] {
                let labels: Vec<_> = labels(record).into_iter().chain([("cause", cause)]).collect();
                counter(metric.encode_family(&labels)?, messages.load(Relaxed))?;
            }
        }
        exporters(&shown.inputs, &mut encoder)?;
        let help = "What an input did not accept, by cause";
        let mut metric = encoder.encode_descriptor("input_refused", help, None, MetricType::Counter)?;
        for record in &shown.inputs {
            by_cause(&mut metric, &labels(record), &record.stats)?;
        }
        let help = "What a listener did not accept because no input claims the sender";
        let mut metric = encoder.encode_descriptor("listener_refused", help, None, MetricType::Counter)?;
        for post in &shown.listeners {
            by_cause(&mut metric, &[("listener", post.key.to_string().as_str())], &post.counters)?;
        }
        Ok(())
    }
}

type Count = fn(&Summary) -> u64;

const OF_EXPORTERS: [(&str, &str, MetricType, Count); 7] = [
    ("input_exporters", "Exporters of flow records that are known", MetricType::Gauge, |sum| {
        sum.exporters as u64
    }),
    ("input_templates", "Templates that exporters have taught", MetricType::Gauge, |sum| {
        sum.templates as u64
    }),
    ("input_waiting_sets", "Sets of flow records that wait for their template", MetricType::Gauge, |sum| {
        sum.waiting as u64
    }),
    (
        "input_sequence_missing",
        "Flows, records or datagrams of exporters that were missing when later ones came; those that came late are in input_sequence_reordered too",
        MetricType::Counter,
        |sum| sum.sequence.lost + sum.sequence.reordered,
    ),
    ("input_sequence_reordered", "Of these, what came after all", MetricType::Counter, |sum| {
        sum.sequence.reordered
    }),
    ("input_sequence_duplicates", "What came twice", MetricType::Counter, |sum| sum.sequence.duplicates),
    ("input_sequence_restarts", "How often exporters began to count anew", MetricType::Counter, |sum| {
        sum.sequence.restarts
    }),
];

/// What is known of exporters, by input: there may be thousands of them, which the API lists.
fn exporters(records: &[Record], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let sums: Vec<_> =
        records.iter().filter_map(|record| Some((record, record.memory.as_ref()?.summary()))).collect();
    for (name, help, kind, read) in OF_EXPORTERS {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for (record, sum) in &sums {
            let labels = labels(record);
            let mut metric = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => counter(metric, read(sum))?,
                _ => metric.encode_gauge(&read(sum))?,
            }
        }
    }
    Ok(())
}

type Label<'a> = (&'static str, &'a str);

fn labels(record: &Record) -> [Label<'_>; 3] {
    let (tenant, dataset) = (record.input.key.tenant.as_str(), record.input.key.dataset.as_str());
    [("input", record.input.name.as_str()), ("tenant", tenant), ("dataset", dataset)]
}

fn by_cause(metric: &mut MetricEncoder<'_>, labels: &[Label<'_>], stats: &InputStats) -> fmt::Result {
    for cause in Refusal::ALL {
        let events = stats.refused(cause);
        if events > 0 {
            let labels: Vec<_> = labels.iter().copied().chain([("cause", cause.label())]).collect();
            counter(metric.encode_family(&labels)?, events)?;
        }
    }
    Ok(())
}

fn counter(mut metric: MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}
