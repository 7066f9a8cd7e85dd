//! Golden objects: what is applied, as YAML that people can read. `UPDATE=1` rewrites them.

// Literals read better without `&`.
#![allow(clippy::needless_pass_by_value)]

use std::{collections::BTreeMap, path::Path};

use bytefreezer_crds::Proxy;
use k8s_openapi::api::core::v1::ServicePort;
use kube::ResourceExt as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    arbitrate::{Claimant, tests::dataset},
    assets::{Placement, place},
    validate::Defaults,
};

pub(crate) fn proxy(spec: &Json) -> ValidatedProxy {
    let mut object = json!({
        "apiVersion": "bytefreezer.com/v1alpha1", "kind": "Proxy",
        "metadata": {"name": "edge", "namespace": "net", "uid": "0b5e9d0e-0000-4000-8000-000000000001"},
        "spec": {"receiver": {"url": "https://receiver.example"}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: Proxy = serde_json::from_value(object).unwrap();
    ValidatedProxy::read(
        &object,
        &Defaults { image: "registry.example/bytefreezer-proxy:1".to_owned(), namespace: None },
    )
    .unwrap()
}

fn claimants(ports: &[(&str, u16)]) -> Vec<Claimant> {
    let one = |(kind, port): &(&str, u16)| {
        dataset(&format!("net/{kind}{port}"), 0, json!({"source": {*kind: {"port": port}}}))
    };
    ports.iter().map(one).collect()
}

fn rendered(yaml: &str) -> Rendered {
    Rendered {
        yaml: yaml.to_owned(),
        invalid: Vec::new(),
        problems: Vec::new(),
        hash: String::new(),
        hashes: BTreeMap::new(),
    }
}

pub(crate) fn built(spec: &Json, ports: &[(&str, u16)], living: &Living) -> Objects {
    let token = b"token".to_vec();
    let files = BTreeMap::from([(crate::assets::file_name(&token), &token[..])]);
    let placement = place(&files, &Placement::default().secrets);
    let ports: Ports = claimants(ports).iter().collect();
    build(Input {
        proxy: &proxy(spec),
        rendered: &rendered("config_mode: local-only\n"),
        ports: &ports,
        files: &files,
        placement: &placement.secrets,
        living,
        runs: true,
    })
    .unwrap()
}

fn documents(objects: &Objects) -> String {
    let Objects {
        service_account,
        secrets,
        config_map,
        network_policy,
        disruption_budget,
        headless_service,
        services,
        workload,
    } = objects;
    let mut all = vec![json!(service_account)];
    all.extend(secrets.iter().map(|one| json!(one)));
    all.push(json!(config_map));
    all.extend(network_policy.iter().map(|one| json!(one)));
    all.extend(disruption_budget.iter().map(|one| json!(one)));
    all.push(json!(headless_service));
    all.extend(services.iter().map(|one| json!(one)));
    all.extend(workload.iter().map(|workload| match workload {
        Workload::StatefulSet(set) => json!(set),
        Workload::DaemonSet(set) => json!(set),
    }));
    all.iter().map(|one| serde_saphyr::to_string(one).unwrap()).collect::<Vec<_>>().join("---\n")
}

fn is_golden(name: &str, objects: &Objects) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/build/golden").join(name);
    let text = documents(objects);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "{name} is not what is built: run with UPDATE=1 and look at the difference\n{text}"
    );
}

const PORTS: &[(&str, u16)] = &[("syslog", 514), ("tcp", 514), ("http", 8080)];
const FLOWS: &[(&str, u16)] = &[("netflow", 2055), ("sflow", 6343)];

fn host_network() -> Json {
    json!({
        "exposure": {"type": "HostNetwork", "hostNetwork": {"privilegedPorts": true, "apiPort": 9008, "healthPort": 9009}},
        "workload": {"kind": "DaemonSet", "nodeSelector": {"role": "edge"}, "tolerations": [{"operator": "Exists"}]},
        "spool": {"size": "50Gi", "hostPath": "/srv/spool"},
    })
}

#[test]
fn a_load_balancer_with_two_pods() {
    let spec = json!({
        "workload": {"replicas": 2, "resources": {"requests": {"memory": "256Mi"}}},
        "spool": {"size": "20Gi", "storageClassName": "fast"},
        "exposure": {"loadBalancer": {"class": "metallb", "annotations": {"a": "b"}, "sourceRanges": ["10.0.0.0/8"]}},
    });
    let ports = [PORTS, FLOWS].concat();
    is_golden("load-balancer.yaml", &built(&spec, &ports, &Living::default()));
}

#[test]
fn a_daemon_set_on_the_host_network() {
    is_golden("host-network.yaml", &built(&host_network(), PORTS, &Living::default()));
}

#[test]
fn the_pod_template_is_a_function_of_the_proxy_alone() {
    let living = Living::default();
    for spec in [json!({}), host_network()] {
        let workload = |ports| built(&spec, ports, &living).workload;
        assert_eq!(workload(&[]), workload(PORTS));
    }
}

#[test]
fn services_by_exposure() {
    let summary = |spec: Json, ports: &[(&str, u16)]| -> Vec<String> {
        built(&spec, ports, &Living::default())
            .services
            .into_iter()
            .map(|service| {
                let spec = service.spec.unwrap();
                let ports = spec
                    .ports
                    .unwrap()
                    .into_iter()
                    .map(|port| port.name.unwrap())
                    .collect::<Vec<_>>()
                    .join(",");
                let policy = spec.external_traffic_policy.unwrap_or_default();
                let sticky = if spec.session_affinity.as_deref() == Some(STICKY) { " sticky" } else { "" };
                format!("{} {} {policy} {ports}{sticky}", service.metadata.name.unwrap(), spec.type_.unwrap())
            })
            .collect()
    };
    let exposure = |kind: &str| json!({"exposure": {"type": kind}});
    let split = json!({"exposure": {"loadBalancer": {"protocols": "Separate"}}});
    let aws = json!({"exposure": {"loadBalancer": {"class": "service.k8s.aws/nlb", "externalTrafficPolicy": "Cluster"}}});
    assert_eq!(summary(json!({}), PORTS), ["edge LoadBalancer Local udp-514,tcp-514,tcp-8080"]);
    assert_eq!(summary(exposure("NodePort"), PORTS), ["edge NodePort Local udp-514,tcp-514,tcp-8080"]);
    assert_eq!(summary(exposure("ClusterIP"), PORTS), ["edge ClusterIP  udp-514,tcp-514,tcp-8080"]);
    assert!(summary(exposure("HostNetwork"), PORTS).is_empty());
    assert_eq!(
        summary(split.clone(), PORTS),
        ["edge-tcp LoadBalancer Local tcp-514,tcp-8080", "edge-udp LoadBalancer Local udp-514"]
    );
    assert_eq!(summary(aws, &[("udp", 1)]), ["edge-udp LoadBalancer Cluster udp-1"]);
    assert!(summary(json!({}), &[]).is_empty(), "a Service needs a port");

    // Exporters have a Service of their own, which leads each to the pod that has its templates.
    let sticky = |kind: &str, policy: &str| {
        [format!("edge {kind} {policy} udp-6343"), format!("edge-flow {kind} {policy} udp-2055 sticky")]
    };
    for (kind, policy) in [("LoadBalancer", "Local"), ("NodePort", "Local"), ("ClusterIP", "")] {
        assert_eq!(summary(exposure(kind), FLOWS), sticky(kind, policy));
    }
    assert!(summary(exposure("HostNetwork"), FLOWS).is_empty());
    let only = &[("ipfix", 4739)];
    assert_eq!(summary(json!({}), only), ["edge-flow LoadBalancer Local udp-4739 sticky"]);
    assert_eq!(summary(split, only), ["edge-flow-udp LoadBalancer Local udp-4739 sticky"]);
}

#[test]
fn a_service_keeps_its_last_ports_and_a_stateful_set_its_claims() {
    let before = built(&json!({}), &[PORTS, FLOWS].concat(), &Living::default());
    let of = |objects: &Objects| -> BTreeMap<String, Vec<ServicePort>> {
        let services = objects.services.iter();
        services.map(|one| (one.name_any(), one.spec.clone().unwrap().ports.unwrap())).collect()
    };
    let services = of(&before);
    assert_eq!(services.keys().collect::<Vec<_>>(), ["edge", "edge-flow"]);
    let Some(Workload::StatefulSet(set)) = before.workload else { panic!() };
    let claims = set.spec.unwrap().volume_claim_templates;
    let living = Living { claim_templates: claims.clone(), services: services.clone() };
    let after = built(&json!({"spool": {"size": "40Gi"}}), &[], &living);
    assert_eq!(of(&after), services);
    let Some(Workload::StatefulSet(set)) = after.workload else { panic!() };
    assert_eq!(set.spec.unwrap().volume_claim_templates, claims);
}

#[test]
fn names_of_ports_fit_and_nothing_is_longer_than_a_label() {
    let name = "e".repeat(bytefreezer_crds::proxy::LONGEST_NAME);
    let mut validated = proxy(&json!({}));
    validated.key.name = name;
    let ports: Ports = claimants(&[("udp", 65535), ("tcp", 65535)]).iter().collect();
    for service in service::build(&validated, &ports, &BTreeMap::new()) {
        for port in service.spec.unwrap().ports.unwrap() {
            assert!(port.name.unwrap().len() <= 15);
        }
    }
    // What Kubernetes appends to a pod's name for the revision: a hyphen and at most 11 characters.
    assert!(stateful_set::build(&validated, None).metadata.name.unwrap().len() + 12 <= 63);
}

#[test]
fn overrides_are_merged_and_the_selector_goes_on_to_fit() {
    let spec = json!({"workload": {"podTemplate": {
        "metadata": {"labels": {"bytefreezer.com/proxy": "other", "team": "net"}, "annotations": {"a": "b"}},
        "spec": {
            "priorityClassName": "high",
            "containers": [{"name": "proxy", "env": [{"name": "TZ", "value": "UTC"}]}, {"name": "sidecar", "image": "x"}],
        },
    }}});
    let Some(Workload::StatefulSet(set)) = built(&spec, PORTS, &Living::default()).workload else { panic!() };
    let set = set.spec.unwrap();
    let labels = set.template.metadata.clone().unwrap().labels.unwrap();
    assert_eq!(labels["bytefreezer.com/proxy"], "edge");
    assert_eq!(labels["team"], "net");
    let pod = set.template.spec.unwrap();
    assert_eq!(pod.priority_class_name.as_deref(), Some("high"));
    let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["proxy", "sidecar"]);
    let proxy = &pod.containers[0];
    assert!(proxy.image.is_some() && proxy.readiness_probe.is_some(), "the rest is untouched");
    let variables: Vec<_> = proxy.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert!(variables.contains(&"TZ") && variables.len() == 3, "{variables:?}");
}

#[test]
fn a_large_document_is_compressed_and_one_too_large_is_refused() {
    let validated = proxy(&json!({}));
    let line = "# a line of a document that is as good as any other\n";
    let small = config_map::build(&validated, &rendered(line)).unwrap();
    assert_eq!(small.data.unwrap()["config.yaml"], line);
    let text = line.repeat(40_000);
    let large = config_map::build(&validated, &rendered(&text)).unwrap();
    assert_eq!(large, config_map::build(&validated, &rendered(&text)).unwrap());
    let compressed = &large.binary_data.unwrap()["config.yaml.gz"].0;
    let mut read = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut read).unwrap();
    assert!(read == text && large.data.is_none());

    let mut state = 1_u64;
    let noise: String = (0..3_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (state >> 60) as u8)
        })
        .collect();
    let error = config_map::build(&validated, &rendered(&noise)).unwrap_err().to_string();
    assert!(error.contains("move some of the datasets to another Proxy"), "{error}");
}

#[test]
fn no_privilege_but_what_a_low_port_of_a_node_needs() {
    let pod = |spec: &Json| pod_template::build(&proxy(spec)).spec.unwrap();
    let plain = pod(&json!({}));
    let sysctls = plain.security_context.unwrap().sysctls.unwrap();
    assert_eq!((sysctls.len(), sysctls[0].name.as_str()), (1, "net.ipv4.ip_unprivileged_port_start"));
    let security = plain.containers[0].security_context.clone().unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.capabilities.unwrap().add, None);

    let host = pod(&json!({"exposure": {"type": "HostNetwork"}}));
    assert_eq!(host.security_context.unwrap().sysctls, None, "the API server would refuse every pod");
    assert_eq!(host.containers[0].security_context.clone().unwrap().capabilities.unwrap().add, None);
    let spread = host.affinity.unwrap().pod_anti_affinity.unwrap();
    assert_eq!(spread.required_during_scheduling_ignored_during_execution.unwrap().len(), 1);

    let low = pod(&host_network());
    let added = low.containers[0].security_context.clone().unwrap().capabilities.unwrap().add;
    assert_eq!(added.unwrap(), ["NET_BIND_SERVICE"]);
    assert_eq!(low.automount_service_account_token, Some(false));
}
