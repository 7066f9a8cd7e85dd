//! TLS and the PROXY protocol on streams of lines; the handshakes themselves are tested with the accept loop.

use std::{io::Write, net::TcpStream, sync::Arc, time::Duration};

use bytefreezer_proxy::{
    config::{ServerTls, Source},
    inputs::InputState,
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

use crate::rig::{Rig, from, on_host, syslog, tcp, until, with};

struct Certificate {
    files: ServerTls,
    der: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let files = ServerTls { cert_file, key_file, client_ca_file: None, client_cert_required: false };
    Certificate { files, der: made.cert.der().clone(), _folder: folder }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tls() {
    bytefreezer_proxy::inputs::tls::install_provider();
    let certificate = certificate();
    let secure = with(syslog("devices"), |input| match &mut input.source {
        Source::Syslog(source) => source.tcp.as_mut().unwrap().tls = Some(certificate.files.clone()),
        _ => unreachable!(),
    });
    let broken = with(on_host(secure.clone(), "127.0.0.2"), |input| {
        input.name = "broken".into();
        input.key.dataset = "broken".parse().unwrap();
        match &mut input.source {
            Source::Syslog(source) => {
                source.tcp.as_mut().unwrap().tls.as_mut().unwrap().key_file = "/nowhere".into();
            }
            _ => unreachable!(),
        }
    });
    let rig = Rig::start(vec![secure, broken]).await;
    // A certificate that cannot be read concerns its input only, which says so.
    let status = rig.status("broken");
    assert_eq!(status.state, InputState::Retrying);
    assert!(status.error.unwrap().contains("/nowhere"));

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let address = rig.address("devices", "tcp");
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    let message = "<34>1 2026-01-01T00:00:00Z host app - - - over TLS";
    stream.write_all(format!("{} {message}", message.len()).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(rig.wait_lines("devices", 1).await[0].contains("over TLS"));

    // Plain text on the TLS port is refused and counted.
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"<34>plain\n\n\n\n\n\n").unwrap();
    rig.wait_status("devices", |status| status.refused.get("handshake") == Some(&1)).await;
    assert_eq!(rig.status("devices").lines, 1);
}

/// What a reload could not have it gets later, without another change of the configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_comes_after_the_reload_is_used_then_and_a_problem_until_then() {
    bytefreezer_proxy::inputs::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let tls = ServerTls {
        cert_file: path("cert.pem"),
        key_file: path("key.pem"),
        client_ca_file: None,
        client_cert_required: false,
    };
    let mut rig = Rig::start(vec![tcp("lines")]).await;
    let address = rig.address("lines", "tcp");
    let secure = with(tcp("lines"), |input| match &mut input.source {
        Source::Tcp(source) => (source.tls, source.max_connections) = (Some(tls), 2),
        _ => unreachable!(),
    });
    rig.apply(vec![secure.clone()]).await;
    let behind = |rig: &Rig| {
        let status = rig.status("lines");
        status.state == InputState::Listening && status.error.is_some_and(|error| error.contains("cert.pem"))
    };
    assert!(behind(&rig), "{:?}", rig.status("lines"));
    TcpStream::connect(address).unwrap().write_all(b"still plain\n").unwrap();
    rig.wait_lines("lines", 1).await;
    // A change of something else forgets nothing.
    rig.apply(vec![secure.clone(), on_host(tcp("other"), "127.0.0.2")]).await;
    assert!(behind(&rig), "{:?}", rig.status("lines"));

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    rig.wait_status("lines", |status| status.error.is_none()).await;
    assert_eq!(rig.address("lines", "tcp"), address);
    TcpStream::connect(address).unwrap().write_all(b"no longer plain\n").unwrap();
    rig.wait_status("lines", |status| status.refused.get("handshake") == Some(&1)).await;
    assert_eq!(rig.status("lines").lines, 1);
    // It goes back as well.
    rig.apply(vec![tcp("lines")]).await;
    TcpStream::connect(address).unwrap().write_all(b"plain again\n").unwrap();
    rig.wait_lines("lines", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_load_balancer_the_header_names_the_sender() {
    let behind =
        |input| with(input, |input| input.proxy_protocol_from = Some(vec!["127.0.0.1/32".parse().unwrap()]));
    let rig = Rig::start(vec![
        behind(from(tcp("site-a"), &["192.0.2.0/25"])),
        behind(from(tcp("site-b"), &["192.0.2.128/25"])),
    ])
    .await;
    let address = rig.address("site-a", "tcp");
    for (source, dataset) in [("192.0.2.7", "site-a"), ("192.0.2.200", "site-b")] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "PROXY TCP4 {source} 198.51.100.1 4711 514\r\nhello from {source}\n").unwrap();
        let line = &rig.wait_lines(dataset, 1).await[0];
        assert!(line.contains(&format!("\"source_ip\":\"{source}\"")), "{line}");
    }
    // Whom the header names and no input claims is refused; the listener counts it.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "PROXY TCP4 203.0.113.1 198.51.100.1 4711 514\r\nhello\n").unwrap();
    let name = "bytefreezer_proxy_listener_refused_total{listener=\"tcp 127.0.0.1:0\",cause=\"source\"}";
    until(name, || rig.metric(name).filter(|count| *count == 1).ok_or(())).await;
}
