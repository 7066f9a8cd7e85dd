//! 6: whatever is wrong is said on the object that is wrong, and everything else goes on.

use std::{collections::BTreeMap, net::UdpSocket, time::Duration};

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{Namespace, Operator, cluster::kubectl, namespace::LIMIT};
use serde_json::{Value, json};

use crate::common::{address, dataset, lives, proxy, ready, ready_pods};

fn secret(name: &str, token: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"token": token}})
}

#[test]
fn t06_each_refusal_is_on_its_own_object_and_tenants_do_not_disturb_each_other() {
    let namespace = Namespace::new("refusals").unwrap();
    let other = Namespace::new("refusals-other").unwrap();
    let receiver = namespace.receiver().unwrap();
    let tokens = [("acme", "token-of-acme"), ("globex", "token-of-globex")];
    receiver.change(|settings| {
        settings.tokens =
            Some(BTreeMap::from(tokens.map(|(tenant, token)| (tenant.to_owned(), token.to_owned()))));
    });
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    for (tenant, token) in tokens {
        namespace.apply(&secret(tenant, token)).unwrap();
    }
    let tenants = tokens
        .map(|(tenant, _)| json!({"tenantId": tenant, "tokenSecretRef": {"name": tenant, "key": "token"}}));
    let spec = json!({
        "receiver": {"tenants": tenants},
        "allowedDatasets": [{"tenantIds": ["acme", "globex"], "ports": ["5000-6999"]}],
    });
    namespace.apply(&proxy(&receiver, &spec)).unwrap();
    let udp = |port: u16| json!({"udp": {"port": port}});
    let of_globex = json!({"tenantId": "globex"});
    namespace.apply(&dataset("good", &udp(5514), &json!({}))).unwrap();
    namespace.apply(&dataset("of-globex", &udp(5515), &of_globex)).unwrap();
    ready(&namespace, "good");
    ready(&namespace, "of-globex");
    let before = lives(&ready_pods(&namespace, "edge", 1));

    let attached = json!({"proxyRef": {"name": "edge", "namespace": namespace.name()}});
    other.apply(&dataset("foreign", &udp(5516), &attached)).unwrap();
    namespace.apply(&dataset("tenant", &udp(5517), &json!({"tenantId": "umbrella"}))).unwrap();
    namespace.apply(&dataset("port", &udp(7000), &json!({}))).unwrap();
    let tls =
        json!({"syslog": {"port": 6514, "protocols": ["TCP"], "tls": {"secretRef": {"name": "absent"}}}});
    namespace.apply(&dataset("secret", &tls, &json!({}))).unwrap();
    namespace.apply(&dataset("nowhere", &udp(5518), &json!({"proxyRef": {"name": "absent"}}))).unwrap();
    for (at, name, kind, reason) in [
        (&other, "foreign", "Accepted", "NamespaceNotPermitted"),
        (&namespace, "tenant", "Accepted", "TenantNotPermitted"),
        (&namespace, "port", "Accepted", "PortNotPermitted"),
        (&namespace, "secret", "ResolvedRefs", "SecretNotFound"),
        (&namespace, "nowhere", "Accepted", "ProxyNotFound"),
    ] {
        let refused = at.reason::<ProxyDataset>(name, kind, reason, LIMIT).unwrap();
        assert!(refused.status == "False" && !refused.message.is_empty(), "{name}: {refused:?}");
    }
    // What one object can know is refused before it is stored, with the remedy.
    let both = json!({"udp": {"port": 5519}, "tcp": {"port": 5519}});
    let error = namespace.apply(&dataset("both", &both, &json!({}))).unwrap_err();
    assert!(format!("{error:#}").contains("exactly one"), "{error:#}");

    // An object that an older definition let in and that cannot be read any more.
    let definition = "proxydatasets.bytefreezer.com";
    let before_patch = kubectl(&["get", "crd", definition, "--output", "json"]).unwrap();
    let lax = json!({"spec": {"versions": [{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }]}});
    kubectl(&["patch", "crd", definition, "--type", "merge", "--patch", &lax.to_string()]).unwrap();
    let wrong = json!({"apiVersion": "bytefreezer.com/v1alpha1", "kind": "ProxyDataset", "metadata": {"name": "odd"},
        "spec": {"proxyRef": {"name": "edge"}, "tenantId": "acme", "source": {"udp": {"port": {"not": "a number"}}}}});
    let stored = namespace.until(LIMIT, "the lax definition", || Ok(namespace.apply(&wrong).ok()));
    let mut strict: Value = serde_json::from_str(&before_patch).unwrap();
    strict["metadata"] = json!({"name": definition});
    strict.as_object_mut().unwrap().remove("status");
    kubectl(&["patch", "crd", definition, "--type", "merge", "--patch", &strict.to_string()]).unwrap();
    stored.unwrap();
    namespace
        .until(LIMIT, "Undecodable on the odd one", || {
            let conditions =
                namespace.kubectl(&["get", "pds", "odd", "--output", "jsonpath={.status.conditions}"])?;
            Ok(conditions.contains("Undecodable").then_some(()))
        })
        .unwrap();

    // One token is revoked: its tenant waits, the other goes on.
    receiver.change(|settings| {
        if let Some(tokens) = &mut settings.tokens {
            tokens.insert("globex".to_owned(), "another".to_owned());
        }
    });
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let target = address(&namespace, "edge", 5515);
    socket.send_to(b"of globex", target).unwrap();
    e2e::until(LIMIT, "a refused upload", || {
        receiver
            .requests()
            .iter()
            .any(|request| request.path.starts_with("/globex") && request.status == 401)
            .then_some(())
    })
    .unwrap();
    for n in 0..5 {
        socket.send_to(format!("of acme {n}").as_bytes(), (target.ip(), 5514)).unwrap();
        receiver.wait_text("acme", "good", n + 1, Duration::from_secs(10)).unwrap();
    }
    assert_eq!(receiver.text("globex", "of-globex").unwrap().len(), 0);
    // The new token reaches the pods by its Secret, and what waited goes out.
    namespace.apply(&secret("globex", "another")).unwrap();
    receiver.wait_text("globex", "of-globex", 1, Duration::from_mins(2)).unwrap();
    ready(&namespace, "good");
    assert_eq!(lives(&ready_pods(&namespace, "edge", 1)), before);
}
