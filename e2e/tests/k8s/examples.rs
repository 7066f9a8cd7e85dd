//! The examples, applied as they stand.

use std::{path::Path, time::Duration};

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{Cluster, Namespace, Operator, cluster::kubectl, conditions::Conditions as _};
use kube::Api;
use serde_json::json;

/// Volumes, pods and an address.
const LONG: Duration = Duration::from_mins(2);

/// Datasets of the examples.
const DATASETS: [(&str, &str); 10] = [
    ("bytefreezer", "fw-logs"),
    ("bytefreezer", "web-hooks"),
    ("bytefreezer", "switches"),
    ("bytefreezer", "core-routers"),
    ("bytefreezer", "router-flows"),
    ("bytefreezer", "firewall-flows"),
    ("bytefreezer", "switch-samples"),
    ("bytefreezer", "node-events"),
    ("team-web", "shop-events"),
    ("bytefreezer-nodes", "node-syslog"),
];

/// Goes with its value, and the namespaces with it.
struct Applied(Vec<Vec<String>>);

impl Applied {
    fn apply(&mut self, kind: &str, path: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kubernetes").join(path);
        let path = path.display().to_string();
        self.0.push(vec![kind.to_owned(), path.clone()]);
        kubectl(&["apply", "--server-side", kind, &path]).unwrap();
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        for files in self.0.iter().rev() {
            let arguments: Vec<&str> = ["delete", "--ignore-not-found", "--wait"]
                .into_iter()
                .chain(files.iter().map(String::as_str))
                .collect();
            if let Err(error) = kubectl(&arguments) {
                eprintln!("an example stays: {error:#}");
            }
        }
    }
}

/// `Ready` of a dataset, as status and reason.
fn verdict(namespace: &str, name: &str) -> String {
    let cluster = Cluster::get().unwrap();
    let api: Api<ProxyDataset> = Api::namespaced(cluster.client(), namespace);
    let found = cluster.wait(api.get_opt(name)).unwrap();
    let ready = found.as_ref().and_then(|dataset| dataset.condition("Ready").cloned());
    ready.map_or_else(String::new, |ready| format!("{} {}: {}", ready.status, ready.reason, ready.message))
}

fn is_ready(namespace: &str, name: &str) {
    e2e::until(LONG, &format!("{name} to be Ready"), || {
        verdict(namespace, name).starts_with("True").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", verdict(namespace, name)));
}

#[test]
fn t01_the_examples_run_as_they_stand_and_leave_no_difference() {
    let namespace = Namespace::new("examples").unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    let mut applied = Applied(Vec::new());
    applied.apply("--kustomize", "base");
    applied.apply("--filename", "datasets");
    applied.apply("--kustomize", "host-network");
    for (namespace, name) in DATASETS {
        is_ready(namespace, name);
    }

    // The one with a certificate waits for it, and for nothing else.
    e2e::until(LONG, "the missing certificate", || {
        verdict("bytefreezer", "secure-syslog").starts_with("False SecretNotFound").then_some(())
    })
    .unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["edge".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = format!("--cert={}", file("tls.crt", key.cert.pem()));
    let private = format!("--key={}", file("tls.key", key.signing_key.serialize_pem()));
    kubectl(&["--namespace", "bytefreezer", "create", "secret", "tls", "syslog-tls", &certificate, &private])
        .unwrap();
    is_ready("bytefreezer", "secure-syslog");

    // What is applied is what is there, so a tool that compares finds nothing to do.
    for files in &applied.0 {
        let difference = kubectl(&["diff", "--server-side", &files[0], &files[1]]).unwrap();
        assert_eq!(difference, "", "{files:?}");
    }
}
