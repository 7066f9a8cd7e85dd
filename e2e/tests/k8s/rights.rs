//! 9: exactly the chart's rights, the restricted standard, default-deny policies, and tokens that open nothing.

use std::{process::Command, time::Duration};

use bytefreezer_crds::{Proxy, ProxyDataset};
use e2e::{
    k8s::{Namespace, Operator, namespace::LIMIT},
    peers,
};
use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::SubjectAccessReview,
        core::v1::{Pod, Secret},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::common::{dataset, proxy, proxy_ready, reachable, ready, ready_pods};

/// Whether the operator's account may do it, as the API server sees it.
fn may(
    namespace: &Namespace,
    operator: &Operator<'_>,
    verb: &str,
    group: &str,
    resource: &str,
    at: &str,
) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({
        "spec": {
            "user": format!("system:serviceaccount:{}:{}", namespace.name(), operator.deployment()),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": at,
            },
        },
    }))
    .unwrap();
    let api: Api<SubjectAccessReview> = Api::all(namespace.cluster().client());
    let answer = namespace.cluster().wait(api.create(&PostParams::default(), &review)).unwrap();
    answer.status.unwrap().allowed
}

fn deny_all() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

fn certificate(name: &str) -> Value {
    let key = rcgen::generate_simple_self_signed(vec!["edge".to_owned()]).unwrap();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
        "stringData": {"tls.crt": key.cert.pem(), "tls.key": key.signing_key.serialize_pem()},
    })
}

#[test]
fn t09_the_charts_rights_are_enough_and_go_no_further() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = Namespace::labelled("rights", &labels).unwrap();
    namespace.apply(&deny_all()).unwrap();
    let receiver = namespace.receiver().unwrap();
    let operator = Operator::install(&namespace, &json!({})).unwrap();

    // Everything the operator does, once.
    namespace.apply(&proxy(&receiver, &json!({"workload": {"replicas": 2}}))).unwrap();
    namespace.apply(&dataset("low", &json!({"syslog": {"port": 514}}), &json!({}))).unwrap();
    namespace.apply(&certificate("tls")).unwrap();
    let tls = json!({"syslog": {"port": 6514, "protocols": ["TCP"], "tls": {"secretRef": {"name": "tls"}}}});
    namespace.apply(&dataset("secure", &tls, &json!({}))).unwrap();
    ready(&namespace, "low");
    ready(&namespace, "secure");
    proxy_ready(&namespace, "edge");
    namespace.delete::<ProxyDataset>("secure").unwrap();
    namespace.apply(&proxy(&receiver, &json!({"workload": {"replicas": 1}}))).unwrap();
    namespace
        .until(LIMIT, "the end of the disruption budget of one pod", || {
            Ok(namespace.get::<PodDisruptionBudget>("edge")?.is_none().then_some(()))
        })
        .unwrap();
    namespace
        .until(LIMIT, "the end of the certificate that nobody names", || {
            Ok(namespace.get::<Secret>("edge-assets-0")?.is_none().then_some(()))
        })
        .unwrap();
    ready_pods(&namespace, "edge", 1);
    ready(&namespace, "low");
    let logged = operator.logs().unwrap();
    let refused: Vec<_> = logged.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    // And what it must not be able to do.
    let own = namespace.name();
    for (verb, group, resource) in [
        ("list", "", "secrets"),
        ("watch", "", "secrets"),
        ("delete", "", "pods"),
        ("create", "", "pods"),
        ("create", "", "pods/exec"),
        ("delete", "", "persistentvolumeclaims"),
        ("create", "bytefreezer.com", "proxies"),
        ("update", "bytefreezer.com", "proxydatasets"),
        ("delete", "bytefreezer.com", "proxydatasets"),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
        ("create", "rbac.authorization.k8s.io", "clusterroles"),
        ("get", "", "nodes"),
    ] {
        assert!(!may(&namespace, &operator, verb, group, resource, own), "{verb} {resource}");
    }
    assert!(may(&namespace, &operator, "get", "", "secrets", "default"), "of every namespace, by name");

    // Narrowed: nothing in other namespaces, and it goes on.
    operator.upgrade(&json!({"secretNamespaces": [own]})).unwrap();
    assert!(!may(&namespace, &operator, "get", "", "secrets", "default"));
    namespace.apply(&dataset("secure", &tls, &json!({}))).unwrap();
    ready(&namespace, "secure");

    // The Proxy's own policy opens what the namespace's closes.
    let policy = namespace.get::<NetworkPolicy>("edge").unwrap().unwrap();
    let text = serde_json::to_string(&policy.spec).unwrap();
    for part in ["\"port\":514,\"protocol\":\"UDP\"", "\"port\":8009", "bytefreezer-operator"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn t09_an_operator_of_one_namespace_needs_a_role_alone() {
    let namespace = Namespace::new("alone").unwrap();
    let other = Namespace::new("alone-other").unwrap();
    let receiver = namespace.receiver().unwrap();
    let operator = Operator::install(&namespace, &json!({"scope": "Namespace"})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("lines", &json!({"udp": {"port": 5514}}), &json!({}))).unwrap();
    ready(&namespace, "lines");
    for (verb, group, resource) in
        [("list", "bytefreezer.com", "proxies"), ("get", "", "secrets"), ("create", "apps", "statefulsets")]
    {
        assert!(may(&namespace, &operator, verb, group, resource, namespace.name()), "{verb} {resource}");
        assert!(!may(&namespace, &operator, verb, group, resource, other.name()), "{verb} {resource}");
    }
    for from in [json!({"from": "All"}), json!({"from": "Selector", "selector": {}})] {
        namespace.apply(&proxy(&receiver, &json!({"allowedDatasets": [{"namespaces": from}]}))).unwrap();
        let refused = namespace.condition::<Proxy>("edge", "Accepted", "False", LIMIT).unwrap();
        assert_eq!(refused.reason, "Invalid", "{refused:?}");
        assert!(refused.message.contains("scope: Cluster"), "{refused:?}");
        namespace
            .apply(&proxy(&receiver, &json!({"allowedDatasets": [{"namespaces": {"from": "Same"}}]})))
            .unwrap();
        namespace.condition::<Proxy>("edge", "Accepted", "True", LIMIT).unwrap();
    }
    let logged = operator.logs().unwrap();
    assert!(!logged.to_lowercase().contains("forbidden"), "{logged}");
}

/// Status of an answer of a pod's API.
fn status(pod: &Pod, method: &str, path: &str, token: Option<&str>) -> String {
    let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    let mut command = Command::new(peers::program("curl").unwrap());
    command.args([
        "--silent",
        "--insecure",
        "--max-time",
        "10",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    command.args(["--request", method, "--header", "Content-Type: application/json", "--data", "{}"]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let output = command.arg(format!("https://{ip}:8008{path}")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn t09_a_caller_with_a_wrong_or_the_read_token_changes_nothing() {
    let namespace = Namespace::new("callers").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    namespace.apply(&dataset("lines", &json!({"tcp": {"port": 6514}}), &json!({}))).unwrap();
    ready(&namespace, "lines");
    let pod = ready_pods(&namespace, "edge", 1).remove(0);
    let secret = namespace.get::<Secret>("edge-api").unwrap().unwrap();
    let token = |name: &str| {
        let ByteString(bytes) = &secret.data.as_ref().unwrap()[name];
        String::from_utf8(bytes.clone()).unwrap().trim().to_owned()
    };
    let (read, admin) = (token("read-token"), token("admin-token"));

    // Something that could be deleted: a batch that the Receiver refuses for good.
    receiver.fault(e2e::receiver::Scope::All, e2e::receiver::Fault::status(422));
    let target = reachable(&namespace, "edge", 6514);
    std::io::Write::write_all(&mut std::net::TcpStream::connect(target).unwrap(), b"a poisoned line\n")
        .unwrap();
    namespace
        .until(LIMIT, "the dead letter", || {
            let moved = || {
                let ip = pod.status.as_ref()?.pod_ip.clone()?;
                let address = format!("{ip}:8009").parse().ok()?;
                let metrics = e2e::http::Client::new(address).get("/metrics").ok()?.text();
                metrics
                    .contains("bytefreezer_proxy_upload_dlq_moves_total{reason=\"rejected\"} 1")
                    .then_some(())
            };
            Ok(moved())
        })
        .unwrap();

    for (token, reads, changes) in
        [(None, "401", "401"), (Some("wrong"), "401", "401"), (Some(read.as_str()), "200", "403")]
    {
        assert_eq!(status(&pod, "GET", "/api/v1/status", token), reads, "{token:?}");
        assert_eq!(status(&pod, "POST", "/api/v1/dlq/retry", token), changes, "{token:?}");
        assert_eq!(status(&pod, "POST", "/api/v1/config/reload", token), changes, "{token:?}");
    }
    assert_eq!(receiver.lines(), 0);
    ready(&namespace, "lines");
    let same = ready_pods(&namespace, "edge", 1);
    assert_eq!(same[0].uid(), pod.uid());

    // The right one does, so the others were refused for what they were.
    receiver.lift(&e2e::receiver::Scope::All);
    assert_eq!(status(&pod, "POST", "/api/v1/dlq/retry", Some(&admin)), "200");
    receiver.wait_lines(1, Duration::from_secs(30)).unwrap();
}
