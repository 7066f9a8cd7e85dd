//! Followers and the real proxy, over TLS, as operator and pod.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytefreezer_crds::Proxy;
use bytefreezer_operator::{
    acknowledge::{ErrorKind, Followers, InputState, PodReport, Why},
    api_secret::{self, Access},
    key::ObjectKey,
    validate::{Defaults, ValidatedProxy},
};
use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Client, client::Body};
use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// Makes the Secret of the API as on a cluster that has none, and gives what the operator has of it.
async fn api_secret() -> (Secret, Access) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(async move {
        let mut made = None;
        while let Some((request, reply)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let (code, body) = if parts.method == Method::POST {
                made = Some(serde_json::from_slice::<Secret>(&body).unwrap());
                (201, body.to_vec())
            } else {
                let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": ""});
                (404, status.to_string().into_bytes())
            };
            reply.send_response(Response::builder().status(code).body(Body::from(body)).unwrap());
        }
        made
    });
    let proxy: Proxy = serde_json::from_value(json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy",
        "metadata": {"name": "edge", "namespace": "net", "uid": "1"},
        "spec": {"receiver": {"url": "https://receiver.example"}},
    }))
    .unwrap();
    let proxy =
        ValidatedProxy::read(&proxy, &Defaults { image: "proxy:1".to_owned(), namespace: None }).unwrap();
    let client = Client::new(service, "net");
    let access = api_secret::ensure(&client, &proxy).await.unwrap();
    drop(client);
    (server.await.unwrap().unwrap(), access)
}

/// A proxy as its pod runs it.
struct RealPod {
    folder: TempDir,
    api_port: u16,
    child: Option<Child>,
}

impl Drop for RealPod {
    fn drop(&mut self) {
        self.kill();
    }
}

impl RealPod {
    fn new(secret: &Secret) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let api_port = e2e::free_port().unwrap();
        let pod = Self { folder, api_port, child: None };
        pod.mount(secret);
        pod
    }

    fn mount(&self, secret: &Secret) {
        for (name, content) in secret.data.as_ref().unwrap() {
            write(&self.folder.path().join(name), &content.0);
        }
    }

    /// A document with one udp input per (name, port).
    fn configure(&self, inputs: &[(&str, u16)]) {
        let file = |name: &str| self.folder.path().join(name);
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, port)| {
                let config = json!({"tenant_id": "acme", "dataset_id": name.replace('/', "-"), "host": "127.0.0.1", "port": port});
                json!({"type": "udp", "name": name, "config": config})
            })
            .collect();
        let document = json!({
            "server": {
                "api_host": "127.0.0.1", "api_port": self.api_port,
                "read_token_file": file("read-token"), "admin_token_file": file("admin-token"),
                "tls": {"cert_file": file("tls.crt"), "key_file": file("tls.key")},
            },
            "receiver": {"base_url": "http://127.0.0.1:9"},
            "spooling": {"directory": file("spool")},
            "inputs": inputs,
        });
        write(&file("config.yaml"), document.to_string().as_bytes());
    }

    fn start(&mut self) {
        let mut command = Command::new(e2e::process::binary().unwrap());
        command.arg("--config").arg(self.folder.path().join("config.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn pod(&self) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": "edge-0", "namespace": "net", "uid": "u0"},
            "spec": {"containers": [{"name": "proxy", "ports": [{"name": "api", "containerPort": self.api_port}]}]},
            "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }
}

/// As a mounted volume changes: at once.
fn write(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn edge() -> ObjectKey {
    ObjectKey::new("net", "edge")
}

/// Waits until the report is so; every change must be told.
async fn until(
    followers: &Followers,
    changes: &mut mpsc::Receiver<ObjectKey>,
    what: &str,
    is_so: impl Fn(&PodReport) -> bool,
) -> PodReport {
    loop {
        let report = followers.reports(&edge()).pop().unwrap();
        if is_so(&report) {
            return report;
        }
        let told = timeout(Duration::from_mins(1), changes.recv()).await;
        told.unwrap_or_else(|_| panic!("waited in vain for {what}: {report:?}"));
    }
}

fn state(report: &PodReport, name: &str) -> Option<InputState> {
    report.input(&ObjectKey::new("net", name)).map(|input| input.state)
}

fn why(report: &PodReport) -> Option<&Why> {
    report.silence.as_ref().map(|silence| &silence.why)
}

#[tokio::test]
async fn a_real_pod_is_followed_through_change_crash_and_new_certificate() {
    let (secret, access) = api_secret().await;
    let mut pod = RealPod::new(&secret);
    let (first, held) = (e2e::free_port().unwrap(), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let second = held.local_addr().unwrap().port();
    let (service, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let (told, mut changes) = mpsc::channel(16);
    let followers = Followers::new(Client::new(service, "net"), told);
    followers.follow(&edge(), &access, &[pod.pod()]);
    until(&followers, &mut changes, "silence before it runs", |report| why(report) == Some(&Why::Refused))
        .await;

    pod.configure(&[("net/web", first)]);
    pod.start();
    let before = until(&followers, &mut changes, "the listener", |report| {
        state(report, "web") == Some(InputState::Listening)
    })
    .await;
    assert_eq!(before.silence, None);
    let web = before.input(&ObjectKey::new("net", "web")).unwrap();
    assert_eq!(web.addresses, [format!("udp 127.0.0.1:{first}")]);

    pod.configure(&[("net/web", first), ("net/fw", second)]);
    let held_up = until(&followers, &mut changes, "the port that somebody has", |report| {
        state(report, "fw") == Some(InputState::Retrying)
    })
    .await;
    assert_eq!(state(&held_up, "web"), Some(InputState::Listening));
    let (said, said_before) = (held_up.said.clone().unwrap(), before.said.unwrap());
    assert_ne!(said.document, said_before.document);
    let fw = held_up.input(&ObjectKey::new("net", "fw")).unwrap();
    let error = fw.error.as_ref().unwrap();
    assert_eq!((error.kind, error.errno.as_deref()), (ErrorKind::PortInUse, Some("EADDRINUSE")), "{error:?}");
    assert!(error.text.contains(&second.to_string()), "{error:?}");
    let web = held_up.input(&ObjectKey::new("net", "web")).unwrap();
    assert!(web.receive_buffer.is_some() && !web.hash.is_empty() && web.hash != fw.hash, "{web:?} {fw:?}");
    assert_eq!(said.spooled, Some([].into()), "nothing came");
    drop(held);
    until(&followers, &mut changes, "the port that is free", |report| {
        state(report, "fw") == Some(InputState::Listening)
    })
    .await;

    pod.kill();
    let silent =
        until(&followers, &mut changes, "the crash", |report| why(report) == Some(&Why::Refused)).await;
    assert_eq!(state(&silent, "fw"), Some(InputState::Listening), "what it said stays");
    pod.start();
    until(&followers, &mut changes, "the restart", |report| {
        report.silence.is_none() && state(report, "fw") == Some(InputState::Listening)
    })
    .await;

    let (secret, access) = api_secret().await;
    pod.mount(&secret);
    followers.follow(&edge(), &access, &[pod.pod()]);
    pod.configure(&[("net/web", first)]);
    until(&followers, &mut changes, "the new access", |report| {
        report.silence.is_none() && state(report, "fw").is_none()
    })
    .await;
}
