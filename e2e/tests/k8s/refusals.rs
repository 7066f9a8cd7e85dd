//! 6: whatever is wrong is said on the object that is wrong, and everything else goes on.

use std::{collections::BTreeMap, net::UdpSocket, time::Duration};

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{
    Namespace, Operator,
    cluster::{kubectl, kubectl_with},
    namespace::LIMIT,
};
use serde_json::{Value, json};

use crate::common::{address, dataset, lives, proxy, ready, ready_pods, stored};

const DEFINITION: &str = "proxydatasets.bytefreezer.com";

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

/// Applies objects that an older definition let in, and that cannot be read any more.
fn apply_unreadable(namespace: &Namespace, objects: &[Value]) {
    let strict = kubectl(&["get", "crd", DEFINITION, "--output", "json"]).unwrap();
    let lax = json!({"spec": {"versions": [{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }]}});
    let patch = |definition: &Value| {
        kubectl(&["patch", "crd", DEFINITION, "--type", "merge", "--patch", &definition.to_string()])
            .unwrap();
    };
    patch(&lax);
    let applied = namespace.until(LIMIT, "the lax definition", || {
        Ok(objects.iter().all(|object| namespace.apply(object).is_ok()).then_some(()))
    });
    let mut strict: Value = serde_json::from_str(&strict).unwrap();
    strict["metadata"] = json!({"name": DEFINITION});
    strict.as_object_mut().unwrap().remove("status");
    patch(&strict);
    applied.unwrap();
}

#[test]
fn t06_what_cannot_be_read_any_more_goes_on_also_with_the_next_operator() {
    let namespace = Namespace::new("unread").unwrap();
    let receiver = namespace.receiver().unwrap();
    let operator = Operator::install(&namespace, &json!({})).unwrap();
    namespace.apply(&proxy(&receiver, &json!({}))).unwrap();
    let good = dataset("odd", &json!({"udp": {"port": 5520}}), &json!({}));
    namespace.apply(&good).unwrap();
    ready(&namespace, "odd");
    let before = lives(&ready_pods(&namespace, "edge", 1));
    let target = address(&namespace, "edge", 5520);
    let send = |text: &str| {
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(text.as_bytes(), target).unwrap();
    };
    let first = stored(&receiver, "odd", || send("before")).len();
    let goes_on = |lines: usize, text: &str| {
        send(text);
        let lines = receiver.wait_text("acme", "odd", lines, LIMIT).unwrap();
        assert!(lines.iter().any(|line| line.contains(text)), "{lines:?}");
    };

    // Of the second not even the status can be written: rules about the whole object fail.
    let odd = dataset("odd", &json!({"udp": {"port": {"not": "a number"}}}), &json!({}));
    let mut odder = dataset("odder", &json!({"udp": {"port": 5521}}), &json!({}));
    odder["spec"]["tenantId"] = json!({"not": "a text"});
    apply_unreadable(&namespace, &[odd, odder]);
    let unread = || {
        let status = namespace.kubectl(&["get", "pds", "odd", "--output", "jsonpath={.status}"])?;
        Ok((status.contains("Undecodable") && status.contains(":5520/UDP")).then_some(()))
    };
    namespace.until(LIMIT, "Undecodable on the odd one, with its address", unread).unwrap();
    let events = ["get", "events", "--field-selector", "involvedObject.name=odder", "--output", "yaml"];
    namespace
        .until(LIMIT, "an event on the odder one", || {
            let events = namespace.kubectl(&events)?;
            Ok((events.contains("Undecodable") && events.contains("cannot be read")).then_some(()))
        })
        .unwrap();
    goes_on(first + 1, "while it cannot be read");

    // One that never read it writes the document anew, for another dataset.
    operator.restart().unwrap();
    namespace.apply(&dataset("later", &json!({"udp": {"port": 5522}}), &json!({}))).unwrap();
    ready(&namespace, "later");
    goes_on(first + 2, "with the next operator");
    namespace.until(LIMIT, "Undecodable by the next operator, with its address", unread).unwrap();

    // Server-side apply does not take over from what is no longer of the schema.
    let replace = ["--namespace", namespace.name(), "replace", "--filename", "-"];
    kubectl_with(&replace, &good.to_string()).unwrap();
    ready(&namespace, "odd");
    goes_on(first + 3, "mended");
    assert_eq!(lives(&ready_pods(&namespace, "edge", 1)), before);
}
