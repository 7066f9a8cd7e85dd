//! curl as a client: what a user runs.

use std::{
    fs,
    io::{Seek, Write},
    path::Path,
    process::{Command, Output},
};

use super::*;
use crate::{config::ServerTls, inputs::tls::TlsHandle};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

async fn curl(args: &[&str], stdin: &[u8]) -> Output {
    let mut body = tempfile::tempfile().unwrap();
    body.write_all(stdin).unwrap();
    body.rewind().unwrap();
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-w", "%{http_code}"]).args(args).stdin(body);
    tokio::task::spawn_blocking(move || command.output().expect("curl is needed: apt-get install curl"))
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test]
async fn plain_chunked_and_compressed_uploads() {
    let running = start(vec![input("web", |_, http| http.max_lines_per_request = 1_000_000)]);
    let url = format!("http://{}/webhook", running.address);
    let lines = (0..30_000).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
    assert_eq!(said(&curl(&["--data-binary", "@-", &url], lines.as_bytes()).await), "OK200");
    let streamed = curl(&["-X", "POST", "-T", "-", &url], lines.as_bytes()).await;
    assert_eq!(said(&streamed), "OK200");
    let zstd = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let compressed =
        ["-H", "Content-Encoding: zstd", "-H", "Expect: 100-continue", "--data-binary", "@-", &url];
    assert_eq!(said(&curl(&compressed, &zstd).await), "OK200");
    assert_eq!(running.store.stored("web"), lines.repeat(3));
    let too_large = vec![b'x'; 3 << 20];
    assert_eq!(said(&curl(&["--data-binary", "@-", &url], &too_large).await), "Payload too large413");
    assert_eq!(said(&curl(&["-X", "POST", "-T", "-", &url], &too_large).await), "Payload too large413");
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
        Self(issuer)
    }

    fn write(&self, folder: &Path, name: &str, file: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join(format!("{file}.crt")), cert.pem()).unwrap();
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn w31_tls_with_client_certificates_and_a_new_certificate_without_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new(folder.path());
    authority.write(folder.path(), "localhost", "tls");
    authority.write(folder.path(), "device", "device");
    let tls = ServerTls {
        cert_file: path("tls.crt").into(),
        key_file: path("tls.key").into(),
        client_ca_file: Some(path("ca.crt").into()),
        client_cert_required: true,
    };
    let handle = Arc::new(TlsHandle::load(&tls).unwrap());
    let settings = AcceptSettings {
        tls: Some(Arc::clone(&handle)),
        handshake_timeout: Duration::from_secs(5),
        ..AcceptSettings::default()
    };
    let running = start_with(vec![input("web", |_, _| {})], "127.0.0.1", settings, 64 << 20);
    let resolve = format!("{{}}:{}:127.0.0.1", running.address.port());
    let (ca, cert, key) = (path("ca.crt"), path("device.crt"), path("device.key"));
    let send = async |name: &str, with_cert: bool, version: &[&str]| {
        let resolve = resolve.replace("{}", name);
        let url = format!("https://{name}:{}/webhook", running.address.port());
        let mut args = vec!["--cacert", &ca, "--resolve", &resolve, "--data-binary", "a", &url];
        args.extend(version);
        if with_cert {
            args.extend(["--cert", &cert, "--key", &key]);
        }
        curl(&args, b"").await
    };
    assert_eq!(said(&send("localhost", true, &["--tlsv1.3"]).await), "OK200");
    assert_eq!(said(&send("localhost", true, &["--tls-max", "1.2"]).await), "OK200");
    assert!(!send("localhost", false, &["--tlsv1.3"]).await.status.success());
    until("handshake counted", || running.stats[0].refused(Refusal::Handshake) >= 1).await;
    assert!(!send("other", true, &["--tlsv1.3"]).await.status.success());
    authority.write(folder.path(), "other", "tls");
    handle.expire();
    assert_eq!(said(&send("other", true, &["--tlsv1.3"]).await), "OK200");
    // Nor does a peer that is silent during the handshake stay.
    let before = running.stats[0].refused(Refusal::Handshake);
    let mut silent = Client::to(running.address).await;
    assert!(silent.is_closed().await);
    until("counted", || running.stats[0].refused(Refusal::Handshake) > before).await;
    // Without TLS there is nothing to be had.
    let plain = format!("http://{}/webhook", running.address);
    assert!(!curl(&["--data-binary", "a", &plain], b"").await.status.success());
}

#[tokio::test]
async fn tls_behind_a_load_balancer_that_names_the_sender() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    Authority::new(folder.path()).write(folder.path(), "localhost", "tls");
    let tls = ServerTls {
        cert_file: path("tls.crt").into(),
        key_file: path("tls.key").into(),
        client_ca_file: None,
        client_cert_required: false,
    };
    let settings = AcceptSettings {
        tls: Some(Arc::new(TlsHandle::load(&tls).unwrap())),
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        ..AcceptSettings::default()
    };
    let running = start_with(vec![input("web", |_, _| {})], "127.0.0.1", settings, 64 << 20);
    let resolve = format!("localhost:{}:127.0.0.1", running.address.port());
    let (ca, url) = (path("ca.crt"), format!("https://localhost:{}/webhook", running.address.port()));
    let args = ["--cacert", &ca, "--resolve", &resolve, "--data-binary", "a", &url];
    let output = curl(&[&["--haproxy-protocol"], &args[..]].concat(), b"").await;
    assert_eq!(said(&output), "OK200");
    assert!(!curl(&args, b"").await.status.success());
}
