//! 10: tokens rotate, and are where they belong and nowhere else.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use e2e::{
    http::Client,
    k8s::{Namespace, Operator},
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::common::{address, dataset, lives, proxy, ready, ready_pods, stored};

#[test]
fn t10_tokens_rotate_without_a_restart_and_are_in_secrets_alone() {
    let namespace = Namespace::new("tokens").unwrap();
    let receiver = namespace.receiver().unwrap();
    let demand = |token: &str| {
        receiver.change(|settings| {
            settings.tokens = Some(BTreeMap::from([("acme".to_owned(), token.to_owned())]));
        });
    };
    let secret = |token: &str| {
        namespace
            .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "receiver"}, "stringData": {"token": token}}))
            .unwrap();
    };
    let tokens = ["first-token-5d41402a", "second-token-7d793037"];
    demand(tokens[0]);
    secret(tokens[0]);
    let operator = Operator::install(&namespace, &json!({"operator": {"logLevel": "debug"}})).unwrap();
    let named = json!({"receiver": {"tokenSecretRef": {"name": "receiver", "key": "token"}}});
    namespace.apply(&proxy(&receiver, &named)).unwrap();
    namespace.apply(&dataset("events", &json!({"udp": {"port": 5514}}), &json!({}))).unwrap();
    ready(&namespace, "events");
    let before = lives(&ready_pods(&namespace, "edge", 1));
    let target = address(&namespace, "edge", 5514);
    let send = |text: &str| {
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(text.as_bytes(), target).unwrap();
    };
    let first = stored(&receiver, "events", || send("with the first"));

    demand(tokens[1]);
    secret(tokens[1]);
    send("with the second");
    receiver.wait_text("acme", "events", first.len() + 1, Duration::from_mins(2)).unwrap();
    let pods = ready_pods(&namespace, "edge", 1);
    assert_eq!(lives(&pods), before);

    let api = namespace.get::<Secret>("edge-api").unwrap().unwrap();
    let mut secrets: Vec<String> = tokens.map(str::to_owned).into();
    secrets.extend(
        api.data
            .iter()
            .flatten()
            .filter(|(name, _)| name.contains("token"))
            .map(|(_, value)| String::from_utf8(value.0.clone()).unwrap().trim().to_owned()),
    );
    assert_eq!(secrets.len(), 4, "two of the Receiver, two of the API");
    let everything = "proxies,proxydatasets,configmaps,events,pods,statefulsets,controllerrevisions,services,deployments,leases";
    let said = [
        namespace.kubectl(&["get", everything, "--output", "yaml", "--show-managed-fields"]).unwrap(),
        namespace.kubectl(&["logs", "edge-0", "--all-containers"]).unwrap(),
        operator.logs().unwrap(),
    ];
    for token in &secrets {
        assert!(said.iter().all(|text| !text.contains(token)), "{token} is somewhere");
    }
    let ip: IpAddr = pods[0].status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap();
    let health = Client::new((ip, 8009).into()).get("/metrics").unwrap().text();
    assert!(secrets.iter().all(|token| !health.contains(token)));
}
