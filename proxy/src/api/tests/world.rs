//! An API with everything around it that tests need to change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, StatusCode, redirect::Policy};
use serde_json::Value;
use tempfile::TempDir;

use super::super::{Api, ApiState, Delivery, Running, SpoolTrouble};
use crate::{
    batch::{Body, Chunk, Class, MemoryBudget, Reservation, Stream, StreamKey},
    config::{
        Batching, Config, DataFormat, HttpSource, Input, Limits, Listen, Logging, Mode, Receiver, Secret,
        Server, Source, Spooling, Tokens, UdpSource,
    },
    ids::{DatasetKey, Hint},
    inputs::{InputState, InputStats, InputStatus, Senders},
    ledger::Ledger,
    metrics::Metrics,
    spool::{Failure, Parts, Reason, Spool, Stamp, State as Place},
    vital::Vitals,
};

pub const SECRETS: [&str; 5] =
    ["upload-secret", "tenant-secret", "webhook-secret", "read-secret", "admin-secret"];

pub fn key(tenant: &str, dataset: &str) -> DatasetKey {
    DatasetKey { tenant: tenant.parse().unwrap(), dataset: dataset.parse().unwrap() }
}

fn inline(secret: &str) -> Secret {
    Secret::Inline(secret.to_owned())
}

fn batching() -> Batching {
    Batching {
        max_lines: 0,
        max_bytes: 1 << 20,
        timeout: Duration::from_secs(30),
        compression_enabled: true,
        compression_level: 6,
        compression_adaptive: true,
    }
}

fn input(name: &str, port: u16, source: Source) -> Input {
    Input {
        name: name.to_owned(),
        key: key("acme", name),
        paused: false,
        hint: Hint::raw(),
        format: DataFormat::Auto,
        source_field: None,
        listen: Listen { host: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: batching(),
        source,
        hash: format!("hash-of-{name}"),
    }
}

pub fn config() -> Config {
    let http = HttpSource {
        path: "/webhook".to_owned(),
        max_payload_size: 1 << 20,
        max_lines_per_request: 1000,
        max_compression_ratio: 100,
        max_connections: 1000,
        max_connections_per_source: None,
        read_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_mins(2),
        auth: Some(inline("webhook-secret")),
        tls: None,
    };
    Config {
        app_name: "bytefreezer-proxy".to_owned(),
        logging: Logging { level: "info".to_owned(), json: true },
        server: Server {
            api_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            api_port: 0,
            health_port: None,
            read_token: None,
            admin_token: None,
            tls: None,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
        },
        inputs: vec![
            input("flows", 2055, Source::Udp(UdpSource { read_buffer_size: 8 << 20 })),
            input("hooks", 8081, Source::Http(http)),
        ],
        receiver: Receiver {
            base_url: "http://user:url-secret@127.0.0.1:9".to_owned(),
            timeout: Duration::from_secs(30),
            upload_worker_count: 5,
            max_idle_conns: 10,
            ca_file: None,
            max_payload_size: 10 << 20,
        },
        tokens: Tokens {
            global: Some(inline("upload-secret")),
            tenants: BTreeMap::from([("acme".parse().unwrap(), inline("tenant-secret"))]),
            known: BTreeSet::new(),
        },
        batching: batching(),
        spooling: Spooling {
            enabled: true,
            directory: "/var/spool/bytefreezer-proxy".into(),
            max_size_bytes: 1 << 30,
            dlq_max_size_bytes: None,
            retry_attempts: 5,
            retry_interval: Duration::from_mins(1),
            cleanup_interval: Duration::from_mins(5),
            max_age: None,
            sync_interval: Duration::from_millis(200),
            dlq_auto_retry: true,
        },
        limits: Limits { memory_bytes: 64 << 20, max_senders: 100, receive_threads: 1 },
        mode: Mode::LocalOnly,
        account_id: None,
        tenant_id: None,
        schema_version: None,
    }
}

/// With both tokens.
pub fn guarded() -> Config {
    let mut config = config();
    config.server.read_token = Some(inline("read-secret"));
    config.server.admin_token = Some(inline("admin-secret"));
    config
}

pub struct World {
    pub state: Arc<ApiState>,
    pub api: Api,
    pub inputs: Arc<Mutex<Vec<InputStatus>>>,
    pub delivery: Arc<Mutex<Delivery>>,
    pub spool_trouble: Arc<Mutex<SpoolTrouble>>,
    pub memory_problem: Arc<Mutex<Option<String>>>,
    pub reloads: Arc<AtomicUsize>,
    pub folder: TempDir,
    _spool: Spool,
    addresses: Vec<SocketAddr>,
    scheme: &'static str,
    client: reqwest::Client,
}

impl World {
    pub async fn new(mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config.spooling.directory = folder.path().join("spool");
        let (ledger, metrics) = (Arc::<Ledger>::default(), Arc::<Metrics>::default());
        let spool = Spool::open(Parts {
            settings: config.spooling.clone(),
            memory: MemoryBudget::new(config.limits.memory_bytes),
            ledger: ledger.clone(),
            metrics: metrics.clone(),
            level: Arc::new(|_| 6),
            max_payload: config.receiver.max_payload_size,
        })
        .unwrap();
        crate::inputs::tls::install_provider();
        let scheme = if config.server.tls.is_some() { "https" } else { "http" };
        let status = |input: &Input| {
            let stats = InputStats::default();
            stats.set_state(InputState::Listening, None);
            InputStatus::new(
                input,
                vec![format!("udp {}:{}", input.listen.host, input.listen.port)],
                1,
                &stats,
            )
        };
        let inputs = Arc::new(Mutex::new(config.inputs.iter().map(status).collect::<Vec<_>>()));
        let delivery = Arc::<Mutex<Delivery>>::default();
        let spool_trouble = Arc::<Mutex<SpoolTrouble>>::default();
        let memory_problem = Arc::<Mutex<Option<String>>>::default();
        let reloads = Arc::<AtomicUsize>::default();
        let running = Running {
            config,
            hash: "one".to_owned(),
            generation: 1,
            since: Timestamp::now(),
            left_out: Vec::new(),
            refused: Vec::new(),
            needs_restart: Vec::new(),
        };
        let (ask_inputs, ask_delivery, ask_spool) = (inputs.clone(), delivery.clone(), spool_trouble.clone());
        let ask_memory = memory_problem.clone();
        let count = reloads.clone();
        let state = Arc::new(ApiState {
            version: "1.2.3",
            running: Arc::new(ArcSwap::from_pointee(running)),
            spool: spool.handle(),
            ledger,
            metrics,
            senders: Arc::new(Senders::new(100)),
            inputs: Box::new(move || ask_inputs.lock().clone()),
            listeners: Box::new(Vec::new),
            exporters: Box::new(|_| Vec::new()),
            delivery: Box::new(move || ask_delivery.lock().clone()),
            spool_trouble: Box::new(move || ask_spool.lock().clone()),
            memory_problem: Box::new(move || ask_memory.lock().clone()),
            config_problem: Box::new(|| None),
            reload: Box::new(move || {
                let reloads = count.fetch_add(1, Relaxed) + 1;
                async move { if reloads == 1 { Ok(2) } else { Err("config.yaml:3: no such key".to_owned()) } }
                    .boxed()
            }),
            leaving: false.into(),
            started: Instant::now(),
            vitals: Vitals::default(),
            long_polls: ApiState::long_polls(),
        });
        let api = Api::start(Arc::clone(&state));
        let addresses = api.addresses().await;
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        Self {
            state,
            api,
            inputs,
            delivery,
            spool_trouble,
            memory_problem,
            reloads,
            folder,
            _spool: spool,
            addresses,
            scheme,
            client,
        }
    }

    /// Commits `lines` as a batch of their own and waits until it is closed.
    pub async fn batch(&self, key: &DatasetKey, lines: &str) -> Stamp {
        let count = lines.lines().count() as u32;
        let batching = Batching { max_lines: count.into(), ..batching() };
        let hint = Hint::ndjson();
        let stream = Arc::new(Stream {
            key: StreamKey { dataset: key.clone(), hint, class: Class::Acknowledged },
            batching,
        });
        let newest = || {
            self.state.spool.entries(key, &[Place::Queue], None, usize::MAX).pop().map(|entry| entry.stamp)
        };
        let before = newest();
        self.state.ledger.accept(count.into());
        let chunk = Chunk {
            stream,
            first_ns: 1,
            lines: count,
            raw_len: lines.len() as u32,
            raw_crc: crc32fast::hash(lines.as_bytes()),
            body: Body::Raw(lines.as_bytes().to_vec()),
            memory: Reservation::default(),
        };
        self.state.spool.commit(vec![chunk]).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match newest() {
                Some(stamp) if before != Some(stamp) => return stamp,
                _ => assert!(Instant::now() < deadline, "the batch was not closed"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The same, in the dead-letter queue; its id.
    pub async fn buried(&self, key: &DatasetKey, lines: &str, reason: Reason) -> String {
        let stamp = self.batch(key, lines).await;
        let failure = Failure { reason, status: Some(503), message: "the Receiver answers 503".into() };
        self.state.spool.bury(stamp, failure).await.unwrap();
        format!("{}--{}--{:019}--ndjson", key.tenant, key.dataset, stamp.0)
    }

    pub fn change(&self, change: impl FnOnce(&mut Running)) {
        let mut running = Running::clone(&self.state.running.load());
        change(&mut running);
        self.state.running.store(Arc::new(running));
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.addresses[0])
    }

    pub fn health_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses[1])
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.ask(Method::GET, path)).await
    }
}

/// Status and JSON body; null when the body is something else.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}
