//! The fake Receiver is the judge of every other test, so it is judged first.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use e2e::{
    http::Client,
    receiver::{Fault, Receiver, Scope, Settings},
};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const NAME: &str = "acme--web--1767225600123456789--ndjson";

fn client(receiver: &Receiver, name: &str, lines: usize) -> Client {
    Client::new(receiver.address())
        .with_header("content-encoding", "gzip")
        .with_header("x-proxy-filename", &format!("{name}.gz"))
        .with_header("x-proxy-batch-id", name)
        .with_header("x-proxy-line-count", &lines.to_string())
        .with_header("x-proxy-original-bytes", "1")
        .with_header("x-proxy-data-hint", "ndjson")
}

#[test]
fn a_good_batch_of_several_members_is_stored_and_the_same_name_overwrites() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let body = [gzip("{\"a\":1}\n"), gzip("{\"a\":2}\n\n{\"a\":3}\n")].concat();
    for _ in 0..2 {
        assert_eq!(client(&receiver, NAME, 3).post("/acme/web", &body).unwrap().status, 200);
    }
    assert_eq!(receiver.violations(), [""; 0]);
    let batches = receiver.batches();
    assert_eq!((batches.len(), batches[0].uploads, batches[0].lines, batches[0].hint()), (1, 2, 3, "ndjson"));
    assert_eq!(receiver.text("acme", "web").unwrap().len(), 4);
}

#[test]
fn every_breach_of_a_promise_is_noted() {
    let table: [(&str, &str, usize, Vec<u8>, &str); 6] = [
        ("short stamp", "acme--web--17672256001234--ndjson", 1, gzip("x\n"), "19 digits"),
        ("three parts", "acme--web--1767225600123456789", 1, gzip("x\n"), "four parts"),
        ("wrong count", NAME, 2, gzip("x\n"), "X-Proxy-Line-Count"),
        ("no last newline", NAME, 1, gzip("x"), "newline"),
        ("torn gzip", NAME, 1, gzip("x\n")[..20].to_vec(), "no whole gzip"),
        ("other hint", "acme--web--1767225600123456789--raw", 1, gzip("x\n"), "hint"),
    ];
    for (case, name, lines, body, expected) in table {
        let receiver = Receiver::start(Settings::default()).unwrap();
        assert_eq!(client(&receiver, name, lines).post("/acme/web", &body).unwrap().status, 200, "{case}");
        assert!(
            receiver.violations().iter().any(|v| v.contains(expected)),
            "{case}: {:?}",
            receiver.violations()
        );
    }
    let receiver = Receiver::start(Settings::default()).unwrap();
    client(&receiver, NAME, 2).post("/acme/web", &gzip("a\nb\n")).unwrap();
    client(&receiver, NAME, 1).post("/acme/web", &gzip("a\n")).unwrap();
    assert!(receiver.violations().iter().any(|v| v.contains("one name, two contents")));
}

#[test]
fn checks_come_in_the_order_of_the_real_receiver() {
    let receiver = Receiver::start(Settings {
        tenants: Some([("acme".to_owned(), ["web".to_owned()].into())].into()),
        tokens: Some([("acme".to_owned(), "secret".to_owned())].into()),
        max_payload_size: 100,
        ..Settings::default()
    })
    .unwrap();
    let good = gzip("x\n");
    let big = vec![0; 101];
    let post = |path: &str, token: Option<&str>, body: &[u8]| {
        let mut client = client(&receiver, NAME, 1);
        if let Some(token) = token {
            client = client.with_header("authorization", token);
        }
        let answer = client.post(path, body).unwrap();
        (answer.status, answer.text().trim_end().to_owned())
    };
    let table: [(&str, Option<&str>, &[u8], u16, &str); 9] = [
        ("/other/web", None, &good, 410, "Tenant not found or inactive"),
        ("/acme/web", None, &good, 401, "Authorization header required"),
        ("/acme/web", Some("secret"), &good, 401, "Invalid Authorization header format"),
        ("/acme/web", Some("Bearer wrong"), &good, 401, "Invalid Bearer token"),
        ("/acme/other", Some("bearer secret"), &good, 400, "Unknown dataset for tenant"),
        ("/acme/web", Some("Bearer secret"), &big, 413, "Payload too large"),
        ("/acme/web", Some("Bearer secret"), b"", 400, "Empty request body"),
        ("/a/b/c", Some("Bearer secret"), &good, 404, "404 page not found"),
        ("/acme/web", Some("Bearer secret"), &good, 200, ""),
    ];
    for (path, token, body, status, text) in table {
        let answer = post(path, token, body);
        assert_eq!(answer.0, status, "{path} {token:?}: {answer:?}");
        assert!(answer.1.starts_with(text), "{answer:?}");
    }
    let answer = Client::new(receiver.address())
        .with_header("authorization", "Bearer secret")
        .post("/acme/web", &good)
        .unwrap();
    assert_eq!((answer.status, answer.text().trim_end()), (400, "X-Proxy-Filename header is required"));
}

#[test]
fn faults_are_what_they_say() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let body = gzip("x\n");
    let post =
        || client(&receiver, NAME, 1).with_timeout(Duration::from_millis(300)).post("/acme/web", &body);

    receiver.fault_times(Scope::All, Fault::retry_after(429, 7), 1);
    let answer = post().unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(post().unwrap().status, 200, "counted faults end");

    receiver.fault(Scope::Tenant("acme".into()), Fault::redirect(301, "http://example/"));
    receiver.fault(Scope::Dataset("acme".into(), "web".into()), Fault::Nothing);
    assert_eq!(post().unwrap().status, 200, "the newest matching rule wins");
    receiver.lift(&Scope::Dataset("acme".into(), "web".into()));
    assert_eq!(post().unwrap().header("location"), Some("http://example/"));
    receiver.lift(&Scope::Tenant("acme".into()));

    let stored = receiver.uploads();
    receiver.fault_times(Scope::All, Fault::Reset(1), 1);
    assert!(post().is_err());
    receiver.fault_times(Scope::All, Fault::Hang, 1);
    assert!(post().is_err());
    assert_eq!(receiver.uploads(), stored);
    receiver.fault_times(Scope::All, Fault::Unanswered, 1);
    assert!(post().is_err());
    assert_eq!(receiver.uploads(), stored + 1, "stored, though the answer was lost");

    receiver.fault_times(Scope::All, Fault::Slow(Duration::from_millis(120)), 1);
    let started = Instant::now();
    assert_eq!(post().unwrap().status, 200);
    assert!(started.elapsed() >= Duration::from_millis(120));

    receiver.down();
    e2e::until(Duration::from_secs(5), "refusal", || post().is_err().then_some(())).unwrap();
    receiver.up().unwrap();
    assert_eq!(post().unwrap().status, 200);
    assert!(receiver.requests().iter().all(|r| r.name == format!("{NAME}.gz")));
}
