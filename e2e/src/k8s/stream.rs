//! A numbered stream of events that runs beside the test.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow};

use crate::{
    load::{self, Framing, Plan, Progress, Shape},
    sequence::Sent,
};

/// A thousand events a second until it is told to stop.
pub struct Stream {
    progress: Arc<Progress>,
    thread: JoinHandle<Result<Sent>>,
}

impl Stream {
    /// Datagrams of syslog to `target`; `number` tells streams apart.
    pub fn udp(target: SocketAddr, number: u16) -> Self {
        Self::start(target, number, load::udp)
    }

    /// Lines of syslog over one TCP connection.
    pub fn tcp(target: SocketAddr, number: u16) -> Self {
        Self::start(target, number, |plan, progress| load::tcp(plan, Framing::Line, progress))
    }

    fn start(
        target: SocketAddr,
        stream: u16,
        send: impl FnOnce(&Plan, &Progress) -> Result<Sent> + Send + 'static,
    ) -> Self {
        let plan = Plan { target, shape: Shape::Rfc5424, stream, count: u64::MAX, rate: 1000, size: 256 };
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        Self { progress, thread: thread::spawn(move || send(&plan, &shared)) }
    }

    /// Events sent so far.
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Relaxed)
    }

    /// The end, and what was sent.
    pub fn stop(self) -> Result<Sent> {
        self.progress.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}
