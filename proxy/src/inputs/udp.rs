//! A UDP listener: one socket per shard, all on one address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, Guard};

use super::{InputStats, Refusal, Table, shard::Shards, socket::UdpSocket};

/// Receive buffer that holds what comes while a receiver thread sleeps for a moment.
const ROOMY: u64 = 1 << 20;

/// What receiver and decoder threads share of a listener.
#[derive(Debug)]
pub(super) struct UdpPort {
    /// Unlike that of every other listener of this process.
    pub id: u64,
    table: ArcSwap<Table>,
    /// Whether senders are told apart by their ports too.
    by_port: AtomicBool,
    /// Counts what belongs to no route.
    counters: Arc<InputStats>,
}

impl UdpPort {
    pub fn new(table: Arc<Table>, counters: Arc<InputStats>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let by_port = AtomicBool::new(table.by_port());
        Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), table: ArcSwap::new(table), by_port, counters })
    }

    fn set_table(&self, table: Arc<Table>) {
        self.by_port.store(table.by_port(), Relaxed);
        self.table.store(table);
    }

    /// The sender as far as it tells senders apart: without its port where that does not count, so that what is done
    /// per sender is done once for all its ports.
    pub fn sender(&self, source: SocketAddr) -> SocketAddr {
        let port = if self.by_port.load(Relaxed) { source.port() } else { 0 };
        SocketAddr::new(source.ip(), port)
    }

    /// The routes now.
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Whether the kernel's buffer is large enough to let datagrams gather in it.
    pub fn has_room(&self) -> bool {
        self.counters.receive_buffer.load(Relaxed) >= ROOMY
    }

    /// Counts what was not accepted, for the sender's route if there is one.
    pub fn refuse(&self, source: IpAddr, cause: Refusal, datagrams: u64) {
        match self.table.load().lookup(source) {
            Some(route) => route.stats.refuse(cause, datagrams),
            None => self.counters.refuse(cause, datagrams),
        }
    }

    /// Counts what the kernel dropped. Whose it was is not known, so every input of the listener shows it.
    pub fn dropped(&self, datagrams: u64) {
        self.counters.kernel_drops.fetch_add(datagrams, Relaxed);
        for route in self.table.load().routes() {
            route.stats.kernel_drops.fetch_add(datagrams, Relaxed);
        }
    }
}

/// A listener that is bound and received from.
#[derive(Debug)]
pub(super) struct UdpListener {
    address: SocketAddr,
    port: Arc<UdpPort>,
    sockets: Vec<Arc<UdpSocket>>,
    shards: Arc<Shards>,
}

impl UdpListener {
    /// Binds one socket per shard and starts to receive.
    pub fn open(
        address: SocketAddr,
        buffer: usize,
        table: Arc<Table>,
        counters: Arc<InputStats>,
        shards: &Arc<Shards>,
    ) -> io::Result<Self> {
        let address = UdpSocket::probe(address)?;
        let sockets = (0..shards.len())
            .map(|_| UdpSocket::bind(address).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let port = UdpPort::new(table, counters);
        let listener = Self { address, port, sockets, shards: Arc::clone(shards) };
        // Before the first datagram is read, so that a burst at start finds the room it was promised.
        listener.set_buffer(buffer);
        shards.add(&listener.port, &listener.sockets)?;
        Ok(listener)
    }

    /// The address with the port the system chose when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next batch on these routes hold.
    pub fn set_table(&self, table: Arc<Table>) {
        self.port.set_table(table);
        self.show_buffer(self.port.counters.receive_buffer.load(Relaxed));
    }

    /// Asks for a receive buffer per socket and reports what the kernel gave.
    pub fn set_buffer(&self, asked: usize) {
        let given = self.sockets.iter().filter_map(|socket| match socket.set_receive_buffer(asked) {
            Ok(given) => Some(given),
            Err(error) => {
                tracing::warn!(listener = %self.address, %error, "receive buffer not set");
                None
            }
        });
        let Some(given) = given.min() else { return };
        self.show_buffer(given as u64);
        if given < asked {
            tracing::warn!(
                r#type = "udp_buffer_limited",
                listener = %self.address,
                requested_size = asked,
                actual_size = given,
                sysctl_cmd = %format_args!("sysctl -w net.core.rmem_max={}", asked.saturating_mul(2)),
                "the kernel gives a smaller receive buffer than `read_buffer_size` asks for; \
                 bursts are lost earlier until it is allowed to with sysctl_cmd"
            );
        }
    }

    /// Takes what the kernel still holds, hands all of it to the spool and closes the sockets.
    pub async fn close(self) {
        let Self { port, sockets, shards, .. } = self;
        drop(sockets);
        shards.remove(port.id).await;
    }

    fn show_buffer(&self, bytes: u64) {
        self.port.counters.receive_buffer.store(bytes, Relaxed);
        for route in self.port.table.load().routes() {
            route.stats.receive_buffer.store(bytes, Relaxed);
        }
    }
}
