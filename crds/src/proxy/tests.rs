//! Every rule of a Proxy, with an object it takes and one it refuses.

use serde_json::{Value as Json, json};

use crate::testing::{Kind, changed, judge, minimal, with};

fn taken(at: &str, value: &Json) {
    let found = judge(Kind::Proxy, &with(Kind::Proxy, at, value.clone()), None);
    assert!(found.is_empty(), "{at} = {value}: {found:#?}");
}

fn refused(at: &str, value: &Json, message: &str) {
    let found = judge(Kind::Proxy, &with(Kind::Proxy, at, value.clone()), None);
    assert!(found.iter().any(|one| one.contains(message)), "{at} = {value}: {found:#?}");
}

/// `table`: place, what is taken there, what is refused there, with which message.
fn each(table: &[(&str, &[Json], &[Json], &str)]) {
    for (at, good, bad, message) in table {
        good.iter().for_each(|value| taken(at, value));
        bad.iter().for_each(|value| refused(at, value, message));
    }
}

#[test]
fn the_smallest_proxy_is_taken_and_needs_a_receiver() {
    assert_eq!(judge(Kind::Proxy, &minimal(Kind::Proxy), None), Vec::<String>::new());
    refused("/spec/receiver", &Json::Null, "receiver: is required");
    refused("/spec/recevier", &json!({}), "recevier: is unknown");
}

#[test]
fn names_fit_into_what_is_made_from_them() {
    each(&[(
        "/metadata/name",
        &[json!("e"), json!("edge-1"), json!("a".repeat(40))],
        &[json!("1edge"), json!("edge.one"), json!("edge-"), json!("a".repeat(41))],
        "at most 40 small letters",
    )]);
}

#[test]
fn urls() {
    each(&[
        (
            "/spec/receiver/url",
            &[json!("http://10.0.0.1"), json!("https://[2001:db8::1]:8080/base")],
            &[
                json!("receiver:8080"),
                json!("ftp://x"),
                json!("https://"),
                json!("https://x/?q=1"),
                json!("https://a b"),
            ],
            "write one such as https://receiver.example:8080",
        ),
        ("/spec/receiver/url", &[], &[json!("https://me:pw@receiver.example")], "name it in tokenSecretRef"),
        ("/spec/receiver/url", &[], &[json!("https://x/{tenant}")], "placeholder"),
    ]);
}

#[test]
fn tokens_are_references() {
    let tenants =
        |key: &str, id: &str| json!([{"tenantId": id, "tokenSecretRef": {"name": "bf", "key": key}}]);
    each(&[
        (
            "/spec/receiver/tenants",
            &[tenants("token", "acme")],
            &[tenants("to ken", "acme")],
            "is no key of a Secret",
        ),
        ("/spec/receiver/tenants", &[], &[tenants("token", "a--b")], "must not contain --"),
        ("/spec/receiver/tenants", &[], &[tenants("token", "Syslog")], "is a reserved word"),
        (
            "/spec/receiver/tokenSecretRef",
            &[json!({"name": "bf", "key": "token"})],
            &[json!({"name": "Bf", "key": "token"})],
            "is no name of a Kubernetes object",
        ),
        ("/spec/receiver/token", &[], &[json!("secret")], "token: is unknown"),
    ]);
}

#[test]
fn modes_of_a_later_version_are_refused() {
    each(&[
        (
            "/spec/configMode",
            &[json!("LocalOnly")],
            &[json!("ControlOnly"), json!("Hybrid")],
            "not in this version yet",
        ),
        ("/spec/configMode", &[], &[json!("local-only")], "is none of"),
    ]);
}

#[test]
fn exposure_members_belong_to_their_type() {
    let local =
        json!({"type": "LoadBalancer", "loadBalancer": {"sourceRanges": ["10.0.0.0/8"], "class": "metallb"}});
    let host = |ports: Json| json!({"type": "HostNetwork", "hostNetwork": ports});
    each(&[
        (
            "/spec/exposure",
            &[local],
            &[json!({"type": "ClusterIP", "loadBalancer": {}})],
            "loadBalancer has no effect",
        ),
        ("/spec/exposure", &[host(json!({}))], &[json!({"hostNetwork": {}})], "hostNetwork has no effect"),
        ("/spec/exposure", &[], &[host(json!({"apiPort": 8009}))], "write two different ports"),
        (
            "/spec/exposure",
            &[host(json!({"apiPort": 80, "privilegedPorts": true}))],
            &[host(json!({"apiPort": 80}))],
            "below 1024 need privileges",
        ),
        ("/spec/exposure", &[], &[host(json!({"apiPort": 70000}))], "is above 65535"),
        (
            "/spec/exposure",
            &[],
            &[json!({"loadBalancer": {"sourceRanges": ["10.0.0.0/33"]}})],
            "is no address or CIDR",
        ),
        (
            "/spec/exposure/listenAddress",
            &[json!("::"), json!("0.0.0.0")],
            &[json!("10.0.0.1")],
            "is none of",
        ),
    ]);
}

#[test]
fn replicas_are_for_stateful_sets() {
    each(&[(
        "/spec/workload",
        &[json!({"replicas": 2}), json!({"kind": "DaemonSet"}), json!({"replicas": 0})],
        &[json!({"kind": "DaemonSet", "replicas": 2})],
        "replicas has no effect on a DaemonSet",
    )]);
}

#[test]
fn what_a_workload_cannot_have_in_its_spool() {
    let both = |workload: &str, spool: Json| {
        let object = with(Kind::Proxy, "/spec/workload", json!({ "kind": workload }));
        judge(Kind::Proxy, &changed(object, "/spec/spool", spool), None)
    };
    assert_eq!(both("StatefulSet", json!({"storageClassName": "fast"})), Vec::<String>::new());
    assert_eq!(both("DaemonSet", json!({"hostPath": "/srv/spool"})), Vec::<String>::new());
    assert!(both("DaemonSet", json!({"storageClassName": "fast"}))[0].contains("needs a volume claim"));
    assert!(both("StatefulSet", json!({"hostPath": "/srv/spool"}))[0].contains("is for DaemonSets"));
    for path in ["srv", "/", "/a//b", "/a/../b"] {
        let found = both("DaemonSet", json!({ "hostPath": path }));
        assert!(found.iter().any(|one| one.contains("is no absolute path")), "{path}: {found:?}");
    }
}

#[test]
fn limits_fit_into_the_volume() {
    each(&[
        (
            "/spec/spool",
            &[
                json!({"size": "20Gi", "maxSize": "12Gi", "dlqMaxSize": "6Gi"}),
                json!({"size": "256Mi"}),
                json!({"size": "1.5Gi", "maxSize": "900Mi"}),
            ],
            &[
                json!({"size": "20Gi", "maxSize": "15Gi", "dlqMaxSize": "4Gi"}),
                json!({"size": "20Gi", "maxSize": "13Gi"}),
                json!({"maxSize": "19Gi"}),
            ],
            "together take more than 90 % of size",
        ),
        (
            "/spec/spool/size",
            &[json!("1Pi"), json!("300M")],
            &[json!("255Mi"), json!("2Pi"), json!("20GB"), json!("-1Gi"), json!("1.5")],
            "write 256Mi to 1Pi in whole bytes",
        ),
        (
            "/spec/spool/retryInterval",
            &[json!("1s"), json!("1h30m")],
            &[json!("0s"), json!("60"), json!("1d"), json!("500ms")],
            "write 1s to 8760h",
        ),
        (
            "/spec/spool/maxAge",
            &[json!("0s"), json!("168h")],
            &[json!("36h"), json!("60s"), json!("876024h")],
            "in whole days, written in hours",
        ),
        (
            "/spec/spool/syncInterval",
            &[json!("200ms"), json!("1m"), json!("1s500ms")],
            &[json!("0s"), json!("61s")],
            "write 1ms to 60s",
        ),
    ]);
}

#[test]
fn batches_fit_into_a_request() {
    each(&[
        (
            "/spec/batching/maxBytes",
            &[json!("0"), json!("10Mi")],
            &[json!("11Mi")],
            "above receiver.maxPayloadSize",
        ),
        ("/spec/batching/compressionLevel", &[json!(1), json!(9)], &[json!(0)], "is below 1"),
        ("/spec/limits/memory", &[json!("1Mi")], &[json!("1Ki")], "write 1Mi or more"),
    ]);
}

#[test]
fn rules_for_datasets() {
    each(&[
        (
            "/spec/allowedDatasets",
            &[
                json!([]),
                json!([{}]),
                json!([{"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}]),
            ],
            &[json!([{"namespaces": {"from": "Selector"}}])],
            "needs a selector",
        ),
        (
            "/spec/allowedDatasets",
            &[],
            &[json!([{"namespaces": {"selector": {}}}])],
            "selector has no effect",
        ),
        (
            "/spec/allowedDatasets",
            &[json!([{"ports": ["514", "5000-5999", "1-65535"]}])],
            &[
                json!([{"ports": ["0"]}]),
                json!([{"ports": ["9-1"]}]),
                json!([{"ports": ["65536"]}]),
                json!([{"ports": ["a"]}]),
            ],
            "is no port",
        ),
        (
            "/spec/allowedDatasets",
            &[json!([{"sources": ["10.1.0.0/16", "2001:db8::/32", "192.0.2.1"]}])],
            &[json!([{"sources": ["10.1.0.7/16"]}])],
            "has bits beyond its prefix",
        ),
        ("/spec/allowedDatasets", &[json!([{"max": 1}])], &[json!([{"max": 0}])], "is below 1"),
    ]);
}

#[test]
fn what_cannot_be_changed() {
    let change = |at: &str, from: Json, to: Json| {
        let start = with(Kind::Proxy, at, from);
        judge(Kind::Proxy, &changed(start.clone(), at, to), Some(&start))
    };
    let kinds = change("/spec/workload/kind", Json::Null, json!("DaemonSet"));
    assert!(kinds[0].contains("workload.kind cannot be changed"), "{kinds:?}");
    let shrunk = change("/spec/spool/size", json!("30Gi"), json!("20Gi"));
    assert!(shrunk[0].contains("spool.size cannot shrink"), "{shrunk:?}");
    let class = change("/spec/spool/storageClassName", Json::Null, json!("fast"));
    assert!(class[0].contains("storageClassName cannot be changed"), "{class:?}");
    assert_eq!(change("/spec/spool/size", Json::Null, json!("30Gi")), Vec::<String>::new());
    assert_eq!(change("/spec/workload/replicas", json!(1), json!(3)), Vec::<String>::new());

    let start = with(Kind::Proxy, "/spec/workload", json!({"kind": "DaemonSet"}));
    let start = changed(start, "/spec/spool", json!({"hostPath": "/a", "size": "20Gi"}));
    let moved =
        judge(Kind::Proxy, &changed(start.clone(), "/spec/spool/hostPath", json!("/b")), Some(&start));
    assert!(moved[0].contains("hostPath cannot be changed"), "{moved:?}");
    let shrunk = judge(Kind::Proxy, &changed(start.clone(), "/spec/spool/size", json!("10Gi")), Some(&start));
    assert_eq!(shrunk, Vec::<String>::new(), "a folder of the node may shrink");
}
