//! Statuses as tables: facts, and what is said.

use std::{collections::BTreeMap, sync::Arc};

use bytefreezer_crds::{ProxyDatasetStatus, ProxyStatus, conditions::Reason};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    acknowledge::{ErrorKind, InputError, InputReport, InputState, ReceiveBuffer, Said, Silence, Why},
    arbitrate::tests::dataset as claimant,
    build::tests::proxy as validated,
    gather::{Kind, Owned},
    key::ObjectKey,
};

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn web() -> ObjectKey {
    ObjectKey::new("net", "web")
}

/// A ready pod that has applied document `d` and input `net/web` in the version `h`.
fn done(name: &str) -> PodReport {
    let input = InputReport {
        hash: "h".to_owned(),
        state: InputState::Listening,
        addresses: vec!["udp [::]:514".to_owned()],
        ..InputReport::default()
    };
    PodReport {
        pod: name.to_owned(),
        uid: name.to_owned(),
        node: Some("n1".to_owned()),
        ready: true,
        said: Some(Said { document: "d".to_owned(), inputs: [(web(), input)].into(), ..Said::default() }),
        silence: None,
    }
}

fn with(mut report: PodReport, change: impl FnOnce(&mut InputReport)) -> PodReport {
    change(report.said.as_mut().unwrap().inputs.get_mut(&web()).unwrap());
    report
}

fn new(name: &str) -> PodReport {
    PodReport { said: None, ..done(name) }
}

fn silent(report: PodReport) -> PodReport {
    let silence = Silence { since: at(0), address: "10.0.0.9:8008".to_owned(), why: Why::Timeout };
    PodReport { silence: Some(silence), ..report }
}

fn failed(kind: ErrorKind) -> PodReport {
    with(done("edge-1"), |input| {
        input.state = InputState::Retrying;
        input.error = Some(InputError {
            kind,
            errno: Some("EADDRINUSE".to_owned()),
            text: "udp [::]:514 is in use: end the process that has it".to_owned(),
        });
    })
}

fn pods(reports: &[PodReport], trouble: Option<Trouble>) -> Pods<'_> {
    let ready = reports.iter().filter(|report| report.ready);
    Pods { ready: ready.map(|report| ReadyPod { report, since: at(-100) }).collect(), trouble }
}

/// A dataset that shall be there since second 0, looked at in second `now`.
fn look(before: &ProxyDatasetStatus, reports: &[PodReport], now: i64) -> DatasetOutcome {
    let facts = DatasetFacts {
        key: &web(),
        generation: Some(3),
        before,
        refused: None,
        broken: None,
        unresolved: None,
        listeners: &[],
        hash: Some(("h", at(0))),
    };
    dataset(&facts, &pods(reports, None), &Addresses::default(), at(now))
}

fn brief(conditions: &[Condition]) -> Vec<String> {
    conditions.iter().map(|one| format!("{}={}/{}", one.type_, one.status, one.reason)).collect()
}

fn condition<'a>(conditions: &'a [Condition], kind: &str) -> &'a Condition {
    conditions.iter().find(|one| one.type_ == kind).unwrap()
}

#[test]
fn programmed_by_what_pods_say() {
    let never = ProxyDatasetStatus::default();
    let before = look(&never, &[done("edge-0")], 1).status;
    let older = with(done("edge-1"), |input| input.hash = "older".to_owned());
    let starting = with(done("edge-1"), |input| input.state = InputState::Starting);
    let paused = with(done("edge-1"), |input| input.state = InputState::Paused);
    let unready = PodReport { ready: false, ..new("edge-1") };
    // The status before, the second pod, the second of the look, and what is said.
    let table: Vec<(&ProxyDatasetStatus, PodReport, i64, &str)> = vec![
        (&never, done("edge-1"), 1, "True/Programmed"),
        (&never, paused, 1, "True/Programmed"),
        (&never, unready.clone(), 99, "True/Programmed"),
        (&never, new("edge-1"), 1, "False/Pending"),
        (&never, older.clone(), 1, "False/Pending"),
        (&never, starting, 1, "False/Pending"),
        (&before, new("edge-1"), 29, "True/Programmed"),
        (&before, older.clone(), 29, "True/Programmed"),
        (&before, silent(older.clone()), 29, "True/Programmed"),
        (&before, older.clone(), 30, "False/Pending"),
        (&before, silent(older), 30, "Unknown/ProxyUnreachable"),
        (&before, silent(done("edge-1")), 99, "True/Programmed"),
        (&before, failed(ErrorKind::PortInUse), 1, "False/PortUnavailable"),
        (&before, failed(ErrorKind::NotPermitted), 1, "False/PortUnavailable"),
        (&before, failed(ErrorKind::NotSupported), 1, "False/NotSupportedByPod"),
        (&before, failed(ErrorKind::Other), 1, "False/Invalid"),
    ];
    for (before, second, now, said) in table {
        let outcome = look(before, &[done("edge-0"), second.clone()], now);
        let programmed = condition(&outcome.status.conditions, "Programmed");
        assert_eq!(format!("{}/{}", programmed.status, programmed.reason), said, "{second:?} at {now}");
        assert_eq!(outcome.is_programmed, said.starts_with("True"));
        let waits = now < 30
            && second.ready
            && second.said.as_ref().is_none_or(|said| {
                let input = &said.inputs[&web()];
                input.error.is_none() && (input.hash != "h" || input.state == InputState::Starting)
            });
        assert_eq!(outcome.again, waits.then(|| at(30)), "{second:?} at {now}");
    }
}

#[test]
fn a_failed_bind_names_pod_node_errno_and_remedy_and_heals() {
    let before = look(&ProxyDatasetStatus::default(), &[done("edge-1")], 1).status;
    let outcome = look(&before, &[failed(ErrorKind::PortInUse)], 2);
    let programmed = condition(&outcome.status.conditions, "Programmed");
    assert_eq!(
        programmed.message,
        "pod edge-1 on node n1: EADDRINUSE: udp [::]:514 is in use: end the process that has it"
    );
    assert_eq!(condition(&outcome.status.conditions, "Ready").reason, "PortUnavailable");
    let healed = look(&outcome.status, &[done("edge-1")], 3).status;
    assert_eq!(condition(&healed.conditions, "Ready").status, "True");
}

#[test]
fn nobody_ready_is_unknown_and_says_so() {
    let before = look(&ProxyDatasetStatus::default(), &[done("edge-0")], 1).status;
    let outcome = look(&before, &[PodReport { ready: false, ..done("edge-0") }], 2);
    assert_eq!(
        brief(&outcome.status.conditions),
        [
            "Accepted=True/Accepted",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=Unknown/NoReadyPods",
            "Ready=Unknown/NoReadyPods"
        ]
    );
}

#[test]
fn times_and_statuses_stay_while_nothing_changes() {
    let first = look(&ProxyDatasetStatus::default(), &[done("edge-0")], 1).status;
    let later = look(&first, &[done("edge-0")], 5000).status;
    assert_eq!(first, later, "nothing changes by itself");
    let worse = look(&first, &[failed(ErrorKind::PortInUse)], 7).status;
    assert_eq!(condition(&worse.conditions, "Programmed").last_transition_time.0, at(7));
    assert_eq!(condition(&worse.conditions, "Accepted").last_transition_time.0, at(1));
    assert!(worse.conditions.iter().all(|one| one.observed_generation == Some(3)));
}

#[test]
fn refused_undecodable_and_unresolved_datasets() {
    let before = ProxyDatasetStatus::default();
    let reports = [done("edge-0")];
    let good = DatasetFacts {
        key: &web(),
        generation: Some(1),
        before: &before,
        refused: None,
        broken: None,
        unresolved: None,
        listeners: &[],
        hash: Some(("h", at(0))),
    };
    let said = |facts: &DatasetFacts<'_>, trouble: Option<Trouble>| {
        let outcome = dataset(facts, &pods(&reports, trouble), &Addresses::default(), at(1));
        brief(&outcome.status.conditions)
    };
    let because = |reason| Some((reason, "why".to_owned()));
    assert_eq!(
        said(&DatasetFacts { refused: because(Reason::Conflicted), ..good.clone() }, None),
        [
            "Accepted=False/Conflicted",
            "ResolvedRefs=Unknown/Pending",
            "Programmed=False/Conflicted",
            "Ready=False/Conflicted"
        ]
    );
    assert_eq!(
        said(&DatasetFacts { broken: Some("why".to_owned()), ..good.clone() }, None),
        [
            "Accepted=False/Undecodable",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=True/Programmed",
            "Ready=False/Undecodable"
        ],
        "what it last held goes on"
    );
    assert_eq!(
        said(&DatasetFacts { unresolved: because(Reason::SecretNotShared), ..good.clone() }, None)[1..],
        ["ResolvedRefs=False/SecretNotShared", "Programmed=True/Programmed", "Ready=False/SecretNotShared"]
    );
    assert_eq!(
        said(&DatasetFacts { refused: because(Reason::Pending), ..good.clone() }, None)[0],
        "Accepted=Unknown/Pending"
    );
    assert_eq!(
        said(&good, because(Reason::ApplyFailed))[2..],
        ["Programmed=Unknown/ApplyFailed", "Ready=Unknown/ApplyFailed"]
    );
}

/// The status of a Proxy with this spec, these pods and two pods wanted.
fn about(spec: &Json, reports: &[PodReport], services: &[Service], count: Count) -> ProxyOutcome {
    let proxied = validated(spec);
    let owned: BTreeMap<(Kind, String), Arc<Owned>> = services
        .iter()
        .map(|service| {
            let name = service.metadata.name.clone().unwrap_or_default();
            ((Kind::Service, name), Arc::new(Owned::service(service)))
        })
        .collect();
    let facts = ProxyFacts {
        generation: Some(1),
        before: &ProxyStatus::default(),
        proxy: Some(&proxied),
        refused: None,
        unresolved: None,
        hash: Some(("d", at(0))),
        owned: &owned,
        wanted: 2,
        reports,
        listeners: &BTreeMap::new(),
        stranded: None,
        not_grown: None,
        count,
    };
    let addresses = Addresses::of(&proxied, &owned, &[], 2, &[]);
    proxy(&facts, &pods(reports, None), &addresses, at(1))
}

#[test]
fn a_proxy_is_ready_with_all_its_pods_and_datasets() {
    let both = [done("edge-0"), done("edge-1")];
    let ready = |reports: &[PodReport], count| {
        let finding = about(&json!({}), reports, &[], count).ready;
        format!("{}/{}: {}", finding.state.as_str(), finding.reason(), finding.message)
    };
    let all = Count { attached: 3, programmed: 3, conflicted: 1, behind: None };
    assert_eq!(ready(&both, all.clone()), "True/Ready: All is well.");
    assert_eq!(ready(&both[..1], all.clone()), "False/Pending: 1 of 2 pods are ready");
    let behind = Count { programmed: 2, behind: Some((web(), Reason::PortUnavailable)), ..all };
    assert_eq!(
        ready(&both, behind),
        "False/PortUnavailable: 1 of 3 datasets are not programmed, net/web for one"
    );
}

#[test]
fn what_a_network_team_must_know_stands_there_while_it_is_true() {
    let small = ReceiveBuffer { effective: 212_992, wanted: 8 << 20 };
    let mut report = with(done("edge-0"), |input| {
        input.receive_buffer = Some(small);
        input.losing = true;
    });
    report.said.as_mut().unwrap().spool_nearly_full = true;
    let outcome = about(&json!({}), &[report], &[], Count::default());
    let conditions = &outcome.status.conditions;
    let kinds: Vec<_> = conditions.iter().skip(4).map(|one| one.type_.as_str()).collect();
    assert_eq!(kinds, ["ReceiveBufferTooSmall", "PacketLoss", "SpoolNearlyFull"]);
    let buffer = &condition(conditions, "ReceiveBufferTooSmall").message;
    assert!(
        buffer.contains("212992 bytes of the 8388608")
            && buffer.contains("sysctl -w net.core.rmem_max=8388608"),
        "{buffer}"
    );
    assert_eq!(about(&json!({}), &[done("edge-0")], &[], Count::default()).status.conditions.len(), 4);
}

fn service(kind: &str, changes: &Json) -> Service {
    let mut service = json!({
        "metadata": {"name": "edge", "namespace": "net", "uid": "s"},
        "spec": {"type": kind, "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
                 "ports": [{"name": "udp-514", "port": 514, "protocol": "UDP", "nodePort": 30514}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example"}]}},
    });
    for (name, value) in changes.as_object().unwrap() {
        service[name] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

#[test]
fn addresses_by_exposure() {
    let claimant = claimant("net/web", 0, json!({"source": {"udp": {"port": 514}}}));
    let pod = |ip: &str| {
        let pod = json!({"metadata": {"name": "edge-0"}, "status": {"hostIP": ip}});
        Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
    };
    let of = |kind: &str, pods: &[Arc<Pod>], before: &[String]| {
        let proxied = validated(&json!({"exposure": {"type": kind}}));
        let owned = if kind == "HostNetwork" {
            BTreeMap::new()
        } else {
            let service = Owned::service(&service(kind, &json!({})));
            BTreeMap::from([((Kind::Service, "edge".to_owned()), Arc::new(service))])
        };
        Addresses::of(&proxied, &owned, pods, 2, before).of_listeners(&claimant.listeners)
    };
    let both = [pod("10.0.0.1"), pod("10.0.0.2")];
    assert_eq!(of("LoadBalancer", &[], &[]), ["203.0.113.7:514/UDP", "lb.example:514/UDP"]);
    assert_eq!(of("ClusterIP", &[], &[]), ["10.96.0.7:514/UDP", "[fd00::7]:514/UDP"]);
    assert_eq!(of("NodePort", &both, &[]), ["10.0.0.1:30514/UDP", "10.0.0.2:30514/UDP"]);
    assert_eq!(of("HostNetwork", &both, &[]), ["10.0.0.1:514/UDP", "10.0.0.2:514/UDP"]);
    let before = ["10.0.0.2".to_owned()];
    assert_eq!(of("HostNetwork", &both[..1], &before).len(), 2, "one restarts: its node stays");
    assert_eq!(of("HostNetwork", &both, &["10.0.0.9".to_owned()]).len(), 2, "all are there: old nodes go");
}

#[test]
fn a_sender_with_templates_is_sent_where_it_stays_with_one_pod() {
    let owned = |name: &str, ip: &str, affinity: &str| {
        let ports = json!([{"name": "udp-2055", "port": 2055, "protocol": "UDP"}]);
        let changes = json!({
            "spec": {"type": "LoadBalancer", "sessionAffinity": affinity, "ports": ports},
            "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
        });
        let service = Owned::service(&service("LoadBalancer", &changes));
        ((Kind::Service, name.to_owned()), Arc::new(service))
    };
    // The first keeps port 2055 of a dataset that is gone.
    let owned =
        BTreeMap::from([owned("edge", "203.0.113.7", "None"), owned("edge-flow", "203.0.113.8", "ClientIP")]);
    let addresses = Addresses::of(&validated(&json!({})), &owned, &[], 2, &[]);
    let of =
        |source: Json| addresses.of_listeners(&claimant("net/web", 0, json!({"source": source})).listeners);
    assert_eq!(of(json!({"netflow": {}})), ["203.0.113.8:2055/UDP"]);
    assert_eq!(of(json!({"udp": {"port": 2055}})), ["203.0.113.7:2055/UDP"]);
    assert_eq!(addresses.hosts.len(), 2, "the Proxy has both");
}

#[test]
fn lost_sources_and_ports_that_do_not_fit() {
    let warned = |spec: &Json, service: Service| -> Vec<String> {
        let outcome = about(spec, &[], &[service], Count::default());
        outcome.warnings.iter().map(|finding| finding.kind.to_string()).collect()
    };
    let plain = || service("LoadBalancer", &json!({}));
    assert!(warned(&json!({}), plain()).is_empty());
    let cluster = json!({"exposure": {"loadBalancer": {"externalTrafficPolicy": "Cluster"}}});
    assert_eq!(warned(&cluster, plain()), ["SourceIPNotPreserved"]);
    let ingress = |one: Json| json!({"status": {"loadBalancer": {"ingress": [one]}}});
    let proxied = ingress(json!({"ip": "203.0.113.7", "ipMode": "Proxy"}));
    assert_eq!(warned(&json!({}), service("LoadBalancer", &proxied)), ["SourceIPNotPreserved"]);
    let refused = ingress(
        json!({"ip": "203.0.113.7", "ports": [{"port": 514, "protocol": "UDP", "error": "MixedProtocol"}]}),
    );
    assert_eq!(warned(&json!({}), service("LoadBalancer", &refused)), ["PortsExceedLoadBalancer"]);
    let ports: Vec<Json> = (1..=51)
        .map(|port| json!({"name": format!("udp-{port}"), "port": port, "protocol": "UDP"}))
        .collect();
    let many = service("LoadBalancer", &json!({"spec": {"ports": ports}}));
    let aws = json!({"exposure": {"loadBalancer": {"class": "service.k8s.aws/nlb"}}});
    assert_eq!(warned(&aws, many.clone()), ["PortsExceedLoadBalancer"]);
    assert!(warned(&json!({}), many).is_empty());
}

#[test]
fn pods_that_deviate_come_first_and_at_most_50() {
    let mut reports: Vec<PodReport> = (0..80).map(|n| done(&format!("edge-{n:02}"))).collect();
    reports[70] = PodReport { pod: "edge-70".to_owned(), ..failed(ErrorKind::PortInUse) };
    reports[60].ready = false;
    let pods = about(&json!({}), &reports, &[], Count::default()).status.pods;
    let names: Vec<_> = pods.iter().take(3).map(|pod| pod.name.as_str()).collect();
    assert_eq!((names, pods.len()), (vec!["edge-60", "edge-70", "edge-00"], 50));
    assert!(pods[1].failed_listeners[0].error.starts_with("EADDRINUSE"));
    assert_eq!(pods[2].generation, Some(1));
}
