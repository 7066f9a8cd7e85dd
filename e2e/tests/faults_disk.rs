//! What happens when the disk is not as it should be: the rows of docs/operations.md, "Disk".
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use common::{LIMIT, all_delivered, events, input, input_status, plan, world::World};
use e2e::{
    free_port,
    load::{self, Progress, Shape},
    process::Proxy,
    receiver::{Fault, Scope},
    shim::Shim,
    until,
};
use serde_json::{Value, json};

/// A log of 512 KiB in segments of 128 KiB.
fn small() -> serde_json::Value {
    json!({"spooling": {"max_size_bytes": 4 << 20}})
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs the proxy as somebody for whom permissions count, which they do not for root.
fn mortal(proxy: &mut Proxy) {
    if is_root() {
        let without = "--bounding-set=-dac_override,-dac_read_search";
        proxy.through(&["setpriv", without, "--inh-caps=-dac_override,-dac_read_search"]);
    }
}

/// Runs the proxy in a mount namespace of its own, prepared by a shell script; `$1` is the spool's folder.
fn mounted(proxy: &mut Proxy, script: &str) {
    fs::create_dir_all(proxy.spool()).unwrap();
    let spool = proxy.spool().display().to_string();
    let script = format!("set -e; {script}; shift; exec \"$@\"");
    let mut command = vec!["unshare", "--mount"];
    if !is_root() {
        command.extend(["--user", "--map-root-user"]);
    }
    command.extend(["sh", "-c", &script, "sh", &spool]);
    proxy.through(&command);
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused_unwritable(world: &World, answer: &e2e::http::Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("Storage not available") && answer.header("retry-after").is_some());
    world.wait_problem("spool: ");
    assert!(world.status()["spool_problem"].is_string(), "{}", world.status());
    let ready = world.proxy.get("/readyz").unwrap();
    assert!(ready.status == 503 && ready.text().contains("the spool cannot be written"), "{}", ready.text());
    world.wait_log("WARN", "the log cannot be written; nothing is acknowledged until it can");
    world.wait_metric("input_refused_total", &[("cause", "unwritable")], 1.0);
}

/// Waits until data is taken again, without anybody's doing.
fn taken_again(world: &World) {
    until(LIMIT, "a 200", || (world.post(b"{}").status == 200).then_some(())).unwrap();
    world.wait_log("INFO", "the log can be written again");
}

#[test]
fn an_unwritable_spool_ends_the_start_with_the_reason_and_a_later_start_works() {
    let mut world = World::prepare(&json!({}));
    mortal(&mut world.proxy);
    fs::create_dir_all(world.proxy.spool()).unwrap();
    permit(&world.proxy.spool(), 0o500);
    world.proxy.spawn().unwrap();
    let status = world.proxy.wait_exit(LIMIT).unwrap();
    assert!(!status.success());
    let line = world.wait_log("ERROR", "cannot start");
    assert!(
        line.contains(world.proxy.spool().to_str().unwrap()) && line.contains("ermission denied"),
        "{line}"
    );
    permit(&world.proxy.spool(), 0o700);
    world.proxy.run().unwrap();
    world.all_arrives(&[world.send_all(1, 100)]);
}

#[test]
fn folders_that_become_unwritable_cost_no_acknowledged_event() {
    let mut world = World::prepare(&small());
    mortal(&mut world.proxy);
    world.proxy.run().unwrap();
    let mut sent = vec![world.send_all(1, 100)];
    all_delivered(&world.receiver, &sent, LIMIT);

    // Batch files: their lines wait in the log, HTTP goes on.
    let folder = world.part("batches/acme/hooks");
    permit(&folder, 0o500);
    sent.push(world.send_all(2, 50));
    world.wait_problem("batch files cannot be written");
    world.wait_log("WARN", "a batch file cannot be written; trying again every second");
    world.wait_metric("spool_file_failures_total", &[], 1.0);
    assert_eq!(world.proxy.get("/readyz").unwrap().status, 200);
    permit(&folder, 0o700);
    world.all_arrives(&sent);

    // The log: nothing is acknowledged once the segment at hand is full.
    let folder = world.part("log");
    permit(&folder, 0o500);
    let (refused, answer) = world.send_until_refused(3, 2000);
    sent.push(refused);
    refused_unwritable(&world, &answer);
    permit(&folder, 0o700);
    taken_again(&world);
    world.all_arrives(&sent);
}

#[test]
fn a_read_only_spool_ends_the_start_and_keeps_what_is_in_it() {
    let mut world = World::start(&json!({}));
    world.receiver.down();
    let sent = world.send_all(1, 200);
    world.proxy.kill().unwrap();
    mounted(&mut world.proxy, "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"");
    world.proxy.spawn().unwrap();
    assert!(!world.proxy.wait_exit(LIMIT).unwrap().success());
    let line = world.wait_log("ERROR", "cannot start");
    assert!(line.contains("ead-only file system") && line.contains("spool"), "{line}");
    world.proxy.through(&[]);
    world.receiver.up().unwrap();
    world.proxy.run().unwrap();
    world.all_arrives(&[sent]);
}

/// Sends to an input that has no room: each datagram is counted as refused, with its cause, at this input.
fn datagrams_are_counted(world: &World, name: &str, port: u16, count: u64) {
    load::udp(&plan(port, Shape::Json, 9, count, 2000), &Progress::default()).unwrap();
    let refused = || {
        let input = input_status(&world.proxy, name)?;
        let causes: u64 = input["refused"].as_object()?.values().filter_map(Value::as_u64).sum();
        (causes + input["kernel_drops"].as_u64()? == count).then_some(())
    };
    until(LIMIT, &format!("{count} refused datagrams of {name}"), refused)
        .unwrap_or_else(|error| panic!("{error}: {:?}", input_status(&world.proxy, name)));
    let cause = [("input", name), ("cause", "unwritable")];
    world.wait_metric("input_refused_total", &cause, 1.0);
    println!("{:?}", input_status(&world.proxy, name));
}

#[test]
fn w17_a_full_volume_refuses_and_keeps_what_was_acknowledged() {
    let mut world = World::prepare(&json!({}));
    let ports = [(); 2].map(|()| free_port().unwrap());
    let datagrams = |name: &str, port| input("udp", name, port, &json!({"data_hint": "ndjson"}));
    let inputs = [
        input("http", "hooks", world.port, &json!({"data_hint": "ndjson"})),
        datagrams("flows", ports[0]),
        datagrams("traps", ports[1]),
    ];
    world.proxy.reconfigure(&json!({"inputs": inputs})).unwrap();
    mounted(&mut world.proxy, "mount -t tmpfs -o size=12m spool \"$1\"");
    world.proxy.run().unwrap();
    world.receiver.down();
    let mut sent = vec![world.send_all(1, 100)];
    // Somebody else fills the volume, in the proxy's view of the world.
    let inside = Path::new("/proc").join(world.proxy.pid().unwrap().to_string()).join("root");
    let ballast = inside.join(world.proxy.spool().join("ballast").strip_prefix("/").unwrap());
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", "status=none"])
        .arg(format!("of={}", ballast.display()))
        .status()
        .unwrap();
    assert!(!filled.success(), "dd ends when the volume is full");
    let (refused, answer) = world.send_until_refused(2, 20_000);
    sent.push(refused);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    world.wait_problem("spool: ");
    assert_eq!(world.proxy.get("/readyz").unwrap().status, 503);
    for ((name, port), count) in ["flows", "traps"].into_iter().zip(ports).zip([300, 120]) {
        datagrams_are_counted(&world, name, port, count);
    }
    events(&world.proxy);
    fs::remove_file(&ballast).unwrap();
    world.receiver.up().unwrap();
    until(LIMIT, "a 200", || (world.post(b"{}").status == 200).then_some(())).unwrap();
    world.all_arrives(&sent);
    assert_eq!(world.place("evicted"), 0);
}

#[test]
fn eio_from_a_write_of_the_log_acknowledges_nothing_until_it_can_be_written() {
    let mut world = World::prepare(&json!({}));
    let shim = Shim::install(&mut world.proxy).unwrap();
    world.proxy.run().unwrap();
    let mut sent = vec![world.send_all(1, 100)];
    shim.fail_writes("/log/").unwrap();
    let (refused, answer) = world.send_until_refused(2, 200);
    sent.push(refused);
    refused_unwritable(&world, &answer);
    world.wait_log("WARN", "the log segment cannot be written; going on in a new one");
    world.wait_metric("spool_log_failures_total", &[], 1.0);
    shim.heal().unwrap();
    taken_again(&world);
    sent.push(world.send_all(3, 100));
    world.all_arrives(&sent);

    // A batch file: its lines are safe in the log.
    shim.fail_writes("/batches/").unwrap();
    sent.push(world.send_all(4, 100));
    world.wait_problem("batch files cannot be written");
    world.wait_metric("spool_file_failures_total", &[], 1.0);
    shim.heal().unwrap();
    world.all_arrives(&sent);
}

#[test]
fn eio_from_fdatasync_is_never_taken_for_success() {
    let mut world = World::prepare(&json!({}));
    let shim = Shim::install(&mut world.proxy).unwrap();
    world.proxy.run().unwrap();
    let mut sent = vec![world.send_all(1, 100)];
    shim.fail_syncs("/log").unwrap();
    let (refused, answer) = world.send_until_refused(2, 200);
    assert_eq!(refused.promised(), 0, "the first event after the error is not acknowledged");
    sent.push(refused);
    refused_unwritable(&world, &answer);
    world.wait_metric("spool_log_failures_total", &[], 1.0);
    // A kill now: what was acknowledged before is there, whatever became of the rest.
    world.proxy.kill().unwrap();
    shim.heal().unwrap();
    world.proxy.run().unwrap();
    sent.push(world.send_all(3, 100));
    world.all_arrives(&sent);

    shim.fail_syncs("/log").unwrap();
    sent.push(world.send_until_refused(4, 200).0);
    shim.heal().unwrap();
    taken_again(&world);
    sent.push(world.send_all(5, 100));
    world.all_arrives(&sent);
}

#[test]
fn eio_from_fdatasync_of_batch_files_keeps_nobody_waiting() {
    let mut config = small();
    // Open batches hold on to the log, which can be shortened only once their files are synced.
    config["batching"] = json!({"timeout_seconds": 300});
    let mut world = World::prepare(&config);
    let shim = Shim::install(&mut world.proxy).unwrap();
    world.proxy.run().unwrap();
    let mut sent = vec![world.send_all(1, 100)];
    shim.fail_syncs("/batches").unwrap();
    let (refused, answer) = world.send_until_refused(2, 2000);
    sent.push(refused);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("Storage not available"), "{}", answer.text());
    world.wait_log("WARN", "the log cannot be shortened or prolonged in the background now");
    world.wait_log("WARN", "nothing is acknowledged until batch files can be written and synced");
    world.wait_metric("spool_file_failures_total", &[], 1.0);
    world.wait_problem("spool: ");
    assert_eq!(world.proxy.get("/readyz").unwrap().status, 503);
    shim.heal().unwrap();
    until(LIMIT, "a 200", || (world.post(b"{}").status == 200).then_some(())).unwrap();
    assert!(world.proxy.terminate(LIMIT).unwrap().success());
    all_delivered(&world.receiver, &sent, LIMIT);
}

#[test]
fn batch_files_that_cannot_be_written_for_long_keep_nobody_waiting() {
    let mut world = World::prepare(&json!({"limits": {"memory_bytes": 4 << 20}}));
    let shim = Shim::install(&mut world.proxy).unwrap();
    world.proxy.run().unwrap();
    shim.fail_writes("/batches/").unwrap();
    let (refused, answer) = world.send_until_refused(1, 2000);
    println!("{} events, {}", refused.promised(), answer.text());
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.wait_problem("batch files cannot be written");
    println!("{} {}", world.status()["problems"], world.proxy.get("/readyz").unwrap().text());
    shim.heal().unwrap();
    until(LIMIT, "a 200", || (world.post(b"{}").status == 200).then_some(())).unwrap();
    world.all_arrives(&[refused]);
}

#[test]
fn w16_metadata_that_cannot_be_written_costs_its_batch_nothing() {
    let mut world = World::prepare(&json!({}));
    let shim = Shim::install(&mut world.proxy).unwrap();
    world.proxy.run().unwrap();
    shim.fail_writes(".meta").unwrap();
    world.receiver.fault(Scope::All, Fault::status(422));
    let sent = world.send_all(1, 10);
    world.wait_place("dlq", 10);
    world.wait_log("WARN", "metadata of a batch cannot be written");
    world.wait_metric("spool_file_failures_total", &[], 1.0);
    let files = world.proxy.json("/api/v1/dlq/files").unwrap();
    assert_eq!(files["files"][0]["http_status"], 422, "known until the next start: {files}");
    world.proxy.kill().unwrap();
    shim.heal().unwrap();
    world.receiver.lift(&Scope::All);
    world.proxy.run().unwrap();
    world.wait_place("dlq", 10);
    assert_eq!(world.proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap().status, 200);
    world.all_arrives(&[sent]);
}

#[test]
fn w16_missing_metadata_means_an_unknown_reason_and_no_lost_batch() {
    let mut world = World::start(&json!({}));
    world.receiver.fault(Scope::All, Fault::status(422));
    let sent = world.send_all(1, 10);
    world.wait_place("dlq", 10);
    world.proxy.kill().unwrap();
    let metas = world.files("dlq", "hooks", ".meta");
    assert!(!metas.is_empty());
    for meta in metas {
        fs::remove_file(meta).unwrap();
    }
    world.proxy.run().unwrap();
    world.wait_place("dlq", 10);
    let files = world.proxy.json("/api/v1/dlq/files").unwrap();
    let entry = &files["files"][0];
    assert!(entry["retry_count"] == 0 && entry["failure_reason"].is_null(), "{entry}");
    world.receiver.lift(&Scope::All);
    assert_eq!(world.proxy.client().post("/api/v1/dlq/retry", b"{}").unwrap().status, 200);
    world.all_arrives(&[sent]);
}

#[test]
fn h13_a_clock_that_steps_back_brings_no_name_twice() {
    let mut world = World::prepare(&json!({}));
    let shim = Shim::install(&mut world.proxy).unwrap();
    shim.set_clock(7200).unwrap();
    world.proxy.run().unwrap();
    let mut sent = vec![world.send_all(1, 50)];
    all_delivered(&world.receiver, &sent, LIMIT);
    shim.set_clock(-7200).unwrap();
    sent.push(world.send_all(2, 50));
    all_delivered(&world.receiver, &sent, LIMIT);
    // And over a restart.
    world.receiver.down();
    sent.push(world.send_all(3, 50));
    world.proxy.kill().unwrap();
    shim.set_clock(-86_400).unwrap();
    world.proxy.run().unwrap();
    sent.push(world.send_all(4, 50));
    world.receiver.up().unwrap();
    world.all_arrives(&sent);
    let mut batches = world.receiver.batches();
    batches.sort_by_key(|batch| batch.first);
    assert!(batches.len() >= 3 && batches.iter().all(|batch| batch.uploads == 1), "no name twice");
    let first = batches[0].name.clone();
    assert!(batches[1..].iter().all(|batch| batch.name > first), "names go on increasing");
}

#[test]
fn two_processes_on_one_spool_have_a_folder_each_and_inherit() {
    let first = World::start(&json!({}));
    let directory = first.proxy.spool();
    let mut second = World::start(&json!({
        "receiver": {"base_url": first.receiver.url()}, "spooling": {"directory": directory},
    }));
    assert!(directory.join(".instance-1").exists());
    first.receiver.down();
    let sent = [first.send_all(1, 100), second.send_all(2, 100)];
    first.wait_backlog(100);
    second.wait_backlog(100);
    second.proxy.kill().unwrap();
    // The first finds what the second left while it runs.
    first.receiver.up().unwrap();
    first.all_arrives(&sent);
    assert!(first.place("imported") == 100 && first.place("delivered") == 200, "{}", events(&first.proxy));
}
