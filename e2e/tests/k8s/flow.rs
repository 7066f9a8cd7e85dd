//! Exporters of flows, whose records mean nothing without the template that they sent before.

use std::time::Duration;

use bytefreezer_crds::ProxyDataset;
use e2e::k8s::{Exporters, Namespace, Operator, exporters::account, namespace::LIMIT};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use serde_json::json;

use crate::common::{connected, dataset, flow_address, pods, proxy, ready, ready_pods};

const EXPORTERS: usize = 50;
/// At which each repeats its template.
const INTERVAL: Duration = Duration::from_secs(20);

#[test]
fn a_rolling_restart_under_50_exporters_loses_no_record_for_want_of_a_template() {
    let namespace = Namespace::new("flow").unwrap();
    let receiver = namespace.receiver().unwrap();
    let _operator = Operator::install(&namespace, &json!({})).unwrap();
    // Both on the node to which the load balancer's address leads.
    let node = json!({"kubernetes.io/hostname": namespace.cluster().nodes().unwrap()[0]});
    let mut workload = json!({"replicas": 2, "shutdownDelay": "5s", "minReady": "30s", "nodeSelector": node});
    namespace.apply(&proxy(&receiver, &json!({"workload": workload}))).unwrap();
    let sources = namespace.cluster().addresses().unwrap();
    let apart = if sources.len() < EXPORTERS { "AddressPort" } else { "Address" };
    namespace.apply(&dataset("flows", &json!({"netflow": {"exporterId": apart}}), &json!({}))).unwrap();
    // For its TCP port, which shows that the Service leads to the pods.
    namespace.apply(&dataset("others", &json!({"ipfix": {"protocols": ["TCP"]}}), &json!({}))).unwrap();
    ready(&namespace, "flows");
    ready(&namespace, "others");
    let before = ready_pods(&namespace, "edge", 2);

    // A Service of its own leads each exporter to one pod, and its address is the dataset's.
    connected(flow_address(&namespace, "edge", 4739));
    let target = flow_address(&namespace, "edge", 2055);
    let service = namespace.get::<Service>("edge-flow").unwrap().unwrap();
    assert_eq!(service.spec.unwrap().session_affinity.as_deref(), Some("ClientIP"));
    namespace
        .wait::<ProxyDataset, _>("flows", LIMIT, "the address in the status", |dataset| {
            (dataset.status.as_ref()?.addresses == [format!("{target}/UDP")]).then_some(())
        })
        .unwrap();

    // Most send records before their first template, and each one's first record arrives.
    let exporters = Exporters::start(target, &sources, EXPORTERS, INTERVAL).unwrap();
    let all = |sent: &[u64]| {
        if receiver.lines() < sent.iter().sum() {
            return Ok(None);
        }
        let account = account(&receiver, "acme", "flows", sent)?;
        Ok((account.lost == 0).then_some(account))
    };
    namespace.until(INTERVAL + LIMIT, "records of all exporters", || all(&[1; EXPORTERS])).unwrap();

    workload["podTemplate"] = json!({"metadata": {"annotations": {"example.com/round": "2"}}});
    namespace.apply(&proxy(&receiver, &json!({"workload": workload}))).unwrap();
    namespace
        .until(Duration::from_mins(4), "two other pods", || {
            let old = |pod: &Pod| before.iter().any(|before| before.uid() == pod.uid());
            Ok((!pods(&namespace, "edge").iter().any(old)).then_some(()))
        })
        .unwrap();
    ready_pods(&namespace, "edge", 2);
    let sent = exporters.silence().unwrap();
    let found = namespace.until(INTERVAL + LIMIT, "every record", || all(&sent));
    exporters.stop().unwrap();
    let account = account(&receiver, "acme", "flows", &sent).unwrap();
    println!(
        "rolling restart under {EXPORTERS} exporters at {} addresses: {} of {} records lost",
        sources.len(),
        account.lost,
        account.sent
    );
    found.unwrap_or_else(|error| panic!("{error:#}: {account:?}"));
    assert_eq!(account.duplicated, 0, "{account:?}");
    assert_eq!(receiver.violations(), [""; 0]);
}
