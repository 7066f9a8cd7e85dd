//! Every rule of a ProxyDataset, with an object it takes and one it refuses.

use serde_json::{Value as Json, json};

use super::Source;
use crate::{
    testing::{Kind, changed, judge, minimal, schema, with},
    values::RESERVED_IDS,
};

fn found(at: &str, value: &Json) -> Vec<String> {
    judge(Kind::Dataset, &with(Kind::Dataset, at, value.clone()), None)
}

/// `table`: place, what is taken there, what is refused there, with which message.
fn each(table: &[(&str, &[Json], &[Json], &str)]) {
    for (at, good, bad, message) in table {
        for value in *good {
            assert_eq!(found(at, value), Vec::<String>::new(), "{at} = {value}");
        }
        for value in *bad {
            let found = found(at, value);
            assert!(found.iter().any(|one| one.contains(message)), "{at} = {value}: {found:#?}");
        }
    }
}

#[test]
fn the_smallest_dataset_is_taken() {
    assert_eq!(judge(Kind::Dataset, &minimal(Kind::Dataset), None), Vec::<String>::new());
    each(&[("/spec/tenantId", &[], &[Json::Null], "tenantId: is required")]);
}

#[test]
fn exactly_one_source() {
    let udp = json!({"port": 5000});
    each(&[(
        "/spec/source",
        &[json!({"udp": udp}), json!({"tcp": udp}), json!({"syslog": udp}), json!({"http": udp})],
        &[json!({}), json!({"udp": udp, "tcp": udp}), json!({"netflow": {}, "ipfix": {}})],
        "give exactly one of udp, tcp, syslog, http, netflow, ipfix, sflow, ebpf",
    )]);
}

#[test]
fn flows_have_a_port_of_their_own() {
    for (kind, port) in [("netflow", 2055), ("ipfix", 4739), ("sflow", 6343), ("ebpf", 2056)] {
        let source = |value: Json| json!({kind: value});
        each(&[
            (
                "/spec/source",
                &[source(json!({})), source(json!({"port": 65535}))],
                &[source(json!({"port": 0}))],
                "is below 1",
            ),
            ("/spec/source", &[], &[source(json!({"dataFormat": "Ndjson"}))], "dataFormat: is unknown"),
        ]);
        let read: Source = serde_json::from_value(source(json!({}))).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap()[kind]["port"], port);
        let place = format!("/properties/spec/properties/source/properties/{kind}/properties/port/default");
        assert_eq!(schema(Kind::Dataset).pointer(&place), Some(&json!(port)), "{kind}");
    }
}

#[test]
fn what_is_special_to_flows() {
    for kind in ["netflow", "ipfix", "sflow"] {
        let source = |member: &str, value: Json| json!({kind: {member: value}});
        each(&[
            (
                "/spec/source",
                &[source("output", json!("Legacy")), source("macFormat", json!("Text"))],
                &[source("output", json!("legacy")), source("macFormat", json!("text"))],
                "is none of",
            ),
            ("/spec/source", &[], &[source("readBufferSize", json!("2Gi"))], "write 1Ki to 1Gi"),
        ]);
    }
    for kind in ["netflow", "ipfix"] {
        let source = |member: &str, value: Json| json!({kind: {member: value}});
        each(&[
            (
                "/spec/source",
                &[source("exporterId", json!("AddressPort"))],
                &[source("exporterId", json!("Port"))],
                "is none of",
            ),
            (
                "/spec/source",
                &[source("maxWaiting", json!("0")), source("maxWaiting", json!("1Gi"))],
                &[source("maxWaiting", json!("2Gi"))],
                "write 0 to 1Gi",
            ),
            (
                "/spec/source",
                &[source("maxWaitingFile", json!("64Gi"))],
                &[source("maxWaitingFile", json!("65Gi"))],
                "write 0 to 64Gi",
            ),
            (
                "/spec/source",
                &[source("maxTemplateFields", json!(1024))],
                &[source("maxTemplateFields", json!(1023))],
                "is below 1024",
            ),
            ("/spec/source", &[], &[source("maxExporters", json!(1_000_001))], "is above 1000000"),
        ]);
    }
    each(&[
        (
            "/spec/source",
            &[json!({"sflow": {"counters": false, "drops": false, "inner": true}})],
            &[json!({"sflow": {"counters": "no"}})],
            "is no boolean",
        ),
        (
            "/spec/source",
            &[json!({"ipfix": {"protocols": ["TCP"], "readTimeout": "0s"}})],
            &[json!({"ipfix": {"readTimeout": "2y"}})],
            "write 0s to 8760h",
        ),
        (
            "/spec/source",
            &[json!({"ebpf": {"sourceField": "node"}})],
            &[json!({"ebpf": {"sourceField": "BfTs"}})],
            "ByteFreezer's own member",
        ),
    ]);
}

#[test]
fn ids() {
    for at in ["/spec/tenantId", "/spec/datasetId"] {
        each(&[
            (
                at,
                &[json!("a"), json!("A_b-9"), json!("x".repeat(64))],
                &[json!("-a"), json!("a."), json!("")],
                "takes 1 to 64 letters",
            ),
            (at, &[], &[json!("a--b")], "must not contain --"),
            (at, &[json!("logs2")], &[json!("logs"), json!("DLQ")], "is a reserved word"),
            (at, &[], &[json!("x".repeat(65))], "is longer than 64"),
        ]);
    }
    for word in RESERVED_IDS {
        assert!(!found("/spec/tenantId", &json!(word)).is_empty(), "{word}");
    }
}

#[test]
fn the_name_stands_for_the_dataset_unless_it_cannot() {
    each(&[
        (
            "/metadata/name",
            &[json!("fw-logs")],
            &[json!("fw.logs")],
            "the object's name stands for the dataset's id",
        ),
        ("/metadata/name", &[], &[json!("fw--logs")], "set spec.datasetId or choose another name"),
        ("/metadata/name", &[], &[json!("syslog")], "is a reserved word"),
        ("/metadata/name", &[], &[json!("acme")], "dataset and tenant have the same id"),
        ("/spec/datasetId", &[json!("fw")], &[json!("ACME")], "dataset and tenant have the same id"),
    ]);
    let named =
        changed(with(Kind::Dataset, "/metadata/name", json!("fw.logs")), "/spec/datasetId", json!("fw"));
    assert_eq!(judge(Kind::Dataset, &named, None), Vec::<String>::new());
}

#[test]
fn ports_have_a_range() {
    each(&[
        ("/spec/source/syslog/port", &[json!(1), json!(65535)], &[json!(0)], "is below 1"),
        ("/spec/source/syslog/port", &[], &[json!(65536)], "is above 65535"),
        ("/spec/source/syslog/port", &[], &[Json::Null], "port: is required"),
    ]);
}

#[test]
fn tls_and_proxy_protocol_need_tcp() {
    let tls = json!({"secretRef": {"name": "tls"}});
    for kind in ["syslog", "ipfix"] {
        let source = |protocols: Json| json!({kind: {"port": 6514, "protocols": protocols, "tls": tls}});
        let plain = |protocols: Json| json!({kind: {"port": 6514, "protocols": protocols}});
        each(&[
            (
                "/spec/source",
                &[source(json!(["TCP"])), source(json!(["UDP", "TCP"]))],
                &[source(json!(["UDP"])), source(Json::Null)],
                "tls needs TCP",
            ),
            ("/spec/source", &[], &[plain(json!([])), plain(json!(["SCTP"]))], "protocols"),
        ]);
    }
    let from = json!({"from": ["172.16.0.0/12"]});
    let proxied = |source: Json| {
        let object = with(Kind::Dataset, "/spec/source", source);
        judge(Kind::Dataset, &changed(object, "/spec/proxyProtocol", from.clone()), None)
    };
    for source in [
        json!({"tcp": {"port": 1}}),
        json!({"http": {"port": 1}}),
        json!({"syslog": {"port": 1, "protocols": ["TCP"]}}),
        json!({"ipfix": {"protocols": ["UDP", "TCP"]}}),
    ] {
        assert_eq!(proxied(source), Vec::<String>::new());
    }
    for source in [
        json!({"udp": {"port": 1}}),
        json!({"syslog": {"port": 1}}),
        json!({"netflow": {}}),
        json!({"ipfix": {}}),
        json!({"sflow": {}}),
        json!({"ebpf": {}}),
    ] {
        assert!(proxied(source)[0].contains("proxyProtocol needs a TCP-based source"));
    }
    each(&[("/spec/proxyProtocol", &[], &[json!({}), json!({"from": []})], "from")]);
}

#[test]
fn client_certificates_need_their_authorities() {
    let tls = |more: Json| {
        changed(
            json!({"port": 1, "tls": {"secretRef": {"name": "tls"}}}),
            "/tls/clientCertificateRequired",
            more,
        )
    };
    let with_ca = changed(tls(json!(true)), "/tls/clientCaSecretRef", json!({"name": "ca", "key": "ca.crt"}));
    each(&[(
        "/spec/source",
        &[json!({"tcp": with_ca}), json!({"tcp": tls(json!(false))})],
        &[json!({"tcp": tls(json!(true))}), json!({"http": tls(json!(true))})],
        "add clientCaSecretRef",
    )]);
}

#[test]
fn sources_are_networks() {
    each(&[
        (
            "/spec/allowedSources",
            &[json!(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "0.0.0.0/0"])],
            &[json!(["10.0.0.0/33"]), json!(["host.example"]), json!([""])],
            "is no address or CIDR",
        ),
        ("/spec/allowedSources", &[], &[json!(["10.0.0.1/8"])], "has bits beyond its prefix"),
    ]);
}

#[test]
fn what_is_special_to_http() {
    each(&[
        (
            "/spec/source",
            &[json!({"http": {"port": 1, "path": "/"}}), json!({"http": {"port": 1, "path": "/hooks/v1/"}})],
            &[
                json!({"http": {"port": 1, "path": "hooks"}}),
                json!({"http": {"port": 1, "path": "/a b"}}),
                json!({"http": {"port": 1, "path": "/a?b"}}),
            ],
            "is no path",
        ),
        (
            "/spec/source",
            &[],
            &[json!({"http": {"port": 1, "path": "/a//b"}}), json!({"http": {"port": 1, "path": "/../b"}})],
            "is no plain path",
        ),
        (
            "/spec/source",
            &[json!({"http": {"port": 1, "path": "/healthy"}})],
            &[json!({"http": {"port": 1, "path": "/health"}})],
            "own health answer",
        ),
        ("/spec/source", &[], &[json!({"http": {"port": 1, "auth": {}}})], "tokenSecretRef: is required"),
    ]);
}

#[test]
fn values_of_text_sources() {
    for kind in ["udp", "tcp", "http"] {
        let source = |member: &str, value: &str| json!({kind: {"port": 1, member: value}});
        each(&[
            (
                "/spec/source",
                &[source("dataHint", "ndjson")],
                &[source("dataHint", "ND"), source("dataHint", "")],
                "of a-z, 0-9 and _",
            ),
            (
                "/spec/source",
                &[source("sourceField", "source_ip")],
                &[source("sourceField", "a b")],
                "letters, digits",
            ),
            ("/spec/source", &[], &[source("sourceField", "BfTs")], "ByteFreezer's own member"),
            ("/spec/source", &[source("dataFormat", "Text")], &[source("dataFormat", "text")], "is none of"),
        ]);
    }
    each(&[
        (
            "/spec/source",
            &[json!({"tcp": {"port": 1, "maxLineSize": "64"}})],
            &[json!({"tcp": {"port": 1, "maxLineSize": "10Mi"}})],
            "write 64 to 10485759",
        ),
        (
            "/spec/source",
            &[json!({"tcp": {"port": 1, "readTimeout": "0s"}})],
            &[json!({"tcp": {"port": 1, "readTimeout": "2y"}})],
            "write 0s to 8760h",
        ),
        ("/spec/source", &[], &[json!({"udp": {"port": 1, "readBufferSize": "2Gi"}})], "write 1Ki to 1Gi"),
        ("/spec/batching/timeout", &[json!("5s")], &[json!("0s")], "write 1s to 8760h"),
        ("/spec/proxyRef/name", &[json!("edge")], &[json!("Edge")], "is no name of a Kubernetes object"),
    ]);
}
