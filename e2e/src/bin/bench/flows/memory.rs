//! Decoding alone: the proxy's decoder on one thread of this process.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytefreezer_proxy::decode::{
    ReceiveTime,
    flow::{Rules, Shared, Source, Transport},
    sflow::{SflowRules, push_datagram},
};
use e2e::datagrams::{Datagrams, Exporter, Version};
use nix::sys::resource::UsageWho;

use crate::run::{self, EXPORTERS, Outcome};

/// What is decoded with a decoder of the version.
struct Decoder {
    version: Version,
    flows: Shared,
    sflow: SflowRules,
}

impl Decoder {
    fn new(version: Version) -> Self {
        Self { version, flows: Shared::new(Rules::default()), sflow: SflowRules::default() }
    }

    /// Appends the lines of a datagram and returns how many these are.
    fn push(&self, datagram: &[u8], exporter: Exporter, now: &ReceiveTime, out: &mut Vec<u8>) -> u32 {
        let address = IpAddr::from(exporter.address);
        if self.version == Version::Sflow {
            return push_datagram(datagram, &self.sflow, address, now, out).lines;
        }
        let source = Source { address, port: 0 };
        self.flows.push(datagram, source, Transport::Udp, now, out).lines
    }
}

/// Decodes for so long, exporter after exporter, into a buffer of the size of a batch's.
pub fn run(version: Version, time: Duration) -> Result<Outcome> {
    const FULL: usize = 256 * 1024;
    let (datagrams, decoder) = (Datagrams::new(version), Decoder::new(version));
    let mut exporters: Vec<_> = (0..EXPORTERS).map(Exporter::new).collect();
    let mut out = Vec::with_capacity(2 * FULL);
    for exporter in &mut exporters {
        if let Some(template) = datagrams.template(exporter) {
            decoder.push(&template, *exporter, &ReceiveTime::now(), &mut out);
        }
    }
    let (mut records, mut bytes, mut datagram) = (0, 0, Vec::new());
    let (begun, before) = (Instant::now(), cpu()?);
    while begun.elapsed() < time {
        let now = ReceiveTime::now();
        for exporter in &mut exporters {
            datagram.clear();
            datagrams.append(exporter, records, &mut datagram);
            records += u64::from(decoder.push(&datagram, *exporter, &now, &mut out));
            if out.len() > FULL {
                bytes += out.len();
                out.clear();
            }
        }
    }
    let seconds = cpu()? - before;
    ensure!(records > 0, "nothing was decoded");
    Ok(Outcome {
        rate: (records as f64 / seconds) as u64,
        cpu_per_million: seconds / records as f64 * 1e6,
        text: (bytes + out.len()) as f64 / records as f64,
        ..Outcome::default()
    })
}

/// CPU seconds of this thread.
fn cpu() -> Result<f64> {
    run::seconds(UsageWho::RUSAGE_THREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_becomes_a_line_with_its_number() {
        for version in Version::ALL {
            let (datagrams, decoder) = (Datagrams::new(version), Decoder::new(version));
            let (mut exporter, now) = (Exporter::new(300), ReceiveTime::now());
            let (mut expected, mut out) = (0, Vec::new());
            for _ in 0..3 {
                if let Some(template) = datagrams.template(&mut exporter) {
                    assert_eq!(decoder.push(&template, exporter, &now, &mut out), 0);
                }
                let mut datagram = Vec::new();
                datagrams.append(&mut exporter, expected, &mut datagram);
                assert_eq!(datagram.len(), datagrams.size());
                assert!(datagram.len() <= 1472, "{version}: {} bytes", datagram.len());
                expected += u64::from(decoder.push(&datagram, exporter, &now, &mut out));
            }
            assert_eq!(expected, 3 * u64::from(version.records()), "{version}");
            let lines: Vec<serde_json::Value> = out
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect();
            assert_eq!(lines.len() as u64, expected);
            for (number, line) in lines.iter().enumerate() {
                assert_eq!(line["Bytes"], number, "{line}");
                assert_eq!(line["SamplerAddress"], "127.1.1.44");
                assert_eq!(line["Etype"].as_u64().unwrap_or(0x0800), 0x0800);
                assert!(line["SrcAddr"].as_str().unwrap().starts_with("10.0."), "{line}");
                assert!(line["SrcPort"].as_u64().unwrap() >= 32_768 && line["InIf"].as_u64().unwrap() <= 48);
                assert!([6, 17].contains(&line["Proto"].as_u64().unwrap()));
            }
        }
    }
}
