//! A supervisor with a spool in a temporary folder, and senders.

use std::{
    collections::BTreeMap,
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytefreezer_proxy::{
    batch::{Level, MemoryBudget},
    config::{
        Batching, Config, DataFormat, ExporterId, FlowOutput, FlowSource, HttpSource, Input, KeepRaw, Limits,
        Listen, Logging, MacFormat, Mode, Oversize, Receiver, Server, SflowSource, Source, Spooling,
        SyslogMode, SyslogSource, TcpSource, Tokens, UdpSource,
    },
    ids::DatasetKey,
    inputs::{InputContext, InputState, InputStatus, Senders, Supervisor},
    ledger::Ledger,
    metrics::Metrics,
    spool::{Parts, Spool, SpoolHandle, Stamp, State},
    vital::Vitals,
};
use tempfile::TempDir;

pub struct Rig {
    pub supervisor: Supervisor,
    pub spool: SpoolHandle,
    pub ledger: Arc<Ledger>,
    pub senders: Arc<Senders>,
    pub memory: MemoryBudget,
    pub metrics: Arc<Metrics>,
    pub config: Config,
    read: Mutex<BTreeMap<Stamp, Vec<String>>>,
    owner: Spool,
    folder: TempDir,
}

pub const DEADLINE: Duration = Duration::from_secs(30);

impl Rig {
    pub async fn start(inputs: Vec<Input>) -> Self {
        Self::start_with(config(inputs)).await
    }

    pub async fn start_with(config: Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// In the folder of an earlier one.
    pub async fn start_in(folder: TempDir, mut config: Config) -> Self {
        config.spooling.directory = folder.path().to_owned();
        let (ledger, metrics) = (Arc::<Ledger>::default(), Arc::<Metrics>::default());
        let senders = Arc::new(Senders::new(1000));
        let level = Arc::new(Level::new(&config.batching));
        let memory = MemoryBudget::new(config.limits.memory_bytes);
        let spool = Spool::open(Parts {
            settings: config.spooling.clone(),
            memory: memory.clone(),
            ledger: Arc::clone(&ledger),
            metrics: Arc::clone(&metrics),
            level: Arc::new(|_| 1),
            max_payload: 10 << 20,
        })
        .unwrap();
        let context = InputContext {
            spool: spool.handle(),
            memory: memory.clone(),
            level,
            ledger: Arc::clone(&ledger),
            senders: Arc::clone(&senders),
            metrics: Arc::clone(&metrics),
            runtime: tokio::runtime::Handle::current(),
            vitals: Vitals::default(),
        };
        let supervisor = Supervisor::start(context, &config).await.unwrap();
        let handle = spool.handle();
        let read = Mutex::default();
        Self {
            supervisor,
            spool: handle,
            ledger,
            senders,
            memory,
            metrics,
            config,
            read,
            owner: spool,
            folder,
        }
    }

    /// Ends as the process does; what is on disk stays.
    pub async fn end(self) -> TempDir {
        let Self { supervisor, owner, folder, .. } = self;
        supervisor.stop_intake().await;
        owner.close(DEADLINE).await;
        drop(owner);
        folder
    }

    /// What is in the spool's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn apply(&mut self, inputs: Vec<Input>) {
        self.config.inputs = inputs;
        self.supervisor.apply(&self.config).await;
    }

    /// The lines of a dataset in closed batches, in order of arrival.
    pub fn lines(&self, dataset: &str) -> Vec<String> {
        let key = DatasetKey { tenant: "acme".parse().unwrap(), dataset: dataset.parse().unwrap() };
        let mut read = self.read.lock().unwrap();
        let mut lines = Vec::new();
        for entry in self.spool.entries(&key, &[State::Queue, State::Retry, State::Dlq], None, usize::MAX) {
            let batch = read.entry(entry.stamp).or_insert_with(|| {
                let mut text = String::new();
                let file = self.spool.open(entry.stamp).unwrap();
                flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
                text.lines().map(str::to_owned).collect()
            });
            lines.extend_from_slice(batch);
        }
        lines
    }

    /// Waits for at least `count` lines of a dataset.
    pub async fn wait_lines(&self, dataset: &str, count: usize) -> Vec<String> {
        until(&format!("{count} lines of {dataset}"), || {
            let lines = self.lines(dataset);
            if lines.len() >= count { Ok(lines) } else { Err(lines.len()) }
        })
        .await
    }

    pub fn status(&self, name: &str) -> InputStatus {
        self.supervisor.status().into_iter().find(|status| status.name == name).unwrap()
    }

    pub async fn wait_status(&self, name: &str, wanted: impl Fn(&InputStatus) -> bool) -> InputStatus {
        until(name, || {
            let status = self.status(name);
            if wanted(&status) { Ok(status) } else { Err(Box::new(status)) }
        })
        .await
    }

    pub async fn wait_state(&self, name: &str, state: InputState) -> InputStatus {
        self.wait_status(name, |status| status.state == state).await
    }

    /// Where an input listens: `protocol` is `udp` or `tcp`.
    pub fn address(&self, name: &str, protocol: &str) -> SocketAddr {
        let addresses = self.status(name).addresses;
        let found = addresses.iter().find_map(|address| address.strip_prefix(protocol));
        let mut address: SocketAddr = found.unwrap().trim().parse().unwrap();
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address
    }

    pub fn metric(&self, line_start: &str) -> Option<u64> {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// Waits for a condition.
pub async fn until<T, E: std::fmt::Debug>(what: &str, check: impl Fn() -> Result<T, E>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("not reached: {what}; seen {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Inodes of the UDP sockets on a port, sorted.
pub fn inodes(port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let mut inodes: Vec<u64> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[1].ends_with(&suffix) && fields[2].ends_with(":0000"))
        .map(|fields| fields[9].parse().unwrap())
        .collect();
    inodes.sort_unstable();
    inodes
}

/// A UDP sender with the given source address.
pub fn sender(source: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((source.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(to).unwrap();
    socket
}

pub fn batching() -> Batching {
    Batching {
        max_lines: 0,
        max_bytes: 1 << 20,
        timeout: Duration::from_millis(100),
        compression_enabled: true,
        compression_level: 1,
        compression_adaptive: false,
    }
}

pub fn config(inputs: Vec<Input>) -> Config {
    Config {
        app_name: "bytefreezer-proxy".into(),
        logging: Logging { level: "info".into(), json: false },
        server: Server {
            api_host: Ipv4Addr::LOCALHOST.into(),
            api_port: 0,
            health_port: None,
            read_token: None,
            admin_token: None,
            tls: None,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(1),
        },
        inputs,
        receiver: Receiver {
            base_url: "http://127.0.0.1:1".into(),
            timeout: Duration::from_secs(1),
            upload_worker_count: 1,
            max_idle_conns: 1,
            ca_file: None,
            max_payload_size: 10 << 20,
        },
        tokens: Tokens::default(),
        batching: batching(),
        spooling: Spooling {
            enabled: true,
            directory: PathBuf::new(),
            max_size_bytes: 1 << 30,
            dlq_max_size_bytes: None,
            retry_attempts: 5,
            retry_interval: Duration::from_mins(1),
            cleanup_interval: Duration::from_mins(5),
            max_age: None,
            sync_interval: Duration::from_millis(20),
            dlq_auto_retry: true,
        },
        limits: Limits { memory_bytes: 64 << 20, max_senders: 1000, receive_threads: 2 },
        mode: Mode::LocalOnly,
        account_id: None,
        tenant_id: None,
        schema_version: None,
    }
}

/// An input on 127.0.0.1 with the dataset `name` of tenant `acme`, and a port the system chooses.
pub fn input(name: &str, source: Source) -> Input {
    Input {
        name: name.into(),
        key: DatasetKey { tenant: "acme".parse().unwrap(), dataset: name.parse().unwrap() },
        paused: false,
        hint: "ndjson".parse().unwrap(),
        format: DataFormat::Auto,
        source_field: None,
        listen: Listen { host: Ipv4Addr::LOCALHOST.into(), port: 0 },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: batching(),
        source,
        hash: String::new(),
    }
}

pub fn udp(name: &str) -> Input {
    input(name, Source::Udp(UdpSource { read_buffer_size: 1 << 20 }))
}

pub fn tcp_source() -> TcpSource {
    TcpSource {
        max_connections: 100,
        max_connections_per_source: None,
        read_timeout: Some(Duration::from_secs(30)),
        max_line_size: 1 << 20,
        oversize: Oversize::Cut,
        delimiter: b'\n',
        tls: None,
    }
}

pub fn tcp(name: &str) -> Input {
    input(name, Source::Tcp(tcp_source()))
}

pub fn syslog(name: &str) -> Input {
    let udp = Some(UdpSource { read_buffer_size: 1 << 20 });
    input(
        name,
        Source::Syslog(SyslogSource {
            udp,
            tcp: Some(tcp_source()),
            mode: SyslogMode::Auto,
            raw: KeepRaw::Drop,
            timezone: "UTC".into(),
            timezones: Vec::new(),
        }),
    )
}

pub fn http(name: &str) -> Input {
    input(
        name,
        Source::Http(HttpSource {
            path: "/webhook".into(),
            max_payload_size: 1 << 20,
            max_lines_per_request: 1000,
            max_compression_ratio: 100,
            max_connections: 100,
            max_connections_per_source: None,
            read_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            auth: None,
            tls: None,
        }),
    )
}

fn datagrams() -> UdpSource {
    UdpSource { read_buffer_size: 1 << 20 }
}

fn flow_source(tcp: bool) -> FlowSource {
    FlowSource {
        udp: Some(datagrams()),
        tcp: tcp.then(|| TcpSource { read_timeout: None, ..tcp_source() }),
        output: FlowOutput::Fields,
        mac_format: MacFormat::Number,
        options_records: false,
        exporter_id: ExporterId::Address,
        max_exporters: 1000,
        max_template_fields: 1 << 16,
        max_waiting_bytes: 1 << 20,
        max_waiting_file_bytes: 1 << 20,
    }
}

pub fn netflow(name: &str) -> Input {
    input(name, Source::Netflow(flow_source(false)))
}

pub fn ipfix(name: &str) -> Input {
    input(name, Source::Ipfix(flow_source(true)))
}

/// With other settings.
pub fn flows(input: Input, change: impl FnOnce(&mut FlowSource)) -> Input {
    with(input, |input| match &mut input.source {
        Source::Netflow(source) | Source::Ipfix(source) => change(source),
        _ => unreachable!(),
    })
}

pub fn sflow(name: &str) -> Input {
    input(
        name,
        Source::Sflow(SflowSource {
            udp: datagrams(),
            output: FlowOutput::Fields,
            mac_format: MacFormat::Text,
            counters: true,
            drops: true,
            inner: false,
        }),
    )
}

pub fn ebpf(name: &str) -> Input {
    input(name, Source::Ebpf(datagrams()))
}

pub fn with(mut input: Input, change: impl FnOnce(&mut Input)) -> Input {
    change(&mut input);
    input
}

pub fn from(input: Input, sources: &[&str]) -> Input {
    with(input, |input| input.allowed_sources = sources.iter().map(|net| net.parse().unwrap()).collect())
}

pub fn on_port(input: Input, port: u16) -> Input {
    with(input, |input| input.listen.port = port)
}

pub fn on_host(input: Input, host: &str) -> Input {
    with(input, |input| input.listen.host = host.parse().unwrap())
}
