//! `receiver.ca_file`: absent at start, replaced while running.

use std::{path::Path, sync::Arc};

use rcgen::{CertifiedKey, KeyPair};

use super::{
    receiver::{Act, FakeReceiver, talk},
    site::{Plan, until},
    upload::{batch, settings},
};
use crate::{
    config::Receiver,
    deliver::{
        client::{Clients, Upload},
        outcome::Outcome,
    },
    spool::State,
};

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

/// A Receiver behind TLS; its address.
async fn serve(certificate: &CertifiedKey<KeyPair>) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream, &parking_lot::Mutex::default(), &|_| Act::ok()).await;
            }
        }
    });
    format!("https://localhost:{port}")
}

async fn arrives(clients: &Clients) -> bool {
    let client = clients.get().unwrap();
    let (entry, file) = batch(1, false);
    let upload = client.upload(&entry, None, Box::new(std::io::Cursor::new(file))).await;
    matches!(upload, Upload::Done { outcome: Outcome::Delivered, .. })
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn authorities_are_read_again_when_their_file_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let (right, wrong) = (certificate(), certificate());
    let receiver = Receiver { ca_file: Some(path.clone()), ..settings(&serve(&right).await) };
    let clients = Clients::new(&receiver, "x/1");
    let why = clients.get().unwrap_err();
    assert!(why.contains("ca.pem") && why.contains("receiver.ca_file"), "{why}");
    put(&path, &wrong.cert.pem());
    assert!(!arrives(&clients).await);
    put(&path, &right.cert.pem());
    assert!(arrives(&clients).await, "replaced");
    put(&path, "half a certif");
    assert!(arrives(&clients).await, "one that works stays");
    std::fs::remove_file(&path).unwrap();
    assert!(arrives(&clients).await, "also when the file is gone");
    put(&path, &wrong.cert.pem());
    assert!(!arrives(&clients).await);
    std::fs::write(&path, right.cert.pem()).unwrap();
    assert!(arrives(&clients).await, "written in place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_is_missing_at_start_holds_delivery_only_and_costs_no_attempt() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let mut plan = Plan::new(&fake.url);
    plan.spooling.retry_attempts = 1;
    let path = plan.dir.path().join("ca.pem");
    plan.receiver.ca_file = Some(path.clone());
    let site = plan.start();
    site.send("a/one", 3).await;
    site.circuit("receiver", "network").await;
    assert!(site.deliverer.circuits()[0].message.contains("ca.pem"));
    let entries = site.entries("a/one", State::Queue);
    assert_eq!(entries.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [0]);
    let config = |file: &Path| {
        let text = format!(
            "config_mode: local-only\nreceiver: {{base_url: '{}', ca_file: {}}}\ninputs: []\n",
            fake.url,
            file.display()
        );
        crate::config::load("test.yaml", &text, []).usable().unwrap().config
    };
    assert!(site.deliverer.configure(&config(&path)).is_ok(), "it can get no worse");
    put(&path, &certificate().cert.pem());
    site.delivered(3).await;
    until("no circuit", || site.deliverer.circuits().is_empty()).await;
    let why = site.deliverer.configure(&config(Path::new("/nonexistent/ca.pem"))).unwrap_err();
    assert!(why.contains("/nonexistent/ca.pem"), "{why}");
}
