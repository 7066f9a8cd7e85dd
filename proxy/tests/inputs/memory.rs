//! Streams that use the memory up leave others theirs, and give it back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytefreezer_proxy::batch::Class;

use crate::rig::{Rig, config, http, on_host, sender, tcp, udp, until};

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The status code of a small request.
async fn post(address: SocketAddr) -> u16 {
    tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        let body = "{\"a\":1234}";
        write!(
            stream,
            "POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    })
    .await
    .unwrap()
}

/// Peers that never end their lines, and some that do when all memory is gone: none waits for another for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_half_lines_then_all_peers_gone_http_is_200_again() {
    let mut config = config(vec![tcp("lines"), on_host(http("web"), "127.0.0.2")]);
    config.limits.memory_bytes = 8 << 20;
    let rig = Rig::start_with(config).await;
    let (lines, web) = (rig.address("lines", "tcp"), rig.address("web", "tcp"));
    let idle = rig.memory.used();
    let (big, small) = tokio::task::spawn_blocking(move || {
        let half = |bytes: usize| {
            let mut stream = connect(lines);
            let _ = stream.write_all(&vec![b'x'; bytes]);
            stream
        };
        let mut big: Vec<_> = (0..8).map(|_| half(600_000)).collect();
        let small: Vec<_> = (0..60).map(|_| half(40_000)).collect();
        for stream in &mut big {
            let _ = stream.write_all(&vec![b'x'; 400_000]).and_then(|()| stream.write_all(b"\n"));
        }
        (big, small)
    })
    .await
    .unwrap();
    assert_eq!(post(web).await, 200);
    until("refusals or lines", || {
        let status = rig.status("lines");
        if status.refused.contains_key("full") || status.lines >= 8 { Ok(()) } else { Err(status.refused) }
    })
    .await;
    drop((big, small));
    rig.wait_status("lines", |status| status.connections == 0).await;
    until("all memory back", || if rig.memory.used() == idle { Ok(()) } else { Err(rig.memory.used()) })
        .await;
    assert_eq!(post(web).await, 200);
    let events = rig.ledger.snapshot();
    assert!(events.balanced() && rig.status("lines").lines > 0, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_waiting_for_a_full_spool_leaves_room_for_http() {
    let mut config = config(vec![tcp("backlog"), on_host(http("web"), "127.0.0.2")]);
    config.spooling.max_size_bytes = 64 << 20;
    config.limits.memory_bytes = 8 << 20;
    let rig = Rig::start_with(config).await;
    let (backlog, web) = (rig.address("backlog", "tcp"), rig.address("web", "tcp"));
    let senders: Vec<_> = (0..80)
        .map(|number| {
            std::thread::spawn(move || {
                let mut stream = connect(backlog);
                stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
                // Until nothing is taken any more, or the connection was closed for want of memory.
                while stream.write_all(&noise(number)).is_ok() {}
                stream
            })
        })
        .collect();
    until("a full spool", || {
        if rig.spool.has_room(Class::Unacknowledged) { Err(rig.spool.usage()) } else { Ok(()) }
    })
    .await;
    let ask = async || {
        let status = post(web).await;
        assert_eq!(status, 200, "{:?} {}", rig.spool.usage(), rig.memory.used());
    };
    ask().await;
    let waiting = tokio::task::spawn_blocking(|| {
        senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    let waiting = waiting.await.unwrap();
    ask().await;
    drop(waiting);
}

/// A line of 200 kB that cannot be compressed much.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let byte = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'0' + (state >> 58) as u8
    };
    (0..200_000).map(byte).chain([b'\n']).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_aside_for_datagrams_comes_back_with_the_end_of_the_last_listener() {
    let mut rig = Rig::start(vec![http("web")]).await;
    let before = rig.memory.used();
    for _ in 0..2 {
        rig.apply(vec![http("web"), udp("one"), on_host(udp("two"), "127.0.0.2")]).await;
        sender("127.0.0.1", rig.address("one", "udp")).send(b"{}").unwrap();
        rig.wait_status("one", |status| status.lines > 0).await;
        let with = rig.memory.used();
        assert!(with >= before + (1 << 20), "{before} -> {with}");
        rig.apply(vec![http("web"), on_host(udp("two"), "127.0.0.2")]).await;
        until("one goes on", || (rig.memory.used() >= before + (1 << 20)).then_some(()).ok_or(())).await;
        rig.apply(vec![http("web")]).await;
        until("all of it", || (rig.memory.used() == before).then_some(()).ok_or(())).await;
    }
}
