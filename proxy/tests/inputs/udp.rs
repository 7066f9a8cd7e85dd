//! What is special about datagrams.

use std::{net::UdpSocket, os::fd::AsRawFd};

use bytefreezer_proxy::{config::Source, inputs::InputState};

use crate::rig::{Rig, from, inodes, on_host, sender, syslog, udp, until, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_become_lines_with_their_kind_decided_per_line() {
    let rig = Rig::start(vec![udp("plain"), on_host(syslog("devices"), "127.0.0.2")]).await;
    let to = sender("127.0.0.1", rig.address("plain", "udp"));
    to.send(b"\0{\"a\":9007199254740993}\nplain text\r\n\n\0\0").unwrap();
    to.send(b"\0\0").unwrap();
    to.send(b"").unwrap();
    to.send(b" \n\n").unwrap();
    sender("127.0.0.1", rig.address("devices", "udp"))
        .send(b"<30>Jan  1 00:00:00 gw dhcpd: lease\n")
        .unwrap();
    let lines = rig.wait_lines("plain", 2).await;
    assert!(lines[0].starts_with("{\"a\":9007199254740993,\"BfTs\":"), "{}", lines[0]);
    assert!(lines[1].contains("\"raw\":\"plain text\""), "{}", lines[1]);
    let syslog = rig.wait_lines("devices", 1).await;
    assert!(syslog[0].contains("\"hostname\":\"gw\"") && syslog[0].contains("127.0.0.1"), "{}", syslog[0]);
    let status = rig.wait_status("plain", |status| status.messages == 4).await;
    assert_eq!((status.lines, status.state), (2, InputState::Listening));
    rig.supervisor.stop_intake().await;
    assert_eq!(rig.lines("plain").len(), 2);
    let events = rig.ledger.snapshot();
    assert!(events.balanced() && events.accepted == 3 && events.memory == 0, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_datasets_on_one_port_are_told_apart_by_the_sender() {
    let rig = Rig::start(vec![
        from(udp("firewalls"), &["127.0.0.1/32"]),
        from(udp("switches"), &["127.0.0.2/32", "127.0.0.8/29"]),
        from(with(udp("silent"), |input| input.paused = true), &["127.0.0.3/32"]),
    ])
    .await;
    let address = rig.address("firewalls", "udp");
    assert_eq!(address, rig.address("switches", "udp"));
    for (source, count) in
        [("127.0.0.1", 3), ("127.0.0.2", 2), ("127.0.0.9", 1), ("127.0.0.3", 4), ("127.0.0.4", 5)]
    {
        let from = sender(source, address);
        (0..count).for_each(|number| _ = from.send(format!("{source} {number}").as_bytes()).unwrap());
    }
    assert_eq!(rig.wait_lines("firewalls", 3).await.len(), 3);
    let switches = rig.wait_lines("switches", 3).await;
    assert!(
        switches.iter().all(|line| line.contains("127.0.0.2") || line.contains("127.0.0.9")),
        "{switches:?}"
    );
    let silent = rig.wait_status("silent", |status| status.refused.get("paused") == Some(&4)).await;
    assert_eq!((silent.state, silent.lines), (InputState::Paused, 0));
    // What no input claims is counted at the listener and never passed on.
    let name = "bytefreezer_proxy_listener_refused_total{listener=\"udp 127.0.0.1:0\",cause=\"source\"}";
    until(name, || rig.metric(name).filter(|count| *count == 5).ok_or(())).await;
    assert_eq!(
        rig.metric(
            "bytefreezer_proxy_input_lines_total{input=\"switches\",tenant=\"acme\",dataset=\"switches\"}"
        ),
        Some(3)
    );
    assert_eq!(rig.ledger.snapshot().accepted, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_datagrams_are_taken_apart_again() {
    let rig = Rig::start(vec![udp("bulk")]).await;
    let socket = sender("127.0.0.1", rig.address("bulk", "udp"));
    // One send that the kernel cuts into datagrams of 100 bytes, the last one shorter; it arrives merged.
    set_segment(&socket, 100);
    let text: Vec<u8> = (0..61)
        .flat_map(|number| format!("{{\"n\":{}}}{}", number + 100, " ".repeat(91)).into_bytes())
        .collect();
    assert_eq!(text.len(), 6100);
    socket.send(&text[..6050]).unwrap();
    socket.send(&text[6000..6009]).unwrap();
    let lines = rig.wait_lines("bulk", 62).await;
    for (number, line) in lines.iter().take(61).enumerate() {
        assert!(line.starts_with(&format!("{{\"n\":{}", number + 100)), "{line}");
    }
    assert_eq!(rig.status("bulk").messages, 62);
}

/// H-11: datagrams without a line end never run together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_each_datagram_ends_its_line() {
    let rig = Rig::start(vec![udp("endless")]).await;
    let socket = sender("127.0.0.1", rig.address("endless", "udp"));
    for number in 0..100 {
        socket.send(format!("{{\"n\":{}}}", number + 100).as_bytes()).unwrap();
    }
    let lines = rig.wait_lines("endless", 100).await;
    assert_eq!(lines.len(), 100);
    assert!(lines.iter().all(|line| line.matches("\"n\":").count() == 1 && line.ends_with('}')), "{lines:?}");
}

/// W-34: while nothing is delivered, thousands of datagrams are a few files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w34_there_is_no_file_per_message() {
    let slow = with(udp("many"), |input| input.batching.timeout = std::time::Duration::from_secs(2));
    let rig = Rig::start(vec![slow]).await;
    let socket = sender("127.0.0.1", rig.address("many", "udp"));
    for number in 0..3000 {
        socket.send(format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(150)).as_bytes()).unwrap();
        if number % 20 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    assert_eq!(rig.wait_lines("many", 3000).await.len(), 3000);
    let files = files(&rig.config.spooling.directory);
    assert!((1..=30).contains(&files), "{files} files");
}

fn files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

/// W-35: a port has as many sockets as there are receive threads, each with the buffer that was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w35_a_port_has_a_socket_per_receive_thread() {
    for threads in [1, 2, 4] {
        let mut config = crate::rig::config(vec![udp("shared"), on_host(udp("other"), "127.0.0.2")]);
        config.limits.receive_threads = threads;
        let rig = Rig::start_with(config).await;
        for name in ["shared", "other"] {
            let address = rig.address(name, "udp");
            assert_eq!(inodes(address.port()).len(), threads, "{name}");
            let sockets: Vec<_> = (0..16).map(|_| sender("127.0.0.1", address)).collect();
            for socket in &sockets {
                socket.send(b"x").unwrap();
            }
            assert_eq!(rig.wait_lines(name, 16).await.len(), 16);
        }
    }
}

#[allow(unsafe_code)]
fn set_segment(socket: &UdpSocket, bytes: libc::c_int) {
    // SAFETY: the kernel reads one `c_int` that lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Every datagram is a line or is counted as dropped by the kernel, and a small buffer is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_kernel_drops_is_seen() {
    let small = |input| {
        with(input, |input| match &mut input.source {
            Source::Udp(source) => source.read_buffer_size = 1,
            _ => unreachable!(),
        })
    };
    let rig = Rig::start(vec![small(udp("flood"))]).await;
    let buffer = rig.status("flood").receive_buffer;
    assert!((1..100_000).contains(&buffer), "{buffer}");
    let address = rig.address("flood", "udp");
    let sent = tokio::task::spawn_blocking(move || {
        let socket = sender("127.0.0.1", address);
        let line = [b'x'; 1200];
        (0..20_000).filter(|_| socket.send(&line).is_ok()).count() as u64
    })
    .await
    .unwrap();
    let status = rig.wait_status("flood", |status| status.messages + status.kernel_drops >= sent).await;
    assert!(status.kernel_drops > 0, "{status:?}");
    assert_eq!(status.messages + status.kernel_drops, sent);
    let name = "bytefreezer_proxy_input_kernel_drops_total{input=\"flood\"";
    assert_eq!(rig.metric(name), Some(status.kernel_drops));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_listener_serves_both_families_and_ipv4_senders_stay_ipv4() {
    let any = |input| on_host(input, "::");
    let rig = Rig::start(vec![
        from(any(udp("four")), &["127.0.0.0/8"]),
        from(any(udp("six")), &["::1/128"]),
        from(any(crate::rig::tcp("stream")), &["127.0.0.0/8", "::1/128"]),
    ])
    .await;
    let port = |name, protocol: &str| -> u16 {
        let address =
            rig.status(name).addresses.into_iter().find(|address| address.starts_with(protocol)).unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    };
    let to = |host: &str, port| std::net::SocketAddr::new(host.parse().unwrap(), port);
    sender("127.0.0.1", to("127.0.0.1", port("four", "udp"))).send(b"over four").unwrap();
    sender("::1", to("::1", port("six", "udp"))).send(b"over six").unwrap();
    assert!(rig.wait_lines("four", 1).await[0].contains("\"127.0.0.1\""));
    assert!(rig.wait_lines("six", 1).await[0].contains("\"::1\""));
    for host in ["127.0.0.1", "::1"] {
        let mut stream = std::net::TcpStream::connect(to(host, port("stream", "tcp"))).unwrap();
        std::io::Write::write_all(&mut stream, b"hello\n").unwrap();
    }
    let lines = rig.wait_lines("stream", 2).await;
    assert!(lines.iter().any(|line| line.contains("\"127.0.0.1\"")), "{lines:?}");
}

/// 1000 datasets in one process, one message each to a route of its own on one port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_datasets_share_a_port() {
    let inputs = (0..1000u32)
        .map(|number| {
            let source = format!("127.1.{}.{}/32", number / 250, number % 250 + 1);
            from(udp(&format!("set{number}")), &[&source])
        })
        .collect();
    let rig = Rig::start(inputs).await;
    let address = rig.address("set0", "udp");
    for number in 0..1000u32 {
        let source = format!("127.1.{}.{}", number / 250, number % 250 + 1);
        sender(&source, address).send(format!("{{\"n\":{number}}}").as_bytes()).unwrap();
        // The sockets' buffers are small here; nothing shall depend on how fast the decoder is.
        if number % 100 == 99 {
            until("all so far", || {
                let events = rig.ledger.snapshot().accepted;
                if events == u64::from(number) + 1 { Ok(()) } else { Err(events) }
            })
            .await;
        }
    }
    for number in [0, 1, 499, 999] {
        let lines = rig.wait_lines(&format!("set{number}"), 1).await;
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("{{\"n\":{number},")), "{lines:?}");
    }
    assert_eq!(rig.supervisor.status().iter().filter(|status| status.lines == 1).count(), 1000);
}
