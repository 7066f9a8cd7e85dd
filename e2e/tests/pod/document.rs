//! Documents that change, and documents of another version.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Long before anything would be looked at without a sign.
const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn a_document_that_outgrows_its_text_goes_on_compressed_and_back_and_loses_nothing() {
    let [stays, other] = [(); 2].map(|()| free_port().unwrap());
    let mut pod = Pod::start(&json!([udp("net/stays", stays)]), &json!({}));
    let inodes = udp_inodes(stays);
    let progress = Arc::new(Progress::default());
    let (stream, shared) = (plan(stays, Shape::Json, 1, 4000, 1000), progress.clone());
    let sender = thread::spawn(move || load::udp(&stream, &shared).unwrap());
    for (round, compressed) in [true, true, false, true, false].into_iter().enumerate() {
        let name = format!("net/comes-{round}");
        let document = pod.document(&json!([udp("net/stays", stays), udp(&name, other)]), &json!({}));
        let swapped = Instant::now();
        if compressed {
            pod.mount.compressed(&document);
        } else {
            pod.mount.document(&document);
        }
        let hash = sha256(&mount::text(&document));
        until(AT_ONCE, "the document", || (pod.status()["config_hash"] == hash.as_str()).then_some(()))
            .unwrap_or_else(|error| {
                panic!("{error}: {}\n{}", pod.status()["config_hash"], pod.proxy.log_text())
            });
        println!(
            "{} applied {:?} after the swap",
            if compressed { "config.yaml.gz" } else { "config.yaml" },
            swapped.elapsed()
        );
        pod.wait(&name, "listening", |input| input["state"] == "listening");
    }
    let sent = sender.join().unwrap();
    assert_eq!(udp_inodes(stays), inodes, "the same sockets");
    all_delivered(&pod.receiver, &[sent], LIMIT);

    // Without a document what runs goes on, and what is missing is said.
    pod.mount.write(&[]);
    until(AT_ONCE, "the problem", || {
        pod.status()["config_problem"].as_str()?.contains("neither this file nor").then_some(())
    })
    .unwrap();
    assert_eq!(udp_inodes(stays), inodes);
}

fn sha256(text: &[u8]) -> String {
    use std::io::Write;
    let mut sum = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    sum.stdin.take().unwrap().write_all(text).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
}

#[test]
fn what_a_newer_document_has_beyond_us_costs_the_input_that_has_it_alone() {
    let [good, strange, later, word] = [(); 4].map(|()| free_port().unwrap());
    let inputs = json!([
        udp("net/good", good),
        input("udp", "net/strange", strange, &json!({"allowed_planets": ["earth"]})),
        input("carrier_pigeon", "net/later", later, &json!({})),
        input("tcp", "net/word", word, &json!({"oversize": "shrug"})),
    ]);
    let newer = json!({
        "schema_version": 99, "server": {"secret_knock_file": "/etc/knock"}, "logging": {"encoding": "cbor"},
        "telepathy": {"enabled": true},
    });
    let mut pod = Pod::start(&inputs, &newer);
    let good_input = pod.wait("net/good", "listening", |input| input["state"] == "listening");
    for (name, kind) in [("net/strange", "udp"), ("net/later", "unknown"), ("net/word", "tcp")] {
        let input = pod.wait(name, "rejected", |input| input["state"] == "rejected");
        assert_eq!(
            (&input["error_kind"], &input["type"]),
            (&json!("not_supported"), &json!(kind)),
            "{input}"
        );
        assert_eq!((&input["tenant_id"], &input["addresses"]), (&json!(""), &json!([])), "{input}");
        assert!(
            input["hash"].as_str().unwrap().len() == 32 && input["hash"] != good_input["hash"],
            "{input}"
        );
    }
    for text in ["secret_knock_file", "telepathy", "cbor"] {
        let warned = |line: &String| line.contains("\"WARN\"") && line.contains(text);
        assert!(pod.proxy.log().iter().any(warned), "{text}: {}", pod.proxy.log_text());
    }
    assert_eq!(pod.proxy.get("/readyz").unwrap().status, 200);

    // One that runs goes on as it was, with its own hash, and takes the next version that we know.
    let inodes = udp_inodes(good);
    let change = |pod: &mut Pod, more: Value| {
        let mut config = json!({"data_hint": "ndjson"});
        merge(&mut config, &more);
        let document =
            pod.document(&json!([input("udp", "net/good", good, &config)]), &json!({"schema_version": 99}));
        pod.mount.document(&document);
    };
    change(&mut pod, json!({"allowed_planets": ["mars"]}));
    let refused = pod.wait("net/good", "a refused change", |input| input["error_kind"] == "not_supported");
    assert_eq!(
        (&refused["state"], &refused["hash"]),
        (&json!("listening"), &good_input["hash"]),
        "{refused}"
    );
    assert!(refused["error"].as_str().unwrap().contains("goes on as it was"), "{refused}");
    change(&mut pod, json!({"source_field": "from"}));
    let taken = pod.wait("net/good", "the change", |input| input["hash"] != good_input["hash"]);
    assert_eq!((&taken["state"], &taken["error_kind"]), (&json!("listening"), &Value::Null), "{taken}");
    assert_eq!(udp_inodes(good), inodes, "the same sockets");
    // All of them refused is no reason to keep the old ones.
    let document =
        pod.document(&json!([input("carrier_pigeon", "net/later", later, &json!({}))]), &json!({}));
    pod.mount.document(&document);
    until(LIMIT, "the end of the last input", || udp_inodes(good).is_empty().then_some(())).unwrap();
    assert_eq!(pod.proxy.get("/readyz").unwrap().status, 200);
}

#[test]
fn a_change_is_told_to_whoever_waits_and_a_counter_is_not() {
    let port = free_port().unwrap();
    let mut pod = Pod::start(&json!([udp("net/fw", port)]), &json!({}));
    let before = pod.wait("net/fw", "listening", |input| input["state"] == "listening");
    let etag = pod.status()["etag"].as_str().unwrap().to_owned();
    let wait =
        |seconds: u32| pod.proxy.json(&format!("/api/v1/status?after={etag}&wait={seconds}s")).unwrap();
    let sent = load::udp(&plan(port, Shape::Json, 1, 100, 0), &Progress::default()).unwrap();
    all_delivered(&pod.receiver, &[sent], LIMIT);
    let asked = Instant::now();
    assert_eq!(
        (wait(2)["etag"].as_str().unwrap(), asked.elapsed() >= Duration::from_secs(2)),
        (&etag[..], true)
    );

    let client = pod.proxy.client();
    let waiting = thread::spawn({
        let etag = etag.clone();
        let mut client = client;
        move || client.get(&format!("/api/v1/status?after={etag}&wait=15s")).unwrap().json().unwrap()
    });
    let document = pod
        .document(&json!([input("udp", "net/fw", port, &json!({"read_buffer_size": 1 << 30}))]), &json!({}));
    let swapped = Instant::now();
    pod.mount.document(&document);
    let told = waiting.join().unwrap();
    println!("told {:?} after the swap", swapped.elapsed());
    assert_ne!(told["etag"], etag.as_str());
    let input = pod.wait("net/fw", "the change", |input| input["hash"] != before["hash"]);
    assert_eq!(input["receive_buffer_wanted"], 1 << 30);
    assert!(input["receive_buffer"].as_u64() > Some(0) && input["kernel_drops"].is_u64(), "{input}");
}

/// Who sends to a dataset that is paused is nobody else's, however wide another prefix on the port is.
#[test]
fn a_paused_prefix_is_kept_counted_and_never_passed_on_to_a_wider_one() {
    let [datagrams, lines, posts] = [(); 3].map(|()| free_port().unwrap());
    let on = |kind: &str, name: &str, port: u16, sources: &[&str], paused: bool| {
        let config = json!({"host": "0.0.0.0", "allowed_sources": sources});
        let mut input = input(kind, name, port, &config);
        input["paused"] = json!(paused);
        input
    };
    let inputs = |paused: bool| {
        json!([
            on("udp", "udp-wide", datagrams, &[], false),
            on("udp", "udp-narrow", datagrams, &["127.0.0.2/32"], paused),
            on("tcp", "tcp-wide", lines, &["127.0.0.0/8"], false),
            on("tcp", "tcp-narrow", lines, &["127.0.0.2/32"], paused),
            on("http", "http-wide", posts, &["127.0.0.0/8"], false),
            on("http", "http-narrow", posts, &["127.0.0.2/32"], paused),
        ])
    };
    // Paused while it runs, as it happens.
    let mut pod = Pod::start(&inputs(false), &json!({}));
    let document = pod.document(&inputs(true), &json!({}));
    pod.mount.document(&document);
    for kind in ["udp", "tcp", "http"] {
        pod.wait(&format!("{kind}-narrow"), "paused", |input| input["state"] == "paused");
    }
    for (source, count) in [("127.0.0.1", 1), ("127.0.0.2", 3)] {
        for number in 0..count {
            let text = format!("from {source} {number}");
            std::net::UdpSocket::bind((source, 0))
                .unwrap()
                .send_to(text.as_bytes(), ("127.0.0.1", datagrams))
                .unwrap();
            send_from(source, lines, &format!("{text}\n"));
            send_from(
                source,
                posts,
                &format!("POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
            );
        }
    }
    for kind in ["udp", "tcp", "http"] {
        let narrow = pod.wait(&format!("{kind}-narrow"), "refused", |input| {
            input["refused"]["paused"].as_u64() >= Some(3)
        });
        assert_eq!(narrow["lines"], 0, "{narrow}");
        let lines = pod.receiver.wait_text("acme", &format!("{kind}-wide"), 1, LIMIT).unwrap();
        assert!(lines.len() == 1 && lines[0].contains("from 127.0.0.1 0"), "{lines:?}");
    }
}

fn send_from(source: &str, port: u16, text: &str) {
    use std::io::{Read, Write};
    let address: std::net::SocketAddr = format!("{source}:0").parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = stream.write_all(text.as_bytes());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read(&mut [0; 256]);
}
