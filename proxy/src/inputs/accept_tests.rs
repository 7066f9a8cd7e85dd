use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
};

use super::*;

/// Greets with the peer's address, echoes one line, panics on `!`.
#[derive(Default)]
struct Echo {
    refused: Mutex<Vec<(IpAddr, Refusal)>>,
    open: AtomicUsize,
    banned: Option<IpAddr>,
}

impl Serve for Echo {
    fn admits(&self, peer: IpAddr) -> bool {
        self.banned != Some(peer)
    }

    fn refused(&self, peer: IpAddr, cause: Refusal) {
        self.refused.lock().push((peer, cause));
    }

    async fn serve(self: Arc<Self>, mut connection: Connection, stop: CancellationToken) {
        self.open.fetch_add(1, SeqCst);
        let _ = connection.stream.write_all(format!("{}\n", connection.peer).as_bytes()).await;
        let mut byte = [0];
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => Ok(0),
                read = connection.stream.read(&mut byte) => read,
            };
            match read {
                Ok(1) if byte == *b"!" => panic!("as told"),
                Ok(1) => connection.stream.write_all(&byte).await.unwrap_or_default(),
                _ => break,
            }
        }
        self.open.fetch_sub(1, SeqCst);
    }
}

struct Running {
    address: SocketAddr,
    service: Arc<Echo>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(host: &str, settings: AcceptSettings, service: Echo) -> Running {
    let acceptor = Acceptor::bind(Listen { host: host.parse().unwrap(), port: 0 }, settings).unwrap();
    let (address, service, stop) = (acceptor.local_addr(), Arc::new(service), CancellationToken::new());
    let task = tokio::spawn(acceptor.run(Arc::clone(&service), stop.clone()));
    Running { address, service, stop, task }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

async fn line(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while text.last() != Some(&b'\n') {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn w31_connections_above_the_limit_are_closed_at_once_and_counted() {
    let settings = AcceptSettings { max_connections: 2, ..AcceptSettings::default() };
    let running = start("127.0.0.1", settings, Echo::default());
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(line(&mut stream).await, format!("{}\n", stream.local_addr().unwrap()));
        kept.push(stream);
    }
    let mut third = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(line(&mut third).await, "");
    let refused = running.service.refused.lock().clone();
    assert_eq!(refused, [("127.0.0.1".parse().unwrap(), Refusal::Connections)]);
    kept.pop();
    until("one ended", || running.service.open.load(SeqCst) == 1).await;
    let mut next = TcpStream::connect(running.address).await.unwrap();
    assert_ne!(line(&mut next).await, "");
}

#[tokio::test]
async fn w31_one_source_leaves_connections_for_others() {
    let settings = AcceptSettings { max_connections: 8, ..AcceptSettings::default() };
    let running = start("127.0.0.1", settings, Echo::default());
    let connect = async |source: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        let served = !line(&mut stream).await.is_empty();
        (stream, served)
    };
    let mut kept = Vec::new();
    for number in 1..=8 {
        let (stream, served) = connect("127.0.0.1").await;
        assert_eq!(served, number <= 7, "{number}");
        kept.push(stream);
    }
    assert_eq!(*running.service.refused.lock(), [("127.0.0.1".parse().unwrap(), Refusal::Connections)]);
    let (other, served) = connect("127.0.0.2").await;
    assert!(served);
    drop((other, kept));
    until("all ended", || running.service.open.load(SeqCst) == 0).await;
    assert!(connect("127.0.0.1").await.1);
}

/// A balancer that names its clients is no source of its own.
#[tokio::test]
async fn w31_behind_a_balancer_the_source_is_who_it_names() {
    let settings = AcceptSettings { max_connections: 8, ..behind_proxy() };
    let running = start("127.0.0.1", settings, Echo::default());
    let mut kept = Vec::new();
    for number in 1..=8 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(format!("PROXY TCP4 192.0.2.{number} 192.0.2.1 1 80\r\n").as_bytes()).await.unwrap();
        assert!(line(&mut stream).await.starts_with(&format!("192.0.2.{number}:")));
        kept.push(stream);
    }
}

#[tokio::test]
async fn a_listener_on_all_ipv6_addresses_serves_ipv4_under_its_own_address() {
    let running = start("::", AcceptSettings::default(), Echo::default());
    for host in ["127.0.0.1", "::1"] {
        let host: IpAddr = host.parse().unwrap();
        let mut stream = TcpStream::connect((host, running.address.port())).await.unwrap();
        assert_eq!(line(&mut stream).await, format!("{}\n", stream.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_no_other() {
    let running = start("127.0.0.1", AcceptSettings::default(), Echo::default());
    let mut good = TcpStream::connect(running.address).await.unwrap();
    let mut bad = TcpStream::connect(running.address).await.unwrap();
    for stream in [&mut good, &mut bad] {
        line(stream).await;
    }
    bad.write_all(b"!").await.unwrap();
    assert_eq!(line(&mut bad).await, "");
    good.write_all(b"a\n").await.unwrap();
    assert_eq!(line(&mut good).await, "a\n");
    assert_eq!(running.service.refused.lock().len(), 1);
}

#[tokio::test]
async fn stopping_closes_the_socket_and_every_connection() {
    let running = start("127.0.0.1", AcceptSettings::default(), Echo::default());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    line(&mut stream).await;
    running.stop.cancel();
    running.task.await.unwrap();
    assert_eq!(line(&mut stream).await, "");
    assert!(TcpStream::connect(running.address).await.is_err());
    assert_eq!(running.service.open.load(SeqCst), 0);
}

#[tokio::test]
async fn w31_a_sender_without_a_route_is_closed_before_it_is_served() {
    let banned = Some("127.0.0.1".parse().unwrap());
    let running = start("127.0.0.1", AcceptSettings::default(), Echo { banned, ..Echo::default() });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(line(&mut stream).await, "");
    assert_eq!(running.service.refused.lock()[0].1, Refusal::Source);
}

#[test]
fn w12_a_busy_port_is_an_error_that_says_what_to_do() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = Listen { host: "127.0.0.1".parse().unwrap(), port: held.local_addr().unwrap().port() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let error = Acceptor::bind(listen, AcceptSettings::default()).unwrap_err();
    assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another process or input holds the port"), "{error}");
}

/// Loopback peers begin with a PROXY header; nobody else does.
fn behind_proxy() -> AcceptSettings {
    AcceptSettings {
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        handshake_timeout: Duration::from_millis(300),
        ..AcceptSettings::default()
    }
}

#[tokio::test]
async fn w31_a_listed_peer_that_sends_no_header_is_closed_after_the_handshake_timeout() {
    let running = start("127.0.0.1", behind_proxy(), Echo::default());
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(line(&mut silent).await, "");
    assert_eq!(running.service.refused.lock()[0].1, Refusal::Handshake);
}

#[test]
fn only_errors_of_one_connection_are_passed_over_without_a_pause() {
    for error in [libc::ECONNABORTED, libc::ECONNRESET, libc::EINTR, libc::EAGAIN] {
        assert!(concerns_one_connection(&io::Error::from_raw_os_error(error)), "{error}");
    }
    for error in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert!(!concerns_one_connection(&io::Error::from_raw_os_error(error)), "{error}");
    }
}
