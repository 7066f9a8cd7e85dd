//! 11: many objects and no pods: time, memory, CPU and requests.

use std::time::{Duration, Instant};

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{Namespace, Outside, conditions::Conditions as _, outside::sum};
use futures_util::{StreamExt as _, stream};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

const PROXIES: usize = 200;
const DATASETS: usize = 5000;
const ON_ONE: usize = 1000;

/// Makes objects, sixteen at a time.
fn make(namespace: &Namespace, objects: Vec<Value>) {
    let client = namespace.cluster().client();
    let requests = stream::iter(objects).map(|object| {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace.name(), &resource);
        async move {
            let name = object.metadata.name.clone().unwrap();
            api.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await.unwrap();
        }
    });
    namespace.cluster().wait(requests.buffer_unordered(16).for_each(|()| async {}));
}

fn proxy(name: &str) -> Value {
    json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy", "metadata": {"name": name},
        "spec": {"receiver": {"url": "http://receiver.example:8080"}, "workload": {"replicas": 0},
            "exposure": {"type": "ClusterIP"}},
    })
}

fn dataset(name: &str, proxy: &str, port: usize) -> Value {
    json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": {"name": name},
        "spec": {"proxyRef": {"name": proxy}, "tenantId": "acme", "source": {"udp": {"port": port}}},
    })
}

/// How many datasets the operator has accepted.
fn accepted(namespace: &Namespace) -> usize {
    let all = namespace.list::<ProxyDataset>().unwrap();
    all.iter().filter(|dataset| dataset.condition("Accepted").is_some_and(|c| c.status == "True")).count()
}

fn converge(namespace: &Namespace, operator: &Outside, count: usize, what: &str) {
    let started = Instant::now();
    let cpu = operator.cpu().unwrap();
    // Listing thousands takes the operator's CPU away, so its metrics are looked at first.
    let is_idle = || -> anyhow::Result<bool> {
        let metrics = operator.metrics()?;
        let known = metrics.get("bytefreezer_operator_objects{kind=\"proxydatasets\"}").copied();
        Ok(known == Some(count as f64) && sum(&metrics, "bytefreezer_operator_queued") < 0.5)
    };
    let end = namespace.until(Duration::from_mins(5), what, || {
        Ok((is_idle()? && accepted(namespace) == count).then_some(()))
    });
    end.unwrap();
    let (_, most) = operator.memory().unwrap();
    println!(
        "{what}: {:.1} s after the last was made, {:.1} s of CPU since, at most {} MiB resident",
        started.elapsed().as_secs_f64(),
        operator.cpu().unwrap() - cpu,
        most >> 20,
    );
}

#[test]
fn t11_a_thousand_datasets_on_one_proxy_and_five_thousand_over_two_hundred() {
    let namespace = Namespace::new("scale").unwrap();
    let operator = Outside::start(Some(namespace.name()), &[]).unwrap();
    make(&namespace, vec![proxy("one")]);
    make(&namespace, (0..ON_ONE).map(|n| dataset(&format!("one-{n}"), "one", 1024 + n)).collect());
    converge(&namespace, &operator, ON_ONE, "1000 datasets on one Proxy");

    make(&namespace, (0..PROXIES).map(|n| proxy(&format!("p{n}"))).collect());
    let many =
        (0..DATASETS).map(|n| dataset(&format!("d{n}"), &format!("p{}", n % PROXIES), 1024 + n / PROXIES));
    make(&namespace, many.collect());
    converge(&namespace, &operator, ON_ONE + DATASETS, "5000 more over 200 Proxies");

    // A change to one dataset writes nothing of any other.
    let writes = || sum(&operator.metrics().unwrap(), "bytefreezer_operator_writes_total");
    let mut last = writes();
    namespace
        .until(Duration::from_mins(1), "rest", || {
            std::thread::sleep(Duration::from_secs(3));
            let before = std::mem::replace(&mut last, writes());
            Ok(((last - before).abs() < f64::EPSILON).then_some(()))
        })
        .unwrap();
    let versions = || {
        let all = namespace.list::<ProxyDataset>().unwrap();
        all.into_iter()
            .filter(|d| d.metadata.name.as_deref() != Some("one-7"))
            .map(|d| d.metadata.resource_version)
            .collect::<Vec<_>>()
    };
    let (before, wrote) = (versions(), writes());
    let started = Instant::now();
    make(&namespace, vec![dataset("one-7", "one", 5000)]);
    namespace
        .wait::<ProxyDataset, _>("one-7", Duration::from_mins(1), "the change", |found| {
            found.condition("Accepted").map(|_| ())
        })
        .unwrap();
    let took = started.elapsed();
    std::thread::sleep(Duration::from_secs(3));
    println!("one change among 6000 datasets: {took:?}, {} writes", writes() - wrote);
    assert_eq!(versions(), before);
    assert!(writes() - wrote <= 6.0, "{}", writes() - wrote);
}
