//! One upload against a scripted Receiver.

use std::{io::Cursor, path::PathBuf, sync::Arc, time::Duration};

use super::receiver::{Act, FakeReceiver, talk};
use crate::{
    batch::Class,
    config::Receiver,
    deliver::{
        client::{Client, ClientError, Upload},
        outcome::Outcome,
    },
    ids::{DatasetKey, Hint},
    spool::{Entry, Reason, Stamp, State, member::Compressor},
};

pub fn settings(url: &str) -> Receiver {
    Receiver {
        base_url: url.to_owned(),
        timeout: Duration::from_secs(5),
        upload_worker_count: 5,
        max_idle_conns: 10,
        ca_file: None,
        max_payload_size: 10 << 20,
    }
}

pub fn batch(lines: u32, noise: bool) -> (Entry, Vec<u8>) {
    let mut state = 88_172_645_463_325_252_u64;
    let mut raw = Vec::new();
    for n in 0..lines {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = if noise { state } else { 0 };
        raw.extend_from_slice(format!("{{\"n\":{n},\"x\":\"{word:x}\"}}\n").as_bytes());
    }
    let file = Compressor::default().member(&raw, lines, Class::Acknowledged, 1, 6);
    let entry = Entry {
        stamp: Stamp(1_767_225_631_123_456_789),
        key: DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web-logs".parse().unwrap() },
        hint: "my_apache_of_ten_and_more".parse::<Hint>().unwrap(),
        class: Class::Acknowledged,
        lines: u64::from(lines),
        raw_bytes: raw.len() as u64,
        file_bytes: file.len() as u64,
        state: State::Queue,
        attempts: 0,
        last_attempt: None,
        failure: None,
    };
    (entry, file)
}

async fn send(receiver: &Receiver, lines: u32) -> Outcome {
    let client = Client::new(receiver, "bytefreezer-proxy/1.2.3").unwrap();
    let (entry, file) = batch(lines, true);
    match client.upload(&entry, None, Box::new(Cursor::new(file))).await {
        Upload::Done { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn h7_h8_h9_h10_request_line_and_headers_are_those_of_the_wire_sheet() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let client = Client::new(&settings(&format!("{}/base", fake.url)), "bytefreezer-proxy/1.2.3").unwrap();
    let (entry, file) = batch(1000, false);
    let token = Some("Bearer EXAMPLE".parse().unwrap());
    let upload = client.upload(&entry, token, Box::new(Cursor::new(file.clone()))).await;
    assert!(matches!(upload, Upload::Done { outcome: Outcome::Delivered, whole: true }));
    let seen = fake.seen();
    let request = &seen[0];
    assert_eq!(request.line, "POST /base/acme/web-logs HTTP/1.1");
    let name = "acme--web-logs--1767225631123456789--my_apache_of_ten_and_more";
    for (header, value) in [
        ("user-agent", "bytefreezer-proxy/1.2.3"),
        ("authorization", "Bearer EXAMPLE"),
        ("content-encoding", "gzip"),
        ("content-type", "application/octet-stream"),
        ("content-length", &file.len().to_string()),
        ("x-proxy-batch-id", name),
        ("x-proxy-line-count", "1000"),
        ("x-proxy-original-bytes", &entry.raw_bytes.to_string()),
        ("x-proxy-created-at", "2026-01-01T00:00:31Z"),
        ("x-proxy-data-hint", "my_apache_of_ten_and_more"),
        ("x-proxy-filename", &format!("{name}.gz")),
    ] {
        assert_eq!(request.header(header), value, "{header}");
    }
    assert!(!request.headers.contains_key("transfer-encoding"));
    assert!(request.body == file && request.lines().len() == 1000);
}

#[tokio::test]
async fn without_a_token_there_is_no_authorization_header() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    send(&settings(&fake.url), 1).await;
    assert!(!fake.seen()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn w21_redirect_is_not_followed() {
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 P"] {
        let fake = FakeReceiver::new(move |request| {
            if request.line.contains("/acme/") {
                Act::Say(status, "Location: /elsewhere\r\n".to_owned(), String::new())
            } else {
                Act::ok()
            }
        })
        .await;
        let Outcome::Failed(failure) = send(&settings(&fake.url), 1).await else { panic!("{status}") };
        assert_eq!(failure.reason, Reason::Redirect);
        assert_eq!(fake.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn w21_an_endless_answer_costs_neither_memory_nor_time() {
    let fake = FakeReceiver::new(|_| Act::Endless).await;
    let started = std::time::Instant::now();
    assert!(matches!(send(&settings(&fake.url), 1).await, Outcome::Delivered));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_silent_receiver_is_a_timeout() {
    let fake = FakeReceiver::new(|_| Act::Hang).await;
    let receiver = Receiver { timeout: Duration::from_millis(300), ..settings(&fake.url) };
    let Outcome::Unavailable { failure, .. } = send(&receiver, 1).await else { panic!() };
    assert_eq!((failure.reason, failure.status), (Reason::Timeout, None));
}

#[tokio::test]
async fn a_refused_or_reset_connection_is_a_network_failure() {
    let fake = FakeReceiver::new(|_| Act::Reset).await;
    for lines in [1, 200_000] {
        let Outcome::Unavailable { failure, .. } = send(&settings(&fake.url), lines).await else { panic!() };
        assert_eq!(failure.reason, Reason::Network, "{}", failure.message);
    }
    let url = fake.url.clone();
    drop(fake);
    let Outcome::Unavailable { failure, .. } = send(&settings(&url), 1).await else { panic!() };
    assert_eq!(failure.reason, Reason::Network);
    assert!(failure.message.contains("refused") || failure.message.contains("reset"), "{}", failure.message);
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_counts() {
    let fake = FakeReceiver::new(|_| Act::Early("413 Payload Too Large")).await;
    let outcome = send(&settings(&fake.url), 200_000).await;
    assert!(matches!(outcome, Outcome::TooLarge(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_2xx_before_the_last_bytes_were_sent_is_no_delivery() {
    let fake = FakeReceiver::new(|_| Act::Early("200 OK")).await;
    let outcome = send(&settings(&fake.url), 400_000).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.reason, failure.status), (Reason::Network, None));
}

#[tokio::test]
async fn a_2xx_that_began_before_the_last_bytes_were_sent_is_no_delivery_though_they_are_read() {
    let fake = FakeReceiver::new(|_| Act::Ahead).await;
    let client = Client::new(&settings(&fake.url), "x/1").unwrap();
    let (entry, file) = batch(400_000, true);
    let upload = client.upload(&entry, None, Box::new(Cursor::new(file))).await;
    let Upload::Done { outcome: Outcome::Failed(failure), whole: true } = upload else {
        panic!("{upload:?}")
    };
    assert_eq!(failure.reason, Reason::Network);
    assert!(fake.seen().iter().all(|request| request.whole));
}

#[tokio::test]
async fn a_damaged_file_is_never_stored_by_the_receiver() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let client = Client::new(&settings(&fake.url), "x/1").unwrap();
    for (lines, at_end) in [(10, true), (100_000, true), (100_000, false)] {
        let (entry, mut file) = batch(lines, true);
        let at = if at_end { file.len() - 1 } else { file.len() / 2 };
        file[at] ^= 1;
        let upload = client.upload(&entry, None, Box::new(Cursor::new(file))).await;
        assert!(matches!(upload, Upload::Corrupt(_)), "{upload:?}");
    }
    assert!(fake.seen().iter().all(|request| !request.whole));
}

#[tokio::test]
async fn tls_needs_a_known_authority_and_ca_file_makes_one_known() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream, &parking_lot::Mutex::default(), &|_| Act::ok()).await;
            }
        }
    });
    let url = format!("https://localhost:{port}");
    let Outcome::Unavailable { failure, .. } = send(&settings(&url), 1).await else { panic!() };
    assert!(failure.message.contains("certificate"), "{}", failure.message);
    let known = Receiver { ca_file: Some(ca_file), ..settings(&url) };
    assert!(matches!(send(&known, 1).await, Outcome::Delivered));
    server.abort();
}

#[test]
fn a_ca_file_without_a_certificate_is_refused_by_name() {
    let receiver = Receiver { ca_file: Some(PathBuf::from("/nonexistent/ca.pem")), ..settings("http://x") };
    let Err(ClientError::CaFile { path, .. }) = Client::new(&receiver, "x/1") else { panic!() };
    assert_eq!(path, "/nonexistent/ca.pem");
}
