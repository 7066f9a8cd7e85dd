//! Pods that are servers of the test.

mod followers;
mod hostile;
mod touches;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::api_secret::tests::access;

/// What a pod does with a connection.
#[derive(Clone, Debug, PartialEq)]
enum Habit {
    /// As a proxy does: answers with this state, or waits until it is another one.
    Proxy(Json),
    /// Takes the connection and says nothing.
    HangsBeforeTls,
    /// Says nothing after TLS.
    HangsAfterTls,
    /// Says this without TLS.
    SaysWithoutTls(&'static str),
    /// Closes at once.
    Closes,
    /// Closes after TLS.
    ClosesAfterTls,
    /// Says this to everything, then closes.
    Says(String),
    /// A head, then a body without end.
    Endless,
    /// A head without end.
    EndlessHead,
    /// A head, then a body that stalls.
    Stalls,
}

/// A pod of the test.
struct Server {
    address: SocketAddr,
    habit: watch::Sender<Habit>,
    /// Heads of the requests.
    asked: Arc<Mutex<VecDeque<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(certificate: &[u8], key: &[u8], habit: Habit) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (habit, now) = watch::channel(habit);
        let asked = Arc::<Mutex<VecDeque<String>>>::default();
        let heads = Arc::clone(&asked);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(tcp, acceptor.clone(), now.clone(), Arc::clone(&heads)));
            }
        }));
        Self { address, habit, asked, _task: task }
    }

    fn pod(&self, name: &str, uid: &str) -> Arc<Pod> {
        pod(name, uid, Some(self.address))
    }
}

async fn serve(
    mut tcp: TcpStream,
    acceptor: TlsAcceptor,
    mut habit: watch::Receiver<Habit>,
    heads: Arc<Mutex<VecDeque<String>>>,
) {
    let now = habit.borrow_and_update().clone();
    match now {
        Habit::HangsBeforeTls => return std::future::pending().await,
        Habit::Closes => return,
        Habit::SaysWithoutTls(text) => {
            let _ = tcp.write_all(text.as_bytes()).await;
            return std::future::pending().await;
        }
        _ => {}
    }
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    if now == Habit::ClosesAfterTls {
        return;
    }
    let Some(head) = head(&mut tls).await else { return };
    heads.lock().push_back(head.clone());
    let begin = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let text = match now {
        Habit::Proxy(state) => {
            let after = head.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("after="));
            let mut state = state;
            if state["etag"].as_str() == after {
                // The wait of a real one is longer than any test.
                let _ = habit
                    .wait_for(|now| matches!(now, Habit::Proxy(now) if now["etag"].as_str() != after))
                    .await;
                if let Habit::Proxy(now) = &*habit.borrow() {
                    state = now.clone();
                }
            }
            let body = state.to_string();
            begin(body.len()) + &body
        }
        Habit::Says(text) => text,
        Habit::Stalls => begin(100) + "{",
        Habit::Endless => {
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("{:x}\r\n{}\r\n", 65536, " ".repeat(65536));
            while tls.write_all(chunk.as_bytes()).await.is_ok() {}
            return;
        }
        Habit::EndlessHead => {
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while tls.write_all(b"x-more: and more\r\n").await.is_ok() {}
            return;
        }
        _ => return std::future::pending().await,
    };
    let _ = tls.write_all(text.as_bytes()).await;
    if now_stalls(&text) {
        return std::future::pending().await;
    }
    let _ = tls.shutdown().await;
}

fn now_stalls(text: &str) -> bool {
    text.ends_with("\r\n\r\n{")
}

async fn head(tls: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A pod as Kubernetes has it, ready, with its API at `address`.
fn pod(name: &str, uid: &str, address: Option<SocketAddr>) -> Arc<Pod> {
    let port = address.map_or(8008, |address| address.port());
    let pod = json!({
        "metadata": {"name": name, "namespace": "net", "uid": uid},
        "spec": {"nodeName": "node-1", "containers": [{"name": "proxy", "ports": [
            {"name": "health", "containerPort": 1}, {"name": "api", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": address.map(|address| address.ip().to_string()),
                   "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// A state with one input, whose hash is `hash`.
fn state(etag: &str, hash: &str) -> Json {
    json!({"etag": etag, "config_hash": format!("of-{hash}"), "inputs": [
        {"name": "net/web", "hash": hash, "state": "listening"}]})
}

fn edge() -> ObjectKey {
    ObjectKey::new("net", "edge")
}

fn web() -> ObjectKey {
    ObjectKey::new("net", "web")
}

/// Limits that a test can wait for.
fn short() -> Limits {
    let second = Duration::from_secs(1);
    Limits { connect: second, wait: Duration::from_secs(30), answer: second, bytes: 1 << 20 }
}
