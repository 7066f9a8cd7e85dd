//! Many exporters of flow records at one constant rate.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::Ordering::Relaxed,
};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use crate::{
    datagrams::{Datagrams, Exporter, Version},
    load::{Pacer, Progress, send},
    sequence::{Promised, Sent},
};

/// One load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// What.
    pub version: Version,
    /// How many send, each from an address of its own.
    pub exporters: u16,
    /// Records in all.
    pub count: u64,
    /// Records a second.
    pub rate: u64,
}

/// Whole datagrams, up to four of an exporter in one system call (`UDP_SEGMENT`), then the next exporter's. An
/// exporter's template comes before its first record and again within 20 datagrams, as Cisco's routers do it unless they
/// are told otherwise.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Sent> {
    const BURST: u64 = 4;
    const REFRESH: u64 = 5;
    let datagrams = Datagrams::new(plan.version);
    let mut exporters = Vec::new();
    for number in 0..plan.exporters {
        let exporter = Exporter::new(number);
        let socket = UdpSocket::bind((exporter.address, 0))?;
        socket.connect(plan.target)?;
        setsockopt(&socket, UdpGsoSegment, &(datagrams.size() as i32))?;
        exporters.push((exporter, socket));
    }
    let records = u64::from(plan.version.records());
    let mut pacer = Pacer::new(plan.rate.div_ceil(records), plan.count.div_ceil(records), progress);
    let (mut number, mut buffer) = (0, Vec::new());
    'rounds: for round in 0_u64.. {
        for (exporter, socket) in &mut exporters {
            let Some(due) = pacer.due(BURST) else { break 'rounds };
            if round % REFRESH == 0
                && let Some(template) = datagrams.template(exporter)
            {
                send(socket, &template)?;
            }
            buffer.clear();
            for _ in 0..due {
                datagrams.append(exporter, number, &mut buffer);
                number += records;
            }
            send(socket, &buffer)?;
            progress.sent.fetch_add(due * records, Relaxed);
        }
    }
    Ok(Sent { stream: 0, attempted: number, promised: Promised::All })
}
