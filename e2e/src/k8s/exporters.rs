//! Exporters of NetFlow 9 beside the test, whose records carry numbers and mean nothing without the template that each
//! exporter repeats at intervals.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use serde_json::Value;

use crate::receiver::Receiver;

/// Records of a datagram.
const RECORDS: u64 = 10;
/// Between two datagrams of records of one exporter.
const PAUSE: Duration = Duration::from_millis(500);
/// Number of the template.
const TEMPLATE: u16 = 256;
/// Its fields (RFC 3954, section 8), type and length: source address, which is the exporter's number, and bytes, which
/// are the record's.
const FIELDS: [(u16, u16); 2] = [(8, 4), (1, 8)];

/// Running exporters.
pub struct Exporters {
    orders: Arc<Orders>,
    thread: JoinHandle<Result<()>>,
}

/// What the test wants, and what it gets.
#[derive(Default)]
struct Orders {
    /// No further records; templates go on.
    silence: AtomicBool,
    /// How many records each exporter sent, once it sends none any more.
    sent: Mutex<Option<Vec<u64>>>,
    /// The end.
    stop: AtomicBool,
}

impl Exporters {
    /// So many, which send from these addresses in turn. Each repeats its template at this interval, and none has its turn
    /// together with another, so most of them send records before their first template.
    pub fn start(target: SocketAddr, sources: &[IpAddr], count: usize, interval: Duration) -> Result<Self> {
        let begin = Instant::now();
        let all = sources.iter().cycle().take(count).enumerate();
        let exporters = all.map(|(number, source)| {
            let part = |of: Duration| begin + of * number as u32 / count as u32;
            let socket = UdpSocket::bind((*source, 0)).with_context(|| format!("an exporter at {source}"))?;
            Ok(Exporter {
                number: number as u32,
                socket,
                target,
                sequence: 0,
                records: 0,
                next: part(PAUSE),
                next_template: part(interval),
            })
        });
        let exporters = exporters.collect::<Result<Vec<_>>>()?;
        let orders = Arc::new(Orders::default());
        let theirs = orders.clone();
        Ok(Self { orders, thread: thread::spawn(move || run(exporters, interval, &theirs)) })
    }

    /// Ends the records; how many each exporter sent. Templates are repeated until [`Self::stop`], for what still waits.
    pub fn silence(&self) -> Result<Vec<u64>> {
        self.orders.silence.store(true, Relaxed);
        crate::until(Duration::from_secs(10), "the end of records", || self.orders.sent.lock().clone())
    }

    /// The end.
    pub fn stop(self) -> Result<()> {
        self.orders.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the exporters panicked"))?
    }
}

fn run(mut exporters: Vec<Exporter>, interval: Duration, orders: &Orders) -> Result<()> {
    while !orders.stop.load(Relaxed) {
        let is_silent = orders.silence.load(Relaxed);
        for exporter in &mut exporters {
            let now = Instant::now();
            if now >= exporter.next_template {
                exporter.next_template += interval;
                exporter.template()?;
            }
            if now >= exporter.next && !is_silent {
                exporter.next += PAUSE;
                exporter.records()?;
            }
        }
        if is_silent {
            *orders.sent.lock() = Some(exporters.iter().map(|exporter| exporter.records).collect());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

struct Exporter {
    number: u32,
    socket: UdpSocket,
    target: SocketAddr,
    sequence: u32,
    /// Records sent.
    records: u64,
    next: Instant,
    next_template: Instant,
}

impl Exporter {
    fn template(&mut self) -> Result<()> {
        let mut set = Vec::new();
        put(&mut set, &[TEMPLATE, FIELDS.len() as u16]);
        for (kind, length) in FIELDS {
            put(&mut set, &[kind, length]);
        }
        self.send(0, 1, &set)
    }

    fn records(&mut self) -> Result<()> {
        let mut set = Vec::new();
        for number in self.records..self.records + RECORDS {
            set.extend(source(self.number).octets());
            set.extend(number.to_be_bytes());
        }
        self.records += RECORDS;
        self.send(TEMPLATE, RECORDS as u16, &set)
    }

    /// A datagram with one set (RFC 3954, section 5).
    fn send(&mut self, id: u16, count: u16, set: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut datagram = Vec::new();
        put(&mut datagram, &[9, count]);
        for word in [now.as_millis() as u32, now.as_secs() as u32, self.sequence, 1] {
            datagram.extend(word.to_be_bytes());
        }
        put(&mut datagram, &[id, set.len() as u16 + 4]);
        datagram.extend(set);
        self.sequence += 1;
        self.socket.send_to(&datagram, self.target)?;
        Ok(())
    }
}

fn put(to: &mut Vec<u8>, numbers: &[u16]) {
    to.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
}

/// The source address in the records of an exporter.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number)
}

/// What became of the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Records sent.
    pub sent: u64,
    /// Of these, those that did not arrive.
    pub lost: u64,
    /// Arrivals beyond the first.
    pub duplicated: u64,
}

/// Compares what each exporter sent with the lines of a dataset.
pub fn account(receiver: &Receiver, tenant: &str, dataset: &str, sent: &[u64]) -> Result<Account> {
    let mut arrived = vec![BTreeSet::new(); sent.len()];
    let mut account = Account { sent: sent.iter().sum(), ..Account::default() };
    for line in receiver.text(tenant, dataset)? {
        let record: Value = serde_json::from_str(&line)?;
        let read = || {
            let address: Ipv4Addr = record["SrcAddr"].as_str()?.parse().ok()?;
            let exporter = address.to_bits().checked_sub(source(0).to_bits())?;
            Some((exporter as usize, record["Bytes"].as_u64()?))
        };
        let (exporter, number) = read().with_context(|| format!("not a record of an exporter: {line}"))?;
        let of_one = arrived.get_mut(exporter).with_context(|| format!("of no exporter: {line}"))?;
        account.duplicated += u64::from(!of_one.insert(number));
    }
    let missing =
        |(sent, arrived): (&u64, &BTreeSet<u64>)| (0..*sent).filter(|n| !arrived.contains(n)).count();
    account.lost = sent.iter().zip(&arrived).map(missing).sum::<usize>() as u64;
    Ok(account)
}
