//! Passes against an API server of which the test is the other end.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytefreezer_crds::{Proxy, ProxyDataset};
use http::Method;
use kube::{
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::watcher::Event,
};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::{memory::Memory, pass::pass, *};
use crate::{
    acknowledge::Followers,
    claims::Keeper,
    events::events,
    gather::{Authored, Kind, Owned, World},
    metrics::Metrics,
    mock::{self, Asked},
    secrets::Cache,
    status::Writer,
    validate::Defaults,
};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("net", name)
}

fn metadata(name: &str, generation: i64) -> Json {
    json!({"name": name, "namespace": "net", "uid": name, "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

struct Test {
    context: Context,
    asked: Asked,
    memory: Memory,
}

/// What the API server has: it keeps the Secret of the API and the document, and gives patches back as they came.
fn server((refuses, code): (&'static str, u16)) -> (kube::Client, Asked) {
    let kept: Mutex<HashMap<&str, Json>> = Mutex::default();
    mock::stateful(move |method, uri, body| {
        if *method != Method::GET && !refuses.is_empty() && uri.contains(refuses) {
            return Some(mock::status(code, "Refused"));
        }
        let name = ["edge-api", "edge-config"].into_iter().find(|name| {
            uri.contains(&format!("/{name}")) || body["metadata"]["name"].as_str() == Some(*name)
        });
        match (method, name) {
            (&Method::GET, name) => Some(
                name.and_then(|name| kept.lock().get(name).cloned())
                    .map_or_else(|| mock::status(404, "NotFound"), |object| (200, object)),
            ),
            (_, Some(name)) => {
                kept.lock().insert(name, body.clone());
                None
            }
            (_, None) => None,
        }
    })
}

impl Test {
    fn new(refuses: &'static str) -> Self {
        Self::with(server((refuses, 403)))
    }

    /// The next process, at the same API server.
    fn restarted(&self) -> Self {
        Self::with((self.context.client.clone(), Arc::clone(&self.asked)))
    }

    fn with((client, asked): (kube::Client, Asked)) -> Self {
        let (changed, _news) = mpsc::channel(16);
        let metrics = Arc::new(Metrics::default());
        let (events, _publisher) = events(client.clone(), "test".to_owned(), Arc::clone(&metrics));
        let context = Context {
            world: Arc::new(World::default()),
            defaults: Defaults { image: "proxy:1".to_owned(), namespace: None },
            secrets: Cache::start(client.clone(), changed.clone()),
            followers: Followers::new(client.clone(), changed),
            keeper: Arc::new(Keeper::start(client.clone())),
            writer: Writer::new(client.clone()),
            events,
            metrics,
            client,
        };
        Self { context, asked, memory: Memory::default() }
    }

    fn proxy(&self) {
        let object = json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": metadata("edge", 1),
            "spec": {"receiver": {"url": "https://receiver.example"}},
        });
        let guard: DeserializeGuard<Proxy> = serde_json::from_value(object).unwrap();
        let event = Event::Apply((key("edge"), Authored::from(guard)));
        self.context.world.apply(|tables| &mut tables.proxies, event);
    }

    fn dataset(&self, name: &str, port: u16, generation: i64) {
        let object = json!({
            "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": metadata(name, generation),
            "spec": {"proxyRef": {"name": "edge"}, "tenantId": "acme", "source": {"udp": {"port": port}}},
        });
        let guard: DeserializeGuard<ProxyDataset> = serde_json::from_value(object).unwrap();
        let event = Event::Apply((key(name), Authored::from(guard)));
        self.context.world.apply(|tables| &mut tables.datasets, event);
    }

    fn broken(&self, name: &str, generation: i64) {
        let metadata = serde_json::from_value(metadata(name, generation)).unwrap();
        let guard =
            DeserializeGuard::<ProxyDataset>(Err(InvalidObject { error: "no number".to_owned(), metadata }));
        let event = Event::Apply((key(name), Authored::from(guard)));
        self.context.world.apply(|tables| &mut tables.datasets, event);
    }

    /// The document that was written last.
    fn document(&self) -> String {
        let asked = self.asked.lock();
        let (_, body) = asked.iter().rev().find(|(_, body)| body["kind"] == "ConfigMap").unwrap();
        body["data"]["config.yaml"].as_str().unwrap().to_owned()
    }

    async fn pass(&mut self) -> Result<Option<Instant>, PassError> {
        let edge = key("edge");
        let pass = pass(&self.context, &edge, &mut self.memory);
        tokio::time::timeout(Duration::from_secs(30), pass).await.expect("the pass ends")
    }

    /// What was written since the last call, as `kind/name`; what was applied is in the world afterwards.
    fn writes(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock());
        let mut writes = Vec::new();
        for (line, body) in asked {
            let (method, uri) = line.split_once(' ').unwrap();
            if method == "GET" {
                continue;
            }
            let kind = body["kind"].as_str().unwrap_or_default().to_owned();
            let status = if uri.contains("/status?") { "/status" } else { "" };
            writes.push(format!("{kind}/{}{status}", body["metadata"]["name"].as_str().unwrap_or_default()));
            if let Some(kind) = Kind::of(&kind) {
                let metadata = mock::kept(&body, "1")["metadata"].clone();
                let metadata = serde_json::from_value(metadata).unwrap();
                let event =
                    Event::Apply((key(body["metadata"]["name"].as_str().unwrap()), Owned::of(&metadata)));
                self.context.world.apply(|tables| tables.owned.entry(kind).or_default(), event);
            }
        }
        writes
    }

    fn status(&self, name: &str) -> Option<Vec<String>> {
        let asked = self.asked.lock();
        let (_, body) = asked.iter().rev().find(|(line, _)| line.contains(&format!("/{name}/status?")))?;
        let conditions = body["status"]["conditions"].as_array()?;
        let brief = |one: &Json| {
            format!(
                "{}={}/{}",
                one["type"].as_str().unwrap(),
                one["status"].as_str().unwrap(),
                one["reason"].as_str().unwrap()
            )
        };
        Some(conditions.iter().map(brief).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_makes_everything_and_the_next_one_nothing() {
    let mut test = Test::new("");
    test.proxy();
    test.dataset("web", 514, 1);
    test.dataset("db", 514, 1);
    test.pass().await.unwrap();
    assert_eq!(test.status("db").unwrap()[0], "Accepted=True/Accepted");
    assert_eq!(test.status("web").unwrap()[0], "Accepted=False/Conflicted");
    assert_eq!(test.status("edge").unwrap()[2], "Programmed=Unknown/NoReadyPods");
    let writes: BTreeSet<String> = test.writes().into_iter().collect();
    let expected = [
        "ConfigMap/edge-config",
        "NetworkPolicy/edge",
        "Proxy/edge/status",
        "ProxyDataset/db/status",
        "ProxyDataset/web/status",
        "Secret/edge-api",
        "Service/edge",
        "Service/edge-pods",
        "ServiceAccount/edge-pods",
        "StatefulSet/edge",
    ];
    assert_eq!(writes, expected.map(str::to_owned).into());

    test.pass().await.unwrap();
    assert_eq!(test.writes(), [""; 0], "at rest nothing is written");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_dataset_writes_to_no_other() {
    let mut test = Test::new("");
    test.proxy();
    for (name, port) in [("a", 1001), ("b", 1002), ("c", 1003)] {
        test.dataset(name, port, 1);
    }
    test.pass().await.unwrap();
    test.writes();
    tokio::time::advance(Duration::from_secs(2)).await;
    test.dataset("b", 2002, 2);
    test.pass().await.unwrap();
    let writes: BTreeSet<String> = test.writes().into_iter().collect();
    let expected = ["ConfigMap/edge-config", "NetworkPolicy/edge", "ProxyDataset/b/status", "Service/edge"];
    assert_eq!(writes, expected.map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_condition_and_the_pass_is_tried_again() {
    let mut test = Test::new("/networkpolicies/");
    test.proxy();
    test.dataset("web", 514, 1);
    let error = test.pass().await.unwrap_err();
    assert_eq!(error.label(), "apply_failed");
    assert_eq!(test.status("edge").unwrap()[2], "Programmed=False/ApplyFailed");
    assert_eq!(test.status("web").unwrap()[..1], ["Accepted=True/Accepted"]);
    assert_eq!(test.status("web").unwrap()[2], "Programmed=Unknown/ApplyFailed");
    assert!(!test.writes().iter().any(|write| write.starts_with("StatefulSet")), "the workload comes last");
    test.pass().await.unwrap_err();
    assert!(!test.writes().iter().any(|write| write.ends_with("/status")), "it is said once");
}

#[tokio::test(start_paused = true)]
async fn one_status_that_cannot_be_written_keeps_no_other_from_it() {
    let mut test = Test::new("/proxydatasets/a/status");
    test.proxy();
    test.dataset("a", 1001, 1);
    test.dataset("b", 1002, 1);
    let error = test.pass().await.unwrap_err();
    assert_eq!(error.label(), "status_failed");
    assert!(test.status("b").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_only_an_earlier_process_could_read_goes_on_as_it_is_in_the_document() {
    let mut first = Test::new("");
    first.proxy();
    first.dataset("web", 514, 1);
    first.pass().await.unwrap();
    let document = first.document();
    assert!(document.contains("net/web"), "{document}");

    let mut test = first.restarted();
    test.proxy();
    test.broken("web", 2);
    test.dataset("younger", 514, 1);
    recall(&test.context.world, &test.context.client).await;
    test.pass().await.unwrap();
    assert_eq!(test.document(), document);
    let conditions = ["Accepted=False/Undecodable", "ResolvedRefs=True/ResolvedRefs"];
    assert_eq!(test.status("web").unwrap()[..2], conditions);
    assert_eq!(test.status("web").unwrap()[2], "Programmed=Unknown/NoReadyPods");
    assert_eq!(test.status("younger").unwrap()[0], "Accepted=False/Conflicted", "it holds its port");

    test.broken("web", 3);
    tokio::time::advance(Duration::from_secs(2)).await;
    test.pass().await.unwrap();
    assert_eq!(test.document(), document, "another broken version changes nothing");
    test.dataset("web", 515, 4);
    tokio::time::advance(Duration::from_secs(2)).await;
    test.pass().await.unwrap();
    assert_eq!(test.status("web").unwrap()[0], "Accepted=True/Accepted");
    assert_eq!(test.status("younger").unwrap()[0], "Accepted=True/Accepted");
    assert!(test.document().contains("port: 515"), "{}", test.document());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_no_document_holds_nothing() {
    let mut test = Test::new("");
    test.proxy();
    test.broken("web", 1);
    recall(&test.context.world, &test.context.client).await;
    test.pass().await.unwrap();
    assert!(test.status("web").is_none(), "nobody knows of which Proxy it is");
    pass(&test.context, &key(""), &mut Memory::default()).await.unwrap();
    assert_eq!(test.status("web").unwrap()[0], "Accepted=False/Undecodable");
    let said = format!("{:?}", test.asked.lock());
    assert!(said.contains("it cannot be read: no number") && !said.contains("stays in force"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_object_that_takes_no_status_does_not_fail_the_pass() {
    let mut test = Test::with(server(("/proxydatasets/web/status", 422)));
    test.proxy();
    test.dataset("web", 514, 1);
    assert_eq!(test.pass().await.unwrap_err().label(), "status_failed");
    test.broken("web", 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    test.pass().await.unwrap();
    test.writes();
    test.pass().await.unwrap();
    assert_eq!(test.writes(), [""; 0], "it is tried once");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_written_once_a_second_at_most() {
    let mut test = Test::new("");
    test.proxy();
    test.dataset("a", 1001, 1);
    test.pass().await.unwrap();
    test.writes();
    test.dataset("a", 1002, 2);
    let again = test.pass().await.unwrap().unwrap();
    assert!(!test.writes().iter().any(|write| write.ends_with("/status")));
    assert!(again <= Instant::now() + Duration::from_secs(1));
    tokio::time::sleep_until(again).await;
    test.pass().await.unwrap();
    assert_eq!(test.writes(), ["ProxyDataset/a/status"]);
}
