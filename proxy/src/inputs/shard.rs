//! Pairs of threads for UDP: a receiver, which only copies and hands over, and a decoder.
//!
//! ```text
//! sockets --recvmmsg--> receiver --PacketBatch (2 to 8 on the way)--> decoder --Chunk--> spool
//!                          ^---------------- emptied batches -----------'
//! ```
//! With the first listener what the batches of all pairs may hold is set aside from the memory budget, which also says
//! how many there are and how large ([`Batches`]). With the end of the last one it is given back.
//!
//! When the decoder is behind, the receiver waits, the kernel's buffers fill and the kernel drops and counts.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    InputContext, Refusal,
    decoder::{self, Work},
    packets::{Batches, PacketBatch},
    socket::{Inbox, Poller, UdpSocket, Waker},
    udp::UdpPort,
};
use crate::batch::{MemoryBudget, Reservation};

/// How long a datagram waits for others at the receiver.
const LINGER: Duration = Duration::from_millis(2);
/// How long a receiver lets datagrams gather in sockets with room, once it has some: a wake-up costs as much as many
/// datagrams.
const GATHER: Duration = Duration::from_micros(500);
/// How often drop counters are read; a datagram tells of those before it only.
const LOOK: Duration = Duration::from_secs(1);
/// How long a socket that closes is read at most.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a listener's end is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many messages are taken from one socket before the next one's turn, in calls.
const TURN: usize = 16;
/// Token of the waker; ids of listeners start at 1.
const WAKE: u64 = 0;

/// All pairs of the process.
#[derive(Debug)]
pub(super) struct Shards {
    all: Vec<Shard>,
    memory: MemoryBudget,
    /// Bytes of all batches.
    needed: usize,
    aside: Mutex<Reservation>,
    listeners: AtomicUsize,
}

#[derive(Debug)]
struct Shard {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

enum Command {
    Add(Arc<UdpPort>, Arc<UdpSocket>),
    Remove(u64, oneshot::Sender<()>),
    /// Nothing is received from now on: let go of the batches.
    Rest,
    Stop,
}

impl Shards {
    /// Starts `count` pairs.
    pub fn start(count: usize, context: &InputContext) -> io::Result<Arc<Self>> {
        let (count, memory) = (count.max(1), context.memory.clone());
        let batches = Batches::within(memory.total(), count);
        let all =
            (0..count).map(|number| Shard::start(number, context, batches)).collect::<io::Result<_>>()?;
        let needed = count * batches.memory();
        Ok(Arc::new(Self { all, memory, needed, aside: Mutex::default(), listeners: AtomicUsize::default() }))
    }

    /// Number of pairs: sockets a listener needs.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Receives from these sockets, one per pair.
    pub fn add(&self, port: &Arc<UdpPort>, sockets: &[Arc<UdpSocket>]) -> io::Result<()> {
        self.set_aside();
        self.listeners.fetch_add(1, Relaxed);
        for (shard, socket) in self.all.iter().zip(sockets) {
            shard.send(Command::Add(Arc::clone(port), Arc::clone(socket)))?;
        }
        Ok(())
    }

    /// What is not free now comes with a later listener.
    fn set_aside(&self) {
        let mut aside = self.aside.lock();
        let missing = self.needed.saturating_sub(aside.bytes());
        if missing > 0 {
            aside.merge(self.memory.set_aside(missing));
        }
    }

    /// Drains and closes the sockets of a listener; returns when its lines are with the spool.
    pub async fn remove(&self, port: u64) {
        let mut waits = Vec::new();
        for shard in &self.all {
            let (done, wait) = oneshot::channel();
            if shard.send(Command::Remove(port, done)).is_ok() {
                waits.push(wait);
            }
        }
        let all = async {
            for wait in waits {
                let _ = wait.await;
            }
        };
        let drained = tokio::time::timeout(CLOSE_TIMEOUT, all).await.is_ok();
        if !drained {
            tracing::warn!("the spool takes nothing; a UDP listener is closed in the background");
        }
        let was_last = self.listeners.fetch_sub(1, Relaxed) == 1;
        // What is still on its way is in batches that must be accounted for; the next last listener's end frees them.
        if was_last && drained {
            for shard in &self.all {
                let _ = shard.send(Command::Rest);
            }
            self.memory.give_back(std::mem::take(&mut *self.aside.lock()));
        }
    }

    /// Ends all threads after they handed over what they hold.
    pub async fn stop(&self) {
        let threads: Vec<_> = self
            .all
            .iter()
            .flat_map(|shard| {
                let _ = shard.send(Command::Stop);
                std::mem::take(&mut *shard.threads.lock())
            })
            .collect();
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        if tokio::time::timeout(CLOSE_TIMEOUT, joined).await.is_err() {
            tracing::warn!("the spool takes nothing; UDP threads left behind");
        }
    }
}

impl Shard {
    fn start(number: usize, context: &InputContext, batches: Batches) -> io::Result<Self> {
        let (commands, inbox) = unbounded();
        let (to_decoder, work) = bounded(batches.in_flight);
        let (emptied, spare) = bounded(batches.in_flight);
        let waker = Arc::new(Waker::new()?);
        let receiver = Reception {
            poller: Poller::new()?,
            waker: Arc::clone(&waker),
            commands: inbox,
            sockets: HashMap::new(),
            inbox: Inbox::new(),
            batch: PacketBatch::unused(batches.full),
            full: batches.full,
            since: None,
            decoder: to_decoder,
            spare,
        };
        receiver.poller.add(std::os::fd::AsFd::as_fd(&*waker), WAKE)?;
        let decoder = decoder::Worker::new(context.clone(), work, emptied);
        let vitals = context.vitals.clone();
        let spawn = |name: &str| std::thread::Builder::new().name(format!("udp-{name}-{number}"));
        let threads = vec![
            spawn("receive").spawn(move || {
                vitals.watch_thread("receiving datagrams", || receiver.run());
            })?,
            spawn("decode").spawn(move || decoder.run())?,
        ];
        Ok(Self { commands, waker, threads: Mutex::new(threads) })
    }

    fn send(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).map_err(|_| io::Error::other("the UDP threads have ended"))?;
        self.waker.wake();
        Ok(())
    }
}

struct Source {
    port: Arc<UdpPort>,
    socket: Arc<UdpSocket>,
    drops: u32,
}

impl Source {
    /// Reports what the kernel's counter, modulo 2^32, says beyond what is known. Counts read at different
    /// moments come in any order; a smaller one is an older one.
    fn count_drops(&mut self, counter: u32) {
        let more = counter.wrapping_sub(self.drops);
        if more != 0 && more < u32::MAX / 2 {
            self.drops = counter;
            self.port.dropped(u64::from(more));
        }
    }

    fn read_drops(&mut self) {
        if let Some(counter) = self.socket.drops() {
            self.count_drops(counter);
        }
    }
}

/// The receiver thread.
struct Reception {
    poller: Poller,
    waker: Arc<Waker>,
    commands: Receiver<Command>,
    sockets: HashMap<u64, Source>,
    inbox: Inbox,
    batch: PacketBatch,
    /// Bytes from which it is handed over.
    full: usize,
    /// When the first datagram of `batch` was taken.
    since: Option<Instant>,
    decoder: Sender<Work>,
    spare: Receiver<PacketBatch>,
}

impl Reception {
    fn run(mut self) {
        let mut ready = Vec::new();
        let mut looked = Instant::now();
        loop {
            let wait = self.since.map_or(LOOK, |since| LINGER.saturating_sub(since.elapsed()));
            if let Err(error) = self.poller.wait(&mut ready, wait) {
                tracing::error!(%error, "epoll failed; trying again");
                std::thread::sleep(LINGER);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.sockets.values_mut().for_each(Source::read_drops);
            }
            let mut gather = !ready.is_empty();
            for token in ready.drain(..) {
                if token == WAKE {
                    self.waker.reset();
                    if self.obey().is_break() {
                        return;
                    }
                } else {
                    gather &= !self.receive(token, TURN) && self.has_room(token);
                }
            }
            if self.since.is_some_and(|since| since.elapsed() >= LINGER) {
                self.hand_over();
            } else if gather && self.since.is_some() {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn has_room(&self, port: u64) -> bool {
        self.sockets.get(&port).is_some_and(|source| source.port.has_room())
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Add(port, socket)) => self.add(port, socket),
                Ok(Command::Remove(port, done)) => {
                    self.remove(port);
                    self.hand_over();
                    let _ = self.decoder.send(Work::Flush(done));
                }
                Ok(Command::Rest) => {
                    self.batch = PacketBatch::unused(self.full);
                    while self.spare.try_recv().is_ok() {}
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    for port in self.sockets.keys().copied().collect::<Vec<_>>() {
                        self.remove(port);
                    }
                    self.hand_over();
                    return std::ops::ControlFlow::Break(());
                }
                Err(TryRecvError::Empty) => return std::ops::ControlFlow::Continue(()),
            }
        }
    }

    fn add(&mut self, port: Arc<UdpPort>, socket: Arc<UdpSocket>) {
        if let Err(error) = self.poller.add(std::os::fd::AsFd::as_fd(&*socket), port.id) {
            tracing::error!(%error, "a UDP socket cannot be watched; its datagrams are lost");
            return;
        }
        self.sockets.insert(port.id, Source { port, socket, drops: 0 });
    }

    /// Reads what the kernel holds, then closes the socket.
    fn remove(&mut self, port: u64) {
        let until = Instant::now() + DRAIN;
        while self.receive(port, 1) && Instant::now() < until {}
        if let Some(mut source) = self.sockets.remove(&port) {
            source.read_drops();
            let _ = self.poller.remove(std::os::fd::AsFd::as_fd(&*source.socket));
        }
    }

    /// Takes what is there in at most `calls` system calls; `true` when there may be more.
    fn receive(&mut self, port: u64, calls: usize) -> bool {
        for _ in 0..calls {
            let Some(source) = self.sockets.get_mut(&port) else { return false };
            let more = match self.inbox.receive(&source.socket) {
                Ok(more) => more,
                // An ICMP answer to something nobody sent, or no memory for the moment: the next call goes on.
                Err(error) => {
                    tracing::debug!(%error, "recvmmsg");
                    return false;
                }
            };
            let mut drops = None;
            failpoint!("inputs.receive");
            for message in self.inbox.messages() {
                drops = message.drops.or(drops);
                if message.truncated {
                    source.port.refuse(message.source.ip(), Refusal::Oversize, 1);
                    continue;
                }
                if self.since.is_none() {
                    self.since = Some(Instant::now());
                    self.batch.received_ns = unix_ns();
                }
                let sender = source.port.sender(message.source);
                self.batch.push(&source.port, sender, message.bytes, message.segment);
                if self.batch.is_full() {
                    self.since = None;
                    exchange(&mut self.batch, &self.decoder, &self.spare, self.full);
                }
            }
            if let Some(counter) = drops {
                source.count_drops(counter);
            }
            if !more {
                return false;
            }
        }
        true
    }

    fn hand_over(&mut self) {
        self.since = None;
        exchange(&mut self.batch, &self.decoder, &self.spare, self.full);
    }
}

/// Sends the batch off and takes an empty one. Waits while the decoder is behind.
fn exchange(
    batch: &mut PacketBatch,
    decoder: &Sender<Work>,
    spare: &Receiver<PacketBatch>,
    full_bytes: usize,
) {
    if !batch.is_empty() {
        let empty = spare.try_recv().unwrap_or_else(|_| PacketBatch::new(full_bytes));
        let full = std::mem::replace(batch, empty);
        // The decoder outlives this thread: it ends when this sender is gone.
        let _ = decoder.send(Work::Batch(full));
    }
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
