//! Real programs as senders: `logger`, rsyslog, syslog-ng and curl against the whole binary.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs::OpenOptions, io::Write, path::Path, time::Duration};

use common::certificate;
use e2e::{
    free_port, peers,
    process::Proxy,
    receiver::{Receiver, Settings},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn syslog(port: u16, protocol: &Value) -> Value {
    json!({"inputs": [{
        "type": "syslog", "name": "edge",
        "config": {"dataset_id": "edge-logs", "host": "127.0.0.1", "port": port, "protocol": protocol},
    }]})
}

fn objects(receiver: &Receiver, dataset: &str, count: usize) -> Vec<Value> {
    let lines = receiver.wait_text("acme", dataset, count, LIMIT).unwrap();
    assert_eq!(receiver.violations(), [""; 0]);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("unit {n} changed state: \"up\" \u{fc}")).collect()
}

fn texts(objects: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> =
        objects.iter().map(|o| o["message"].as_str().unwrap().trim_start().to_owned()).collect();
    texts.sort();
    texts
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[test]
fn logger_is_understood_in_every_dialect() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let _proxy = Proxy::start(&receiver.url(), &syslog(port, &json!(["udp", "tcp"]))).unwrap();
    let dialects: [(&[&str], &str); 8] = [
        (&["-d", "--rfc3164"], "3164"),
        (&["-d", "--rfc5424"], "5424"),
        (&["-d", "--rfc5424=notq"], "5424"),
        (&["-d", "--rfc5424=notime,nohost"], "5424"),
        (&["-T", "--rfc3164"], "3164"),
        (&["-T", "--rfc5424"], "5424"),
        (&["-T", "--octet-count", "--rfc3164"], "3164"),
        (&["-T", "--octet-count", "--rfc5424", "--sd-id", "meta@32473", "--sd-param", "unit=\"7\""], "5424"),
    ];
    let mut expected = 0;
    for (number, (dialect, rfc)) in dialects.into_iter().enumerate() {
        let tag = format!("tag{number}");
        let arguments = [&["-t", tag.as_str(), "-p", "local3.warning", "--id=4711"], dialect].concat();
        peers::logger(port, &arguments, &messages(20)).unwrap();
        expected += 20;
        let all = objects(&receiver, "edge-logs", expected);
        let name = |o: &Value| o["app_name"].as_str().or(o["tag"].as_str()).unwrap_or_default().to_owned();
        let own: Vec<Value> = all.iter().filter(|o| name(o).starts_with(&tag)).cloned().collect();
        assert_eq!(texts(&own), sorted(messages(20)), "{dialect:?}");
        for object in &own {
            assert_eq!(object["rfc"], rfc, "{dialect:?} {object}");
            assert_eq!((&object["priority"], &object["source_ip"]), (&json!("156"), &json!("127.0.0.1")));
            assert_eq!(object["proc_id"], "4711", "{dialect:?} {object}");
        }
    }
    let all = objects(&receiver, "edge-logs", expected);
    assert!(all.iter().any(|o| o["structured_data"]["meta@32473"]["unit"] == "7"), "structured data");
}

#[test]
fn rsyslog_over_udp_tcp_and_octet_counting() {
    let transports = [
        ("udp", "Protocol=\"udp\" Template=\"RSYSLOG_TraditionalForwardFormat\"", "3164"),
        ("tcp", "Protocol=\"tcp\" Template=\"RSYSLOG_ForwardFormat\"", "3164"),
        (
            "tcp",
            "Protocol=\"tcp\" TCP_Framing=\"octet-counted\" Template=\"RSYSLOG_SyslogProtocol23Format\"",
            "5424",
        ),
    ];
    for (protocol, parameters, rfc) in transports {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let port = free_port().unwrap();
        let _proxy = Proxy::start(&receiver.url(), &syslog(port, &json!([protocol]))).unwrap();
        let action = format!("action(type=\"omfwd\" Target=\"127.0.0.1\" Port=\"{port}\" {parameters})");
        let (peer, source) = peers::rsyslog(&action).unwrap();
        feed(&source, &messages(50));
        let all = objects(&receiver, "edge-logs", 50);
        assert_eq!(texts(&all), sorted(messages(50)), "{parameters}: {}", peer.log());
        for object in &all {
            assert_eq!((&object["rfc"], &object["priority"]), (&json!(rfc), &json!("156")), "{object}");
            assert_eq!(object["app_name"].as_str().or(object["tag"].as_str()), Some("unit7"), "{object}");
        }
    }
}

#[test]
fn syslog_ng_over_udp_tcp_and_octet_counting() {
    let destinations = [
        ("udp", "network(\"127.0.0.1\" port(PORT) transport(\"udp\"));", "3164"),
        ("tcp", "network(\"127.0.0.1\" port(PORT) transport(\"tcp\"));", "3164"),
        ("tcp", "syslog(\"127.0.0.1\" port(PORT) transport(\"tcp\"));", "5424"),
        ("udp", "syslog(\"127.0.0.1\" port(PORT) transport(\"udp\"));", "5424"),
    ];
    for (protocol, destination, rfc) in destinations {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let port = free_port().unwrap();
        let _proxy = Proxy::start(&receiver.url(), &syslog(port, &json!([protocol]))).unwrap();
        let (peer, source) = peers::syslog_ng(&destination.replace("PORT", &port.to_string())).unwrap();
        feed(&source, &messages(50));
        let all = objects(&receiver, "edge-logs", 50);
        assert_eq!(texts(&all), sorted(messages(50)), "{destination}: {}", peer.log());
        for object in &all {
            assert_eq!((&object["rfc"], &object["priority"]), (&json!(rfc), &json!("156")), "{object}");
        }
    }
}

#[test]
fn rsyslog_syslog_ng_and_curl_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let at = folder.path().display();
    let receiver = Receiver::start(Settings::default()).unwrap();
    let (syslog_port, http_port) = (free_port().unwrap(), free_port().unwrap());
    let tls = json!({"cert_file": format!("{at}/tls.crt"), "key_file": format!("{at}/tls.key")});
    let config = json!({"inputs": [
        {"type": "syslog", "name": "edge", "config": {
            "dataset_id": "edge-logs", "host": "127.0.0.1", "port": syslog_port, "protocol": "tcp", "tls": tls}},
        {"type": "http", "name": "hooks", "config": {
            "dataset_id": "hooks", "host": "127.0.0.1", "port": http_port, "tls": tls}},
    ]});
    let _proxy = Proxy::start(&receiver.url(), &config).unwrap();

    let action = format!(
        "global(defaultNetstreamDriverCAFile=\"{at}/ca.crt\" defaultNetstreamDriver=\"gtls\")\n\
         action(type=\"omfwd\" Target=\"127.0.0.1\" Port=\"{syslog_port}\" Protocol=\"tcp\" StreamDriver=\"gtls\" \
         StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" StreamDriverPermittedPeers=\"localhost\")"
    );
    let (rsyslog, source) = peers::rsyslog(&action).unwrap();
    feed(&source, &messages(30));
    let all = objects(&receiver, "edge-logs", 30);
    assert_eq!(texts(&all), sorted(messages(30)), "{}", rsyslog.log());

    let destination = format!(
        "syslog(\"localhost\" port({syslog_port}) ip-protocol(4) transport(\"tls\") \
         tls(ca-file(\"{at}/ca.crt\") peer-verify(required-trusted)));"
    );
    let (ng, source) = peers::syslog_ng(&destination).unwrap();
    feed(&source, &messages(30));
    let all = objects(&receiver, "edge-logs", 60);
    assert_eq!(all.iter().filter(|o| o["rfc"] == "5424").count(), 30, "{}", ng.log());

    let ca = format!("{at}/ca.crt");
    let url = format!("https://localhost:{http_port}/webhook");
    let answer = peers::curl(&["--cacert", &ca, "--ipv4", "-d", "{\"user\":\"ann\"}"], &url).unwrap();
    assert_eq!(answer, (200, "OK".to_owned()));
    assert_eq!(objects(&receiver, "hooks", 1)[0]["user"], "ann");
}

fn feed(source: &Path, messages: &[String]) {
    let mut file = OpenOptions::new().append(true).open(source).unwrap();
    for message in messages {
        writeln!(file, "{message}").unwrap();
    }
}

#[test]
fn curl_with_every_way_to_send_a_body() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let port = free_port().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let config = json!({"inputs": [{"type": "http", "name": "hooks", "config": {
        "dataset_id": "hooks", "host": "127.0.0.1", "port": port, "data_hint": "ndjson",
        "auth": {"token_file": token},
    }}]});
    let _proxy = Proxy::start(&receiver.url(), &config).unwrap();
    let url = format!("http://127.0.0.1:{port}/webhook");
    let bearer = ["-H", "Authorization: Bearer s3cret"];

    assert_eq!(peers::curl(&["-d", "x"], &url).unwrap().0, 401);
    assert_eq!(peers::curl(&["-d", "x", "-H", "Authorization: Bearer s3creT"], &url).unwrap().0, 401);
    assert_eq!(peers::curl(&bearer, &url).unwrap().0, 405, "GET");
    assert_eq!(peers::curl(&bearer, &format!("http://127.0.0.1:{port}/other")).unwrap().0, 404);
    assert_eq!(
        peers::curl(&[], &format!("http://127.0.0.1:{port}/health")).unwrap().0,
        200,
        "no token needed"
    );

    let plain = folder.path().join("plain");
    let body = "{\"n\":12345678901234567890,\"f\":1.0}\nplain text\n{\"bfTS\":1,\"n\":3}\n";
    std::fs::write(&plain, body).unwrap();
    let file = format!("@{}", plain.display());
    let send = |arguments: &[&str]| {
        let all = [&bearer[..], arguments].concat();
        assert_eq!(peers::curl(&all, &url).unwrap(), (200, "OK".to_owned()), "{arguments:?}");
    };
    send(&["--data-binary", &file]);
    send(&["--data-binary", &file, "-H", "Transfer-Encoding: chunked"]);
    send(&["--data-binary", &file, "-H", "Expect: 100-continue"]);
    for (command, encoding) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let packed = folder.path().join(command);
        let Ok(program) = peers::program(command) else { continue };
        let output = std::process::Command::new(program).arg("-c").arg(&plain).output().unwrap();
        std::fs::write(&packed, output.stdout).unwrap();
        let file = format!("@{}", packed.display());
        send(&["--data-binary", &file, "-H", &format!("Content-Encoding: {encoding}")]);
    }
    let uploads = if peers::program("zstd").is_ok() { 5 } else { 4 };
    let lines = receiver.wait_text("acme", "hooks", 3 * uploads, LIMIT).unwrap();
    assert_eq!(lines.len(), 3 * uploads);
    let start = |text: &str| lines.iter().filter(|line| line.starts_with(text)).count();
    assert_eq!(start("{\"n\":12345678901234567890,\"f\":1.0,\"BfTs\":"), uploads, "{lines:?}");
    assert_eq!(
        lines.iter().filter(|line| line.contains("\"raw\":\"plain text\"")).count(),
        uploads,
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains("bfTS")));
}
