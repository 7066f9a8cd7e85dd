//! Documents as pods get them.

use bytefreezer_crds::{Proxy, ProxyDataset};
use bytefreezer_proxy::config;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    assets::{AssetRef, Assets, file_name},
    validate::Defaults,
};

/// The smallest Proxy.
pub(super) fn proxy_json() -> Json {
    json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy",
        "metadata": {"name": "edge", "namespace": "net", "uid": "u"},
        "spec": {"receiver": {"url": "https://receiver.example"}},
    })
}

fn validated(proxy: &Json) -> ValidatedProxy {
    let proxy: Proxy = serde_json::from_value(proxy.clone()).unwrap();
    ValidatedProxy::read(&proxy, &Defaults { image: "proxy:1".to_owned(), namespace: None }).unwrap()
}

fn rendered(proxy: &Json, datasets: &[(&str, Json)], assets: &Assets) -> Rendered {
    let objects: Vec<ProxyDataset> = datasets
        .iter()
        .map(|(name, spec)| {
            serde_json::from_value(json!({
                "apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset",
                "metadata": {"name": name, "namespace": "apps"}, "spec": spec,
            }))
            .unwrap()
        })
        .collect();
    let admitted: Vec<Admitted<'_>> = objects
        .iter()
        .map(|object| Admitted {
            key: ObjectKey::new("apps", object.metadata.name.clone().unwrap()),
            content: Content::Spec(&object.spec),
        })
        .collect();
    Arc::unwrap_or_clone(render(&validated(proxy), &admitted, assets, None).unwrap())
}

/// The document of a Proxy and datasets, defaults and all, as JSON.
pub(super) fn document(proxy: &Json, datasets: &[(&str, Json)]) -> Json {
    let rendered = rendered(proxy, datasets, &Assets::default());
    assert_eq!((rendered.invalid, rendered.problems), (vec![], vec![]), "{}", rendered.yaml);
    config::load("config.yaml", &rendered.yaml, []).effective
}

#[test]
fn a_known_document_is_not_judged_again() {
    let known = Arc::new(Rendered {
        hash: "judged before".to_owned(),
        ..rendered(&proxy_json(), &[], &Assets::default())
    });
    let again = |proxy: &Json| render(&validated(proxy), &[], &Assets::default(), Some(&known)).unwrap();
    assert!(Arc::ptr_eq(&again(&proxy_json()), &known));
    let mut other = proxy_json();
    other["spec"]["receiver"]["timeout"] = json!("7s");
    assert_ne!(again(&other).hash, known.hash);
}

#[test]
fn only_what_was_set_is_written() {
    let rendered = rendered(
        &proxy_json(),
        &[("fw", json!({"tenantId": "acme", "source": {"udp": {"port": 5140}}}))],
        &Assets::default(),
    );
    let expected = "\
schema_version: 1
server:
  api_host: \"::\"
  health_port: 8009
  read_token_file: /etc/bytefreezer-proxy-api/read-token
  admin_token_file: /etc/bytefreezer-proxy-api/admin-token
  tls:
    cert_file: /etc/bytefreezer-proxy-api/tls.crt
    key_file: /etc/bytefreezer-proxy-api/tls.key
  shutdown_delay_seconds: 10
  shutdown_grace_seconds: 30
config_mode: local-only
receiver:
  base_url: https://receiver.example
spooling:
  max_size_bytes: 12884901840
  dlq_max_size_bytes: 6442450920
inputs:
- type: udp
  name: apps/fw
  config:
    tenant_id: acme
    dataset_id: fw
    host: \"::\"
    port: 5140
";
    assert_eq!(rendered.yaml, expected);
}

/// By this a pod's acknowledgement is recognised.
#[test]
fn a_change_to_one_dataset_changes_its_hash_alone() {
    let udp = |port: u16| json!({"tenantId": "acme", "source": {"udp": {"port": port}}});
    let proxy = proxy_json();
    let assets = Assets::default();
    let before = rendered(&proxy, &[("a", udp(1)), ("b", udp(2))], &assets);
    let after = rendered(&proxy, &[("a", udp(1)), ("b", udp(3)), ("c", udp(4))], &assets);
    let of = |rendered: &Rendered, name: &str| rendered.hashes.get(&ObjectKey::new("apps", name)).cloned();
    assert_eq!((before.hashes.len(), after.hashes.len()), (2, 3));
    assert_eq!(of(&before, "a"), of(&after, "a"));
    assert_ne!(of(&before, "b"), of(&after, "b"));
    assert_ne!(before.hash, after.hash);
    let running = config::load("config.yaml", &after.yaml, []).config.unwrap();
    for input in running.inputs {
        let name = input.name.strip_prefix("apps/").unwrap();
        assert_eq!(of(&after, name), Some(input.hash), "{name}");
    }
}

#[test]
fn secrets_are_paths_and_never_contents() {
    let secret = |name: &str, key: &str| json!({"name": name, "key": key});
    let mut proxy = proxy_json();
    proxy["spec"]["receiver"] = json!({
        "url": "https://receiver.example", "tokenSecretRef": secret("bf", "token"), "caSecretRef": secret("ca", "ca.crt"),
        "tenants": [{"tenantId": "acme", "tokenSecretRef": secret("acme", "token")}],
    });
    let tls = json!({"secretRef": {"name": "tls"}, "clientCaSecretRef": secret("tls", "ca.crt"), "clientCertificateRequired": false});
    let spec = json!({"tenantId": "acme", "source": {"http": {"port": 8443, "tls": tls, "auth": {"tokenSecretRef": secret("post", "token")}}}});
    let content = |asset: &AssetRef| {
        format!("content of {}/{}/{}", asset.namespace, asset.secret, asset.key).into_bytes()
    };
    let own = assets_of_proxy(&validated(&proxy));
    let dataset: ProxyDatasetSpec = serde_json::from_value(spec.clone()).unwrap();
    let theirs = assets_of("apps", &dataset);
    assert_eq!((own.len(), theirs.len()), (3, 4));
    let assets: Assets =
        own.iter().chain(&theirs).map(|used| (used.asset.clone(), content(&used.asset))).collect();
    let rendered = rendered(&proxy, &[("hook", spec)], &assets);
    assert_eq!((&rendered.invalid, &rendered.problems), (&vec![], &vec![]));
    assert!(!rendered.yaml.contains("content of"), "{}", rendered.yaml);
    let document = config::load("config.yaml", &rendered.yaml, []).effective;
    let path = |namespace: &str, name: &str, key: &str| {
        json!(format!("/etc/bytefreezer-proxy/{}", file_name(&content(&AssetRef::new(namespace, name, key)))))
    };
    assert_eq!(document["bearer_token_file"], path("net", "bf", "token"));
    assert_eq!(document["receiver"]["ca_file"], path("net", "ca", "ca.crt"));
    assert_eq!(document["tenants"]["acme"]["bearer_token_file"], path("net", "acme", "token"));
    let config = &document["inputs"][0]["config"];
    assert_eq!(config["tls"]["cert_file"], path("apps", "tls", "tls.crt"));
    assert_eq!(config["tls"]["key_file"], path("apps", "tls", "tls.key"));
    assert_eq!(config["tls"]["client_ca_file"], path("apps", "tls", "ca.crt"));
    assert_eq!(config["tls"]["client_cert_required"], false);
    assert_eq!(config["auth"]["token_file"], path("apps", "post", "token"));
    assert_eq!(document["inputs"][0]["paused"], false);
}

#[test]
fn flows_have_their_usual_port_and_what_equals_a_default_is_not_written() {
    for (kind, port) in [("netflow", 2055), ("ipfix", 4739), ("sflow", 6343), ("ebpf", 2056)] {
        let spec = json!({"tenantId": "acme", "source": {kind: {}}});
        let rendered = rendered(&proxy_json(), &[("fw", spec)], &Assets::default());
        assert_eq!((&rendered.invalid, &rendered.problems), (&vec![], &vec![]));
        let (_, input) = rendered.yaml.split_once("- type: ").unwrap();
        let expected = format!(
            "{kind}\n  name: apps/fw\n  config:\n    tenant_id: acme\n    dataset_id: fw\n    host: \"::\"\n    port: {port}\n"
        );
        assert_eq!(input, expected);
        assert_eq!(sources::default_of(&json!({"type": kind})).unwrap()["config"]["tenant_id"], Json::Null);
    }
}

#[test]
fn ipfix_over_tls_takes_its_certificate_and_its_peers() {
    let spec = json!({
        "tenantId": "acme", "proxyProtocol": {"from": ["172.16.0.0/12"]},
        "source": {"ipfix": {"protocols": ["TCP"], "tls": {"secretRef": {"name": "tls"}}}},
    });
    let dataset: ProxyDatasetSpec = serde_json::from_value(spec.clone()).unwrap();
    let uses = assets_of("apps", &dataset);
    assert_eq!(uses.len(), 2);
    let assets: Assets = uses.iter().map(|used| (used.asset.clone(), b"pem".to_vec())).collect();
    let rendered = rendered(&proxy_json(), &[("fw", spec)], &assets);
    assert_eq!((&rendered.invalid, &rendered.problems), (&vec![], &vec![]));
    let document = config::load("config.yaml", &rendered.yaml, []).effective;
    let config = &document["inputs"][0]["config"];
    assert_eq!(config["tls"]["cert_file"], format!("/etc/bytefreezer-proxy/{}", file_name(b"pem")));
    assert_eq!(config["proxy_protocol"], true);
    assert_eq!(config["proxy_protocol_from"], json!(["172.16.0.0/12"]));
    assert_eq!(document["inputs"][0]["paused"], false);
}

#[test]
fn a_dataset_without_its_secret_keeps_its_port_and_drops_what_arrives() {
    let spec =
        json!({"tenantId": "acme", "source": {"tcp": {"port": 6514, "tls": {"secretRef": {"name": "tls"}}}}});
    let document = document(&proxy_json(), &[("fw", spec)]);
    assert_eq!(document["inputs"][0]["paused"], true);
    assert_eq!(document["inputs"][0]["config"]["port"], 6514);
}

#[test]
fn the_order_of_datasets_does_not_matter() {
    let one = ("a", json!({"tenantId": "acme", "source": {"udp": {"port": 1}}}));
    let two = ("b", json!({"tenantId": "acme", "source": {"udp": {"port": 2}}}));
    let assets = Assets::default();
    assert_eq!(
        rendered(&proxy_json(), &[one.clone(), two.clone()], &assets),
        rendered(&proxy_json(), &[two, one], &assets)
    );
}

#[test]
fn what_the_proxy_does_not_take_is_reported_on_its_dataset() {
    let good = ("good", json!({"tenantId": "acme", "source": {"udp": {"port": 1}}}));
    let zone =
        ("zone", json!({"tenantId": "acme", "source": {"syslog": {"port": 2, "timezone": "Europe/Berln"}}}));
    let size = ("size", json!({"tenantId": "acme", "source": {"udp": {"port": 3, "readBufferSize": "1"}}}));
    let rendered = rendered(&proxy_json(), &[good, zone, size], &Assets::default());
    let invalid: Vec<_> =
        rendered.invalid.iter().map(|(key, why)| (key.name.as_str(), why.as_str())).collect();
    assert_eq!(
        invalid[0],
        ("size", "\"1\" is no size; write 1Ki to 1Gi in whole bytes, such as 512Ki, 64Mi or 20Gi")
    );
    assert_eq!(invalid[1].0, "zone");
    assert!(invalid[1].1.contains("Europe/Berlin"), "{invalid:?}");
    assert_eq!((invalid.len(), rendered.problems.len()), (2, 0));
}

#[test]
fn texts_with_the_syntax_of_yaml_stay_texts() {
    for text in ["a: b", "x\ny: z", "{{ evil }}", "\"", "# c", "- x", "!!binary x", "null", "0x10"] {
        let spec = json!({"tenantId": "acme", "source": {"tcp": {"port": 1, "delimiter": text}}});
        let document = document(&proxy_json(), &[("fw", spec)]);
        assert_eq!(document["inputs"][0]["config"]["delimiter"], text);
        assert_eq!(document["inputs"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn ids_are_judged_alike_by_the_resource_and_by_the_proxy() {
    for word in bytefreezer_crds::values::RESERVED_IDS {
        assert!(word.parse::<bytefreezer_proxy::ids::TenantId>().is_err(), "{word}");
    }
    for id in ["a", "A_b-9", "logs2"] {
        assert!(id.parse::<bytefreezer_proxy::ids::TenantId>().is_ok(), "{id}");
    }
}
