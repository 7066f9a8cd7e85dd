//! What is special about streams.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytefreezer_proxy::{
    batch::Class,
    config::{Input, Oversize, Source, TcpSource},
    ids::DatasetKey,
    spool::State,
};

use crate::rig::{DEADLINE, Rig, config, from, http, on_host, syslog, tcp, tcp_source, until, with};

fn tcp_with(name: &str, change: impl FnOnce(&mut TcpSource)) -> Input {
    let mut source = tcp_source();
    change(&mut source);
    with(tcp(name), |input| input.source = Source::Tcp(source))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether the other side has closed.
fn closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_stream_keep_their_order_and_the_last_needs_no_line_end() {
    let rig = Rig::start(vec![tcp("lines"), tcp_with("zeros", |source| source.delimiter = 0)]).await;
    // Two delimiters cannot share a listener.
    assert!(rig.status("zeros").error.unwrap().contains("delimiter"));
    let mut stream = connect(rig.address("lines", "tcp"));
    let text: String = (0..20_000).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(b"\n \r\nhal").unwrap();
    stream.write_all(b"f").unwrap();
    drop(stream);
    let lines = rig.wait_lines("lines", 20_001).await;
    for (number, line) in lines.iter().take(20_000).enumerate() {
        assert!(line.starts_with(&format!("{{\"n\":{number},")), "{line}");
    }
    assert!(lines[20_000].contains("\"raw\":\"half\""), "{}", lines[20_000]);
    let status = rig.wait_status("lines", |status| status.connections == 0).await;
    assert_eq!((status.lines, status.bytes), (20_001, text.len() as u64 + 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_there_while_the_connection_stays_open() {
    let rig = Rig::start(vec![tcp("open")]).await;
    let mut stream = connect(rig.address("open", "tcp"));
    stream.write_all(b"one\n").unwrap();
    rig.wait_lines("open", 1).await;
    assert_eq!(rig.status("open").connections, 1);
    stream.write_all(b"two\n").unwrap();
    rig.wait_lines("open", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tcp_and_udp_on_one_port_number() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rig = Rig::start(vec![crate::rig::on_port(syslog("devices"), port)]).await;
    assert_eq!(
        rig.status("devices").addresses,
        [format!("udp 127.0.0.1:{port}"), format!("tcp 127.0.0.1:{port}")]
    );
    let mut counted = connect(rig.address("devices", "tcp"));
    let message = "<34>1 2026-01-01T00:00:00Z host app - - - two\nlines";
    write!(counted, "{} {message}{} {message}", message.len(), message.len()).unwrap();
    let mut newlines = connect(rig.address("devices", "tcp"));
    newlines.write_all(b"<30>Jan  1 00:00:00 gw dhcpd[7]: lease\nnot syslog at all\n").unwrap();
    crate::rig::sender("127.0.0.1", rig.address("devices", "udp"))
        .send(b"<31>Jan  1 00:00:00 gw x: udp")
        .unwrap();
    let lines = rig.wait_lines("devices", 5).await;
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(
        (count("two\\nlines"), count("lease"), count("not syslog"), count(": udp") + count("\"udp\"")),
        (2, 1, 1, 1),
        "{lines:#?}"
    );
    let status = rig.status("devices");
    assert_eq!((status.messages, status.undecoded), (5, 1));
}

/// W-3: what has no line end is bounded, cut, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w3_an_endless_line_is_cut_and_costs_no_memory() {
    let megabytes = if cfg!(debug_assertions) { 128 } else { 1024 };
    let rig = Rig::start(vec![tcp_with("endless", |source| source.max_line_size = 64 * 1024)]).await;
    let mut stream = connect(rig.address("endless", "tcp"));
    let before = rss();
    let writer = tokio::task::spawn_blocking(move || {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..megabytes {
            stream.write_all(&block).unwrap();
        }
        stream.write_all(b"\nnext\n").unwrap();
        stream
    });
    let lines = rig.wait_lines("endless", 2).await;
    let _stream = writer.await.unwrap();
    let grown = rss().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    assert!(lines[0].len() < 70_000 && lines[1].contains("\"raw\":\"next\""));
    assert!(lines[0].contains("\"truncated\":true") && !lines[1].contains("truncated"));
    let status = rig.status("endless");
    assert_eq!(status.refused.get("oversize"), Some(&1));
    assert_eq!(status.bytes, (megabytes << 20) + 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_shorter_than_its_count_is_kept_marked_and_counted() {
    let rig = Rig::start(vec![syslog("devices")]).await;
    let mut stream = connect(rig.address("devices", "tcp"));
    stream.write_all(b"9 <13>hello99 <13>Mar  1 18:46:11 web01 sshd[1]: brok").unwrap();
    drop(stream);
    let lines = rig.wait_lines("devices", 2).await;
    assert!(lines[0].contains("\"message\":\"hello\"") && !lines[0].contains("truncated"), "{}", lines[0]);
    assert!(
        lines[1].contains("\"message\":\"brok\"") && lines[1].contains("\"truncated\":true"),
        "{}",
        lines[1]
    );
    rig.wait_status("devices", |status| status.connections == 0 && status.undecoded == 1).await;
    let undecoded = |cause: &str| {
        let label = format!("cause=\"{cause}\"");
        let text = rig.metrics.encode().unwrap();
        let line = text.lines().find(|l| l.contains("input_undecoded_total{") && l.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!((undecoded("framing"), undecoded("format")), (1, 0));
}

fn rss() -> usize {
    let pages: usize =
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_lines_are_dropped_or_end_the_connection_as_told() {
    let limit =
        |oversize| move |source: &mut TcpSource| (source.max_line_size, source.oversize) = (100, oversize);
    let rig = Rig::start(vec![
        tcp_with("dropped", limit(Oversize::Drop)),
        on_host(tcp_with("closed", limit(Oversize::Close)), "127.0.0.2"),
    ])
    .await;
    let text = format!("first\n{}\nlast\n", "y".repeat(1000));
    let mut dropped = connect(rig.address("dropped", "tcp"));
    dropped.write_all(text.as_bytes()).unwrap();
    let lines = rig.wait_lines("dropped", 2).await;
    assert!(lines[0].contains("first") && lines[1].contains("last"), "{lines:?}");
    let mut ended = connect(rig.address("closed", "tcp"));
    ended.write_all(text.as_bytes()).unwrap();
    assert!(closed(&mut ended));
    assert!(rig.wait_lines("closed", 1).await[0].contains("first"));
    for name in ["dropped", "closed"] {
        rig.wait_status(name, |status| status.refused.get("oversize") == Some(&1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_surplus_connections_are_closed_and_counted() {
    let rig = Rig::start(vec![tcp_with("busy", |source| {
        source.read_timeout = Some(Duration::from_millis(200));
        source.max_connections = 2;
    })])
    .await;
    let address = rig.address("busy", "tcp");
    let mut first = connect(address);
    let mut second = connect(address);
    rig.wait_status("busy", |status| status.connections == 2).await;
    assert!(closed(&mut connect(address)));
    rig.wait_status("busy", |status| status.refused.get("connections") == Some(&1)).await;
    assert!(closed(&mut first) && closed(&mut second));
    let status = rig.wait_status("busy", |status| status.connections == 0).await;
    assert_eq!(status.refused.get("timeout"), Some(&2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_follows_its_sender_to_another_route_and_ends_without_one() {
    let mut rig = Rig::start(vec![from(tcp("one"), &["127.0.0.0/8"])]).await;
    let mut stream = connect(rig.address("one", "tcp"));
    stream.write_all(b"before\n").unwrap();
    rig.wait_lines("one", 1).await;
    rig.apply(vec![from(tcp("one"), &["127.0.0.2/32"]), from(tcp("two"), &["127.0.0.1/32"])]).await;
    stream.write_all(b"after\n").unwrap();
    assert!(rig.wait_lines("two", 1).await[0].contains("after"));
    rig.apply(vec![from(tcp("one"), &["127.0.0.2/32"])]).await;
    assert!(closed(&mut stream));
    assert_eq!(rig.lines("one").len(), 1);
    // Nobody admits it now: closed before a byte is read.
    assert!(closed(&mut connect(rig.address("one", "tcp"))));
}

/// W-13: the end waits neither for idle peers nor for busy ones, and keeps what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w13_the_end_comes_at_once_and_loses_nothing_that_was_sent() {
    let rig = Rig::start(vec![
        tcp("streams"),
        crate::rig::udp("datagrams"),
        on_host(http("requests"), "127.0.0.2"),
    ])
    .await;
    let idle: Vec<_> = (0..20).map(|_| connect(rig.address("streams", "tcp"))).collect();
    let waiting: Vec<_> = (0..5).map(|_| connect(rig.address("requests", "tcp"))).collect();
    rig.wait_status("streams", |status| status.connections == 20).await;
    let mut busy = connect(rig.address("streams", "tcp"));
    for number in 0..1000 {
        writeln!(busy, "line {number}").unwrap();
    }
    let datagrams = crate::rig::sender("127.0.0.1", rig.address("datagrams", "udp"));
    for number in 0..100 {
        datagrams.send(format!("datagram {number}").as_bytes()).unwrap();
    }
    rig.wait_status("streams", |status| status.connections == 21).await;
    let start = Instant::now();
    rig.supervisor.stop_intake().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(rig.wait_lines("streams", 1000).await.len(), 1000);
    assert_eq!(rig.wait_lines("datagrams", 100).await.len(), 100);
    let events = rig.ledger.snapshot();
    assert!(events.balanced() && events.memory == 0, "{events:?}");
    drop((idle, waiting));
}

/// W-17: a full spool stops the reading, loses nothing, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w17_a_full_spool_slows_the_sender_down() {
    let mut config = config(vec![tcp("slow")]);
    config.spooling.max_size_bytes = 8 << 20;
    config.batching.compression_level = 1;
    let rig = Rig::start_with(config).await;
    let address = rig.address("slow", "tcp");
    let count = 60_000;
    let writer = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        let mut noise = 1u64;
        for number in 0..count {
            let text: String = (0..50)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    format!("{:08x}", noise >> 32)
                })
                .collect();
            writeln!(stream, "{{\"n\":{number},\"x\":\"{text}\"}}").unwrap();
        }
    });
    until("a full spool", || {
        if rig.spool.has_room(Class::Unacknowledged) { Err(rig.ledger.snapshot().accepted) } else { Ok(()) }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writer.is_finished(), "the sender was never slowed down");
    // The Receiver comes back.
    let key = DatasetKey { tenant: "acme".parse().unwrap(), dataset: "slow".parse().unwrap() };
    let deadline = Instant::now() + DEADLINE;
    while rig.ledger.snapshot().delivered < count {
        let room = rig.spool.has_room(Class::Unacknowledged);
        assert!(Instant::now() < deadline, "{:?} {room} {:?}", rig.ledger.snapshot(), rig.spool.usage());
        for entry in rig.spool.entries(&key, &[State::Queue], None, 100) {
            rig.spool.delivered(entry.stamp).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    writer.await.unwrap();
    assert!(rig.status("slow").refused.is_empty());
    let events = rig.ledger.snapshot();
    assert!(events.balanced() && events.accepted == count, "{events:?}");
}
