//! A spool that outlives its process.

use std::{fs, path::Path};

use super::*;

/// Bytes of all batch files.
fn files(folder: &Path, tenant: &str) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            bytes += files(&path, tenant);
        } else if path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{tenant}--"))
            && path.extension().is_some_and(|end| end == "gz")
        {
            bytes += entry.metadata().unwrap().len();
        }
    }
    bytes
}

fn post(port: u16, stream: u16, count: u64) -> e2e::sequence::Sent {
    load::http(&plan(port, Shape::Json, stream, count, 0), "/webhook", 10, &Progress::default()).unwrap()
}

#[test]
fn the_last_words_are_what_was_not_delivered_by_tenant_and_the_next_run_delivers_it() {
    let [one, two] = [(); 2].map(|()| free_port().unwrap());
    let inputs = json!([
        hooks("net/one", one, &json!({"tenant_id": "acme"})),
        hooks("net/two", two, &json!({"tenant_id": "globex"})),
    ]);
    let mut pod = Pod::start(&inputs, &json!({"server": {"shutdown_grace_seconds": 0}}));
    pod.receiver.fault(Scope::All, Fault::status(503));
    let sent = [post(one, 1, 100), post(two, 2, 200)];
    // Open batches count from the first moment, and so does what is queued.
    let of = |pod: &Pod, tenant: &str| {
        let bytes = pod.status()["spool"]["tenants"][tenant].clone();
        ["open_bytes", "queue_bytes", "dlq_bytes"].map(|place| bytes[place].as_u64().unwrap_or_default())
    };
    for tenant in ["acme", "globex"] {
        assert!(of(&pod, tenant).iter().sum::<u64>() > 0, "{:#}", pod.status()["spool"]);
    }
    assert!(pod.proxy.terminate(LIMIT).unwrap().success());
    let words = pod.words();
    for tenant in ["acme", "globex"] {
        assert_eq!(words["tenants"][tenant].as_u64(), Some(files(&pod.proxy.spool(), tenant)), "{words}");
    }
    let sum: u64 = ["acme", "globex"].map(|tenant| words["tenants"][tenant].as_u64().unwrap()).iter().sum();
    assert_eq!((&words["undelivered_bytes"], &words["ended"]), (&json!(sum), &json!("SIGTERM")), "{words}");

    pod.receiver.lift(&Scope::All);
    pod.proxy.run().unwrap();
    all_delivered(&pod.receiver, &sent, LIMIT);
    until(LIMIT, "an empty spool", || (pod.status()["spool"]["tenants"] == json!({})).then_some(())).unwrap();
    assert!(pod.proxy.terminate(LIMIT).unwrap().success());
    assert_eq!(pod.words(), json!({"ended": "SIGTERM", "undelivered_bytes": 0}));
}

#[test]
fn who_cannot_start_says_why_and_that_the_spool_is_not_known() {
    let mut pod = Pod::new();
    let blocked = pod.proxy.folder().join("blocked");
    fs::write(&blocked, "no folder").unwrap();
    let document = pod.document(&json!([]), &json!({"spooling": {"directory": blocked}}));
    pod.mount.document(&document);
    pod.proxy.spawn().unwrap();
    assert!(!pod.proxy.wait_exit(LIMIT).unwrap().success());
    let words = pod.words();
    assert_eq!(words["undelivered_bytes"], Value::Null);
    let ended = words["ended"].as_str().unwrap();
    assert!(ended.contains("cannot start") && ended.contains("blocked"), "{words}");
}

/// A claim that another Proxy left: its tenants' data goes out with their tokens or not at all.
#[test]
fn of_a_foreign_spool_only_tenants_with_a_token_are_delivered() {
    let [one, two] = [(); 2].map(|()| free_port().unwrap());
    let token = |tenant: &str| json!({"bearer_token": format!("token-of-{tenant}")});
    let inputs = json!([
        hooks("net/one", one, &json!({"tenant_id": "acme"})),
        hooks("net/two", two, &json!({"tenant_id": "globex"})),
    ]);
    let both = json!({"tenants": {"acme": token("acme"), "globex": token("globex")}, "server": {"shutdown_grace_seconds": 0}});
    let mut pod = Pod::start(&inputs, &both);
    pod.receiver.fault(Scope::All, Fault::status(503));
    let sent = [post(one, 1, 50), post(two, 2, 50)];
    assert!(pod.proxy.terminate(LIMIT).unwrap().success());
    let before = pod.receiver.requests().len();
    pod.receiver.lift(&Scope::All);

    // Another Proxy, whose only tenant is acme, finds the volume.
    let document = pod.document(&json!([]), &json!({"tenants": {"acme": token("acme")}}));
    pod.mount.document(&document);
    pod.proxy.run().unwrap();
    all_delivered(&pod.receiver, &sent[..1], LIMIT);
    let held = || {
        let circuits = pod.status()["circuits"].clone();
        circuits.as_array()?.iter().find(|circuit| circuit["tenant_id"] == "globex").cloned()
    };
    let circuit = until(LIMIT, "a circuit of globex", held).unwrap();
    assert_eq!(circuit["reason"], "no_token", "{circuit}");
    assert!(circuit["message"].as_str().unwrap().contains("tenants.globex.bearer_token_file"), "{circuit}");
    let authorized = |request: &e2e::receiver::Request| request.header("authorization").map(str::to_owned);
    for request in &pod.receiver.requests()[before..] {
        assert_eq!(authorized(request).as_deref(), Some("Bearer token-of-acme"), "{request:?}");
    }
    // With its token it goes.
    let document =
        pod.document(&json!([]), &json!({"tenants": {"acme": token("acme"), "globex": token("globex")}}));
    pod.mount.document(&document);
    all_delivered(&pod.receiver, &sent, LIMIT);
}
