//! Bytes in the spool that are not what they were: the rows of docs/operations.md, "Damage".
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{fs, path::PathBuf};

use common::{LIMIT, all_delivered, world::World};
use e2e::{
    load::{self, Shape},
    sequence::{Promised, Sent},
};
use serde_json::json;

/// The part of docs/spool.md that a test needs to know.
const PAGE: usize = 4096;
const HEADER: usize = 56;
const RAW: u8 = 2;
const MEMBER: u8 = 3;

/// Places of the frames with lines in a segment, and the end of the last frame.
fn frames(segment: &[u8]) -> (Vec<usize>, usize) {
    let (mut at, mut lines) = (PAGE, Vec::new());
    while segment.get(at) == Some(&0xbf) {
        if matches!(segment[at + 1], RAW | MEMBER) {
            lines.push(at);
        }
        let payload = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        at += (HEADER + payload).next_multiple_of(8);
    }
    (lines, at)
}

fn segment(world: &World) -> PathBuf {
    let mut segments: Vec<PathBuf> =
        fs::read_dir(world.part("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments.pop().unwrap()
}

/// A killed proxy with one open batch of five commits, of one event each.
fn killed() -> (World, Sent) {
    let mut world = World::start(&json!({"batching": {"timeout_seconds": 300}}));
    let mut client = world.client();
    for number in 0..5 {
        let event = load::event(Shape::Json, 1, number, 300);
        assert_eq!(client.post("/webhook", &event).unwrap().status, 200);
    }
    world.proxy.kill().unwrap();
    (world, Sent { stream: 1, attempted: 5, promised: Promised::All })
}

#[test]
fn a_torn_tail_of_the_log_costs_nothing_that_was_acknowledged() {
    let (mut world, sent) = killed();
    let path = segment(&world);
    let mut bytes = fs::read(&path).unwrap();
    let (lines, end) = frames(&bytes);
    assert_eq!(lines.len(), 5);
    // What a power cut leaves of a frame that was on its way: its beginning, without the rest.
    let last = bytes[lines[4]..end].to_vec();
    bytes[end..end + last.len() / 2].copy_from_slice(&last[..last.len() / 2]);
    fs::write(&path, bytes).unwrap();
    world.proxy.run().unwrap();
    world.all_arrives(&[sent]);
    assert!(!world.proxy.log_text().contains("\"level\":\"ERROR\""), "{}", world.proxy.log_text());
    assert_eq!((world.place("imported"), world.place("quarantined")), (5, 0));
    assert!((world.metric("spool_quarantined_total", &[])).abs() < 0.5);
}

#[test]
fn a_flipped_bit_in_the_log_costs_that_frame_and_is_reported() {
    let (mut world, mut sent) = killed();
    let path = segment(&world);
    let mut bytes = fs::read(&path).unwrap();
    let (lines, _) = frames(&bytes);
    bytes[lines[2] + HEADER + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    world.proxy.run().unwrap();
    sent.promised = Promised::These(vec![0, 1, 3, 4]);
    world.all_arrives(&[sent]);
    world.wait_log("ERROR", "the log is damaged; what batch files do not hold of these frames is lost");
    let said = world.wait_log("ERROR", "lines are missing in the middle of a batch");
    assert!(said.contains("acme--hooks--"), "{said}");
    assert_eq!(world.place("delivered"), 4);
}

#[test]
fn a_flipped_bit_in_a_batch_file_costs_that_member_and_the_rest_goes_on_under_a_new_name() {
    let world = World::start(&json!({}));
    world.receiver.down();
    // Members of about 64 KiB.
    let mut sent = world.send_all(1, 1500);
    world.wait_backlog(1500);
    let file = world.files("batches", "hooks", ".gz").pop().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    world.receiver.up().unwrap();
    let said = world.wait_log("ERROR", "members of a batch are damaged and were set aside in quarantine");
    assert!(said.contains(&name), "{said}");
    the_rest_arrives(&world, &mut sent);
    assert!(world.receiver.batches().iter().all(|batch| batch.name != name), "a name never gets shorter");
    world.wait_metric("spool_quarantined_total", &[], 1.0);
    world.wait_metric("uploads_total", &[("outcome", "corrupt")], 1.0);
    assert_eq!(fs::read_dir(world.part("quarantine")).unwrap().count(), 1);
}

/// Everything but what is in quarantine arrives once.
fn the_rest_arrives(world: &World, sent: &mut Sent) {
    e2e::until(LIMIT, "quarantine", || (world.place("quarantined") > 0).then_some(())).unwrap();
    let lost = world.place("quarantined");
    assert!(lost < sent.attempted, "{lost}");
    world.wait_place("delivered", sent.attempted - lost);
    sent.promised = Promised::These(Vec::new());
    all_delivered(&world.receiver, std::slice::from_ref(sent), LIMIT);
    assert_eq!(world.receiver.lines(), sent.attempted - lost);
    world.wait_healthy();
}

#[test]
fn w16_foreign_files_are_counted_and_left_alone() {
    let mut world = World::start(&json!({}));
    world.receiver.down();
    let sent = world.send_all(1, 20);
    world.wait_backlog(20);
    world.proxy.kill().unwrap();
    let folder = world.part("batches/acme/hooks");
    let strangers = [
        folder.join("notes.txt"),
        folder.join("acme--hooks--17--ndjson.gz"),
        folder.join("acme--other--1767225600000000001--ndjson.gz"),
        world.proxy.spool().join("README"),
        world.proxy.spool().join("lost+found/7"),
    ];
    fs::create_dir_all(world.proxy.spool().join("lost+found")).unwrap();
    for path in &strangers {
        fs::write(path, "not ours").unwrap();
    }
    world.receiver.up().unwrap();
    world.proxy.run().unwrap();
    world.all_arrives(&[sent]);
    world.wait_log("WARN", "there are files in the spool that are not batches; they are left alone");
    world.wait_metric("spool_foreign_files", &[], 3.0);
    for path in strangers {
        assert_eq!(fs::read_to_string(&path).unwrap(), "not ours", "{}", path.display());
    }
}
