//! A change touches what it names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytefreezer_proxy::{config::Input, inputs::InputState};

use crate::rig::{Rig, from, http, inodes, on_host, on_port, sender, syslog, tcp, udp, with};

/// W-6: inputs come, go and change while datagrams at 1 kHz lose nothing and the sockets stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w6_a_change_loses_nothing_and_keeps_the_sockets() {
    let mut rig = Rig::start(vec![udp("steady")]).await;
    let address = rig.address("steady", "udp");
    let before = inodes(address.port());
    assert_eq!(before.len(), 2);
    let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let thread = std::thread::spawn({
        let (end, sent) = (Arc::clone(&end), Arc::clone(&sent));
        move || {
            let socket = sender("127.0.0.1", address);
            let start = Instant::now();
            while !end.load(Relaxed) {
                let number = sent.fetch_add(1, Relaxed);
                socket.send(format!("{{\"n\":{number}}}").as_bytes()).unwrap();
                std::thread::sleep(
                    (start + Duration::from_millis(number + 1)).saturating_duration_since(Instant::now()),
                );
            }
        }
    });
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().port(), taken);
    let changed = |input: Input| with(input, |input| input.batching.max_lines = 50);
    for inputs in [
        vec![udp("steady"), tcp("more"), on_host(http("web"), "127.0.0.2")],
        vec![on_port(udp("busy"), taken.0), udp("steady")],
        vec![changed(udp("steady")), on_host(syslog("other"), "127.0.0.3")],
        vec![from(udp("steady"), &["127.0.0.0/8"]), from(udp("neighbour"), &["10.0.0.0/8"])],
        vec![udp("steady")],
    ] {
        rig.apply(inputs).await;
        assert_eq!(rig.status("steady").state, InputState::Listening);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    end.store(true, Relaxed);
    thread.join().unwrap();
    let sent = sent.load(Relaxed) as usize;
    let lines = rig.wait_lines("steady", sent).await;
    assert_eq!(inodes(address.port()), before);
    assert_eq!(lines.len(), sent);
    assert!(sent > 500, "{sent}");
    for number in [0, sent / 2, sent - 1] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(&format!("{{\"n\":{number},"))).count(), 1);
    }
    let status = rig.status("steady");
    assert_eq!((status.lines, status.kernel_drops, status.generation), (sent as u64, 0, 6));
}

/// W-9: names may repeat; what counts is tenant and dataset, and no socket leaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w9_equal_names_in_two_tenants_run_side_by_side() {
    let named = |dataset: &str, tenant: &str, host: &str| {
        with(udp(dataset), |input| {
            input.name = "same".into();
            input.key.tenant = tenant.parse().unwrap();
            input.listen.host = host.parse().unwrap();
        })
    };
    let both = || vec![named("a", "one", "127.0.0.1"), named("a", "two", "127.0.0.2")];
    let mut rig = Rig::start(both()).await;
    for _ in 0..3 {
        rig.apply(both()).await;
        let status = rig.supervisor.status();
        assert!(status.iter().all(|input| input.state == InputState::Listening), "{status:?}");
        assert_ne!(status[0].addresses, status[1].addresses);
    }
    // A dataset that has an input already is refused, and the first one runs.
    let twice = vec![named("a", "one", "127.0.0.1"), named("a", "one", "127.0.0.2")];
    rig.apply(twice).await;
    let status = rig.supervisor.status();
    assert_eq!((status[0].state, status[1].state), (InputState::Listening, InputState::Rejected));
    assert!(status[1].error.as_ref().unwrap().contains("is the dataset of"));
    assert_eq!(rig.metrics.encode().unwrap().matches("input_lines_total{input=\"same\"").count(), 1);
}

/// W-6, W-10, W-12: a held port concerns the input that wants it, and only until it is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w10_a_busy_port_is_tried_again_until_it_is_free() {
    let udp_holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp_holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http_holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = udp_holder.local_addr().unwrap().port();
    let rig = Rig::start(vec![
        on_port(udp("datagrams"), port),
        on_port(tcp("streams"), tcp_holder.local_addr().unwrap().port()),
        on_port(http("requests"), http_holder.local_addr().unwrap().port()),
        on_host(udp("fine"), "127.0.0.2"),
    ])
    .await;
    for name in ["datagrams", "streams", "requests"] {
        let status = rig.status(name);
        assert_eq!(status.state, InputState::Retrying);
        assert!(status.error.as_ref().unwrap().contains("holds the port"), "{status:?}");
    }
    assert_eq!(rig.status("fine").state, InputState::Listening);
    assert_eq!(rig.metric("bytefreezer_proxy_input_up{input=\"datagrams\""), Some(0));
    drop((udp_holder, tcp_holder, http_holder));
    for name in ["datagrams", "streams", "requests"] {
        assert_eq!(rig.wait_state(name, InputState::Listening).await.error, None);
    }
    sender("127.0.0.1", rig.address("datagrams", "udp")).send(b"healed").unwrap();
    rig.wait_lines("datagrams", 1).await;
}

/// `SO_REUSEPORT` would share the port with another process of the same user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_shares_its_port_is_noticed() {
    let stranger = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    stranger.set_reuse_port(true).unwrap();
    stranger.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = stranger.local_addr().unwrap().as_socket().unwrap().port();
    let rig = Rig::start(vec![on_port(udp("mine"), port)]).await;
    assert_eq!(rig.status("mine").state, InputState::Retrying);
}

/// The same port with another address, or for another kind of input, is freed before it is bound again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_may_change_its_address_and_its_kind() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let any = |input| on_host(on_port(input, port), "0.0.0.0");
    let mut rig = Rig::start(vec![on_port(tcp("moving"), port)]).await;
    for inputs in [
        vec![any(tcp("moving"))],
        vec![on_port(http("moving"), port)],
        vec![on_port(syslog("moving"), port)],
        vec![any(udp("moving"))],
        vec![on_port(udp("moving"), port)],
    ] {
        rig.apply(inputs).await;
        let status = rig.status("moving");
        assert_eq!(status.state, InputState::Listening, "{status:?}");
    }
    sender("127.0.0.1", rig.address("moving", "udp")).send(b"here").unwrap();
    rig.wait_lines("moving", 1).await;
    rig.apply(Vec::new()).await;
    assert!(inodes(port).is_empty());
    assert!(!rig.metrics.encode().unwrap().contains("input=\"moving\""));
}
