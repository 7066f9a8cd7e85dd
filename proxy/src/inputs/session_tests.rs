use super::*;
use crate::{
    batch::{Level, MemoryBudget},
    config::{Batching, DataFormat, Input, Listen, Oversize, Source, Spooling, TcpSource},
    ids::{DatasetKey, Hint},
    inputs::Senders,
    spool::{Parts, Spool},
    vital::Vitals,
};

const BATCHING: Batching = Batching {
    max_lines: 0,
    max_bytes: 1 << 20,
    timeout: Duration::from_secs(30),
    compression_enabled: true,
    compression_level: 1,
    compression_adaptive: false,
};

fn spool(folder: &std::path::Path, context: (&MemoryBudget, &Arc<crate::ledger::Ledger>)) -> Spool {
    Spool::open(Parts {
        settings: Spooling {
            enabled: true,
            directory: folder.to_owned(),
            max_size_bytes: 1 << 30,
            dlq_max_size_bytes: None,
            retry_attempts: 5,
            retry_interval: Duration::from_mins(1),
            cleanup_interval: Duration::from_mins(5),
            max_age: None,
            sync_interval: Duration::from_millis(20),
            dlq_auto_retry: true,
        },
        memory: context.0.clone(),
        ledger: Arc::clone(context.1),
        metrics: Arc::default(),
        level: Arc::new(|_| 1),
        max_payload: 10 << 20,
    })
    .unwrap()
}

fn route() -> Arc<Route> {
    let source = TcpSource {
        max_connections: 10,
        max_connections_per_source: None,
        read_timeout: None,
        max_line_size: 1 << 10,
        oversize: Oversize::Cut,
        delimiter: b'\n',
        tls: None,
    };
    let input = Input {
        name: "lines".to_owned(),
        key: DatasetKey { tenant: "acme".parse().unwrap(), dataset: "lines".parse().unwrap() },
        paused: false,
        hint: Hint::ndjson(),
        format: DataFormat::Auto,
        source_field: None,
        listen: Listen { host: "127.0.0.1".parse().unwrap(), port: 0 },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: BATCHING,
        source: Source::Tcp(source),
        hash: String::new(),
    };
    Arc::new(Route::new(input, Arc::default()).unwrap())
}

#[tokio::test]
async fn what_comes_with_the_withdrawal_of_its_sender_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, ledger) = (MemoryBudget::new(16 << 20), Arc::default());
    let spool = spool(folder.path(), (&memory, &ledger));
    let context = InputContext {
        spool: spool.handle(),
        memory,
        level: Arc::new(Level::new(&BATCHING)),
        ledger,
        senders: Arc::new(Senders::new(10)),
        metrics: Arc::default(),
        runtime: tokio::runtime::Handle::current(),
        vitals: Vitals::default(),
    };
    let (route, stop) = (route(), CancellationToken::new());
    let settings = LineSettings {
        framing: Framing::Lines(b'\n'),
        oversize: Oversize::Cut,
        tls: None,
        proxy_protocol_from: None,
        max_line_size: 1 << 10,
        max_connections: 10,
        max_connections_per_source: None,
        read_timeout: None,
    };
    let start = || Session::new(&context, "192.0.2.1:9".parse().unwrap(), Arc::clone(&route), &settings);
    for (read, kept) in [("before\n", 1), ("", 0)] {
        let counted = route.stats.messages.load(Relaxed);
        let mut session = start();
        session.input().extend_from_slice(read.as_bytes());
        session.take(&stop).await.unwrap();
        session.input().extend_from_slice(b"one\ntwo\nthree");
        let withdrawn = session.reroute(&Table::new(Vec::new()), &stop).await;
        assert_eq!(withdrawn, Err(Refusal::Source));
        session.finish(&stop).await;
        assert_eq!(route.stats.messages.load(Relaxed) - counted, kept);
    }
    assert_eq!(route.stats.bytes.load(Relaxed), 7);
}
