//! A spool that the old program left behind is taken over: L-5, L-6, L-19, D-6, W-16, W-24, W-33.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use common::{LIMIT, events, input, now_ns, old_spool_entry};
use e2e::{
    free_port,
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::json;

#[test]
fn w16_everything_the_old_program_left_is_delivered_once_and_foreign_files_stay() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let config = json!({"inputs": [input("udp", "web", free_port().unwrap(), &json!({}))]});
    let mut proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
    let spool = proxy.spool();
    let now = now_ns() - 3_600_000_000_000;

    // One message per raw file; two of one hint, one of another.
    let raw = spool.join("acme/web/raw");
    fs::create_dir_all(&raw).unwrap();
    for (n, (text, extension)) in
        [("{\"id\":\"raw-1\"}\n", "ndjson"), ("{\"id\":\"raw-2\"}", "ndjson"), ("id raw-3\n", "csv")]
            .into_iter()
            .enumerate()
    {
        let name = format!("{}_{}_1.{extension}", now + n as u64, text.len());
        fs::write(raw.join(name), text).unwrap();
    }
    // A torn one of 0 bytes, as a full disk leaves it.
    fs::write(raw.join(format!("{}_40_1.ndjson", now + 9)), "").unwrap();

    old_spool_entry(&spool, "queue", "acme", "web", now + 10, "{\"id\":\"queue-1\"}\n", None);
    let moved = Path::new("/somewhere/else/acme/web/retry");
    old_spool_entry(&spool, "retry", "acme", "web", now + 20, "{\"id\":\"retry-1\"}\n", Some(moved));
    old_spool_entry(&spool, "retry", "acme", "web", now + 21, "{\"id\":\"retry-2\"}\n", None);
    fs::write(spool.join("acme/web/retry").join(format!("acme--web--{}--ndjson.meta", now + 21)), "{\"id\":")
        .unwrap();
    old_spool_entry(
        &spool,
        "dlq",
        "umbrella",
        "hooks",
        now + 30,
        "{\"id\":\"dlq-1\"}\n",
        Some(&spool.join("umbrella/hooks/dlq")),
    );

    fs::create_dir_all(spool.join("lost+found")).unwrap();
    fs::write(spool.join("README"), "not ours").unwrap();
    fs::write(spool.join("acme/web/queue/notes.txt"), "not ours").unwrap();

    let expected: BTreeSet<&str> =
        ["raw-1", "raw-2", "raw-3", "queue-1", "retry-1", "retry-2", "dlq-1"].into();
    proxy.run().unwrap();
    let arrived = || {
        let mut text = receiver.text("acme", "web").unwrap();
        text.extend(receiver.text("umbrella", "hooks").unwrap());
        text
    };
    // Nothing else flows to that dataset, so its dead letters would try by themselves in some minutes only.
    until(LIMIT, "the dead letter", || (events(&proxy)["dlq"] == 1).then_some(())).unwrap();
    assert_eq!(proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap().status, 200);
    until(Duration::from_secs(45), "everything", || {
        let text = arrived().join("\n");
        expected.iter().all(|id| text.contains(id)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}\n{}\n{}", arrived(), events(&proxy), proxy.log_text()));
    assert_eq!(arrived().len(), expected.len(), "each once: {:#?}", arrived());
    assert!(events(&proxy)["imported"].as_u64().unwrap() >= expected.len() as u64);

    // Delivered ones go, what is not ours stays.
    until(LIMIT, "the old files to go", || {
        let left: Vec<String> =
            files(&spool).into_iter().filter(|path| !path.contains("/.instance-")).collect();
        let data = left.iter().filter(|path| path.contains("--ndjson.gz") || path.contains("/raw/")).count();
        (data <= 1).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", files(&spool)));
    assert!(spool.join("README").exists() && spool.join("lost+found").exists());
    assert!(spool.join("acme/web/queue/notes.txt").exists());

    // A second start finds nothing more to deliver.
    let uploads = receiver.uploads();
    proxy.terminate(LIMIT).unwrap();
    proxy.run().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.uploads(), uploads);
}

#[test]
fn w33_a_planted_bomb_is_adopted_and_delivered_in_bounded_memory() {
    const LINES: usize = 10_000;
    let receiver = Receiver::start(Settings::default()).unwrap();
    let config = json!({"inputs": [input("udp", "web", free_port().unwrap(), &json!({}))]});
    let mut proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
    proxy.run().unwrap();
    let idle = proxy.resident().unwrap();
    proxy.terminate(LIMIT).unwrap();
    // 130 MB in a few hundred kB.
    let text = format!("{{\"zeros\":\"{}\"}}\n", "0".repeat(13_000)).repeat(LINES);
    old_spool_entry(&proxy.spool(), "queue", "acme", "web", now_ns() - 1_000_000_000, &text, None);
    proxy.run().unwrap();
    let mut most = 0;
    until(Duration::from_secs(90), "all of it", || {
        most = most.max(proxy.resident().unwrap());
        (receiver.lines() >= LINES as u64).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&proxy), proxy.log_text()));
    assert!(most < idle + (64 << 20), "{idle} -> {most}");
    assert_eq!((receiver.lines(), receiver.violations()), (LINES as u64, Vec::new()));
}

fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path().display().to_string());
        }
    }
    all
}
